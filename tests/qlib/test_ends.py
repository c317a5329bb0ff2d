"""Every way in which a process with Qlib can end: the run's status, all of its points, and what the shell sees."""

import json
import signal
from pathlib import Path

import pytest

import aqrec.sync
from tests._support import run_script

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.timeout(300)]
POINTS = 300
SERVE = "import sys\nfrom tests.qlib.leaver import serve\nserve(sys.argv[1], sys.argv[2:])\n"
ENDS = {  # exit code, status
    "no_end": (0, "FINISHED"),
    "uncaught": (1, "FAILED"),
    "exit_1_in_block": (1, "FAILED"),
    "exit_0_in_block": (0, "FINISHED"),
    "interrupt_in_block": (-signal.SIGINT, "FAILED"),
    "interrupt_without_block": (-signal.SIGINT, "FAILED"),
    "term_in_block": (-signal.SIGTERM, "FAILED"),
    "fork_in_block": (0, "FINISHED"),
    "fork_and_end": (0, "FINISHED"),
    "init_twice": (0, "FINISHED"),
}


def test_every_end_keeps_the_points_and_tells_the_status(tmp_path: Path) -> None:
    run_script(SERVE, str(tmp_path), *ENDS, timeout=280).check()
    found = {}
    for name in ENDS:
        with aqrec.sync.ExperimentManager(str(tmp_path / name)) as manager:
            (recorder,) = manager.get_exp(experiment_name="e").list_recorders("list")
            values = recorder.metric_history("m")["value"].tolist()
            code, noise = ((tmp_path / f"{name}.{suffix}").read_text() for suffix in ("code", "err"))
            assert "aqrec:" not in noise, noise
            found[name] = (int(code), recorder.status, values == list(range(POINTS)))
            document = json.loads(Path(recorder.get_local_dir()).with_name("run.json").read_text())
            assert document["status"] == recorder.status
    assert found == {name: (code, status, True) for name, (code, status) in ENDS.items()}
