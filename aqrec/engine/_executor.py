"""Worker threads that still work while the interpreter exits."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

__all__ = ["ExitSafeExecutor"]

T = TypeVar("T")
_GRACE = 1.0
_Item = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class ExitSafeExecutor(ThreadPoolExecutor):
    """Pre-started daemon threads with a `submit` of their own.

    The standard pool refuses work once the interpreter has begun to exit, and 3.12 starts no thread there: the last
    flush of a script would be lost. It derives from `ThreadPoolExecutor` only because an event loop asks for that type.
    """

    def __init__(self, threads: int, name: str) -> None:
        super().__init__(max_workers=1, thread_name_prefix=name)
        self._items: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._workers = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True)
            for number in range(threads)
        ]
        for worker in self._workers:
            worker.start()

    def _work(self) -> None:
        while (item := self._items.get()) is not None:
            future, function, args, kwargs = item
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function(*args, **kwargs))
                except BaseException as error:  # noqa: BLE001 - belongs to whoever asked
                    future.set_exception(error)
            del item, future, function, args, kwargs

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Queue a call."""
        future: Future[T] = Future()
        self._items.put((future, fn, args, kwargs))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the threads end after what is queued; one that hangs in a call is waited for a second at most."""
        del cancel_futures
        for _ in self._workers:
            self._items.put(None)
        deadline = time.monotonic() + _GRACE
        if wait:
            for worker in self._workers:
                if worker is not threading.current_thread():
                    worker.join(max(deadline - time.monotonic(), 0.0))
