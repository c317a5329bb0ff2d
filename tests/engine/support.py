"""Stores that fail to order, behind URLs that an engine can open; and how to read back what is stored."""

from __future__ import annotations

import math
import uuid
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import aqrec
from aqrec.options import BufferOptions, FlushOptions, Options, RetryOptions
from aqrec.stores import (
    Appender,
    FaultyStore,
    MemoryStore,
    Store,
    WrapperAppender,
    WrapperStore,
    canonical_url,
    open_store,
    register_store,
)

__all__ = ["HeldStore", "history", "on_engine", "options", "read", "serve"]

_makers: dict[str, Callable[[str], Store]] = {}


def _open(url: str, storage_options: Mapping[str, Any]) -> Store:
    return _makers[canonical_url(url)](canonical_url(url))


register_store("told", _open)


class _Named(WrapperStore):
    """A wrapper that goes by the URL it was opened with."""

    def __init__(self, inner: Store, url: str) -> None:
        super().__init__(inner)
        self._url = url

    @property
    def url(self) -> str:
        return self._url


def serve(make: Callable[[], Store]) -> str:
    """Return a URL that opens what `make` makes."""
    url = f"told://{uuid.uuid4().hex}"
    _makers[url] = lambda url: _Named(make(), url)
    return url


def options(
    *,
    capacity: int = 131_072,
    overflow: Any = "wait",
    wait_timeout: float = 30.0,
    sync: float = 1.0,
    segment: float = 0.05,
    journal_bytes: int = 64 * 1024 * 1024,
    **others: Any,
) -> Options:
    """Return options for tests: no provenance, quick retries."""
    others.setdefault("provenance", False)
    return Options(
        buffer=BufferOptions(capacity=capacity, overflow=overflow, wait_timeout=wait_timeout),
        flush=FlushOptions(sync_interval=sync, segment_interval=segment, journal_bytes=journal_bytes),
        retry=RetryOptions(first=0.002, longest=0.02),
        **others,
    )


def kinds(name: str, tmp_path: Path, plan: Any) -> Store:
    """Return a faulty store: "local", "memory" (grows files) or "segments" (immutable objects only)."""
    inner = (
        open_store(tmp_path) if name == "local" else MemoryStore(uuid.uuid4().hex, append=name == "memory")
    )
    return FaultyStore(inner, plan)


class HeldStore(WrapperStore):
    """A store whose writes can be held back: appenders block, other writes wait.

    Blocks as a mount that hangs does. `release` lets everything go on.
    """

    def __init__(self, inner: Store) -> None:
        import threading

        super().__init__(inner)
        self.open = threading.Event()
        self.open.set()
        self.waiting = 0

    def hold(self) -> None:
        self.open.clear()

    def release(self) -> None:
        self.open.set()

    def _wait(self) -> None:
        self.waiting += 1
        self.open.wait(60)
        self.waiting -= 1

    async def _wait_here(self) -> None:
        import asyncio

        await asyncio.get_running_loop().run_in_executor(None, self._wait)

    async def put(self, key: str, data: bytes) -> None:
        await self._wait_here()
        await super().put(key, data)

    async def put_stream(self, key: str, write: Any) -> Any:
        def held(file: Any) -> Any:
            self._wait()
            return write(file)

        return await super().put_stream(key, held)

    async def open_append(self, key: str) -> Appender:
        return _HeldAppender(await super().open_append(key), self)


class _HeldAppender(WrapperAppender):
    def __init__(self, inner: Appender, store: HeldStore) -> None:
        super().__init__(inner)
        self._store = store

    def sync(self) -> None:
        self._store._wait()
        super().sync()


def on_engine(recorder: aqrec.Recorder, function: Callable[[], Any]) -> Awaitable[Any]:
    """Call a function on the thread that the store is used on."""

    async def call() -> Any:
        return function()

    return recorder._run.session.run(call())


async def history(recorder: aqrec.Recorder, key: str) -> list[tuple[int | None, float]]:
    """Return (step, value) of all points of a metric, in the order read; NaN as None."""
    frame = await recorder.metric_history(key)
    steps = [
        None if step is None else int(step)
        for step in frame["step"].astype(object).where(frame["step"].notna(), None)
    ]
    return [
        (step, math.nan if math.isnan(value) else value)
        for step, value in zip(steps, frame["value"].tolist(), strict=True)
    ]


async def read(url: str, run_id: str, key: str) -> list[tuple[int | None, float]]:
    """Return (step, value) of a metric as a new manager reads them."""
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        return await history(await manager.get_recorder(recorder_id=run_id), key)
