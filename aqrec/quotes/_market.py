"""Prices as dense arrays: one row a trading day, one column an instrument."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from aqrec.errors import InvalidValueError

__all__ = ["Market", "day_array", "long_columns"]

Days = npt.NDArray[np.datetime64]
Field = npt.NDArray[np.floating[Any]]


class Market:
    """Daily values of instruments, dense: an array of shape (days, instruments) for each field.

    Parameters
    ----------
    days
        Trading days, ascending and distinct: any array of dates without a time of day.
    instruments
        Distinct names, one for each column. They are put in ascending order, the columns with them.
    fields
        Arrays of shape (days, instruments), float32 or float64, by name (``$close``, ``$volume``…). NaN: not known;
        an instrument whose ``$close`` is NaN is suspended on that day.

    Raises
    ------
    InvalidValueError
        Days or names repeat or are out of order, or a shape does not fit.

    Notes
    -----
    Arrays are not copied unless names have to be sorted; do not change them afterwards. Memory: 4 or 8 bytes for each
    field, day and instrument.
    """

    def __init__(self, days: Any, instruments: Sequence[str], fields: Mapping[str, npt.NDArray[Any]]) -> None:
        self.days = day_array(days, "days")
        if len(self.days) > 1 and not (np.diff(self.days) > np.timedelta64(0, "ns")).all():
            raise InvalidValueError("days must be ascending and distinct")
        names = [str(name) for name in instruments]
        order = sorted(range(len(names)), key=names.__getitem__)
        in_order = order == list(range(len(names)))
        self.instruments: tuple[str, ...] = tuple(names[i] for i in order)
        self.columns = {name: column for column, name in enumerate(self.instruments)}
        if len(self.columns) != len(names):
            twice = next(a for a, b in zip(self.instruments, self.instruments[1:], strict=False) if a == b)
            raise InvalidValueError(f"instrument {twice!r} stands for several columns")
        shape = (len(self.days), len(names))
        self.fields: dict[str, Field] = {}
        for name, values in fields.items():
            array = np.asarray(values)
            if array.dtype.type not in (np.float32, np.float64):
                array = array.astype(np.float64)
            if array.shape != shape:
                raise InvalidValueError(
                    f"field {name!r} has the shape {array.shape}, but there are {shape[0]} days and {shape[1]} "
                    "instruments"
                )
            self.fields[name] = array if in_order else array[:, order]

    def __repr__(self) -> str:
        span = f"{self.days[0]:.10} to {self.days[-1]:.10}" if len(self.days) else "no days"
        return f"<Market {len(self.instruments)} instruments, {len(self.days)} days, {span}, {', '.join(self.fields)}>"

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, calendar: Any = None) -> Market:
        """Return the market of a long table.

        Parameters
        ----------
        frame
            One row for each instrument and day. ``instrument`` and ``datetime`` are columns or levels of the index;
            all other numeric columns are fields. A field's leading ``$`` may be left out.
        calendar
            The trading days. Default: the days that occur.

        Raises
        ------
        InvalidValueError
            A column is missing, a pair of instrument and day repeats, or a day is not in `calendar`.
        """
        names, times, columns = long_columns(frame, "quotes")
        moments = day_array(times, "the datetime column of quotes")
        days = np.unique(moments) if calendar is None else np.unique(day_array(calendar, "calendar"))
        codes, found = pd.factorize(names, sort=True)
        if (codes < 0).any() or np.isnat(moments).any():
            raise InvalidValueError("quotes have rows without an instrument or a day")
        rows = np.searchsorted(days, moments)
        outside = ~np.isin(moments, days)
        if outside.any():
            raise InvalidValueError(
                f"quotes have a row of {moments[outside.argmax()]:.10}, which is not in the calendar"
            )
        places = rows.astype(np.int64) * len(found) + codes
        taken = np.zeros(len(days) * len(found), dtype=bool)
        taken[places] = True
        if np.count_nonzero(taken) < len(places):
            first = int(pd.Series(places).duplicated().to_numpy().argmax())
            raise InvalidValueError(
                f"quotes have several rows of {str(found[codes[first]])!r} on {moments[first]:.10}"
            )
        fields = {}
        for name, values in columns.items():
            array = np.full(len(days) * len(found), np.nan, dtype=values.dtype)
            array[places] = values
            fields[name] = array.reshape(len(days), len(found))
        return cls(days, [str(name) for name in found], fields)

    def field(self, name: str) -> Field:
        """Return the array of a field."""
        try:
            return self.fields[name]
        except KeyError:
            raise InvalidValueError(
                f"the quotes have no field {name!r}; they have {', '.join(self.fields)}"
            ) from None

    def including(self, instruments: Iterable[str]) -> Market:
        """Return a market with these instruments too; nothing is known about those that are new."""
        new = sorted(set(instruments).difference(self.columns))
        if not new:
            return self
        unknown = {
            name: np.full((len(self.days), len(new)), np.nan, dtype=values.dtype)
            for name, values in self.fields.items()
        }
        return Market(
            self.days,
            [*self.instruments, *new],
            {name: np.hstack([values, unknown[name]]) for name, values in self.fields.items()},
        )


def long_columns(frame: Any, what: str) -> tuple[Any, Any, dict[str, Field]]:
    """Return names, times and fields of a long table whose keys are columns or levels of the index."""
    if not isinstance(frame, pd.DataFrame):
        raise InvalidValueError(f"{what} must be a pandas DataFrame, not {type(frame).__name__}")
    keys: dict[str, Any] = {}
    for key in ("instrument", "datetime"):
        if key in frame.columns:
            keys[key] = frame[key]
        elif key in frame.index.names:
            keys[key] = frame.index.get_level_values(key)
        else:
            raise InvalidValueError(
                f"{what} need {key!r} as a column or a level of the index; the columns are "
                f"{list(frame.columns)}, the levels {list(frame.index.names)}"
            )
    fields: dict[str, Field] = {}
    for name in frame.columns:
        if name in keys:
            continue
        column = frame[name]
        if not pd.api.types.is_numeric_dtype(column.dtype):
            continue
        values = column.to_numpy()
        if values.dtype.type not in (np.float32, np.float64):
            values = column.to_numpy(dtype=np.float64, na_value=np.nan)
        fields[name if str(name).startswith("$") else f"${name}"] = cast("Field", values)
    return keys["instrument"], keys["datetime"], fields


def day_array(days: Any, what: str) -> Days:
    """Return dates as datetime64[ns]; times of day and zones are refused. Text is ISO 8601, numbers are 20240131."""
    try:
        given = pd.Index(days)
        if pd.api.types.is_integer_dtype(given.dtype):
            given = given.astype(str)
        index = pd.DatetimeIndex(pd.to_datetime(given, format="ISO8601"))
    except (TypeError, ValueError) as error:
        raise InvalidValueError(f"{what} must hold dates such as 2024-01-31: {error}") from error
    if index.tz is not None:
        raise InvalidValueError(f"{what} must be dates without a time zone, not {index.tz}")
    if not (index.normalize() == index)[index.notna()].all():
        raise InvalidValueError(f"{what} must be days, without a time of day; normalize them first")
    return cast("Days", index.as_unit("ns").to_numpy())
