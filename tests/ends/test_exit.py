"""Every way a process can end: what its runs' status is, that nothing is lost, what the shell sees, that it is quiet."""

import json
import signal
from pathlib import Path
from typing import NamedTuple

import pytest

from aqrec.options import Options
from aqrec.sync import ExperimentManager
from tests._support import run_script
from tests.ends.leaver import POINTS

QUICK = Options(provenance=False)
SERVE = "import sys\nfrom tests.ends.leaver import serve\nserve(sys.argv[1], sys.argv[2:])\n"
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


class End(NamedTuple):
    """How a scenario must end: exit code, status and reason of its main run, points by metric, text on standard error."""

    code: int
    status: str
    reason: str = ""
    points: int = POINTS
    stderr: str = ""
    others: int = 0


ENDS = {
    # left open
    "left_open": End(0, "FINISHED", "the interpreter exited"),
    "left_open_async": End(0, "FINISHED", "the interpreter exited"),
    "left_open_bulk": End(0, "FINISHED", "the interpreter exited"),
    "nobody_started": End(0, "FINISHED", "the interpreter exited"),
    "uncaught": End(1, "FAILED", "uncaught ValueError: boom", stderr="ValueError: boom"),
    "uncaught_own_hook": End(1, "FAILED", "uncaught ValueError: boom"),
    "exit_one_open": End(1, "FINISHED", "the interpreter exited"),
    # a block that is left when no other thread runs any more
    "generator_suspended": End(0, "FINISHED", "the interpreter exited"),
    "context_manager_suspended": End(0, "FINISHED", "the interpreter exited"),
    "async_generator_suspended": End(0, "FINISHED", "the interpreter exited"),
    "finalizer_calls": End(0, "FINISHED", "the interpreter exited"),
    # through the block
    "exit_through": End(0, "FINISHED", "sys.exit"),
    "exit_0_through": End(0, "FINISHED", "sys.exit"),
    "exit_1_through": End(1, "FAILED", "SystemExit: 1"),
    "exit_text_through": End(1, "FAILED", "SystemExit: text", stderr="text"),
    "exit_1_through_async": End(1, "FAILED", "SystemExit: 1"),
    "task_cancelled": End(0, "FAILED", "CancelledError"),
    # signals
    "sigterm": End(-signal.SIGTERM, "FAILED", "signal SIGTERM"),
    "sighup": End(-signal.SIGHUP, "FAILED", "signal SIGHUP"),
    "sigterm_async": End(-signal.SIGTERM, "FAILED", "signal SIGTERM"),
    "sigterm_busy": End(-signal.SIGTERM, "FAILED", "signal SIGTERM"),
    "sigterm_flushing": End(-signal.SIGTERM, "FAILED", "signal SIGTERM"),
    "sigterm_own_handler_before": End(7, "FAILED", "SystemExit: 7"),
    "sigterm_own_handler_after": End(0, "FINISHED", points=2 * POINTS),
    "sighup_ignored": End(0, "FINISHED", "the interpreter exited", points=2 * POINTS),
    "sigint": End(-signal.SIGINT, "FAILED", "uncaught KeyboardInterrupt", stderr="KeyboardInterrupt"),
    "sigint_through": End(-signal.SIGINT, "FAILED", "KeyboardInterrupt", stderr="KeyboardInterrupt"),
    "sigint_async": End(-signal.SIGINT, "FAILED", "CancelledError", stderr="KeyboardInterrupt"),
    "sigint_caught": End(0, "FAILED", "KeyboardInterrupt", others=1),
    # forks; their own assertions show in the exit code
    "fork_and_leave_at_once": End(0, "FINISHED", points=3 * POINTS),
    "fork_and_exit": End(0, "FINISHED", "the interpreter exited", points=2 * POINTS),
    "fork_and_close": End(0, "FINISHED", "the interpreter exited"),
    "fork_own_run": End(0, "FINISHED", "the interpreter exited", others=1),
    "fork_while_threads_log": End(0, "FINISHED", "the interpreter exited"),
    # threads and handlers
    "daemon_thread_logs": End(0, "FINISHED", "the interpreter exited"),
    "thread_fails": End(0, "FINISHED", "the interpreter exited", others=1),
    "atexit_after": End(0, "FINISHED", "the interpreter exited", points=2 * POINTS),
    "atexit_before": End(0, "FINISHED", "the interpreter exited", points=2 * POINTS),
    "closed_leaves_no_thread": End(0, "FINISHED"),
}
CHILD_POINTS = {
    "fork_and_leave_at_once": POINTS,
    "fork_and_exit": POINTS,
    "fork_and_close": POINTS,
    "fork_while_threads_log": 10,
}
HANGING = {"hanging_sync": 0, "hanging_write": 0, "sigterm_hanging": -signal.SIGTERM}
CLOSE_TIMEOUT = 1.0
SLACK = 2.0


