"""Values as people read them. Pure functions."""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from typing import Any

__all__ = ["ago", "cut", "duration", "iso", "moment", "number", "one_line", "plain", "plural", "size"]

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
# C0 and C1 controls, and the marks that turn the direction of writing around.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def plain(text: str, *, keep: str = "") -> str:
    """Return text from a store fit for a terminal: what could steer the terminal is shown as an escape.

    `keep` names characters that stay, such as the line breaks of a text that is printed as a whole.
    """
    return _CONTROLS.sub(
        lambda found: found[0] if found[0] in keep else found[0].encode("unicode_escape").decode(), text
    )


def one_line(value: Any) -> str:
    """Return a param or tag as one line: text as it is, everything else as JSON."""
    if isinstance(value, str):
        return plain(value)
    return plain(json.dumps(value, ensure_ascii=False))


def cut(text: str, length: int) -> str:
    """Return the text, or its beginning and a mark that tells how much was left out."""
    if len(text) <= length:
        return text
    mark = f"… ({len(text):,} characters)"
    return text[: max(length - len(mark), 1)] + mark


def plural(count: int, noun: str, several: str | None = None) -> str:
    """Return a count with its noun."""
    return f"{count:,} {noun if count == 1 else several or noun + 's'}"


def number(value: float, digits: int = 6) -> str:
    """Return a metric's value with so many significant digits; whole numbers entirely."""
    if value.is_integer() and abs(value) < 1e15:
        return f"{value:.0f}"
    return f"{value:.{digits}g}"


def size(count: int) -> str:
    """Return a number of bytes, in units of 1000."""
    if count < 1000:
        return f"{count} B"
    power = min(int(math.log10(count) / 3), 4)
    value = count / 1000**power
    if value >= 999.95 and power < 4:
        power, value = power + 1, value / 1000
    return f"{value:.1f} {'kMGT'[power - 1]}B"


def duration(milliseconds: int) -> str:
    """Return a time span by its two largest units."""
    seconds = max(milliseconds, 0) / 1000
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < _MINUTE:
        return f"{int(seconds * 10) / 10:.1f} s"
    if seconds < _HOUR:
        return f"{int(seconds // _MINUTE)} min {int(seconds % _MINUTE)} s"
    if seconds < _DAY:
        return f"{int(seconds // _HOUR)} h {int(seconds % _HOUR // _MINUTE)} min"
    return f"{int(seconds // _DAY)} d {int(seconds % _DAY // _HOUR)} h"


def moment(milliseconds: int, *, seconds: bool = False, year: bool = True) -> str:
    """Return a time, given in ms since epoch, in the local time zone."""
    try:
        local = dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC).astimezone()
    except (OverflowError, ValueError, OSError):
        return _far(milliseconds)
    return local.strftime(f"{'%Y-' if year else ''}%m-%d %H:%M{':%S' if seconds else ''}")


def iso(milliseconds: int | None) -> str | None:
    """Return a time, given in ms since epoch, as ISO 8601 in UTC."""
    if milliseconds is None:
        return None
    try:
        return dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):
        return _far(milliseconds)


def _far(milliseconds: int) -> str:
    """Return a time that Python has no date for, as earlier versions and other recorders have stored."""
    import numpy as np  # noqa: PLC0415 - seldom needed

    return f"{np.datetime64(milliseconds, 'ms')}+00:00"


def ago(milliseconds: int, now: int) -> str:
    """Return how long before `now` a time was, both in ms since epoch."""
    seconds = (now - milliseconds) // 1000
    for length, unit in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= length:
            return f"{seconds // length:,} {unit} ago"
    return f"{seconds} s ago" if seconds > 0 else "now"
