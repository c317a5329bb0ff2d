"""``aqrec ls``."""

import datetime as dt
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from aqrec.sync import ExperimentManager
from tests.cli.conftest import QUIET, Cli, Lab


def _row(out: str, word: str) -> list[str]:
    """Return the cells of the one row that has the word among its first two."""
    [cells] = [line.split() for line in out.splitlines() if word in line.split()[:2]]
    return cells


def test_experiments_have_counts(cli: Cli, lab: Lab) -> None:
    out = cli("ls", lab.path).ok().out
    assert _row(out, "alpha")[:4] == ["alpha", "3", "0", "0"]
    assert _row(out, "beta")[:4] == ["beta", "1", "0", "1"]
    assert "ago" in _row(out, "beta") or "now" in _row(out, "beta")
    assert "--experiment NAME" in out


def test_runs_come_with_their_results_the_latest_first(cli: Cli, lab: Lab) -> None:
    out = cli("ls", lab.path, "--experiment", "alpha").ok().out
    names = [line.split()[1] for line in out.splitlines()[2:]]
    assert names == ["lgb-2", "lgb-1", "lgb-0"]
    assert "FINISHED" in _row(out, "lgb-0")
    header = out.splitlines()[0].split()
    assert header[:5] == ["run", "name", "status", "started", "took"]
    # Logged once: results. They come before the series.
    assert header.index("ic") < header.index("loss")
    assert _row(out, "lgb-1")[header.index("ic") + 2] == "0.04"


def test_a_single_experiment_shows_its_runs_at_once(
    cli: Cli, new_run: Callable[..., str], tmp_path: Path
) -> None:
    new_run(experiment="only", name="one")
    out = cli("ls", tmp_path / "own").ok().out
    assert _row(out, "only")[1] == "1"
    assert "FINISHED" in _row(out, "one")


def test_metrics_can_be_chosen(cli: Cli, lab: Lab) -> None:
    out = cli("ls", lab.path, "-e", "alpha", "-m", "val_ic", "-m", "absent").ok().out
    assert out.splitlines()[0].split()[-2:] == ["val_ic", "absent"]


def test_shown_ids_are_unique_and_are_understood(cli: Cli, lab: Lab) -> None:
    out = cli("ls", lab.path, "-e", "alpha").ok().out
    shown = [line.split()[0] for line in out.splitlines()[2:]]
    assert len(set(shown)) == 3
    for text in shown:
        assert cli("show", text, "-s", lab.path, "--json").json()["run_id"].startswith(text)


def test_ids_that_people_chose_stay_whole(cli: Cli, new_run: Callable[..., str], tmp_path: Path) -> None:
    for number in (1, 10):
        new_run(experiment="own", recorder_id=f"lightgbm-trial-{number}")
    out = cli("ls", tmp_path / "own", "-e", "own").ok().out
    assert {line.split()[0] for line in out.splitlines()[2:]} == {"lightgbm-trial-1", "lightgbm-trial-10"}
    shown = cli("show", "lightgbm-trial-1", "-s", tmp_path / "own", "--json").json()
    assert shown["run_id"] == "lightgbm-trial-1"


def test_long_lists_are_cut_with_a_word(cli: Cli, lab: Lab) -> None:
    out = cli("ls", lab.path, "-e", "alpha", "--limit", "1").ok().out
    assert "lgb-2" in out
    assert "lgb-1" not in out
    assert "… and 2 more runs; --limit 0 shows all" in out
    assert "lgb-0" in cli("ls", lab.path, "-e", "alpha", "--limit", "0").ok().out


def test_json_is_one_document_with_typed_values(cli: Cli, lab: Lab) -> None:
    listed = cli("ls", lab.path, "--json").json()
    assert listed["store"] == lab.path.as_uri()
    assert [(row["name"], row["runs"], row["statuses"]) for row in listed["experiments"]] == [
        ("alpha", 3, {"FINISHED": 3}),
        ("beta", 1, {"FAILED": 1}),
    ]
    document = cli("ls", lab.path, "-e", "alpha", "--json").json()
    assert [run["run_id"] for run in document["runs"]] == list(reversed(lab.ids))
    run = document["runs"][-1]
    assert run["params"]["layers"] == [64, 32]
    assert run["params"]["infinite"] == "Infinity"
    assert run["metrics"]["ic"] == run["metrics"]["ic"] | {"last": 0.03, "count": 1, "step": None}
    assert run["metrics"]["gone"]["last"] == "NaN"
    assert dt.datetime.fromisoformat(run["start_time"]).tzinfo is not None
    assert run["seconds"] >= 0
    assert len(cli("ls", lab.path, "-e", "alpha", "--json", "-n", "2").json()["runs"]) == 2


def test_what_was_deleted_is_shown_only_on_demand(
    cli: Cli, new_run: Callable[..., str], tmp_path: Path
) -> None:
    store = tmp_path / "own"
    run, kept = new_run(experiment="e"), new_run(experiment="e")
    new_run(experiment="whole")
    with ExperimentManager(str(store), options=QUIET) as manager:
        manager.delete_recorder(recorder_id=run)
        manager.delete_exp(experiment_name="whole")
    assert [e["name"] for e in cli("ls", store, "--json").json()["experiments"]] == ["e"]
    assert [r["run_id"] for r in cli("ls", store, "-e", "e", "--json").json()["runs"]] == [kept]
    everything = cli("ls", store, "-e", "e", "--all", "--json").json()["runs"]
    assert {r["run_id"]: r["deleted"] for r in everything} == {run: True, kept: False}
    assert "whole deleted" in cli("ls", store, "--all").ok().out
    assert cli("show", run, "-s", store, "--json").json()["deleted"] is True


def test_an_unknown_experiment_is_an_error_with_names(cli: Cli, lab: Lab) -> None:
    ended = cli("ls", lab.path, "-e", "gamma")
    assert ended.code == 1
    assert "gamma" in ended.err
    assert "alpha" in ended.err


@pytest.mark.parametrize("width", [60, 100])
def test_names_are_literal_and_long_ones_give_way(
    cli: Cli, new_run: Callable[..., str], tmp_path: Path, width: int
) -> None:
    new_run(experiment="[red]not red[/red] \u202ed", name="[bold]" + "n" * 80)
    out = cli("ls", tmp_path / "own", width=width).ok().out
    assert ("[red]not red[/red] \\u202ed" if width == 100 else "[red]not red[/r…") in out
    assert "[bold]nn" in out
    assert "FINISHED" in out
    assert max(map(len, out.splitlines())) <= width


def test_folders_of_runs_that_were_copied_are_a_store(cli: Cli, lab: Lab, tmp_path: Path) -> None:
    """A run's folder stands for itself: listing, history and artifacts need nothing else."""
    for run in lab.ids[:2]:
        shutil.copytree(lab.path / "runs" / run, tmp_path / "copy" / "runs" / run)
    store = tmp_path / "copy"
    listed = cli("ls", store, "-e", "alpha", "--json").json()
    assert {run["run_id"] for run in listed["runs"]} == set(lab.ids[:2])
    assert len(cli("history", lab.first, "loss", "-s", store, "--json").json()["metrics"]["loss"]) == 60
    assert "score" in cli("get", "alpha/lgb-0", "pred.pkl", "--print", "-s", store).ok().out
    assert not (store / "aqrec.json").exists()
