"""Making a blocking call on somebody's event loop an error."""

import builtins
import contextlib
import os
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from blockbuster import BlockBuster, BlockBusterFunction

import aqrec

__all__ = ["forbid_blocking"]

# Blocking calls the recorder could be tempted by that are not on blockbuster's own list.
_ALSO_FORBIDDEN = (
    (builtins, "open"),
    (os, "open"),
    (os, "fsync"),
    (os, "fdatasync"),
    (os, "pread"),
    (os, "pwrite"),
    (os, "writev"),
    (os, "ftruncate"),
    (os, "posix_fallocate"),
)

_SCANNED = "aqrec"
# Stands for aqrec.testing by its place alone, so that guarding a test does not import that package.
_TESTING = types.ModuleType("aqrec.testing")
_TESTING.__path__ = [str(Path(aqrec.__path__[0], "testing"))]
_NOT_SCANNED = [_TESTING]


@contextlib.contextmanager
def forbid_blocking() -> Iterator[BlockBuster]:
    """Raise ``BlockingError`` from any blocking call that aqrec makes on a running asyncio loop.

    A call counts when a frame of the package (other than `aqrec.testing`) is on the stack. Threads whose name
    begins with ``aqrec`` are free: the engine's loop is there to block. So is the first import of a module.
    """
    buster = BlockBuster(_SCANNED, excluded_modules=_NOT_SCANNED)
    for module, name in _ALSO_FORBIDDEN:
        buster.functions.setdefault(
            f"{module.__name__}.{name}",
            BlockBusterFunction(module, name, scanned_modules=_SCANNED, excluded_modules=_NOT_SCANNED),
        )
    for function in buster.functions.values():
        function.can_block_predicate = _or_on_own_thread(function.can_block_predicate)
        function.can_block_in("<frozen importlib._bootstrap>", "_find_and_load")
    buster.activate()
    try:
        yield buster
    finally:
        buster.deactivate()


def _or_on_own_thread(predicate: Callable[..., bool]) -> Callable[..., bool]:
    def may_block(*args: Any, **kwargs: Any) -> bool:
        return threading.current_thread().name.startswith("aqrec") or predicate(*args, **kwargs)

    return may_block
