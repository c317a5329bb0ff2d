"""``aqrec import mlruns`` and ``aqrec export mlruns``."""

from pathlib import Path
from typing import Any

import pytest

from aqrec.integrations.mlflow import _importing as importing
from tests.cli.conftest import Cli
from tests.integrations.mlflow.stores import Given, content, write_file_store, write_sqlite

RUNS = [Given("a" * 32, metrics={"m": [(1, 0.5, 0)]}), Given("b" * 32, "beta", status="FAILED")]


def test_a_folder_goes_in_and_comes_out(cli: Cli, tmp_path: Path) -> None:
    source = write_file_store(tmp_path / "mlruns", RUNS)
    lab, out = tmp_path / "lab", tmp_path / "out"
    assert "Imported 2 runs with 1 point" in cli("import", "mlruns", source, "--store", lab).ok().out
    assert "2 runs had nothing new" in cli("import", "mlruns", source, "--store", lab).ok().out
    assert "Exported 1 run" in cli("export", "mlruns", out, "-s", lab, "-e", "beta").ok().out
    assert list(content(out)) == ["b" * 32]
    found = cli("export", "mlruns", out, "-s", lab, "--json").json()
    assert (found["runs"], found["failed"]) == (2, {})
    assert content(out).keys() == content(source).keys()


def test_what_stands_against_it_is_said(cli: Cli, tmp_path: Path) -> None:
    base = write_sqlite(tmp_path / "mlflow.db", [*RUNS, Given("-bad")])
    ended = cli("import", "mlruns", f"sqlite:///{base}", "-s", tmp_path / "lab", "--json")
    assert ended.code == 1
    assert "-bad: recorder id '-bad'" in ended.err
    assert '"runs": 2' in ended.out
    ended = cli("import", "mlruns", tmp_path / "absent", "-s", tmp_path / "lab")
    assert (ended.code, "no folder" in ended.err) == (1, True)
    assert cli("import", "mlruns", base, "--artifacts", "burn").code == 2


def test_after_ctrl_c_the_same_command_goes_on(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [Given(f"{number:032x}", metrics={"m": [(1, 0.5, 0)]}) for number in range(6)]
    source, lab = write_file_store(tmp_path / "mlruns", runs), tmp_path / "lab"
    real = importing.fingerprint

    def interrupted(found: Any, files: Any) -> str:
        if found.run_id == runs[5].run_id:
            raise KeyboardInterrupt
        return real(found, files)

    monkeypatch.setattr(importing, "_AT_ONCE", 2)
    with monkeypatch.context() as patch:
        patch.setattr(importing, "fingerprint", interrupted)
        ended = cli("import", "mlruns", source, "-s", lab)
    assert ended.code == 130
    assert "Interrupted after 2 of 6 runs. What was imported is stored; the same command goes on" in ended.err
    found = cli("import", "mlruns", source, "-s", lab, "--json").json()
    assert (found["runs"] + found["unchanged"], found["failed"]) == (6, {})
    assert found["unchanged"] >= 2
    out = tmp_path / "out"
    assert "Exported 6 runs" in cli("export", "mlruns", out, "-s", lab).ok().out
    assert {run: each["metrics"] for run, each in content(out).items()} == {
        run: each["metrics"] for run, each in content(source).items()
    }
