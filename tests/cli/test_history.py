"""``aqrec history``."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aqrec.sync import open_recorder
from tests._support import ROOT
from tests.cli.conftest import LOSS, QUIET, Cli, Lab


def test_csv_has_every_point_exactly(cli: Cli, lab: Lab) -> None:
    out = cli("history", lab.first, "loss", "ic", "gone", "--csv", "-s", lab.path).ok().out
    rows = list(csv.DictReader(io.StringIO(out)))
    loss = [row for row in rows if row["key"] == "loss"]
    assert [float(row["value"]) for row in loss] == LOSS
    assert [int(row["step"]) for row in loss] == list(range(60))
    assert all(row["timestamp"].endswith("+00:00") for row in rows)
    assert [(row["step"], row["value"]) for row in rows if row["key"] != "loss"] == [
        ("", "0.03"),
        ("", "nan"),
    ]


def test_json_has_every_point_exactly(cli: Cli, lab: Lab) -> None:
    document = cli("history", lab.first, "loss", "gone", "--json", "-s", lab.path).json()
    assert document["run_id"] == lab.first
    assert [point["value"] for point in document["metrics"]["loss"]] == LOSS
    assert [point["step"] for point in document["metrics"]["loss"]] == list(range(60))
    assert document["metrics"]["gone"][0] == document["metrics"]["gone"][0] | {"step": None, "value": "NaN"}


def test_large_steps_are_exact(cli: Cli, tmp_path: Path) -> None:
    steps = [-(2**63), -1, 0, 2**53 + 1, 2**63 - 1]
    with open_recorder(str(tmp_path / "own"), options=QUIET) as recorder:
        for step in steps:
            recorder.log_metrics(step=step, m=1.0)
    document = cli("history", recorder.id, "m", "--json", "-s", tmp_path / "own").json()
    assert [point["step"] for point in document["metrics"]["m"]] == steps
    assert "m" in cli("history", recorder.id, "m", "--plot", "-s", tmp_path / "own").ok().out


def test_last_takes_the_end(cli: Cli, lab: Lab) -> None:
    document = cli("history", lab.first, "loss", "--json", "--last", "3", "-s", lab.path).json()
    assert [point["step"] for point in document["metrics"]["loss"]] == [57, 58, 59]


def test_keys_of_the_same_steps_share_a_table(cli: Cli, lab: Lab) -> None:
    out = cli("history", lab.first, "loss", "val_ic", "-s", lab.path).ok().out
    assert "60 points" in out
    header = [line for line in out.splitlines() if line.strip().startswith("step")]
    assert [line.split() for line in header] == [["step", "time", "loss", "val_ic"]]
    assert "the last 20 of 60" in out
    rows = [line.split()[0] for line in out.splitlines() if line.strip()[:2].isdigit()]
    assert rows == [str(step) for step in range(40, 60)]


def test_keys_of_other_steps_have_tables_of_their_own(cli: Cli, lab: Lab) -> None:
    out = cli("history", lab.first, "loss", "free", "--last", "2", "-s", lab.path).ok().out
    assert len([line for line in out.splitlines() if line.strip().startswith("step")]) == 2


@pytest.mark.parametrize("width", [60, 100])
def test_a_plot_shows_the_range(cli: Cli, lab: Lab, width: int) -> None:
    out = cli("history", lab.first, "loss", "--plot", "-s", lab.path, width=width).ok().out
    lines = out.splitlines()
    assert lines[1].split()[0] == "1"
    assert lines[12].split()[0] == f"{LOSS[-1]:.4g}"
    assert "step 0" in lines[13]
    assert lines[13].endswith("step 59")
    assert any("\u2801" <= character <= "\u28ff" for character in out)


def test_a_plot_without_finite_numbers_says_so(cli: Cli, lab: Lab) -> None:
    assert (
        "none of the values is a finite number"
        in cli("history", lab.first, "gone", "-p", "-s", lab.path).ok().out
    )


def test_an_unknown_metric_is_an_error_with_names(cli: Cli, lab: Lab) -> None:
    ended = cli("history", lab.first, "los", "-s", lab.path)
    assert (ended.code, ended.out) == (1, "")
    assert "no metric 'los'; did you mean 'loss'?" in ended.err
    assert "it has 'free'" in cli("history", lab.first, "zzzzz", "-s", lab.path).err
    assert "no metric at all" in cli("history", "beta/bad", "x", "-s", lab.path).err


def test_times_far_away_are_shown(cli: Cli, tmp_path: Path) -> None:
    """As of an import from a store that holds microseconds."""
    with open_recorder(str(tmp_path / "far"), options=QUIET) as recorder:
        recorder._run.log_at(0, 1_795_600_000_000_000, {"loss": 1.0})
    store = ("-s", str(tmp_path / "far"))
    for form in ((), ("--csv",), ("--json",)):
        assert "58870-" in cli("history", recorder.id, "loss", *form, *store).ok().out
    assert "58870-" in cli("show", recorder.id, "--json", *store).ok().out
    for command in (["show", recorder.id], ["ls"], ["search"], ["history", recorder.id, "loss", "--plot"]):
        cli(*command, *store).ok()


def test_a_running_run_is_seen_as_far_as_it_is(tmp_path: Path) -> None:
    """Another process sees the points of a run as soon as they are flushed, and its status."""

    def aqrec(*words: str) -> "dict[str, object]":
        ended = subprocess.run(
            [sys.executable, "-m", "aqrec.cli", *words, "--store", str(tmp_path / "own"), "--json"],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        document: dict[str, object] = json.loads(ended.stdout)
        return document

    with open_recorder(str(tmp_path / "own"), name="long", options=QUIET) as recorder:
        for step in range(5):
            recorder.log_metrics(step=step, loss=step / 2)
        recorder.flush()
        shown = aqrec("show", recorder.id)
        points = aqrec("history", recorder.id, "loss")["metrics"]
        assert (shown["status"], shown["end_time"]) == ("RUNNING", None)
        assert [point["value"] for point in points["loss"]] == [0, 0.5, 1, 1.5, 2]
