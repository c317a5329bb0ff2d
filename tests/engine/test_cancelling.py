"""Whoever stops waiting for the recorder breaks nothing, wherever the work stands at that moment."""

import asyncio
import threading
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

import aqrec
from aqrec.errors import LoadObjectError
from aqrec.stores import Appender, MemoryStore, Store, WrapperAppender, WrapperStore, open_store
from tests.engine.support import history, options, serve


class Stops:
    """Stops the store before its n-th call until `go_on`."""

    def __init__(self) -> None:
        self.at = 0
        self.count = 0
        self.reached = threading.Event()
        self.opened = threading.Event()
        self.opened.set()

    def arm(self, at: int) -> None:
        self.at, self.count = at, 0
        self.opened.clear()

    def go_on(self) -> None:
        self.at = 0
        self.opened.set()

    def stop(self) -> None:
        if self.at:
            self.count += 1
            if self.count == self.at:
                self.reached.set()
                self.opened.wait(30)


class StoppingStore(WrapperStore):
    def __init__(self, inner: Store, url: str, stops: Stops) -> None:
        super().__init__(inner)
        self._stops = stops

    async def _stop(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self._stops.stop)

    async def get(self, key: str, *, start: int = 0, end: int | None = None) -> bytes:
        await self._stop()
        return await super().get(key, start=start, end=end)

    async def put(self, key: str, data: bytes) -> None:
        await self._stop()
        await super().put(key, data)
        await self._stop()

    async def put_stream(self, key: str, write: Any) -> Any:
        def stopped(file: Any) -> Any:
            self._stops.stop()
            result = write(file)
            self._stops.stop()
            return result

        return await super().put_stream(key, stopped)

    async def get_stream(self, key: str, read: Any) -> Any:
        await self._stop()
        return await super().get_stream(key, read)

    async def delete(self, keys: Any) -> None:
        await self._stop()
        await super().delete(keys)

    async def open_append(self, key: str) -> Appender:
        await self._stop()
        return _StoppingAppender(await super().open_append(key), self._stops)


class _StoppingAppender(WrapperAppender):
    def __init__(self, inner: Appender, stops: Stops) -> None:
        super().__init__(inner)
        self._stops = stops

    def sync(self) -> None:
        self._stops.stop()
        super().sync()
        self._stops.stop()


Operation = Callable[[aqrec.Recorder], Awaitable[Any]]

OPERATIONS: dict[str, Operation] = {
    "flush": lambda recorder: recorder.flush(),
    "end_run": lambda recorder: recorder.end_run(),
    "save_objects": lambda recorder: recorder.save_objects(**{"one.pkl": [1] * 500, "two.json": {"k": 2}}),
    "metric_history": lambda recorder: recorder.metric_history("loss"),
    "load_object": lambda recorder: recorder.load_object("first.pkl"),
    "list_params": lambda recorder: recorder.list_params(),
}
FIRST, LATER = 20, 40
MOST_STOPS = 40


async def _until_stored(url: str, key: str) -> None:
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        recorder = await (await manager.get_exp(experiment_name="other")).create_recorder()

        async def stored() -> bool:
            return key in {info.key async for info in recorder._run.engine.store.list("runs")}

        with anyio.fail_after(10):
            while not await recorder._call(stored()):
                await anyio.sleep(0.005)


