"""A store that fails on purpose, the same way each time."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, BinaryIO, TypeAlias, TypeVar, cast

import msgspec

from aqrec.errors import StorageError

from ._files import SinkFile
from ._wrapper import WrapperAppender, WrapperStore, closing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterable

    from ._abc import Appender, Children, ObjectInfo, Store

__all__ = ["FaultyStore", "LostResponse", "Torn"]

T = TypeVar("T")


class LostResponse(msgspec.Struct, frozen=True):
    """The call has its whole effect and raises `error` all the same, as when its answer is lost."""

    error: Exception


class Torn(msgspec.Struct, frozen=True):
    """The call has a part of its effect before it raises `error`.

    Attributes
    ----------
    after
        Bytes taken before the failure by ``append.write`` and ``put_stream`` (which stores nothing then), or
        objects that ``list`` yields. Other calls have no parts and do nothing.
    error
        What is raised.
    """

    after: int
    error: Exception


Outcome: TypeAlias = Exception | LostResponse | Torn | None
Plan: TypeAlias = Callable[[str, str, int], Outcome] | Mapping[tuple[str, int], Outcome]


class FaultyStore(WrapperStore):
    """A store whose calls fail by plan.

    Parameters
    ----------
    inner
        The store that does the work.
    plan
        Called as ``plan(operation, key, n)`` before each call; or a table from ``(operation, n)``.
        `operation` is the method's name, or ``append.write``, ``append.sync``, ``append.close`` of its
        appenders; `n` counts the calls of that operation on this store from 1. `delete` asks for each of its
        keys in turn, and deletes those before the one that fails. An exception is raised in place of the
        call; see also `LostResponse` and `Torn`. Called from several threads, one at a time.

    Attributes
    ----------
    injected
        ``(operation, key, n)`` of every failure so far.
    """

    def __init__(self, inner: Store, plan: Plan) -> None:
        super().__init__(inner)
        self._plan = plan
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.injected: list[tuple[str, str, int]] = []

    async def get(self, key: str, *, start: int = 0, end: int | None = None) -> bytes:
        """Fail by plan or hand on `Store.get`."""
        return await self._meet("get", key, lambda: self._inner.get(key, start=start, end=end))

    async def put(self, key: str, data: bytes) -> None:
        """Fail by plan or hand on `Store.put`."""
        await self._meet("put", key, lambda: self._inner.put(key, data))

    async def create(self, key: str, data: bytes) -> None:
        """Fail by plan or hand on `Store.create`."""
        await self._meet("create", key, lambda: self._inner.create(key, data))

    async def head(self, key: str) -> ObjectInfo:
        """Fail by plan or hand on `Store.head`."""
        return await self._meet("head", key, lambda: self._inner.head(key))

    async def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
        """Fail by plan, at once, in the middle or at the end, or hand on `Store.list`."""
        outcome = self._ask("list", prefix)
        if isinstance(outcome, Exception):
            raise outcome
        left = outcome.after if isinstance(outcome, Torn) else -1
        async with closing(self._inner.list(prefix)) as items:
            async for info in items:
                if left == 0:
                    break
                left -= 1
                yield info
        if outcome is not None:
            raise outcome.error

    async def list_dir(self, prefix: str = "") -> Children:
        """Fail by plan or hand on `Store.list_dir`."""
        return await self._meet("list_dir", prefix, lambda: self._inner.list_dir(prefix))

    async def delete(self, keys: Iterable[str]) -> None:
        """Fail by plan, perhaps with some keys deleted, or hand on `Store.delete`."""
        if isinstance(keys, str):
            return await self._inner.delete(keys)
        passed: list[str] = []
        outcome: Outcome = None
        for key in keys:
            outcome = self._ask("delete", key)
            if outcome is None or isinstance(outcome, LostResponse):
                passed.append(key)
            if outcome is not None:
                break
        await self._inner.delete(passed)
        if outcome is not None:
            raise _error_of(outcome)
        return None

    async def put_stream(self, key: str, write: Callable[[BinaryIO], T]) -> T:
        """Fail by plan, perhaps inside `write`, or hand on `Store.put_stream`."""
        outcome = self._ask("put_stream", key)
        if isinstance(outcome, Exception):
            raise outcome
        if isinstance(outcome, Torn):
            return await self._inner.put_stream(key, lambda file: _write_torn(file, write, outcome))
        result = await self._inner.put_stream(key, write)
        if outcome is not None:
            raise outcome.error
        return result

    async def get_stream(self, key: str, read: Callable[[BinaryIO], T]) -> T:
        """Fail by plan or hand on `Store.get_stream`."""
        return await self._meet("get_stream", key, lambda: self._inner.get_stream(key, read))

    async def probe_create(self) -> bool:
        """Fail by plan or hand on `Store.probe_create`."""
        return await self._meet("probe_create", "", self._inner.probe_create)

    async def open_append(self, key: str) -> Appender:
        """Fail by plan or hand on `Store.open_append`, with an appender that fails by plan."""
        outcome = self._ask("open_append", key)
        if isinstance(outcome, Exception | Torn):
            raise _error_of(outcome)
        appender = await self._inner.open_append(key)
        if outcome is not None:
            appender.close()
            raise outcome.error
        return _FaultyAppender(appender, lambda operation: self._ask(operation, key))

    def _ask(self, operation: str, key: str) -> Outcome:
        with self._lock:
            self._counts[operation] += 1
            number = self._counts[operation]
            plan = self._plan
            outcome = (
                plan.get((operation, number)) if isinstance(plan, Mapping) else plan(operation, key, number)
            )
            if outcome is not None:
                self.injected.append((operation, key, number))
        return outcome

    async def _meet(self, operation: str, key: str, call: Callable[[], Awaitable[T]]) -> T:
        outcome = self._ask(operation, key)
        if outcome is None:
            return await call()
        if isinstance(outcome, LostResponse):
            await call()
        raise _error_of(outcome)


class _FaultyAppender(WrapperAppender):
    def __init__(self, inner: Appender, ask: Callable[[str], Outcome]) -> None:
        super().__init__(inner)
        self._ask = ask
        self._broken = False

    def write(self, data: bytes) -> None:
        """Fail by plan, perhaps with a part written, or hand on `Appender.write`."""
        self._check_whole()
        outcome = self._ask("append.write")
        if outcome is None or isinstance(outcome, LostResponse):
            self._inner.write(data)
        elif isinstance(outcome, Torn):
            self._inner.write(data[: outcome.after])
        if outcome is not None:
            self._broken = True
            raise _error_of(outcome)

    def sync(self) -> None:
        """Fail by plan or hand on `Appender.sync`."""
        self._check_whole()
        outcome = self._ask("append.sync")
        if outcome is None or isinstance(outcome, LostResponse):
            self._inner.sync()
        if outcome is not None:
            self._broken = True
            raise _error_of(outcome)

    def close(self) -> None:
        """Hand on `Appender.close`, and fail by plan."""
        self._inner.close()
        outcome = self._ask("append.close")
        if outcome is not None:
            raise _error_of(outcome)

    def _check_whole(self) -> None:
        if self._broken:
            raise StorageError("an earlier call of this appender failed; close it and begin a new object")


def _error_of(outcome: Exception | LostResponse | Torn) -> Exception:
    return outcome if isinstance(outcome, Exception) else outcome.error


def _write_torn(file: BinaryIO, write: Callable[[BinaryIO], T], torn: Torn) -> T:
    left = torn.after

    def send(data: memoryview) -> None:
        nonlocal left
        if len(data) > left:
            file.write(data[:left])
            raise torn.error
        left -= len(data)
        file.write(data)

    with SinkFile(send) as sink:
        result = write(cast("BinaryIO", sink))
    sink.check()
    if left >= 0:
        raise torn.error  # the object was shorter
    return result
