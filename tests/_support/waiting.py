"""Waiting for a condition instead of sleeping and hoping."""

import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["wait_until"]

T = TypeVar("T")


def wait_until(
    predicate: Callable[[], T], timeout: float = 10.0, *, interval: float = 0.002, what: str = ""
) -> T:
    """Poll `predicate` until it is true and return what it returned.

    Blocks the thread: on an event loop, run it in a worker thread.

    Raises
    ------
    AssertionError
        After `timeout` seconds; the message names `what` was waited for.
    """
    deadline = time.monotonic() + timeout
    while True:
        if result := predicate():
            return result
        if time.monotonic() >= deadline:
            raise AssertionError(f"{what or repr(predicate)} did not become true within {timeout:g} s")
        time.sleep(interval)
