"""Processes that end in many ways, for the exit tests: one interpreter forks a child a scenario.

``serve(folder, names)`` runs in a fresh interpreter. It has started nothing of aqrec when it forks, so a child ends as a
script would. It writes the children's exit codes and seconds to ``folder/codes.json``, their output to ``name.out`` and ``name.err``.
A scenario is a function of the store's URL; where its name is in `SIGNALS`, it gets that signal when it says so.
"""

import asyncio
import atexit
import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy  # noqa: F401, ICN001 - imported here, not in each child
import pandas  # noqa: F401, ICN001
import pyarrow.parquet  # noqa: F401

import aqrec
import aqrec.recording._artifacts
from aqrec.errors import ClosedError
from aqrec.options import Options
from aqrec.stores import WrapperAppender, WrapperStore, open_store, register_store
from aqrec.sync import ExperimentManager, R, open_recorder

QUICK = Options(provenance=False)
POINTS = 100

_ready = -1


def ready() -> None:
    """Ask for the signal."""
    os.write(_ready, b"r")


def use(url: str, **options: Any) -> None:
    R.configure(uri=url, options=Options(provenance=False, **options))


def log(first: int = 0, points: int = POINTS) -> None:
    for n in range(first, first + points):
        R.log_metrics(m=n)


def begin(url: str, **options: Any) -> None:
    use(url, **options)
    R.start_exp(experiment_name="e")
    log()


# --- left open ----------------------------------------------------------------------------------------------


def left_open(url: str) -> None:
    begin(url)


def left_open_async(url: str) -> None:
    async def main() -> None:
        manager = aqrec.ExperimentManager(url, options=QUICK)
        experiment = await manager.start_exp(experiment_name="e")
        recorder = await experiment.get_recorder()
        for n in range(POINTS):
            await recorder.log_metrics(m=n)

    asyncio.run(main())


def left_open_bulk(url: str) -> None:
    begin(url, seal="bulk")


def nobody_started(url: str) -> None:
    """Logging without a start begins a run by itself."""
    use(url)
    from aqrec.recording._default import defaults

    run = defaults.run_to_log_to()
    for n in range(POINTS):
        run.log(None, {"m": n})


def uncaught(url: str) -> None:
    begin(url)
    raise ValueError("boom")


def uncaught_own_hook(url: str) -> None:
    begin(url)
    sys.excepthook = lambda *_: None
    raise ValueError("boom")


def exit_one_open(url: str) -> None:
    begin(url)
    sys.exit(1)


# --- a block that is left when no other thread runs any more -------------------------------------------------

_suspended: list[Any] = []
"""What stays suspended until the interpreter clears its modules"""


def generator_suspended(url: str) -> None:
    def record() -> Iterator[None]:
        with open_recorder(url, experiment="e", options=QUICK) as recorder:
            for n in range(POINTS):
                recorder.log_metrics(m=n)
            yield

    _suspended.append(record())
    next(_suspended[0])


def context_manager_suspended(url: str) -> None:
    @contextlib.contextmanager
    def record() -> Iterator[None]:
        use(url)
        with R.start(experiment_name="e"):
            log()
            yield

    _suspended.append(record())
    _suspended[0].__enter__()


def async_generator_suspended(url: str) -> None:
    """Its loop is left as it is, too."""

    async def record() -> AsyncIterator[None]:
        async with aqrec.open_recorder(url, experiment="e", options=QUICK) as recorder:
            for n in range(POINTS):
                await recorder.log_metrics(m=n)
            yield

    _suspended.append(record())
    asyncio.new_event_loop().run_until_complete(anext(_suspended[0]))


def finalizer_calls(url: str) -> None:
    """Managers are closed, read and opened by finalizers: refused at once, or nothing to do."""
    manager = ExperimentManager(url, options=QUICK)
    run = manager.start_exp(experiment_name="e").get_recorder()
    for n in range(POINTS):
        run.log_metrics(m=n)

    class Finalizer:
        def __del__(self) -> None:
            for call in (manager.search_records, run.flush, lambda: open_recorder(url).__enter__()):
                with contextlib.suppress(ClosedError):
                    call()
                    os.write(2, b"not refused")
            manager.close()

    _suspended.append(Finalizer())


# --- through the block --------------------------------------------------------------------------------------


def _through(url: str, *code: Any) -> None:
    use(url)
    with R.start(experiment_name="e"):
        log()
        sys.exit(*code)


def exit_through(url: str) -> None:
    _through(url)


def exit_0_through(url: str) -> None:
    _through(url, 0)


def exit_1_through(url: str) -> None:
    _through(url, 1)


def exit_text_through(url: str) -> None:
    _through(url, "text")


def exit_1_through_async(url: str) -> None:
    async def main() -> None:
        async with aqrec.open_recorder(url, experiment="e", options=QUICK) as recorder:
            for n in range(POINTS):
                await recorder.log_metrics(m=n)
            sys.exit(1)

    asyncio.run(main())


