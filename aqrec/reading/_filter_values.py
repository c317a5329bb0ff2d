"""Times and durations as people write them in filters; pure functions."""

from __future__ import annotations

import datetime as dt
import re
from typing import Final

__all__ = ["SPAN_FORMS", "TIME_FORMS", "read_moment", "read_span"]

SPAN_FORMS: Final = "a number of seconds, or text such as '90 s', '1.5 hours' or '2 d'"
TIME_FORMS: Final = (
    "ms since epoch, or text such as '2024-05-31', '2024-05-31T16:00:00+02:00' (UTC without an offset), "
    "'7 days ago', 'today', 'yesterday' or 'now'"
)

_DAY: Final = 86_400_000
_UNITS: Final[dict[str, int]] = {
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 1),
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1000),
    **dict.fromkeys(("min", "minute", "minutes"), 60_000),
    **dict.fromkeys(("h", "hour", "hours"), 3_600_000),
    **dict.fromkeys(("d", "day", "days"), _DAY),
    **dict.fromkeys(("w", "week", "weeks"), 7 * _DAY),
}
_SPAN: Final = re.compile(r"\s*([0-9]{1,12}(?:\.[0-9]{1,9})?)\s*([A-Za-z]+)\s*")
_AGO: Final = re.compile(r"(.*\S)\s+ago\s*", re.IGNORECASE | re.DOTALL)
_DAYS: Final = {"today": 0, "yesterday": 1}


def read_span(text: str) -> float | None:
    """Return a duration in ms, or None if the text is none."""
    found = _SPAN.fullmatch(text)
    unit = _UNITS.get(found[2].lower()) if found else None
    return None if found is None or unit is None else float(found[1]) * unit


def read_moment(text: str, now: int) -> int | None:
    """Return a time in ms since epoch, or None if the text is none; `now` is ms since epoch, too."""
    word = text.strip().lower()
    if word == "now":
        return now
    if word in _DAYS:
        return now - now % _DAY - _DAYS[word] * _DAY
    if ago := _AGO.fullmatch(text):
        span = read_span(ago[1])
        return None if span is None else now - round(span)
    try:
        moment = dt.datetime.fromisoformat(text.strip())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=dt.UTC)
        # Exactly, also before 1970 and where the float of timestamp() would round.
        return (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        return None
