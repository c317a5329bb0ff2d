"""Which of a store's keys are of aqrec's own making, and what lies there; everything else is somebody else's."""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec

__all__ = ["Kind", "OwnKey", "own_key"]

Kind = Literal[
    "archive note",
    "archived copy",
    "artifact",
    "clock",
    "event log",
    "journal",
    "part",
    "run document",
    "sealed history",
    "shared text",
]

_ID: Final = r"[0-9a-f]{32}"
_PATTERNS: Final[list[tuple[Kind, re.Pattern[str]]]] = [
    ("part", re.compile(rf"runs/(?P<folder>[^/]+)/parts/[0-9a-f]{{16}}-[^/]+/{_ID}/\d{{6}}(?:-{_ID})?")),
    ("sealed history", re.compile(rf"runs/(?P<folder>[^/]+)/metrics(?:-(?P<writer>{_ID})-\d+)?\.parquet")),
    ("sealed history", re.compile(rf"sealed/{_ID}-(?P<writer>{_ID})\.parquet")),
    ("run document", re.compile(r"runs/(?P<folder>[^/]+)/run\.json")),
    ("artifact", re.compile(r"runs/(?P<folder>[^/]+)/artifacts/.+", re.DOTALL)),
    ("journal", re.compile(rf"journal/(?P<writer>{_ID})/\d{{8}}(?:_\d{{8}})?\.seg")),
    ("event log", re.compile(rf"catalog/events/{_ID}-(?P<writer>{_ID})\.ev")),
    ("archive note", re.compile(rf"catalog/archives/{_ID}")),
    ("clock", re.compile(rf"catalog/clock/{_ID}")),
    ("shared text", re.compile(rf"shared/{_ID}/.+", re.DOTALL)),
]


class OwnKey(msgspec.Struct, frozen=True):
    """A key that aqrec has made.

    Attributes
    ----------
    kind
        What lies there.
    folder
        Of things of one run: name of the run's folder.
    writer
        Whose it is, where the key says so.
    """

    kind: Kind
    folder: str = ""
    writer: str = ""


def own_key(key: str) -> OwnKey | None:
    """Return what a key is, or None for a foreign file."""
    for kind, pattern in _PATTERNS:
        match = pattern.fullmatch(key)
        if match is not None:
            named = match.groupdict()
            return OwnKey(kind, named.get("folder") or "", named.get("writer") or "")
    return None
