"""``aqrec search``: the runs that a filter finds."""

import csv
import io
from pathlib import Path

import pandas as pd

from aqrec.options import Options
from aqrec.sync import ExperimentManager
from tests.cli.conftest import Cli, Lab


def test_the_table_shows_what_the_question_is_about(cli: Cli, lab: Lab) -> None:
    ended = cli(
        "search", "metrics.loss > 0 AND run_name IS NOT NULL", "-s", lab.path, "-b", "metrics.loss DESC"
    ).ok()
    head = ended.out.splitlines()[0].split()
    assert head == ["run", "name", "status", "started", "took", "metrics.loss"]
    assert "FINISHED" in ended.out


def test_without_a_question_all_runs_and_the_metrics_that_fit(cli: Cli, lab: Lab) -> None:
    whole = cli("search", "-s", lab.path, width=200).ok().out
    assert len(whole.splitlines()) == 2 + len(lab.ids) + 1
    assert "metrics.loss" in whole
    narrow = cli("search", "-s", lab.path, width=62).ok().out
    assert "more column" in narrow
    assert max(map(len, narrow.splitlines()[:4])) <= 62
    few = cli("search", "-s", lab.path, "-n", 2).ok().out
    assert "the first 2; --limit 0 shows all" in few


def test_csv_json_and_parquet_hold_the_same(cli: Cli, lab: Lab, tmp_path: Path) -> None:
    query = (
        "search",
        "metrics.loss >= 0",
        "-s",
        lab.path,
        "-f",
        "run_id",
        "-f",
        "metrics.loss",
        "-f",
        "start_time",
    )
    rows = list(csv.DictReader(io.StringIO(cli(*query, "--format", "csv").ok().out)))
    assert rows
    told = cli(*query, "--format", "json").json()
    assert [{key: str(value) for key, value in row.items()} for row in told] == rows
    for name in ("a.parquet", "a.csv", "a.json"):
        assert cli(*query, "-O", tmp_path / name).ok().out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.json", "a.parquet"]
    frame = pd.read_parquet(tmp_path / "a.parquet")
    assert frame["run_id"].tolist() == [row["run_id"] for row in rows]
    assert pd.read_csv(tmp_path / "a.csv")["metrics.loss"].tolist() == frame["metrics.loss"].tolist()
    assert pd.read_json(tmp_path / "a.json")["run_id"].tolist() == frame["run_id"].tolist()


def test_deleted_runs_and_experiments_are_found_when_asked_for(cli: Cli, tmp_path: Path) -> None:
    with ExperimentManager(str(tmp_path / "lab"), options=Options(provenance=False)) as manager:
        for name in ("alpha", "beta"):
            for number in range(2):
                with (
                    manager.create_exp(name).create_recorder(f"{name}{number}")
                    if number == 0
                    else manager.get_exp(experiment_name=name).create_recorder(f"{name}{number}")
                ):
                    pass
        manager.delete_recorder(recorder_name="alpha1", experiment_name="alpha")

    def names(*options: str) -> set[str]:
        told = cli("search", "-s", tmp_path / "lab", "--format", "json", "-f", "run_name", *options).json()
        return {row["run_name"] for row in told}

    assert names() == {"alpha0", "beta0", "beta1"}
    assert names("--all", "-e", "alpha") == {"alpha0", "alpha1"}
    assert names("--deleted") == {"alpha1"}
    assert names("-e", "beta", "-e", "alpha") == {"alpha0", "beta0", "beta1"}
    assert "no experiment has the name 'gamma'" in cli("search", "-s", tmp_path / "lab", "-e", "gamma").err
    assert cli("search", "--all", "--deleted").code == 2


def test_a_mistake_is_pointed_at_before_the_store_is_opened(cli: Cli, tmp_path: Path) -> None:
    ended = cli("search", "metrics.ic >> 0.02", "-s", tmp_path / "none")
    assert ended.code == 1
    lines = ended.err.splitlines()
    assert lines[1].index(">>") == lines[2].index("^^")
    assert "there is no attribute 'colour'" in cli("search", "-f", "colour", "-s", tmp_path / "none").err
    assert "expected one key" in cli("search", "-b", "metrics.ic up", "-s", tmp_path / "none").err


def test_nothing_found_is_said(cli: Cli, lab: Lab) -> None:
    assert "No run of" in cli("search", "status = 'none'", "-s", lab.path).ok().out
    assert cli("search", "status = 'none'", "-s", lab.path, "--format", "json").json() == []


def test_what_a_store_holds_cannot_steer_the_terminal(cli: Cli, tmp_path: Path) -> None:
    with ExperimentManager(str(tmp_path / "lab"), options=Options(provenance=False)) as manager:
        with manager.create_exp("alpha").create_recorder("name") as recorder:
            recorder.log_params(a="\x1b[31mred")
        for path in (tmp_path / "lab").iterdir():
            assert path.exists()
    out = cli("search", "params.a IS NOT NULL", "-s", tmp_path / "lab").ok().out
    assert "\x1b" not in out
    assert "\\x1b[31mred" in out
