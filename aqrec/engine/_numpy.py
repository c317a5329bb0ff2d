"""Whether numpy is there for the engine thread, which hands on what was logged and must not wait while it is loaded.

That takes seconds on a busy machine, and a process that is killed meanwhile would lose all that it has logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from importlib import import_module

__all__ = ["numpy_at_hand"]

_asked_by = 0
"""Process that has begun to load it"""


def numpy_at_hand() -> bool:
    """Return whether numpy can be used at once; on an event loop's thread, begin to load it elsewhere if it is not there."""
    global _asked_by  # noqa: PLW0603 - there is one numpy
    module = sys.modules.get("numpy")
    if module is not None and not getattr(module.__spec__, "_initializing", False):
        return True
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return True  # a thread that may wait for it
    if _asked_by != os.getpid():
        _asked_by = os.getpid()
        loop.run_in_executor(None, _load)
    return False


def _load() -> None:
    with contextlib.suppress(Exception):  # it goes on without, and whoever cannot meets the reason
        import_module("numpy")
