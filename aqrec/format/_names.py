"""Which names are legal, checked before anything is written."""

from __future__ import annotations

import re

from aqrec.errors import InvalidNameError

__all__ = ["check_artifact_path", "check_key_name", "check_name", "check_run_id", "shown"]

_RUN_ID = re.compile(r"[A-Za-z0-9][\w-]{0,255}\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NOT_IN_PATHS = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")
MAX_KEY = 1000
MAX_PART_BYTES = 255  # what Linux file systems hold
_SHOWN = 80
MAX_PATH_BYTES = 800
"""Together with the run's folder a path stays below the 1024 bytes that stores allow."""


def check_run_id(run_id: str, what: str = "recorder id") -> str:
    """Return `run_id` if it is legal: a letter or digit, then up to 255 word characters or ``-``."""
    if not isinstance(run_id, str) or not _RUN_ID.match(run_id):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidNameError(
            f"{what} {shown(run_id)}: use a letter or digit, then up to 255 letters, digits, '_' or '-'"
        )
    return run_id


def check_name(what: str, name: str) -> str:
    """Return the name of an experiment or recorder if it is legal: not empty, no control characters."""
    return _check_text(f"{what} name", name, blank=False)


def check_key_name(what: str, key: str) -> str:
    """Return the key of a metric, param or tag if it is legal; any character but control ones is."""
    return _check_text(f"{what} key", key, blank=True)


def _check_text(what: str, text: str, *, blank: bool) -> str:
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidNameError(f"{what} must be text, not {type(text).__name__}: {shown(text)}")
    if not (text if blank else text.strip()):
        raise InvalidNameError(f"{what} {text[:_SHOWN]!r} is empty; use 1 to {MAX_KEY} printable characters")
    if len(text) > MAX_KEY:
        raise InvalidNameError(
            f"{what} {shown(text)} has {len(text):,} characters; use 1 to {MAX_KEY}, and a tag for long texts"
        )
    if found := _CONTROL.search(text):
        raise InvalidNameError(
            f"{what} {shown(text)} holds the control character {found[0]!r}; use printable ones"
        )
    if not _encodes(text):
        raise InvalidNameError(f"{what} {shown(text)} holds half of a surrogate pair, which UTF-8 cannot")
    return text


def check_artifact_path(path: str, *, allow_root: bool = False) -> str:
    """Return an artifact path without a trailing ``/`` if it stays inside the run's folder."""
    if not isinstance(path, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidNameError(f"artifact path must be text, not {type(path).__name__}: {shown(path)}")
    clean = path.removesuffix("/")
    if not clean and allow_root:
        return ""
    if why := _against_path(clean):
        raise InvalidNameError(f"artifact path {shown(path)} {why}")
    return clean


def _against_path(path: str) -> str:
    """Return what is wrong with an artifact path, and what to do, or ""."""
    if not path:
        return "is empty; give the name that it gets in the run's folder"
    if path.startswith("/"):
        return "begins with '/'; give it relative to the run's folder"
    if found := _NOT_IN_PATHS.search(path):
        what = "a backslash" if found[0] == "\\" else f"the control character {found[0]!r}"
        return f"holds {what}; separate its parts by '/', and use printable characters"
    if not _encodes(path):
        return "holds half of a surrogate pair, which UTF-8 cannot; use another name"
    if (size := len(path.encode())) > MAX_PATH_BYTES:
        return f"has {size:,} bytes; a path may have {MAX_PATH_BYTES}"
    for part in path.split("/"):
        if not part:
            return "has nothing between two of its '/'; leave one out"
        if part in {".", ".."}:
            return f"has the part {part!r}, which could leave the run's folder; write it without"
        if (size := len(part.encode())) > MAX_PART_BYTES:
            return f"has a part of {size} bytes, {shown(part)}; file systems hold {MAX_PART_BYTES}"
    return ""


def shown(value: object) -> str:
    """Return what a message shows of a value that the caller gave: all of it, or its beginning and its length."""
    if isinstance(value, str | bytes) and len(value) > _SHOWN:
        return f"{value[:_SHOWN]!r}… ({len(value):,} {'characters' if isinstance(value, str) else 'bytes'})"
    text = repr(value)
    return text if len(text) <= 2 * _SHOWN else f"{text[:_SHOWN]}…"


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
