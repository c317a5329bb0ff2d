"""Processes with real Qlib that end in many ways: one interpreter forks a child a scenario, each a script of its own.

As ``tests.ends.leaver`` does for aqrec alone. A scenario is a function of the store's URL.
"""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet  # noqa: F401 - imported here, not in each child
import qlib
import qlib.data.data
import qlib.data.ops
from qlib.workflow import R

import aqrec.integrations.qlib._manager
import aqrec.recording._artifacts  # noqa: F401
from tests.qlib.lab import exp_manager

POINTS = 300


def use(url: str) -> None:
    manager = exp_manager(url, options={"provenance": False})
    qlib.init(provider_uri=".", exp_manager=manager, logging_level=40)


def log(key: str = "m") -> None:
    for n in range(POINTS):
        R.log_metrics(step=n, **{key: n})


def _in_block(url: str, leave: Any) -> None:
    use(url)
    with R.start(experiment_name="e"):
        log()
        leave()


def no_end(url: str) -> None:
    """A script that never says end_exp."""
    use(url)
    R.start_exp(experiment_name="e")
    log()


def uncaught(url: str) -> None:
    no_end(url)
    raise ValueError("boom")


def exit_1_in_block(url: str) -> None:
    _in_block(url, lambda: sys.exit(1))


def exit_0_in_block(url: str) -> None:
    _in_block(url, lambda: sys.exit(0))


def interrupt_in_block(url: str) -> None:
    _in_block(url, lambda: os.kill(os.getpid(), signal.SIGINT) or time.sleep(20))


def interrupt_without_block(url: str) -> None:
    no_end(url)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(20)


def term_in_block(url: str) -> None:
    _in_block(url, lambda: os.kill(os.getpid(), signal.SIGTERM) or time.sleep(20))


def fork_in_block(url: str) -> None:
    """A child logs into its parent's run, leaves the block as a script does, and ends nothing."""
    use(url)
    with R.start(experiment_name="e"):
        child = os.fork()
        if child == 0:
            log("child")
            return
        assert os.waitpid(child, 0)[1] == 0
        assert R.get_recorder().status == "RUNNING"
        assert R.get_recorder().list_metrics() == {"child": POINTS - 1}
        log()


def fork_and_end(url: str) -> None:
    """A child that says end_exp, as Qlib's own exit handler does, does not end its parent's run."""
    use(url)
    R.start_exp(experiment_name="e")
    child = os.fork()
    if child == 0:
        R.end_exp()
        return
    assert os.waitpid(child, 0)[1] == 0
    assert R.list_recorders(experiment_name="e")[R.get_recorder().id].status == "RUNNING"
    log()


def init_twice(url: str) -> None:
    """Each ``qlib.init`` adds an exit handler of Qlib's; the later ones find nothing to do."""
    use(url)
    use(url)
    no_end(url)


def serve(folder: str, names: list[str]) -> None:
    """Fork a child a name; returns in each child when its scenario does, and in the parent with all of them ended."""
    children = {}
    for name in names:
        child = os.fork()
        if child == 0:
            for number, suffix in ((1, "out"), (2, "err")):
                os.dup2(os.open(f"{folder}/{name}.{suffix}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            globals()[name](f"{folder}/{name}")
            return
        children[child] = name
    for child, name in children.items():
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        Path(folder, f"{name}.code").write_text(str(code))


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2:])
