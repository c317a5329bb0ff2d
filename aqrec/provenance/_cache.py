"""A value per key that is made at most once at a time and kept for a moment."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RecentValues"]

T = TypeVar("T")

_MAX_ENTRIES = 32


class _Entry(Generic[T]):
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.made: tuple[float, T] | None = None


class RecentValues(Generic[T]):
    """Recently made values by key, shared by all threads.

    Of several callers who want the same stale key one makes the value and the others wait for it.

    Parameters
    ----------
    clock
        Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.clear()

    def clear(self) -> None:
        """Forget everything, locks included: threads that a forked child does not have may hold them."""
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry[T]] = {}

    def get(self, key: str, make: Callable[[], T], max_age: float) -> T:
        """Return the value of `key` if it is younger than `max_age` seconds, else a new one from `make`."""
        with self._lock:
            if key not in self._entries and len(self._entries) >= _MAX_ENTRIES:
                self._entries.clear()
            entry = self._entries.setdefault(key, _Entry())
        with entry.lock:
            if entry.made is not None and self._clock() - entry.made[0] < max_age:
                return entry.made[1]
            # Aged from its end: a repository slower than `max_age` would otherwise never be served from here.
            value = make()
            entry.made = self._clock(), value
            return value
