"""Days, as callers write them."""

from __future__ import annotations

import datetime as dt
import re
from numbers import Integral
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from aqrec._checks import shown
from aqrec.errors import InvalidValueError

__all__ = ["Days", "as_day", "day_array", "without_zone"]

Days = npt.NDArray[np.datetime64]

_FORMS = "a date, a Timestamp, a datetime64, text such as '2024-01-31', or the number 20240131"
_DATE = re.compile(r"\d{8}|\d{4}([-/.])\d{1,2}\1\d{1,2}")
_NUMBER = re.compile(r"[12]\d{7}")


def as_day(moment: Any, what: str = "the day") -> np.datetime64:
    """Return a moment as quotes keep their days, datetime64[ns].

    Parameters
    ----------
    moment
        A date, datetime, Timestamp or datetime64; text that begins with year, month and day (``2024-01-31``, ``20240131``,
        ``2024-1-31 09:30``); or the number 20240131. A time of day is kept: what begins at 09:30 begins after that day,
        whose own moment is midnight.
    what
        How to call it in errors.

    Raises
    ------
    InvalidValueError
        It is something else; only a year or a month; has a time zone, as it could be two days; or is outside of the years
        1678 to 2261.
    """
    text = str(moment).strip() if isinstance(moment, str) else None
    if issubclass(type(moment), Integral) and moment is not True and moment is not False:
        text = str(int(moment)) if _NUMBER.fullmatch(str(int(moment))) else ""
    if text is None and not isinstance(moment, dt.date | np.datetime64):
        text = ""
    if text is not None:
        date = re.split(r"[T ]", text, maxsplit=1)[0]
        if not _DATE.fullmatch(date):
            raise InvalidValueError(f"{what} must be {_FORMS}, not {shown(moment)}")
    try:
        stamp = pd.Timestamp(cast("Any", moment if text is None else text))
        if stamp.tzinfo is not None:
            raise InvalidValueError(
                f"{what} must be without a time zone, not {moment!r}, which is another day elsewhere; say which day is "
                "meant, by tz_localize(None) or tz_convert(…).tz_localize(None)"
            )
        day = stamp.as_unit("ns").to_datetime64()
    except (TypeError, ValueError) as error:
        if isinstance(error, InvalidValueError):
            raise
        raise InvalidValueError(f"{what} must be {_FORMS}, not {moment!r}: {error}") from error
    if np.isnat(day):
        raise InvalidValueError(f"{what} must be {_FORMS}, not {moment!r}")
    return day


def day_array(days: Any, what: str) -> Days:
    """Return dates, each of them as `as_day` takes it, as datetime64[ns]; what is missing stays so. No times of day."""
    try:
        given = pd.Index(days)
        if isinstance(given, pd.DatetimeIndex):
            index = without_zone(given, what).as_unit("ns")
        else:
            codes, distinct = pd.factorize(given)
            known = [as_day(moment, f"{what}: each") for moment in distinct]
            values = np.array([*known, np.datetime64("NaT", "ns")], dtype="datetime64[ns]")
            index = pd.DatetimeIndex(values[codes])
    except (TypeError, ValueError) as error:
        if isinstance(error, InvalidValueError):
            raise
        raise InvalidValueError(f"{what} must hold dates such as 2024-01-31: {error}") from error
    if not (index.normalize() == index)[index.notna()].all():
        raise InvalidValueError(f"{what} must be days, without a time of day; normalize them first")
    return cast("Days", index.to_numpy())


def without_zone(index: pd.DatetimeIndex, what: str) -> pd.DatetimeIndex:
    """Return dates that have no time zone; others are refused, since each could be two days."""
    if index.tz is None:
        return index
    raise InvalidValueError(
        f"{what} must be dates without a time zone, not {index.tz}; say which days are meant, by tz_localize(None) or "
        "tz_convert(…).tz_localize(None)"
    )
