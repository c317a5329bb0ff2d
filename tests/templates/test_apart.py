"""What is drawn keeps nobody waiting: it is done by another process, or by nobody but a process of ours."""

import asyncio
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from aqrec.backtest import _patience
from aqrec.errors import InvalidInputError, WorkerLostError
from aqrec.templates import PortAnaRecord, SigAnaRecord, SignalRecord
from aqrec.templates._apart import apart, nobody_waits
from tests._support import run_script, wait_until
from tests.backtest.golden import market, prediction
from tests.templates.cases import Labelled, Model, panel, run
from tests.templates.makers import wait
from tests.templates.test_portfolio import config
from tests.templates.test_schedule import gone

PRED, LABEL = panel()


def pid_of(noise: str) -> int:
    print(noise)
    return os.getpid()


def fail() -> None:
    raise InvalidInputError("mine")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def test_a_call_is_made_by_another_process_whatever_it_prints() -> None:
    assert await apart(pid_of, "noise") != os.getpid()


async def test_a_worker_does_it_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    token = nobody_waits.set(True)
    try:
        assert await apart(pid_of, "noise") == os.getpid()
    finally:
        nobody_waits.reset(token)
    monkeypatch.setattr("sys.executable", "")
    assert await apart(pid_of, "noise") == os.getpid()


async def test_what_it_raises_comes_through_and_its_death_is_told() -> None:
    with pytest.raises(InvalidInputError, match="mine"):
        await apart(fail)
    with pytest.raises(WorkerLostError, match=r"the process that was to run die ended with -9 and no result"):
        await apart(die)


async def test_cancelling_ends_the_process(tmp_path: Path) -> None:
    task = asyncio.create_task(apart(wait, tmp_path / "begun", tmp_path / "never"))
    await asyncio.to_thread(wait_until, (tmp_path / "begun").exists, timeout=60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    pid = int((tmp_path / "begun").read_text())
    await asyncio.to_thread(wait_until, lambda: gone(pid), timeout=30)


async def test_pictures_are_drawn_apart(memory_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []

    async def noted(function: Any, *args: Any) -> dict[str, Any]:
        drawn.append(function.__name__)
        return {}

    for module in ("_signal", "_portfolio"):
        monkeypatch.setattr(f"aqrec.templates.{module}.apart", noted)
    for template in (SigAnaRecord, PortAnaRecord):
        monkeypatch.setattr(template, "list", lambda self: [])
    async with run(memory_url) as recorder:
        await SignalRecord(Model(PRED), Labelled(LABEL), recorder).generate()
        await SigAnaRecord(recorder, plots=True).generate()
        await SignalRecord(Model(prediction("g01_syn40_default")), None, recorder).generate()
        await PortAnaRecord(recorder, config(), quotes=market("syn40"), plots=True).generate()
    assert drawn == ["signal_drawn", "portfolio_drawn"]


def test_a_script_without_a_guard_may_draw(local_url: str) -> None:
    code = """
        import asyncio, sys
        from aqrec.templates import SigAnaRecord, SignalRecord
        from tests.templates.cases import Labelled, Model, panel, run

        async def main(url):
            pred, label = panel()
            async with run(url) as recorder:
                await SignalRecord(Model(pred), Labelled(label), recorder).generate()
                await SigAnaRecord(recorder, plots=True).generate()
                assert (await SigAnaRecord(recorder).load("ic.png")).startswith(b"\\x89PNG")
            assert "matplotlib" not in sys.modules

        asyncio.run(main(sys.argv[1]))
    """
    run_script(code, local_url, timeout=110).check()


def test_a_long_computation_pauses_for_other_threads_but_not_for_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []
    clock = iter(range(1000))
    monkeypatch.setattr(_patience.time, "perf_counter", lambda: 0.0015 * next(clock))
    monkeypatch.setattr(_patience.time, "sleep", pauses.append)

    def work() -> None:
        give_way = _patience.giving_way()
        for _ in range(8):
            give_way()

    work()
    assert pauses == []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(pauses) == 4, "at every second step, since one takes 1.5 milliseconds"
    assert all(0 < pause < 0.001 for pause in pauses)
