"""The engines of this process: one a store and set of options, shared by all who use it, and closed by the last one."""

from __future__ import annotations

import threading
from typing import Any

from aqrec.engine._engine import Engine
from aqrec.options import Options
from aqrec.stores import canonical_url
from aqrec.stores._place import target_of

__all__ = ["acquire_engine", "engines", "engines_of", "release_engine", "reset_registry"]

_Key = tuple[str, Options, str, str]

_lock = threading.Lock()
_open: dict[_Key, Engine] = {}
_users: dict[_Key, int] = {}


def acquire_engine(url: str, options: Options, storage_options: dict[str, Any] | None = None) -> Engine:
    """Return the engine for a store, shared with whoever uses the same store with the same options.

    Who uses it with others, be it only another endpoint, gets an engine of its own: another writer, as in another process.
    """
    target = target_of(url, storage_options)
    canonical, *way = target.key()
    key = (canonical, options, way[0], way[1])
    with _lock:
        engine = _open.get(key)
        if engine is None or engine.closed:
            engine = _open[key] = Engine(target.url, options, target.storage_options)
            _users[key] = 0
        _users[key] += 1
        return engine


def release_engine(engine: Engine) -> bool:
    """Count one user less; True if it was the last one, who has to close the engine."""
    with _lock:
        for key, other in _open.items():
            if other is engine:
                _users[key] -= 1
                if _users[key]:
                    return False
                del _open[key], _users[key]
                return True
    return False


def engines() -> list[Engine]:
    """Return the open engines."""
    return list(_open.values())


def engines_of(url: str) -> list[Engine]:
    """Return the open engines of one store."""
    canonical = canonical_url(url)
    return [engine for key, engine in list(_open.items()) if key[0] == canonical]


def reset_registry() -> None:
    """Make a lock of our own after a fork."""
    global _lock  # noqa: PLW0603 - the parent's may be held for ever
    _lock = threading.Lock()
