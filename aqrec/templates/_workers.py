"""Where templates are made: on threads, in processes, on somebody's executor, on a Dask cluster."""

from __future__ import annotations

import abc
import asyncio
import functools
import multiprocessing
import pickle
import signal
import threading
import uuid
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread

from aqrec.engine import bridge
from aqrec.errors import InvalidInputError, WorkerLostError
from aqrec.provenance._host import usable_cpus
from aqrec.recording._views import run_reference
from aqrec.templates._calls import call, slots
from aqrec.templates._saving import leave_after
from aqrec.templates._travel import dumps, pack

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection
    from types import TracebackType

    from aqrec.templates._plan import Template

__all__ = [
    "ExecutorChoice",
    "Face",
    "Workers",
    "advance",
    "choose_workers",
    "parts_at_once",
    "spread",
    "spread_blocking",
]

T = TypeVar("T")


class DaskClient(Protocol):
    """What is used of ``distributed.Client``, which need not be installed."""

    asynchronous: bool

    def submit(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return a future."""

    def nthreads(self) -> Any:
        """Return, or return something to await, the number of threads by worker."""


ExecutorChoice = Literal["threads", "processes"] | Executor | DaskClient

_DASK_AT_ONCE = 64
"""Templates handed to a cluster at a time: enough to let an adaptive one grow, few enough to hold as bytes"""

_current: ContextVar[Workers | None] = ContextVar("aqrec_template_workers", default=None)
_tell: ContextVar[Callable[[int, int], None] | None] = ContextVar("aqrec_template_progress", default=None)


class Face(abc.ABC):
    """What differs between awaitable and blocking templates."""

    asynchronous: bool
    """Whether an async Dask client, which belongs to the caller's loop, can be used"""

    @abc.abstractmethod
    def check(self, template: object) -> None:
        """Refuse what is no template of the face."""

    @abc.abstractmethod
    async def flush(self, template: Any) -> None:
        """Wait until other processes can see the template's run."""

    @abc.abstractmethod
    async def here(self, template: Any) -> None:
        """Make a template in this process."""

    @abc.abstractmethod
    def elsewhere(self, template: Any) -> None:
        """Make a template in another thread of this process, which has no loop."""

    maker: Callable[[bytes], None]
    """Makes a packed template in another process"""


class Workers(abc.ABC):
    """See the module's text; to be entered, and used by one `generate_all`."""

    def __init__(self, face: Face, count: int) -> None:
        self.face = face
        self.count = count
        """How many there are"""
        self.parts = count
        """Parts to split one computation into"""
        self.at_once = count
        """Templates under way at a time"""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of what was started, without waiting for computations that nobody wants any more."""
        return

    async def make(self, template: Template, tell: Callable[[int, int], None]) -> None:
        """Make a template. One that splits its work stays here, and its parts go to the workers."""
        _current.set(self)
        _tell.set(tell)
        try:
            if template.splits:
                await self.face.here(template)
            else:
                await self.make_whole(template)
        except BrokenProcessPool as error:
            raise WorkerLostError(
                f"a worker process died while {type(template).__name__} was being made, by that template or by another "
                "one: killed for lack of memory, perhaps, or by a fault in native code. Generate it again; with fewer "
                'workers there is more memory for each, with executor="threads" the fault shows itself here. If no '
                'template is made at all, the script lacks its guard: if __name__ == "__main__":'
            ) from error

    @abc.abstractmethod
    async def make_whole(self, template: Any) -> None:
        """Make a template where the workers are."""

    @abc.abstractmethod
    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """Run a part of a computation."""


async def spread(function: Callable[..., T], parts: Sequence[tuple[Any, ...]]) -> list[T]:
    """Return what a plain function returns for each tuple of arguments, computed by the current workers.

    Without any, a thread takes one after the other. With processes or Dask, function and arguments travel.
    """
    workers = _current.get()
    if workers is None:
        return [await call(function, *part) for part in parts]
    results: dict[int, T] = {}

    async def one(number: int, part: tuple[Any, ...]) -> None:
        results[number] = await workers.run(function, *part)
        advance(len(results), len(parts))

    try:
        async with anyio.create_task_group() as group:
            for number, part in enumerate(parts):
                group.start_soon(one, number, part)
    except BaseExceptionGroup as errors:
        # All parts are alike: the first failure tells.
        raise errors.exceptions[0] from None
    return [results[number] for number in range(len(parts))]


def spread_blocking(function: Callable[..., T], parts: Sequence[tuple[Any, ...]]) -> list[T]:
    """Do the same from a blocking template: by the workers of the `generate_all` whose thread this is, or here."""
    if _current.get() is None:
        return [function(*part) for part in parts]
    return anyio.from_thread.run(spread, function, parts)


def parts_at_once() -> int:
    """Return into how many parts a computation is best split."""
    workers = _current.get()
    return 1 if workers is None else workers.parts


def advance(done: int, total: int) -> None:
    """Show how far the template that is being made is."""
    tell = _tell.get()
    if tell is not None:
        tell(done, total)


def choose_workers(executor: ExecutorChoice, count: int | None, face: Face) -> Workers:
    """Return the workers that are meant.

    Raises
    ------
    InvalidInputError
        They are nothing that can make templates here.
    """
    if count is not None and not (isinstance(count, int) and count >= 1):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidInputError(f"workers is {count!r}; give a whole number from 1 on, or None")
    if executor == "threads":
        return _Threads(face, count or usable_cpus())
    if executor == "processes":
        return _Processes(face, count or usable_cpus())
    if isinstance(executor, ThreadPoolExecutor):
        return _OtherThreads(face, count or usable_cpus(), executor)
    if isinstance(executor, Executor):
        return _Futures(face, count or usable_cpus(), executor)
    if type(executor).__module__.partition(".")[0] == "distributed" and hasattr(executor, "nthreads"):
        return _Dask(face, count, executor)
    raise InvalidInputError(
        f'executor is {executor!r}; choose "threads", "processes", a concurrent.futures.Executor or a Dask Client'
    )


class _Threads(Workers):
    """Threads of this loop; only as many compute at a time as there are workers, but any number waits for the store."""

    def __init__(self, face: Face, count: int) -> None:
        super().__init__(face, count)
        self.parts = 1  # threads of Python do not compute faster together
        self.at_once = 2 * count
        self._limiter: anyio.CapacityLimiter | None = None

    async def __aenter__(self) -> Self:
        self._limiter = anyio.CapacityLimiter(self.count)
        return self

    async def make(self, template: Template, tell: Callable[[int, int], None]) -> None:
        slots.set(self._limiter)
        await super().make(template, tell)

    async def make_whole(self, template: Any) -> None:
        await self.face.here(template)

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        return await call(function, *args)


class _Futures(Workers):
    """An executor of the caller's, in other processes as far as we know."""

    def __init__(self, face: Face, count: int, executor: Executor | None) -> None:
        super().__init__(face, count)
        self.at_once = 2 * count
        self._executor = executor

    @property
    def executor(self) -> Executor:
        """The executor, while the workers are entered."""
        assert self._executor is not None
        return self._executor

    async def make_whole(self, template: Any) -> None:
        parcel = await _parcel(self.face, template)
        await self.run(self.face.maker, parcel)

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        # Bytes, since what an executor pickles with may know less than we do; and off the loop.
        packed = await anyio.to_thread.run_sync(dumps, (function, args))
        result: T = await self._wait(await anyio.to_thread.run_sync(self.submit, _run_packed, packed))
        return result

    def submit(self, function: Callable[..., T], *args: Any) -> Future[T]:
        """Hand a function over; may block while processes are started."""
        return self.executor.submit(function, *args)

    async def _wait(self, future: Future[T]) -> T:
        try:
            return await bridge(future)
        finally:
            if not future.done():
                future.cancel()


async def _parcel(face: Face, template: Any) -> bytes:
    parcel = await anyio.to_thread.run_sync(pack, template, run_reference(template.recorder))
    await face.flush(template)
    return parcel


def _run_packed(packed: bytes) -> Any:
    function, args = pickle.loads(packed)
    return function(*args)


class _OtherThreads(_Futures):
    """A pool of the caller's threads: nothing needs to travel."""

    def __init__(self, face: Face, count: int, executor: Executor) -> None:
        super().__init__(face, count, executor)
        self.parts = 1

    async def make_whole(self, template: Any) -> None:
        await self.run(self.face.elsewhere, template)

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        return await self._wait(self.executor.submit(copy_context().run, functools.partial(function, *args)))


class _Processes(_Futures):
    """Processes of our own, which end with us.

    Each watches a pipe. When its other end is closed, by cancelling or by the death of this process, the worker leaves;
    unless it is saving, which it finishes first.
    """

    def __init__(self, face: Face, count: int) -> None:
        super().__init__(face, count, None)

    async def __aenter__(self) -> Self:
        await anyio.to_thread.run_sync(self._start)
        return self

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._theirs, self._ours = context.Pipe(duplex=False)
        self._executor = ProcessPoolExecutor(
            self.count, context, initializer=_begin, initargs=(self._theirs,)
        )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._leave, error is not None)

    def _leave(self, at_once: bool) -> None:
        if at_once:
            self._ours.close()
        self.executor.shutdown(cancel_futures=True)
        self._ours.close()
        self._theirs.close()


