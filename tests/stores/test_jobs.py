"""Blocking work on the loop's executor: what cancelling and shutting down do to it."""

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import anyio
import pytest
import trio

from aqrec.errors import ClosedError, InvalidInputError
from aqrec.stores import LocalStore, open_store
from aqrec.stores._jobs import Jobs


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalStore]:
    store = LocalStore(tmp_path)
    yield store
    await store.aclose()


async def test_a_call_that_waits_for_a_worker_never_begins_when_cancelled(
    store: LocalStore, tmp_path: Path
) -> None:
    """And its caller does not wait for the worker either."""
    executor = ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(executor)
    release = threading.Event()
    executor.submit(release.wait, 60)
    calls = [
        asyncio.create_task(call) for call in (store.put("key", b"1"), store.get("key"), store.list_dir())
    ]
    await asyncio.sleep(0.01)
    for call in calls:
        call.cancel()
    done, late = await asyncio.wait(calls, timeout=10)
    # nor does closing
    other = LocalStore(tmp_path)
    waiting = asyncio.create_task(other.get("key"))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await asyncio.wait_for(other.aclose(), 10)
    release.set()
    assert not late
    assert all(call.cancelled() for call in done)
    await store.put("other", b"1")
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


async def test_a_loop_that_takes_no_work_closes_its_stores(store: LocalStore) -> None:
    """Interpreter and loops shut their executors down before the last task may have ended."""
    executor = ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(executor)
    await store.put("key", b"1")
    executor.shutdown()
    for call in (store.get("key"), store.put("key", b"2"), store.list_dir(), store.delete(["key"])):
        with pytest.raises(ClosedError, match="takes no work"):
            await call
    await store.aclose()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))


async def test_work_dropped_by_the_executor_is_told_from_a_cancelled_caller(store: LocalStore) -> None:
    executor = ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(executor)
    release = threading.Event()
    executor.submit(release.wait, 60)
    call = asyncio.create_task(store.get("key"))
    await asyncio.sleep(0.01)
    executor.shutdown(wait=False, cancel_futures=True)
    release.set()
    with pytest.raises(ClosedError, match="dropped its work"):
        await call
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))


async def test_a_cancelled_scope_does_not_spin_while_work_ends(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AnyIO cancels a task again and again until it leaves the scope."""
    release, turns = threading.Event(), 0
    loop = asyncio.get_running_loop()

    def write(file: BinaryIO) -> None:
        assert release.wait(60)
        file.write(b"x")

    async def count() -> None:
        nonlocal turns
        while not release.is_set():
            turns += 1
            await asyncio.sleep(0.001)

    steps = 0
    real = loop._run_once  # type: ignore[attr-defined]

    def run_once() -> None:
        nonlocal steps
        steps += 1
        real()

    monkeypatch.setattr(loop, "_run_once", run_once)
    loop.call_later(0.2, release.set)
    counting = asyncio.create_task(count())
    with anyio.move_on_after(0.05) as scope:
        await store.put_stream("key", write)
    await counting
    assert scope.cancelled_caught
    assert steps < 4 * turns + 100
    assert [info async for info in store.list()] == []


@pytest.mark.parametrize(
    "error", [StopIteration("x"), StopAsyncIteration("x"), GeneratorExit(), SystemExit(3)]
)
async def test_odd_exceptions_of_callbacks_come_out(store: LocalStore, error: BaseException) -> None:
    """A future refuses some of them, and its waiter would wait for ever."""

    def write(file: BinaryIO) -> None:
        raise error

    expected = RuntimeError if isinstance(error, StopIteration) else type(error)
    with pytest.raises(expected) as caught:
        async with asyncio.timeout(10):
            await store.put_stream("key", write)
    assert error in {caught.value, caught.value.__cause__}


async def test_a_result_nobody_takes_is_discarded() -> None:
    """Such as an open file."""
    jobs, begun, release = Jobs("test"), threading.Event(), threading.Event()
    discarded: list[str] = []

    def work() -> str:
        begun.set()
        assert release.wait(60)
        return "result"

    task = asyncio.create_task(jobs.run(work, discard=discarded.append))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    await asyncio.sleep(0)
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert discarded == ["result"]


async def test_a_cancelled_open_leaves_no_appender_behind(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, release = threading.Event(), threading.Event()
    real = store._disk._name

    def name(*args: object, **others: object) -> object:
        begun.set()
        assert release.wait(60)
        return real(*args, **others)  # type: ignore[arg-type]

    monkeypatch.setattr(store._disk, "_name", name)
    before = len(list(Path("/proc/self/fd").iterdir()))
    task = asyncio.create_task(store.open_append("journal"))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    await asyncio.sleep(0)
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert store._disk._appenders == set()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


async def test_a_write_cancelled_while_it_waits_for_the_disk_stores_nothing(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, release = threading.Event(), threading.Event()

    def fdatasync(fd: int) -> None:
        begun.set()
        assert release.wait(60)

    monkeypatch.setattr("os.fdatasync", fdatasync)
    for call in (
        store.put("key", b"1"),
        store.create("key", b"1"),
        store.put_stream("key", lambda file: file.write(b"1")),
    ):
        begun.clear()
        release.clear()
        task = asyncio.create_task(call)
        await asyncio.to_thread(begun.wait)
        task.cancel()
        await asyncio.sleep(0)
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert list(tmp_path.iterdir()) == []


async def test_closing_waits_for_reads_whose_callers_left(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, release = threading.Event(), threading.Event()

    def get(*args: object) -> bytes:
        begun.set()
        assert release.wait(60)
        return b""

    monkeypatch.setattr(store._disk, "get", get)
    task = asyncio.create_task(store.get("key"))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    closing = asyncio.create_task(store.aclose())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not closing.done()
    release.set()
    await closing


@pytest.mark.parametrize("kind", ["memory", "folder", "bucket"])
def test_on_trio_the_first_call_says_what_to_use_instead(kind: str, tmp_path: Path) -> None:
    """The clients of buckets are made for asyncio; all kinds of store are alike in this."""
    url = {"memory": "memory://on-trio", "folder": str(tmp_path), "bucket": "s3://bucket/lab"}[kind]

    async def main() -> None:
        store = open_store(url)
        try:
            for call in (store.put("key", b"1"), store.create("key", b"1"), store.delete(["key"])):
                with pytest.raises(InvalidInputError, match="asyncio; on trio record and read through"):
                    await call
        finally:
            await store.aclose()

    trio.run(main)
