"""Prices as dense arrays: one row a trading day, one column an instrument."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from aqrec.errors import InvalidValueError

from ._days import day_array

__all__ = ["Market", "long_columns", "part_of"]

Field = npt.NDArray[np.floating[Any]]
Flags = npt.NDArray[np.bool_]

KNOWN = frozenset(
    f"${name}" for name in ("amount", "change", "close", "factor", "high", "low", "open", "volume", "vwap")
)
"""Fields that cannot be something else than numbers; columns of other names may be notes"""

_NUMBERS_AS_OBJECTS = frozenset({"boolean", "decimal", "empty", "floating", "integer", "mixed-integer-float"})


class Market:
    """Daily values of instruments, dense: an array of shape (days, instruments) for each field.

    Parameters
    ----------
    days
        Trading days, ascending and distinct: any array of dates without a time of day.
    instruments
        Distinct names, one for each column. They are put in ascending order, the columns with them.
    fields
        Arrays of real numbers of shape (days, instruments), by name (``$close``, ``$volume``…; the ``$`` may be left out).
        float32 is kept, anything else becomes float64. NaN: not known; an instrument whose ``$close`` is NaN is
        suspended on that day.
    listed
        Where an instrument may be traded, bool of shape (days, instruments). Elsewhere it is suspended, but its values
        count for what looks back at them, and for a benchmark. None: everywhere.
    references
        Instruments to compare with, such as an index. They do not decide whether there are lots, which ends where
        some instrument has no ``$factor``.

    Raises
    ------
    InvalidValueError
        Days or names repeat or are out of order, a shape does not fit, or a field holds anything but real numbers.

    Notes
    -----
    Arrays are not copied unless names have to be sorted; do not change them afterwards. Memory: 4 or 8 bytes for each
    field, day and instrument.
    """

    def __init__(
        self,
        days: Any,
        instruments: Sequence[str],
        fields: Mapping[str, npt.NDArray[Any]],
        *,
        listed: npt.NDArray[np.bool_] | None = None,
        references: Iterable[str] = (),
    ) -> None:
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

        def placed(what: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
            if array.shape == shape:
                return array if in_order else array[:, order]
            raise InvalidValueError(
                f"{what} has the shape {array.shape}, but there are {shape[0]} days and {shape[1]} instruments"
            )

        self.fields: dict[str, Field] = {
            named: placed(f"field {name!r}", _floats(np.asarray(fields[name]), f"field {name!r}"))
            for named, name in _field_names(fields).items()
        }
        self.listed: Flags | None = (
            None if listed is None else placed("listed", np.asarray(listed, dtype=bool))
        )
        self.references = frozenset(map(str, references)).intersection(self.columns)

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
            all other columns of numbers are fields. A field's leading ``$`` may be left out. Other columns, such as
            a company's name, are left out, unless the name begins with ``$`` or is one that only numbers can have
            (open, high, low, close, vwap, volume, amount, factor, change): then they are refused.
        calendar
            The trading days. Default: the days that occur.

        Raises
        ------
        InvalidValueError
            A column is missing, is there both with and without its ``$``, or holds something else than numbers; a pair of
            instrument and day repeats; or a day is not in `calendar`.
        """
        names, times, columns = long_columns(frame, "quotes")
        moments = day_array(times, "the datetime column of quotes")
        days = np.unique(moments) if calendar is None else np.unique(day_array(calendar, "calendar"))
        codes, found = pd.factorize(names, sort=True)
        if (codes < 0).any() or np.isnat(moments).any() or "" in found:
            raise InvalidValueError("quotes have rows without an instrument or a day; drop or complete them")
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
        """Return a market where these instruments are traded too; nothing is known about those that are new."""
        wanted = set(instruments)
        new = sorted(wanted.difference(self.columns))
        references = self.references - wanted
        if not new and references == self.references:
            return self

        def wider(values: npt.NDArray[Any], fill: float | bool) -> npt.NDArray[Any]:
            return np.hstack([values, np.full((len(self.days), len(new)), fill, dtype=values.dtype)])

        return Market(
            self.days,
            [*self.instruments, *new],
            {name: wider(values, np.nan) for name, values in self.fields.items()} if new else self.fields,
            listed=wider(self.listed, fill=True) if new and self.listed is not None else self.listed,
            references=references,
        )

    def comparing(self, instruments: Iterable[str]) -> Market:
        """Return a market where these instruments are references too."""
        references = self.references.union(instruments).intersection(self.columns)
        if references == self.references:
            return self
        return Market(self.days, self.instruments, self.fields, listed=self.listed, references=references)


def part_of(market: Market, days: slice, instruments: Sequence[str] | None = None) -> Market:
    """Return some days and, if named, instruments of a market."""
    names = market.instruments if instruments is None else instruments
    columns: Any = slice(None) if instruments is None else [market.columns[name] for name in names]
    return Market(
        market.days[days],
        names,
        {name: values[days, columns] for name, values in market.fields.items()},
        listed=None if market.listed is None else market.listed[days, columns],
        references=market.references.intersection(names),
    )


def long_columns(frame: Any, what: str) -> tuple[Any, Any, dict[str, Field]]:
    """Return names, times and fields of a long table whose keys are columns or levels of the index."""
    if not isinstance(frame, pd.DataFrame):
        raise InvalidValueError(f"{what} must be a pandas DataFrame, not {type(frame).__name__}")
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise InvalidValueError(f"{what} have several columns {twice!r}; keep one")
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
    for named, name in _field_names(column for column in frame.columns if column not in keys).items():
        values = _numbers(frame[name])
        if values is not None:
            fields[named] = values
        elif named in KNOWN or str(name).startswith("$"):
            raise InvalidValueError(
                f"the column {name!r} of {what} must hold real numbers, but its dtype is {frame[name].dtype}; convert it, for "
                "instance with pandas.to_numeric, or leave it out"
            )
    return keys["instrument"], keys["datetime"], fields


def _field_names(given: Iterable[Hashable]) -> dict[str, Any]:
    """Return the names with their ``$``, each with what was given for it."""
    made: dict[str, Any] = {}
    for name in given:
        named = str(name) if str(name).startswith("$") else f"${name}"
        if named in made:
            raise InvalidValueError(
                f"the field {named} is given twice, as {made[named]!r} and {name!r}; leave one of them out"
            )
        made[named] = name
    return made


def _floats(array: npt.NDArray[Any], what: str) -> Field:
    if array.dtype.type in (np.float32, np.float64):
        return array
    if array.dtype.kind not in "biufO":
        raise InvalidValueError(f"{what} must hold real numbers, but its dtype is {array.dtype}")
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidValueError(f"{what} must hold real numbers: {error}") from error


def _numbers(column: pd.Series[Any]) -> Field | None:
    """Return the values of a column, missing ones as NaN; None if they are no real numbers."""
    dtype: Any = column.dtype
    if isinstance(dtype, np.dtype) and dtype.type in (np.float32, np.float64):
        return cast("Field", column.to_numpy())
    if pd.api.types.is_object_dtype(dtype):
        real = pd.api.types.infer_dtype(column, skipna=True) in _NUMBERS_AS_OBJECTS
    else:
        real = pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_complex_dtype(dtype)
    return column.to_numpy(dtype=np.float64, na_value=np.nan) if real else None
