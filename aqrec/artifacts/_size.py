"""How large an artifact will be, as far as that is known before it is written."""

from __future__ import annotations

from typing import Any

__all__ = ["expected_size"]

_AS_IN_MEMORY = frozenset({"bytes", "npy", "pickle"})


def expected_size(obj: Any, codec: str, compression: str | None) -> int:
    """Return the bytes of buffers that are stored as they are in memory; 0 where nothing is known.

    A hint: views that share memory, and objects that hold others, are not looked into.
    """
    if compression is not None or codec not in _AS_IN_MEMORY or isinstance(obj, type):
        return 0
    if isinstance(obj, bytes | bytearray | memoryview):
        return memoryview(obj).nbytes
    dtypes: Any = getattr(obj, "dtypes", None)
    usage = getattr(obj, "memory_usage", None)
    if callable(usage) and hasattr(dtypes, "__iter__"):  # a table of pandas'
        sizes: Any = usage(index=False, deep=False)
        return int(sum(size for size, dtype in zip(sizes, dtypes, strict=False) if _is_plain(dtype)))
    size = getattr(obj, "nbytes", 0)
    return int(size) if isinstance(size, int) and _is_plain(getattr(obj, "dtype", None)) else 0


def _is_plain(dtype: Any) -> bool:
    return getattr(dtype, "kind", "O") != "O"