@pytest.fixture
def ended(each_python: Path, tmp_path: Path) -> "dict[str, tuple[int, float]]":
    """Let one interpreter's forked children play all scenarios; exit code and seconds of each."""
    names = [*ENDS, *HANGING]
    run_script(SERVE, str(tmp_path), *names, python=each_python, timeout=200, env=ONE_THREAD).check()
    codes = json.loads((tmp_path / "codes.json").read_text())
    return {name: (code, seconds) for name, (code, seconds) in codes.items()}


def test_every_end_keeps_the_data_and_tells_the_status(ended, tmp_path):
    """All points of all runs are there, each run has the status and reason of its end, and only failures are noisy."""
    wrong: list[str] = []
    for name, end in ENDS.items():
        wrong += [f"{name}: {text}" for text in _judge(tmp_path, name, end, ended[name][0])]
    for name, code in HANGING.items():
        wrong += [f"{name}: {text}" for text in _judge_hanging(tmp_path, name, code, *ended[name])]
    assert not wrong, "\n".join(wrong)


def _judge(folder: Path, name: str, end: End, code: int) -> "list[str]":
    stderr = (folder / f"{name}.err").read_text()
    wrong = [] if code == end.code else [f"exit code {code}, not {end.code}"]
    noisy = end.stderr not in stderr or "aqrec:" in stderr or (stderr and not end.stderr)
    wrong += [f"standard error: {stderr}"] if noisy else []
    with ExperimentManager(str(folder / name), options=QUICK) as manager:
        frame = manager.search_records(experiment_names=["e"]) if name != "nobody_started" else None
        runs = manager.search_records() if frame is None else frame
        everything = manager.search_records()
        recorders = [manager.get_recorder(recorder_id=run_id) for run_id in runs["run_id"]]
        found = [recorder for recorder in recorders if "m" in recorder.list_metrics()]
        if len(found) != 1:
            return [*wrong, f"{len(found)} runs with points"]
        (recorder,) = found
        history = recorder.metric_history("m")["value"].tolist()
        document = Path(recorder.get_local_dir()).with_name("run.json")
        reason = json.loads(document.read_text())["status_reason"] if name != "left_open_bulk" else end.reason
        if recorder.status != end.status:
            wrong.append(f"status {recorder.status}, not {end.status}")
        if end.reason not in reason:
            wrong.append(f"reason {reason!r}, not {end.reason!r}")
        if len(everything) != 1 + end.others:
            wrong.append(f"{len(everything)} runs")
        if "RUNNING" in set(everything["status"]):
            wrong.append("a run is left RUNNING")
        if len(history) != end.points:
            wrong.append(f"{len(history)} points, not {end.points}")
        if (children := CHILD_POINTS.get(name)) and len(recorder.metric_history("child")) != children:
            wrong.append("points of the child are missing")
    return wrong


def _judge_hanging(folder: Path, name: str, wanted: int, code: int, seconds: float) -> "list[str]":
    """Check an exit with a store that does not answer: bounded, and it says what is not stored."""
    stderr = (folder / f"{name}.err").read_text()
    wrong = [] if code == wanted else [f"exit code {code}"]
    wrong += [] if seconds <= CLOSE_TIMEOUT + SLACK else [f"took {seconds:.1f} s"]
    named = "are not stored in file://" in stderr and name in stderr and "Traceback" not in stderr
    return wrong + ([] if named else [f"standard error: {stderr}"])


COLD = """
    import sys
    from aqrec.options import Options
    from aqrec.sync import R

    R.configure(uri=sys.argv[1], options=Options(provenance=sys.argv[2] == "provenance"))
    R.start_exp(experiment_name="e")
    for n in range(100):
        R.log_metrics(step=n, m=n)
    R.log_params(lr=0.1)
"""


