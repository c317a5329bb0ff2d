"""Threads that die of an exception: seen by way of `threading.excepthook`, which goes on doing what it did."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

__all__ = ["watch"]

Hook = Callable[["threading.ExceptHookArgs"], Any]


class _Seeing:
    """The hook of others, and then the one that wants to see."""

    def __init__(self, others: Hook, see: Callable[[BaseException], None]) -> None:
        self._others = others
        self._see = see

    def __call__(self, args: threading.ExceptHookArgs, /) -> None:
        try:
            self._others(args)  # first: the end of a run may wait for its store
        finally:
            if args.exc_value is not None:
                self._see(args.exc_value)


def watch(see: Callable[[BaseException], None]) -> None:
    """Have `see` called in each thread that dies of an exception from now on.

    Nothing to do if that is so. A hook that somebody sets afterwards, without calling the one that was there, takes its place.
    """
    if not isinstance(threading.excepthook, _Seeing):
        threading.excepthook = _Seeing(threading.excepthook, see)
