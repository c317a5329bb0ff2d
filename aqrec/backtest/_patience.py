"""Long computations in a thread that let the event loop of another thread have its turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["giving_way"]

_EVERY = 0.002
_PAUSE = 50e-6


def giving_way() -> Callable[[], None]:
    """Return what a loop of small steps calls after each; it pauses now and then, unless this is the main thread.

    Small calls into numpy give the interpreter's lock away and take it back before another thread has woken up. Such a
    thread, and the event loop that runs in it, may then wait for tens of milliseconds. A real pause of 50 microseconds
    every two milliseconds hands the lock over.
    """
    if threading.current_thread() is threading.main_thread():
        return _nothing
    last = time.perf_counter()

    def give_way() -> None:
        nonlocal last
        if time.perf_counter() - last > _EVERY:
            time.sleep(_PAUSE)
            last = time.perf_counter()

    return give_way


def _nothing() -> None:
    return
