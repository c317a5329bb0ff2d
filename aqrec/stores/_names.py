"""Which names objects may have, on every backend alike."""

from __future__ import annotations

import os
import re
from typing import Final

from aqrec.errors import InvalidInputError, InvalidNameError

__all__ = [
    "MAX_KEY_BYTES",
    "TEMPORARY",
    "check_key",
    "check_prefix",
    "check_range",
    "from_system",
    "is_legal_child",
    "to_system",
]

TEMPORARY: Final = ".aqrec-tmp"
"""Folder of unfinished files at the root of a local store; no key may begin with it."""

MAX_KEY_BYTES: Final = 1024
"""S3's and GCS's limit, which holds for a store's folder and key together."""

MAX_PART_BYTES: Final = 255  # what Linux file systems hold

_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")
_FORBIDDEN_IN_LISTING = re.compile(r"[\x00-\x1f\x7f-\x9f\\\ud800-\udfff]")


def check_key(key: str) -> str:
    r"""Return `key` if every backend can hold it.

    Parameters
    ----------
    key
        Parts separated by ``/``; at most 1024 bytes of UTF-8, 255 in each part.

    Raises
    ------
    InvalidNameError
        It is empty, no text, too long, absolute, has an empty part, ``.`` or ``..``, a backslash, a control
        character or a lone surrogate, or lies in the folder that is reserved for unfinished files.
    """
    try:
        size = len(key.encode())
    except (AttributeError, UnicodeEncodeError) as error:
        raise _refusal(key, "it must be text that UTF-8 can hold") from error
    if found := _FORBIDDEN.search(key):
        raise _refusal(key, f"it must not hold {found[0]!r}")
    if size > MAX_KEY_BYTES:
        raise _refusal(key, f"it has {size} bytes, and {MAX_KEY_BYTES} are allowed")
    parts = key.split("/")
    for part in parts:
        if part in {"", ".", ".."}:
            raise _refusal(key, f"{part!r} cannot stand between its slashes")
        if len(part) * 4 > MAX_PART_BYTES and len(part.encode()) > MAX_PART_BYTES:
            raise _refusal(key, f"a part of it has more than {MAX_PART_BYTES} bytes")
    if parts[0] == TEMPORARY:
        raise _refusal(key, f"{TEMPORARY!r} is reserved for unfinished files")
    return key


def check_prefix(prefix: str) -> str:
    """Return `prefix` if it is empty (the root) or a legal folder name, else raise like `check_key`."""
    return prefix if prefix == "" else check_key(prefix)


def check_range(start: int, end: int | None) -> None:
    """Raise `InvalidInputError` if a bound of the byte range ``[start, end)`` is negative."""
    if start < 0 or (end is not None and end < 0):
        raise InvalidInputError(f"byte range [{start}, {end}) has a negative bound; count from the beginning")


def is_legal_child(folder: str, name: str) -> bool:
    """Tell whether `name` belongs to a legal key; `folder` does, and is empty or ends with ``/``."""
    if _FORBIDDEN_IN_LISTING.search(name) or (not folder and name == TEMPORARY):
        return False
    return (len(folder) + len(name)) * 4 <= MAX_KEY_BYTES or len((folder + name).encode()) <= MAX_KEY_BYTES


def to_system(name: str) -> str:
    """Return a name as the system must be told it: files are called by UTF-8 in every locale, so that all find them."""
    return name if name.isascii() else os.fsdecode(name.encode("utf-8", "surrogateescape"))


def from_system(name: str) -> str:
    """Return the name that the system tells, the other way round."""
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "surrogateescape")


def _refusal(key: object, why: str) -> InvalidNameError:
    shown = repr(key)
    return InvalidNameError(f"{shown if len(shown) <= 200 else shown[:200] + '…'} is not a legal key: {why}")
