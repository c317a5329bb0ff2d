"""Time-ordered identities and the hybrid clock."""

from __future__ import annotations

import hashlib
import os
import threading
import time

__all__ = ["HybridClock", "experiment_id", "new_id", "now_ms"]


def now_ms() -> int:
    """Return the wall clock in ms since epoch."""
    return time.time_ns() // 1_000_000


class _Identities:
    """UUIDv7 with a 12-bit counter, so that ids made in one process sort in the order they were made."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.last = 0

    def make(self) -> str:
        with self.lock:
            tick = max(now_ms() << 12, self.last + 1)
            self.last = tick
        milliseconds, counter = tick >> 12, tick & 0xFFF
        noise = int.from_bytes(os.urandom(8)) & ((1 << 62) - 1)
        return f"{(milliseconds << 80) | (0x7 << 76) | (counter << 64) | (0b10 << 62) | noise:032x}"


_identities = _Identities()


def new_id() -> str:
    """Return 32 lower-case hex digits, a UUIDv7 (RFC 9562, section 5.7): time-ordered and unique."""
    return _identities.make()


def experiment_id(name: str) -> str:
    """Return the id that every creator of an experiment called `name` derives alike."""
    return hashlib.sha256(b"aqrec.experiment\0" + name.encode()).hexdigest()[:16]


class HybridClock:
    """Orders events of one store: wall clock ms in the high bits, a counter in the low 16 (Kulkarni et al., 2014).

    It never goes back, and it moves past every clock given to `observe`, so what is written after a read is ordered behind it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def now(self) -> int:
        """Return the next value."""
        with self._lock:
            self._last = max(now_ms() << 16, self._last + 1)
            return self._last

    def observe(self, clock: int) -> None:
        """Move past a value read from the store."""
        with self._lock:
            # A clock from a host whose time is a year ahead must not drag everybody along.
            if clock >> 16 <= now_ms() + 86_400_000:
                self._last = max(self._last, clock)


def _after_fork() -> None:
    _identities.lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