async def _scenario(kind: str, tmp_path: Path, operation: str, at: int) -> bool:
    """Cancel the operation at the store's n-th call; return whether there was such a call."""
    stops = Stops()
    name = uuid.uuid4().hex

    def inner() -> Store:
        return open_store(tmp_path / name) if kind == "local" else MemoryStore(name, append=False)

    url, clean = serve(lambda: StoppingStore(inner(), "", stops)), serve(inner)
    async with aqrec.ExperimentManager(url, options=options(sync=60, segment=60)) as manager:
        recorder = await (await manager.get_exp(experiment_name="e")).create_recorder("r")
        await recorder.start_run()
        for step in range(FIRST):
            recorder.log_metrics(step=step, loss=step)
        await recorder.save_objects(**{"first.pkl": {"a": 1}})
        for step in range(FIRST, LATER):
            recorder.log_metrics(step=step, loss=step)
        recorder.log_params(p=1)
        stops.arm(at)
        finished = anyio.Event()
        scope = anyio.CancelScope()

        async def work() -> None:
            with scope:
                await OPERATIONS[operation](recorder)
            finished.set()

        async with anyio.create_task_group() as group:
            group.start_soon(work)
            while not (stops.reached.is_set() or finished.is_set()):
                await anyio.sleep(0.001)
            was_stopped = stops.reached.is_set()
            if was_stopped:
                scope.cancel()
                with anyio.fail_after(5):
                    await finished.wait()
            stops.go_on()
        assert scope.cancelled_caught == was_stopped

        # All goes on as if nothing had happened.
        await recorder.flush()
        assert await history(recorder, "loss") == [(step, float(step)) for step in range(LATER)]
        if operation == "end_run":
            await _until_stored(clean, f"runs/{recorder.id}/run.json")
        else:
            recorder.log_metrics(step=LATER, loss=LATER)
            await recorder.end_run()
    points = LATER if operation == "end_run" else LATER + 1
    async with aqrec.ExperimentManager(clean, options=options()) as manager:
        again = await manager.get_recorder(recorder_id=recorder.id)
        assert again.status == "FINISHED"
        assert await history(again, "loss") == [(step, float(step)) for step in range(points)]
        assert await again.list_params() == {"p": 1}
        assert await again.load_object("first.pkl") == {"a": 1}
        for path, value in (("one.pkl", [1] * 500), ("two.json", {"k": 2})):
            if path in await again.list_artifacts():
                assert await again.load_object(path) == value
            else:
                assert operation != "save_objects" or was_stopped
                with pytest.raises(LoadObjectError):
                    await again.load_object(path)
    assert not list(tmp_path.rglob(".aqrec-tmp/*"))
    return was_stopped


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    ("kind", "backend"), [("local", "asyncio"), ("segments", "asyncio"), ("local", "trio")]
)
def test_cancelled_at_any_call_of_the_store(
    kind: str, backend: str, operation: str, tmp_path: Path, no_threads_left: None
) -> None:
    stopped = 0
    for at in range(1, MOST_STOPS):
        if not anyio.run(_scenario, kind, tmp_path, operation, at, backend=backend):
            break
        stopped += 1
    else:
        raise AssertionError(f"{operation} never finished within {MOST_STOPS} calls")
    assert stopped >= 1


async def test_a_task_cancelled_inside_its_block_ends_the_run_failed(tmp_path: Path) -> None:
    begun = asyncio.Event()
    ids: list[str] = []

    async def job() -> None:
        async with aqrec.open_recorder(str(tmp_path), options=options()) as recorder:
            ids.append(recorder.id)
            recorder.log_metrics(loss=1.0)
            begun.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(job())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with aqrec.ExperimentManager(str(tmp_path), options=options()) as manager:
        recorder = await manager.get_recorder(recorder_id=ids[0])
        assert recorder.status == "FAILED"
        assert await history(recorder, "loss") == [(None, 1.0)]


async def test_a_cancelled_close_goes_on_by_itself(tmp_path: Path, no_threads_left: None) -> None:
    stops = Stops()
    url = serve(lambda: StoppingStore(open_store(tmp_path / "s"), "", stops))
    manager = aqrec.ExperimentManager(url, options=options(sync=60))
    recorder = await (await manager.get_exp(experiment_name="e")).create_recorder("r")
    await recorder.start_run()
    await recorder.flush()
    recorder.log_metrics(loss=1.0)
    stops.arm(1)
    task = asyncio.create_task(manager.aclose())
    await asyncio.get_running_loop().run_in_executor(None, stops.reached.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    stops.go_on()
    async with aqrec.ExperimentManager(str(tmp_path / "s"), options=options()) as again, asyncio.timeout(10):
        while (await again.get_recorder(recorder_id=recorder.id)).status != "FINISHED":
            await (await again.get_recorder(recorder_id=recorder.id)).refresh()
        assert await history(await again.get_recorder(recorder_id=recorder.id), "loss") == [(None, 1.0)]


async def test_timeouts_around_flush_keep_what_was_logged(tmp_path: Path) -> None:
    """`asyncio.timeout` and `asyncio.wait_for` cancel in ways of their own."""
    stops = Stops()
    url = serve(lambda: StoppingStore(open_store(tmp_path / "s"), "", stops))
    async with aqrec.ExperimentManager(url, options=options(sync=60)) as manager:
        recorder = await (await manager.get_exp(experiment_name="e")).create_recorder("r")
        await recorder.start_run()
        await recorder.flush()
        stops.arm(1)
        recorder.log_metrics(step=0, loss=0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(recorder.flush(), 0.02)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await recorder.flush()
        stops.go_on()
        recorder.log_metrics(step=1, loss=1)
        await recorder.flush()
        assert await history(recorder, "loss") == [(0, 0.0), (1, 1.0)]
        await recorder.end_run()