def _begin(end: Connection) -> None:
    # Ctrl-C reaches the whole group of processes, and a pool that breaks terminates its workers: neither may tear a
    # save. The pipe ends the process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=leave_after, args=(end,), daemon=True, name="aqrec-leave").start()


class _Dask(Workers):
    """A Dask cluster, through a blocking or an async client."""

    def __init__(self, face: Face, count: int | None, client: DaskClient) -> None:
        super().__init__(face, count or _DASK_AT_ONCE)
        self.client = client
        # Asked here, because the client answers for the thread that asks.
        self.asynchronous = bool(client.asynchronous)
        if self.asynchronous and not face.asynchronous:
            raise InvalidInputError(
                "executor is an async Dask client, which belongs to a loop; give aqrec.sync.templates.generate_all a "
                "blocking one, or await aqrec.templates.generate_all"
            )

    async def __aenter__(self) -> Self:
        if self.asynchronous and not _on_asyncio():
            raise InvalidInputError("executor is an async Dask client, which works on asyncio only")
        threads: Any = await self._ask(self.client.nthreads)
        self.parts = sum(threads.values()) or self.count
        return self

    async def make_whole(self, template: Any) -> None:
        parcel = await _parcel(self.face, template)
        await self._submit(type(template).__name__, self.face.maker, parcel)

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        packed = await anyio.to_thread.run_sync(dumps, (function, args))
        result: T = await self._submit(function.__name__, _run_packed, packed)
        return result

    async def _submit(self, name: str, function: Callable[..., Any], packed: bytes) -> Any:
        submit = functools.partial(
            self.client.submit, function, packed, pure=False, key=f"{name}-{uuid.uuid4().hex}"
        )
        if not self.asynchronous:
            return await self._follow(await anyio.to_thread.run_sync(submit))
        future = submit()
        try:
            return await future
        finally:
            if not future.done():
                with anyio.CancelScope(shield=True):
                    await future.cancel()

    async def _follow(self, theirs: Any) -> Any:
        ours: Future[Any] = Future()

        def copy(done: Any) -> None:
            if not ours.set_running_or_notify_cancel():
                return
            try:
                ours.set_result(done.result())
            except BaseException as error:  # noqa: BLE001 - whoever waits gets it
                ours.set_exception(error)

        theirs.add_done_callback(copy)
        try:
            return await bridge(ours)
        finally:
            if not theirs.done():
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(theirs.cancel)

    async def _ask(self, method: Callable[[], Any]) -> Any:
        return await method() if self.asynchronous else await anyio.to_thread.run_sync(method)


def _on_asyncio() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