def task_cancelled(url: str) -> None:
    async def record() -> None:
        async with aqrec.open_recorder(url, experiment="e", options=QUICK) as recorder:
            for n in range(POINTS):
                await recorder.log_metrics(m=n)
            await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.create_task(record())
        while not R.uri:
            await asyncio.sleep(0)
        await asyncio.sleep(0.1)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert [thread.name for thread in threading.enumerate() if thread.name.startswith("aqrec")] == []

    asyncio.run(main())


# --- signals ------------------------------------------------------------------------------------------------


def _wait() -> None:
    ready()
    while True:
        signal.pause()


def sigterm(url: str) -> None:
    begin(url)
    _wait()


def sighup(url: str) -> None:
    begin(url)
    _wait()


def sigterm_async(url: str) -> None:
    async def main() -> None:
        async with aqrec.open_recorder(url, experiment="e", options=QUICK) as recorder:
            for n in range(POINTS):
                await recorder.log_metrics(m=n)
            ready()
            await asyncio.Event().wait()

    asyncio.run(main())


def sigterm_busy(url: str) -> None:
    """The signal meets a main thread that is inside aqrec, with whatever locks it holds."""
    begin(url)
    ready()
    for n in range(10_000_000):
        R.set_tags(t=n)


def sigterm_flushing(url: str) -> None:
    begin(url)
    ready()
    for n in range(10_000_000):
        R.log_metrics(other=n)
        R.get_recorder().flush()


def sigterm_own_handler_before(url: str) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
    use(url)
    with R.start(experiment_name="e"):
        log()
        _wait()


def sigterm_own_handler_after(url: str) -> None:
    begin(url)
    seen: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: seen.append(number))
    ready()
    while not seen:
        time.sleep(0.001)
    log(POINTS)
    R.end_exp()


def sighup_ignored(url: str) -> None:
    """As under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    begin(url)
    ready()
    time.sleep(0.1)
    log(POINTS)


def sigint(url: str) -> None:
    begin(url)
    _wait()


def sigint_through(url: str) -> None:
    use(url)
    with R.start(experiment_name="e"):
        log()
        _wait()


def sigint_async(url: str) -> None:
    sigterm_async(url)


def sigint_caught(url: str) -> None:
    use(url)
    with contextlib.suppress(KeyboardInterrupt), R.start(experiment_name="e"):
        log()
        _wait()
    with R.start(experiment_name="e"):
        pass


SIGNALS = {
    name: getattr(signal, name.split("_")[0].upper())
    for name in globals().copy()
    if name.startswith(("sigterm", "sighup", "sigint"))
}


# --- forks --------------------------------------------------------------------------------------------------


def _join(child: int, code: int = 0) -> None:
    deadline = time.monotonic() + 60
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            assert os.waitstatus_to_exitcode(status) == code, status
            return
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise AssertionError("the child hangs")
        time.sleep(0.002)


def fork_and_leave_at_once(url: str) -> None:
    """A child logs into its parent's run, flushes and leaves by os._exit."""
    begin(url)
    recorder = R.get_recorder()
    child = os.fork()
    if child == 0:
        for n in range(POINTS):
            recorder.log_metrics(child=n)
        recorder.flush()
        os._exit(0)
    log(POINTS)
    _join(child)
    recorder.refresh()
    assert recorder.status == "RUNNING"
    log(2 * POINTS)
    R.end_exp()


def fork_and_exit(url: str) -> None:
    """A child that leaves as scripts do: its points are stored then, and its parent's run goes on."""
    begin(url)
    recorder = R.get_recorder()
    child = os.fork()
    if child == 0:
        for n in range(POINTS):
            recorder.log_metrics(child=n)
        return
    _join(child)
    recorder.refresh()
    assert recorder.status == "RUNNING"
    assert len(recorder.metric_history("child")) == POINTS
    log(POINTS)


def fork_own_run(url: str) -> None:
    """A child begins a run of its own and leaves it open."""
    begin(url)
    child = os.fork()
    if child == 0:
        R.start_exp(experiment_name="child")
        R.log_metrics(child=1)
        return
    _join(child)
    (other,) = R.list_recorders(experiment_name="child").values()
    assert other.status == "FINISHED"
    R.get_recorder().refresh()
    assert R.get_recorder().status == "RUNNING"


def fork_and_close(url: str) -> None:
    """A child that closes what it inherited waits for no thread of its parent's."""
    begin(url)
    recorder = R.get_recorder()
    child = os.fork()
    if child == 0:
        for n in range(POINTS):
            recorder.log_metrics(child=n)
        started = time.monotonic()
        R.close()
        assert time.monotonic() - started < 5
        os._exit(0)
    _join(child)
    recorder.refresh()
    assert recorder.status == "RUNNING"


