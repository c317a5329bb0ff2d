"""Which store a command is about, and the way there."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple

from aqrec.errors import InvalidInputError

__all__ = ["Where", "where"]

_HARMLESS = frozenset(
    {
        "account_name",
        "anon",
        "append",
        "driver",
        "endpoint_url",
        "parallel",
        "part_size",
        "profile",
        "project",
    }
    | {"connect_timeout", "read_timeout", "region", "requester_pays", "retries"}
)
"""Options whose values may be shown"""


class Where(NamedTuple):
    """A store as it was named on the command line.

    Attributes
    ----------
    location
        Folder or URL, None for the default.
    options
        Storage options; not to be shown.
    """

    location: str | None
    options: dict[str, Any]

    def arguments(self) -> str:
        """Return what another command needs to find the same store, with a blank before; no secrets."""
        text = "" if self.location is None else f" --store {shlex.quote(self.location)}"
        for key, value in self.options.items():
            told = value if isinstance(value, str) else json.dumps(value)
            text += f" --option {shlex.quote(f'{key}={told}') if key in _HARMLESS else f'{key}=…'}"
        return text


def where(location: str | None, settings: Sequence[str] | None) -> Where:
    """Return which store is meant by ``--store`` and ``--option``."""
    return Where(location, dict(map(_setting, settings or ())))


def _setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        # What was given is not shown: it may be a secret without its name.
        raise InvalidInputError("--option takes KEY=VALUE, as in endpoint_url=http://localhost:9000")
    try:
        read = json.loads(value)
    except ValueError:
        return key, value
    if isinstance(read, int | float) and not isinstance(read, bool) and str(read) != value:
        return key, value  # digits that are no number, such as those of a password
    return key, read
