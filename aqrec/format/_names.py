"""Which names are legal, checked before anything is written."""

from __future__ import annotations

import re

from aqrec.errors import InvalidNameError

__all__ = ["check_artifact_path", "check_key_name", "check_name", "check_run_id"]

_RUN_ID = re.compile(r"[A-Za-z0-9][\w-]{0,255}\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NOT_IN_PATHS = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")
MAX_KEY = 1000
MAX_PATH_BYTES = 800
"""Together with the run's folder a path stays below the 1024 bytes that stores allow."""


def check_run_id(run_id: str) -> str:
    """Return `run_id` if it is legal: a letter or digit, then up to 255 word characters or ``-``."""
    if not isinstance(run_id, str) or not _RUN_ID.match(run_id):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidNameError(
            f"recorder id {run_id!r}: use a letter or digit, then up to 255 letters, digits, '_' or '-'"
        )
    return run_id


def check_name(what: str, name: str) -> str:
    """Return the name of an experiment or recorder if it is legal: not empty, no control characters."""
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidNameError(f"{what} name must be text, not {type(name).__name__}: {name!r}")
    if not name.strip() or len(name) > MAX_KEY or _CONTROL.search(name) or not _encodes(name):
        raise InvalidNameError(f"{what} name {name[:80]!r}: use 1 to {MAX_KEY} printable characters")
    return name


def check_key_name(what: str, key: str) -> str:
    """Return the key of a metric, param or tag if it is legal; any character but control ones is."""
    if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidNameError(f"{what} key must be text, not {type(key).__name__}: {key!r}")
    if not key or len(key) > MAX_KEY or _CONTROL.search(key) or not _encodes(key):
        raise InvalidNameError(f"{what} key {key[:80]!r}: use 1 to {MAX_KEY} printable characters")
    return key


def check_artifact_path(path: str, *, allow_root: bool = False) -> str:
    """Return an artifact path without a trailing ``/`` if it stays inside the run's folder."""
    if not isinstance(path, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidNameError(f"artifact path must be text, not {type(path).__name__}: {path!r}")
    clean = path.removesuffix("/")
    if not clean and allow_root:
        return ""
    parts = clean.split("/")
    if (
        any(part in {"", ".", ".."} or len(part.encode(errors="replace")) > 255 for part in parts)
        or len(clean.encode(errors="replace")) > MAX_PATH_BYTES
        or _NOT_IN_PATHS.search(clean)
        or not _encodes(clean)
    ):
        raise InvalidNameError(
            f"artifact path {path[:80]!r} would leave the run's folder or cannot be stored: use relative parts "
            "separated by '/', without '.', '..', '\\' or control characters, at most "
            f"{MAX_PATH_BYTES} bytes"
        )
    return clean


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