@pytest.mark.parametrize("provenance", ["provenance", "plain"])
def test_a_script_that_only_logs_and_ends_loses_nothing(each_python, tmp_path, provenance):
    """Opening, writing, sealing and closing, with all they import, take place while the interpreter exits."""
    store = tmp_path / "store"
    done = run_script(COLD, str(store), provenance, python=each_python).check()
    assert done.stderr == ""
    with ExperimentManager(str(store), options=QUICK) as manager:
        (recorder,) = manager.list_recorders(experiment_name="e").values()
        assert recorder.status == "FINISHED"
        assert recorder.metric_history("m")["value"].tolist() == list(range(100))
        params = recorder.list_params()
        assert params["lr"] == 0.1
        assert ("cmd-sys.argv" in params) == (provenance == "provenance")
    assert (store / "runs" / recorder.id / "metrics.parquet").exists()


CHILDREN = """
    import multiprocessing
    import sys
    from concurrent.futures import ProcessPoolExecutor

    from aqrec.options import Options
    from aqrec.sync import ExperimentManager, R

    def resume(url, run_id, key):
        R.configure(uri=url, options=Options(provenance=False, close_timeout=60))
        with_parent = ExperimentManager(url, options=Options(provenance=False, close_timeout=60))
        recorder = with_parent.get_recorder(recorder_id=run_id)
        for n in range(50):
            recorder.log_metrics(step=n, **{key: n})

    def inherited(key):
        for n in range(50):
            recorder.log_metrics(step=n, **{key: n})

    def fails(url):
        R.configure(uri=url, options=Options(provenance=False, close_timeout=60))
        R.start_exp(experiment_name="fails")
        R.log_metrics(m=1)
        sys.exit(3)

    def leaves_open():
        R.start_exp(experiment_name="leaves")
        R.log_metrics(m=1)

    if __name__ == "__main__":
        url = sys.argv[1]
        R.configure(uri=url, options=Options(provenance=False, close_timeout=60))
        R.start_exp(experiment_name="e")
        recorder = R.get_recorder()
        R.log_metrics(step=0, m=0)
        fork, spawn = (multiprocessing.get_context(how) for how in ("fork", "spawn"))
        children = [
            fork.Process(target=inherited, args=("forked",)),
            fork.Process(target=leaves_open),
            spawn.Process(target=resume, args=(url, recorder.id, "spawned")),
            spawn.Process(target=fails, args=(url,)),
        ]
        for child in children:
            child.start()
        for child in children:
            child.join(60)
        assert [child.exitcode for child in children] == [0, 0, 0, 3], children
        with ProcessPoolExecutor(2, mp_context=fork) as pool:
            list(pool.map(inherited, ["pooled0", "pooled1"]))
        recorder.refresh()
        assert recorder.status == "RUNNING", recorder.status
        R.log_metrics(step=1, m=1)
        print(*sys.version_info[:2])
"""


@pytest.mark.timeout(1200)
def test_the_ends_of_child_processes_are_not_their_parents(each_python, tmp_path):
    """What children of every start method log is stored at their end; their own runs end, the parent's goes on."""
    done = run_script(CHILDREN, str(tmp_path / "store"), python=each_python, timeout=120).check()
    assert done.stderr == ""
    with ExperimentManager(str(tmp_path / "store"), options=QUICK) as manager:
        (recorder,) = manager.list_recorders(experiment_name="e").values()
        assert recorder.status == "FINISHED"
        assert recorder.metric_history("m")["value"].tolist() == [0, 1]
        for key in ("forked", "spawned", "pooled0", "pooled1"):
            assert recorder.metric_history(key)["value"].tolist() == list(range(50)), key
        (left,) = manager.list_recorders(experiment_name="leaves").values()
        (failed,) = manager.list_recorders(experiment_name="fails").values()
        assert left.status == "FINISHED"
        # From 3.13 on, a child's exit handlers cannot see any more what ended it: only a block can.
        seen = tuple(map(int, done.stdout.split())) < (3, 13)
        assert failed.status == ("FAILED" if seen else "FINISHED")
