"""The environment variables worth keeping with a run."""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from aqrec.provenance._redaction import MASK, looks_secret, redact_url
from aqrec.provenance._text import storable

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["current_environment", "selected_environment"]


def selected_environment(patterns: Iterable[str] = ("_QLIB_*",)) -> dict[str, str]:
    """Return the environment variables whose name matches one of `patterns`, sorted by name.

    Secrets stay out even when a pattern is broad: the value of a variable whose name contains (in any case)
    ``KEY``, ``TOKEN``, ``SECRET``, ``PASSWORD``, ``PASSWD``, ``PASSPHRASE``, ``CREDENTIAL`` or
    ``CONNECTION_STRING`` becomes ``***``, and URLs in other values lose user, password and query. A variable
    given by its exact name is kept as it is: naming it is the caller's consent.

    Parameters
    ----------
    patterns
        Shell-style patterns (``*``, ``?``, ``[...]``), compared case-sensitively. One string is one pattern.
    """
    wanted = (patterns,) if isinstance(patterns, str) else tuple(patterns)
    selected: dict[str, str] = {}
    for name, value in sorted(current_environment().items()):
        if name in wanted:
            selected[storable(name)] = storable(value)
        elif any(fnmatchcase(name, pattern) for pattern in wanted):
            selected[storable(name)] = MASK if looks_secret(name) else storable(redact_url(value))
    return selected


def current_environment() -> dict[str, str]:
    """Return a copy of ``os.environ`` that stands even if another thread changes it meanwhile."""
    copied: dict[str, str] = {}
    for name in list(os.environ):
        value = os.environ.get(name)
        if value is not None:
            copied[name] = value
    return copied
