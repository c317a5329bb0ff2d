"""``aqrec get``."""

import json
from pathlib import Path

import pandas as pd
import pytest

from aqrec.format import _document
from aqrec.format._records import ArtifactRef
from aqrec.options import Options
from aqrec.sync import open_recorder
from tests.cli.conftest import QUIET, Cli, Lab


def _original(lab: Lab, path: str) -> bytes:
    return (lab.path / "runs" / lab.first / "artifacts" / path).read_bytes()


@pytest.mark.parametrize(
    ("destination", "place"),
    [("new.pkl", "new.pkl"), ("folder", "folder/pred.pkl"), ("deep/er/x.pkl", "deep/er/x.pkl")],
)
def test_a_file_goes_where_cp_would_put_it(
    cli: Cli, lab: Lab, tmp_path: Path, destination: str, place: str
) -> None:
    (tmp_path / "folder").mkdir()
    out = cli("get", lab.first, "pred.pkl", tmp_path / destination, "-s", lab.path).ok().out
    assert (tmp_path / place).read_bytes() == _original(lab, "pred.pkl")
    assert str(tmp_path / place) in out
    pd.testing.assert_frame_equal(pd.read_pickle(tmp_path / place), lab.pred)


def test_what_is_stored_compressed_comes_out_plain(cli: Cli, tmp_path: Path) -> None:
    chosen = Options(compression="zstd", provenance=False)
    with open_recorder(str(tmp_path / "lab"), experiment="e", options=chosen) as recorder:
        recorder.save_objects(**{"a.txt": "aqrec " * 1000})
    out = cli("get", recorder.id, "a.txt", tmp_path / "a.txt", "-s", tmp_path / "lab").ok().out
    assert (tmp_path / "a.txt").read_text() == "aqrec " * 1000
    assert "6.0 kB" in out


def test_without_a_destination_it_goes_here(
    cli: Cli, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cli("get", lab.first, "conf/deep/a.json", "-s", lab.path).ok()
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [1, 2]}


@pytest.mark.parametrize(("path", "root"), [("conf", "conf"), ("conf/deep/", "deep"), ("/", None)])
def test_a_folder_keeps_its_name_and_shape(
    cli: Cli, lab: Lab, tmp_path: Path, path: str, root: str | None
) -> None:
    cli("get", "alpha/lgb-0", path, tmp_path, "-s", lab.path).ok()
    place = tmp_path / (root or lab.first)
    source = lab.path / "runs" / lab.first / "artifacts" / path.strip("/")
    copied = {p.relative_to(place): p.read_bytes() for p in place.rglob("*") if p.is_file()}
    assert copied == {p.relative_to(source): p.read_bytes() for p in source.rglob("*") if p.is_file()}
    assert len(copied) >= 7


def test_a_file_that_exists_is_overwritten_only_by_force(cli: Cli, lab: Lab, tmp_path: Path) -> None:
    target = tmp_path / "mine.pkl"
    target.write_text("precious")
    ended = cli("get", lab.first, "pred.pkl", target, "-s", lab.path)
    assert ended.code == 1
    assert f"{target} would be overwritten" in ended.err
    assert target.read_text() == "precious"
    cli("get", lab.first, "pred.pkl", target, "-s", lab.path, "--force").ok()
    assert target.read_bytes() == _original(lab, "pred.pkl")


def test_an_unknown_artifact_is_an_error_with_names(cli: Cli, lab: Lab, tmp_path: Path) -> None:
    ended = cli("get", lab.first, "pred", tmp_path, "-s", lab.path)
    assert ended.code == 1
    assert " conf/, " in ended.err
    assert "pred.pkl" in ended.err
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_artifact_is_not_copied(cli: Cli, tmp_path: Path) -> None:
    with open_recorder(str(tmp_path / "own"), options=QUIET) as recorder:
        recorder.save_objects(**{"a.txt": "one", "b.txt": "two"})
    (tmp_path / "own" / "runs" / recorder.id / "artifacts" / "a.txt").write_text("eno")
    ended = cli("get", recorder.id, "a.txt", tmp_path / "a.txt", "-s", tmp_path / "own")
    assert ended.code == 1
    assert "'a.txt' is damaged" in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


def test_a_store_cannot_place_files_elsewhere(
    cli: Cli, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path in a foreign store that leaves the folder is refused, whatever was asked for."""
    real = _document.apply

    def evil(doc: _document.RunDocument, event: object) -> None:
        real(doc, event)  # type: ignore[arg-type]
        if "pred.pkl" in doc.artifacts:
            ref = doc.artifacts["pred.pkl"]
            doc.artifacts["../../evil"] = ArtifactRef(
                path="../../evil", key=ref.key, size=ref.size, checksum=ref.checksum
            )

    monkeypatch.setattr("aqrec.reading._catalog.apply", evil)
    (tmp_path / "here").mkdir()
    ended = cli("get", lab.first, "/", tmp_path / "here", "-s", lab.path)
    assert ended.code == 1
    assert "could leave the run's folder" in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("conf/deep/t.txt", ["héllo\n\x1b[31mred\n"]),
        ("conf/deep/a.json", ['{\n  "a": [\n    1,\n    2\n  ]\n}\n']),
        ("conf/deep/b.yaml", ["x: 1\n"]),
        (
            "pred.pkl",
            ["40 rows of 1 column", "datetime", "instrument", "score", "2024-01-05", "… 30 more rows"],
        ),
        ("conf/deep/wide.parquet", ["2 rows of 40 columns", "column0", "more columns"]),
        ("conf/deep/c.npy", ["shape (2, 3), float64", "3., 4., 5."]),
    ],
)
def test_an_artifact_can_be_printed(cli: Cli, lab: Lab, path: str, parts: list[str]) -> None:
    out = cli("get", lab.first, path, "--print", "-s", lab.path).ok().out
    assert [part for part in parts if part not in out] == []


@pytest.mark.parametrize(
    ("path", "word"),
    [("conf", "is a folder of 7 artifacts"), ("conf/deep/raw.bin", "is no text"), ("x", "no artifact")],
)
def test_what_cannot_be_printed_says_why(cli: Cli, lab: Lab, path: str, word: str) -> None:
    ended = cli("get", lab.first, path, "--print", "-s", lab.path)
    assert (ended.code, ended.out) == (1, "")
    assert word in ended.err


def test_a_pickle_runs_nothing_unless_it_is_trusted(
    cli: Cli, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("get", lab.first, "conf/deep/class.pkl", "--print", "-s", lab.path)
    ended = cli(*words)
    assert ended.code == 1
    assert "_pytest.nodes.Item" in ended.err
    assert "--allow _pytest.nodes.Item" in ended.err
    assert "--trust trusted" in ended.err
    assert "Item" in cli(*words, "--allow", "_pytest.nodes.Item").ok().out
    assert "Item" in cli(*words, "--trust", "trusted").ok().out
    assert cli("get", lab.first, "pred.pkl", "--print", "--trust", "never", "-s", lab.path).code == 1
    monkeypatch.setenv("AQREC_TRUST", "never")
    assert cli("get", lab.first, "pred.pkl", "--print", "-s", lab.path).code == 1