def fork_while_threads_log(url: str) -> None:
    """Forks meet locks that other threads hold; no child may wait for them."""
    begin(url)
    recorder = R.get_recorder()
    stop = threading.Event()

    def work(number: int) -> None:
        n = 0
        while not stop.is_set():
            recorder.log_metrics(busy=n)
            recorder.set_tags(**{f"t{number}": n})
            n += 1
            if n % 1000 == 0:
                recorder.flush()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    try:
        for number in range(10):
            child = os.fork()
            if child == 0:
                recorder.log_metrics(child=number)
                recorder.log_params(**{f"p{number}": number})
                recorder.flush()
                os._exit(0)
            _join(child)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


# --- threads and handlers at the end ------------------------------------------------------------------------


def daemon_thread_logs(url: str) -> None:
    """A daemon thread logs while the interpreter goes down: quietly, and nothing hangs."""
    begin(url)
    recorder = R.get_recorder()
    logged = threading.Event()

    def work() -> None:
        for n in range(10_000_000):
            recorder.log_metrics(daemon=n)
            logged.set()
            if n % 100 == 0:
                time.sleep(0)

    threading.Thread(target=work, daemon=True).start()
    logged.wait()


def thread_fails(url: str) -> None:
    """An exception in a thread is not the script's."""
    begin(url)
    threading.excepthook = lambda _: None

    def work() -> None:
        with R.start(experiment_name="thread"):
            R.log_metrics(m=1)
            raise ValueError("in the thread")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    (other,) = R.list_recorders(experiment_name="thread").values()
    assert other.status == "FAILED"


def atexit_after(url: str) -> None:
    """A handler that is registered when recording has begun runs before the recorder's."""
    begin(url)
    atexit.register(log, POINTS)


def atexit_before(url: str) -> None:
    """So does one that is registered after the import."""
    atexit.register(log, POINTS)
    begin(url)


def closed_leaves_no_thread(url: str) -> None:
    begin(url)
    R.end_exp()
    R.close()
    assert [thread.name for thread in threading.enumerate()] == ["MainThread"]


# --- a store that hangs -------------------------------------------------------------------------------------


class Hanging(WrapperStore):
    """A store whose disk stops answering: at syncs of what grows (``sync``) or at all writing (``write``)."""

    def __init__(self, url: str) -> None:
        how, _, path = url.partition("://")[2].partition("/")
        super().__init__(open_store(f"/{path}"))
        self._how = how

    async def put(self, key: str, data: bytes) -> None:
        await self._hang()
        await super().put(key, data)

    async def create(self, key: str, data: bytes) -> None:
        await self._hang()
        await super().create(key, data)

    async def open_append(self, key: str) -> WrapperAppender:
        await self._hang()
        return HangingAppender(await super().open_append(key))

    async def _hang(self) -> None:
        if self._how == "write":
            await asyncio.get_running_loop().run_in_executor(None, time.sleep, 60)


class HangingAppender(WrapperAppender):
    def sync(self) -> None:
        time.sleep(60)


def _begin_hanging(url: str, how: str) -> None:
    register_store("hanging", lambda url, _: Hanging(url))
    use(f"hanging://{how}{url}", close_timeout=1.0)
    from aqrec.recording._default import defaults

    run = defaults.run_to_log_to()
    for n in range(POINTS):
        run.log(None, {"m": n})


def hanging_sync(url: str) -> None:
    _begin_hanging(url, "sync")


def hanging_write(url: str) -> None:
    _begin_hanging(url, "write")


def sigterm_hanging(url: str) -> None:
    _begin_hanging(url, "sync")
    _wait()


SIGNALS["sigterm_hanging"] = signal.SIGTERM


# --- the template -------------------------------------------------------------------------------------------


def serve(folder: str, names: list[str]) -> None:
    """Fork a child a name; returns in each child when its scenario does, and in the parent at the end."""
    global _ready
    codes: dict[str, tuple[int, float]] = {}
    for name in names:
        told, _ready = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(told)
            for number, suffix in ((1, "out"), (2, "err")):
                fd = os.open(f"{folder}/{name}.{suffix}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                os.dup2(fd, number)
                os.close(fd)
            globals()[name](f"{folder}/{name}")
            return
        os.close(_ready)
        began = time.monotonic()
        wanted = SIGNALS.get(name)
        if wanted is not None and os.read(told, 1):
            time.sleep(0.02)
            began = time.monotonic()
            os.kill(child, wanted)
        deadline = began + 20
        while not (done := os.waitpid(child, os.WNOHANG))[0]:
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.001)
        codes[name] = os.waitstatus_to_exitcode(done[1]), time.monotonic() - began
        os.close(told)
    Path(folder, "codes.json").write_text(json.dumps(codes))


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2:])
