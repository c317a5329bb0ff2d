"""``aqrec show``."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from aqrec.sync import ExperimentManager, open_recorder
from tests._support import ROOT
from tests.cli.conftest import LOSS, QUIET, Cli, Lab


def test_everything_about_a_run_is_shown(cli: Cli, lab: Lab) -> None:
    out = cli("show", lab.first, "-s", lab.path).ok().out
    for text in (
        lab.first,
        "alpha/lgb-0",
        "FINISHED",
        "started",
        "took",
        str(lab.path / "runs" / lab.first),
        "layers",
        "[64, 32]",
        "stage",
        "conf/",
        "deep/",
        "pred.pkl",
        "packages",
    ):
        assert text in out, text
    [loss] = [line.split() for line in out.splitlines() if line.strip().startswith("loss ")]
    assert loss[1:] == [f"{LOSS[-1]:.6g}", f"{LOSS[-1]:.6g}", "1", "60", "59"]


def test_the_json_has_all_of_it(cli: Cli, lab: Lab) -> None:
    run = cli("show", lab.first, "-s", lab.path, "--json").json()
    assert run["params"]["note"] == "x" * 500
    assert run["params"]["shown"] == "\x1b[31mred [bold]not bold[/bold]"
    loss = run["metrics"]["loss"]
    assert (loss["last"], loss["min"], loss["max"], loss["count"], loss["step"]) == (
        LOSS[-1],
        LOSS[-1],
        1.0,
        60,
        59,
    )
    sizes = {ref["path"]: ref["size"] for ref in run["artifacts"]}
    for path, size in sizes.items():
        assert (Path(run["folder"]) / "artifacts" / path).stat().st_size == size
    assert set(sizes) >= {"pred.pkl", "conf/deep/a.json", "environment.json"}
    assert run["provenance"]["packages"]["pandas"]


def test_long_values_are_cut_with_a_mark_unless_all_is_wanted(cli: Cli, lab: Lab) -> None:
    short = cli("show", lab.first, "-s", lab.path, width=400).ok().out
    assert "… (500 characters)" in short
    assert "x" * 500 not in short
    assert "mlflow.user" not in short
    full = cli("show", lab.first, "-s", lab.path, "--full", width=700).ok().out
    assert "x" * 500 in full
    assert "mlflow.user" in full


def test_text_from_the_store_is_literal(cli: Cli, lab: Lab) -> None:
    out = cli("show", lab.first, "-s", lab.path).ok().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert r"\x1b[31mred [bold]not bold[/bold]" in out


def test_why_a_run_failed_is_shown(cli: Cli, lab: Lab) -> None:
    out = cli("show", "beta/bad", "-s", lab.path).ok().out
    assert "FAILED  ValueError: boom [red]" in out


def test_a_run_is_found_by_id_prefix_and_name(cli: Cli, lab: Lab) -> None:
    def found(text: str) -> str:
        run_id: str = cli("show", text, "-s", lab.path, "--json").json()["run_id"]
        return run_id

    assert found(lab.first) == lab.first
    assert found(lab.first[:-1]) == lab.first
    assert found("alpha/lgb-1") == lab.ids[1]


def test_a_name_means_the_latest_run(cli: Cli, new_run: Callable[..., str], tmp_path: Path) -> None:
    runs = [new_run(experiment="a/b", name="c/d") for _ in range(3)]
    assert cli("show", "a/b/c/d", "-s", tmp_path / "own", "--json").json()["run_id"] == runs[-1]


def test_an_ambiguous_prefix_lists_the_candidates(cli: Cli, lab: Lab) -> None:
    prefix = lab.first[:4]
    ended = cli("show", prefix, "-s", lab.path)
    assert ended.code == 1
    assert f"4 runs have an id that begins with '{prefix}'" in ended.err
    for text in ("alpha/lgb-0", "alpha/lgb-1", "alpha/lgb-2", "beta/bad"):
        assert text in ended.err


@pytest.mark.parametrize("text", ["zzz", "alpha/nothing", "", "/", "a\udcffb", "f" * 300])
def test_an_unknown_run_is_an_error_with_a_next_step(cli: Cli, lab: Lab, text: str) -> None:
    ended = cli("show", text, "-s", lab.path)
    assert ended.code == 1
    assert "aqrec ls" in ended.err


def test_a_name_without_its_experiment_is_completed(cli: Cli, lab: Lab) -> None:
    assert "did you mean alpha/lgb-1?" in cli("show", "lgb-1", "-s", lab.path).err


def test_parents_and_children_are_told(cli: Cli, tmp_path: Path) -> None:
    store = str(tmp_path / "own")
    with (
        open_recorder(store, name="parent", options=QUIET) as parent,
        ExperimentManager(store, options=QUIET) as manager,
    ):
        for _ in range(2):
            with manager.get_exp(experiment_name="x").create_recorder("child", parent=parent):
                pass
    assert "2 runs" in cli("show", parent.id, "-s", store).ok().out
    assert parent.id in cli("show", "x/child", "-s", store).ok().out


def test_commit_and_uncommitted_changes_are_told(cli: Cli, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    repo.mkdir()
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    (repo / "train.py").write_text(
        "from aqrec.sync import open_recorder\nwith open_recorder('lab', experiment='e', name='n'):\n    pass\n"
    )
    (repo / ".gitignore").write_text("lab\n")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], cwd=repo, check=True)
    (repo / "train.py").write_text((repo / "train.py").read_text() + "# changed\n")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "train.py"], cwd=repo, check=True, env=env)
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=repo, check=True, capture_output=True, text=True
    ).stdout
    out = cli("show", "e/n", "-s", repo / "lab", width=200).ok().out
    assert commit.strip() in out
    assert "with uncommitted changes (code_diff.txt)" in out


def test_a_damaged_provenance_does_not_hide_the_run(cli: Cli, tmp_path: Path) -> None:
    with open_recorder(str(tmp_path / "own"), experiment="e", name="n") as recorder:
        pass
    (tmp_path / "own" / "runs" / recorder.id / "artifacts" / "environment.json").write_text("{}")
    out = cli("show", "e/n", "-s", tmp_path / "own").ok().out
    assert "FINISHED" in out
    assert "damaged" in out


def test_params_that_writers_disagree_on_are_told(cli: Cli, tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    with (
        open_recorder(store, experiment="e", options=QUIET) as recorder,
        ExperimentManager(store, options=msgspec.structs.replace(QUIET, flush_timeout=59)) as manager,
    ):
        other = manager.get_recorder(recorder_id=recorder.id)  # by a writer of its own
        recorder.log_params(lr=0.1)
        other.log_params(lr=0.2)
    ended = cli("show", recorder.id, "-s", store).ok().out
    assert "Params that another process logged otherwise" in ended
    conflicts = cli("show", recorder.id, "--json", "-s", store).json()["param_conflicts"]
    params = cli("show", recorder.id, "--json", "-s", store).json()["params"]
    assert sorted([params["lr"], *conflicts["lr"]]) == [0.1, 0.2]
