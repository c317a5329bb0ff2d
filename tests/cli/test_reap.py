"""``aqrec reap``."""

import os
import shutil
import time
from pathlib import Path

from aqrec.sync import ExperimentManager
from tests.cli.conftest import QUIET, Cli


def test_silent_runs_are_shown_first_and_end_with_yes(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "dead"
    with ExperimentManager(str(tmp_path / "lab"), options=QUIET) as manager:
        recorder = manager.get_exp(experiment_name="alpha").create_recorder("one", recorder_id="r")
        recorder.start_run()
        recorder.log_metrics(step=0, loss=0.5)
        recorder.flush()
        shutil.copytree(tmp_path / "lab", path)
    assert "No run is to be given up.\n1 run going on." in cli("reap", path).ok().out
    old = time.time() - 2 * 3600
    for file in path.rglob("*"):
        os.utime(file, (old, old))
    out = cli("reap", path).ok().out
    assert "Would set 1 run FAILED" in out
    assert "2 h ago" in out
    assert cli("show", "r", "--store", path, "--json").json()["status"] == "RUNNING"
    done = cli("reap", path, "--yes", "--json").json()
    assert [(run["run_id"], run["points"]) for run in done["runs"]] == [("r", 1)]
    assert cli("show", "r", "--store", path, "--json").json()["status"] == "FAILED"
    assert "Set 0 runs FAILED." in cli("reap", path, "--yes").ok().out
    assert "at least 900 seconds" in cli("reap", path, "--horizon", "5m").err
