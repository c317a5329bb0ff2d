"""Saves that a worker process finishes before it leaves."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator
    from multiprocessing.connection import Connection

__all__ = ["leave_after", "saving"]

_idle = threading.Condition()
_begun = 0


@contextlib.contextmanager
def saving() -> Generator[None]:
    """Hold the process for a save."""
    global _begun  # noqa: PLW0603 - it counts for the process
    with _idle:
        _begun += 1
    try:
        yield
    finally:
        with _idle:
            _begun -= 1
            _idle.notify_all()


def leave_after(end: Connection) -> None:
    """End this process when the other end of the pipe is closed and no save is under way.

    Whoever holds the other end closes it to cancel, or dies.
    """
    with contextlib.suppress(EOFError, OSError):
        end.recv_bytes()
    with _idle:
        _idle.wait_for(lambda: _begun == 0)
        os._exit(1)
