"""The helpers that other tests lean on do what they say."""

import asyncio
import os
import signal
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from blockbuster import BlockingError

import aqrec
from tests._support import forbid_blocking, no_thread_left, run_script, wait_until

PACKAGE = Path(aqrec.__path__[0])


def as_if_in(module: str, source: str) -> Callable[..., Any]:
    """Compile function ``f`` as though it stood in that module of the package."""
    namespace: dict[str, Any] = {"os": os, "asyncio": asyncio}
    exec(compile(source, str(PACKAGE / module), "exec"), namespace)
    function = namespace["f"]
    assert isinstance(function, types.FunctionType)
    return function


STAT = "def f(path): return os.stat(path)"


async def test_a_blocking_call_of_the_package_on_the_callers_loop_fails(tmp_path: Path) -> None:
    with pytest.raises(BlockingError, match=r"os\.stat"):
        as_if_in("recording/_x.py", STAT)(tmp_path)


@pytest.mark.parametrize(
    "source",
    [
        "def f(path): os.fdatasync(os.open(path, os.O_RDONLY))",
        "def f(path): open(path / 'x', 'w')",
        "def f(path): __import__('time').sleep(0.001)",
        "def f(path): __import__('threading').Event().wait(0.001)",
        "def f(path): __import__('concurrent.futures').futures.Future().result(0.001)",
        "def f(path): __import__('queue').Queue().get(timeout=0.001)",
    ],
)
async def test_every_way_to_block_counts(source: str, tmp_path: Path) -> None:
    with pytest.raises(BlockingError):
        as_if_in("recording/_x.py", source)(tmp_path)


async def test_the_test_itself_and_the_conformance_suite_may_block(tmp_path: Path) -> None:
    assert tmp_path.stat()
    assert as_if_in("testing/_x.py", STAT)(tmp_path)


async def test_a_worker_thread_may_block(tmp_path: Path) -> None:
    assert await asyncio.to_thread(as_if_in("recording/_x.py", STAT), tmp_path)


@pytest.mark.parametrize(("name", "free"), [("aqrec-engine", True), ("somebody-else", False)])
@pytest.mark.no_blocking
def test_only_the_engines_own_loop_may_block(name: str, free: bool, tmp_path: Path) -> None:
    outcome: list[object] = []

    async def main() -> None:
        try:
            outcome.append(as_if_in("engine/_x.py", STAT)(tmp_path))
        except BlockingError as error:
            outcome.append(error)

    thread = threading.Thread(target=lambda: asyncio.run(main()), name=name)
    thread.start()
    thread.join()
    assert isinstance(outcome[0], os.stat_result) is free


@pytest.mark.blocks_loop("shows that the mark lifts the guard")
async def test_the_guard_can_be_lifted_with_a_reason(tmp_path: Path) -> None:
    assert as_if_in("recording/_x.py", STAT)(tmp_path)


def test_the_guard_leaves_nothing_patched() -> None:
    before = os.stat, os.fsync, threading.Lock().acquire.__qualname__, open
    with forbid_blocking():
        assert os.stat is not before[0]
    assert (os.stat, os.fsync, threading.Lock().acquire.__qualname__, open) == before


def test_a_thread_left_behind_is_reported_with_its_stack() -> None:
    stop = threading.Event()
    try:
        with (
            pytest.raises(AssertionError, match=r"(?s)lingerer \(daemon=True\).*wait"),
            no_thread_left(grace=0.01),
        ):
            threading.Thread(target=stop.wait, name="lingerer", daemon=True).start()
    finally:
        stop.set()


def test_a_thread_told_to_stop_gets_time_to_do_so() -> None:
    stop = threading.Event()
    with no_thread_left():
        threading.Thread(target=stop.wait).start()
        stop.set()


def test_wait_until_returns_the_value_and_fails_late() -> None:
    answers = iter([None, 0, "yes"])
    assert wait_until(lambda: next(answers)) == "yes"
    with pytest.raises(AssertionError, match=r"rain did not become true within 0\.01 s"):
        wait_until(lambda: False, 0.01, what="rain")


def test_a_script_reports_code_and_output() -> None:
    result = run_script(
        "import sys; print(sys.argv[1]); print('oops', file=sys.stderr); sys.exit(3)", "hello"
    )
    assert result[:3] == (3, "hello\n", "oops\n")
    with pytest.raises(AssertionError, match=r"(?s)exit code 3.*oops"):
        result.check()


def test_a_script_is_signalled_when_it_says_so() -> None:
    code = """
        import signal
        print("ready")
        signal.pause()
    """
    assert run_script(code, signal=signal.SIGKILL).returncode == -signal.SIGKILL


def test_a_late_script_is_killed_with_its_children_and_its_output_shown() -> None:
    code = """
        import subprocess, sys, time
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        print("child", child.pid)
        time.sleep(60)
    """
    with pytest.raises(AssertionError, match=r"(?s)late after 1 s.*child \d+") as caught:
        run_script(code, timeout=1)
    pid = int(str(caught.value).partition("child ")[2].split()[0])
    wait_until(lambda: not _running(pid), what="end of the grandchild")


def _running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def test_each_found_interpreter_has_what_the_package_needs(each_python: Path) -> None:
    code = """
        import importlib, sys
        import aqrec
        for name in "anyio msgspec numpy pandas pyarrow rich typer xxhash yaml".split():
            importlib.import_module(name)
        print(sys.version_info[:2], aqrec.__path__[0])
    """
    assert str(PACKAGE) in run_script(code, python=each_python, timeout=120).check().stdout
