"""Predictions and labels of the same rows, laid out day by day.

Everything here works on the integer codes of the MultiIndexes: the objects they stand for are compared once
per level, not once per row.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from aqrec.errors import InvalidValueError

from ._inputs import check_indexed, numeric_values

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Values = npt.NDArray[np.floating[Any]]
    Flags = npt.NDArray[np.bool_]
    Ints = npt.NDArray[np.int64]
    Codes = npt.NDArray[np.signedinteger[Any]]

__all__ = ["Block", "Panel", "align", "distinct_at_least", "row_codes", "sorted_level", "without_freq"]

BLOCK_VALUES = 1 << 16
"""Values of a block: its matrices fit a core's own cache, and no numpy call lasts a millisecond."""
CHUNK_ROWS = 1 << 20
"""Rows that one call handles where days do not matter."""
SPARSE = 4
"""Cells per row from which a grid (days, instruments) is too empty to be worth its memory."""


@dataclass(frozen=True, slots=True)
class Block:
    """Some consecutive days as matrices (days, rows of the longest day).

    Attributes
    ----------
    days
        Which days of the panel.
    pred
        float64, C-contiguous; NaN behind the end of a shorter day.
    label
        The label's dtype, C-contiguous; NaN behind the end of a shorter day.
    """

    days: slice
    pred: npt.NDArray[np.float64]
    label: Values


@dataclass(frozen=True, slots=True)
class Panel:
    """Rows of the outer join of predictions and labels, grouped by day.

    Attributes
    ----------
    dates
        The days that have rows, ascending, named after the date level.
    starts, sizes
        First row of each day, and how many it has.
    pred, label
        One value per row, NaN where that side has none. Within a day the rows keep the join's order.
    """

    dates: pd.Index[Any]
    starts: Ints
    sizes: Ints
    pred: Values
    label: Values

    @classmethod
    def from_sizes(cls, dates: pd.Index[Any], sizes: npt.NDArray[Any], pred: Values, label: Values) -> Panel:
        """Build a panel from the sizes of all days that might have rows; the others are left out."""
        used = np.flatnonzero(sizes)
        sizes = sizes[used].astype(np.int64)
        return cls(without_freq(dates.take(used)), np.cumsum(sizes) - sizes, sizes, pred, label)

    def complete(self) -> Panel:
        """Return the panel of the rows that have both values."""
        keep = ~(np.isnan(self.pred) | np.isnan(self.label))
        if keep.all():
            return self
        ends = np.concatenate(([0], np.cumsum(keep)))
        sizes = ends[self.starts + self.sizes] - ends[self.starts]
        return Panel.from_sizes(self.dates, sizes, self.pred[keep], self.label[keep])

    def less(self, means: Values) -> Panel:
        """Return the panel with each day's mean taken off its labels."""
        label = np.empty_like(self.label)
        with np.errstate(invalid="ignore"):
            for begin, end in self._spans():  # numpy.repeat keeps other threads waiting
                first, last = int(self.starts[begin]), int(self.starts[end - 1] + self.sizes[end - 1])
                shift = np.repeat(means[begin:end], self.sizes[begin:end])
                np.subtract(self.label[first:last], shift, out=label[first:last])
        return replace(self, label=label)

    def blocks(self) -> Iterator[Block]:
        """Cut the panel into blocks of at most `BLOCK_VALUES` values, or of a single day."""
        return (self._block(begin, end) for begin, end in self._spans())

    def _spans(self) -> Iterator[tuple[int, int]]:
        begin = longest = 0
        for day, size in enumerate(self.sizes.tolist()):
            longest = max(longest, size)
            if day > begin and longest * (day - begin + 1) > BLOCK_VALUES:
                yield begin, day
                begin, longest = day, size
        if self.sizes.size:
            yield begin, self.sizes.size

    def _block(self, begin: int, end: int) -> Block:
        sizes = self.sizes[begin:end]
        first, last = int(self.starts[begin]), int(self.starts[end - 1] + sizes[-1])
        pred, label = self.pred[first:last], self.label[first:last]
        shape = end - begin, int(sizes.max())
        if pred.size == shape[0] * shape[1]:
            pred, label = pred.reshape(shape), label.reshape(shape)
        else:
            filled = np.arange(shape[1]) < sizes[:, None]
            pred, label = (_spread(values, filled, shape) for values in (pred, label))
        return Block(slice(begin, end), np.ascontiguousarray(pred, np.float64), np.ascontiguousarray(label))


@dataclass(frozen=True, slots=True)
class _Side:
    """One Series to be joined: its index, which level has the dates, and its values."""

    index: pd.MultiIndex
    where: int
    values: Values

    @property
    def dates(self) -> pd.Index[Any]:
        return self.index.levels[self.where]


def align(pred: Any, label: Any, date_col: str) -> Panel:
    """Join predictions and labels by row, outer, like a DataFrame of the two.

    Equal indexes keep their row order within a day and may repeat rows; different ones are merged in sorted
    order. Rows without a date are dropped.

    Raises
    ------
    InvalidValueError
        An argument is not a Series with a MultiIndex that has the level `date_col`, or holds no numbers;
        the two indexes have other levels or other kinds of dates; or they differ and one repeats rows.
    """
    series, index, where = check_indexed(pred, "pred", date_col)
    left = _Side(index, where, numeric_values(series, "pred"))
    series, index, where = check_indexed(label, "label", date_col)
    right = _like(left, _Side(index, where, numeric_values(series, "label")))
    _check_dates(left.dates, right.dates)
    if not right.values.size:
        right = replace(left, values=np.full(left.values.size, np.nan, right.values.dtype))
    elif not left.values.size:
        left = replace(right, values=np.full(right.values.size, np.nan, left.values.dtype))
    if _same_codes(left.index, right.index):
        dates, days = sorted_level(left.index, left.where)
        return _by_day(dates, days, left.values, right.values)
    return (_merge(left, right) if left.index.nlevels == 2 else None) or _join(left, right)


def row_codes(index: pd.MultiIndex, where: int) -> Codes:
    """Return each row's position in a level, -1 for a missing value."""
    return cast("Codes", index.codes[where])


def sorted_level(index: pd.MultiIndex, where: int) -> tuple[pd.Index[Any], Codes]:
    """Return a level in ascending order, and each row's position in it, -1 for a missing value."""
    level, codes = index.levels[where], row_codes(index, where)
    if level.is_monotonic_increasing:
        return level, codes
    try:
        ascending = level.sort_values()
    except TypeError as error:
        msg = f"the index level {index.names[where]!r} holds values that cannot be ordered: {error}"
        raise InvalidValueError(msg) from error
    return ascending, _recode(ascending.get_indexer(level), codes)


def distinct_at_least(index: pd.MultiIndex, where: int, wanted: int) -> bool:
    """Tell whether the rows name `wanted` different values of a level or more."""
    codes = row_codes(index, where)
    seen = np.zeros(len(index.levels[where]) + 1, np.bool_)  # the last place is that of a missing value
    for start in range(0, codes.size, CHUNK_ROWS):
        seen[codes[start : start + CHUNK_ROWS]] = True
        if np.count_nonzero(seen) >= wanted:
            return True
    return False


def without_freq(dates: pd.Index[Any]) -> pd.Index[Any]:
    """Return the dates without a frequency, which is that of the input and not of the days left."""
    if isinstance(dates, pd.DatetimeIndex | pd.TimedeltaIndex):
        changed: Any = dates.copy()
        changed.freq = None
        return cast("pd.Index[Any]", changed)
    return dates


def _spread(values: Values, filled: Flags, shape: tuple[int, int]) -> Values:
    matrix = np.full(shape, np.nan, values.dtype)
    matrix[filled] = values
    return matrix


def _like(left: _Side, right: _Side) -> _Side:
    """Return `right` with its levels in the order of `left`."""
    ours, theirs = list(left.index.names), list(right.index.names)
    if len(ours) == len(theirs):
        if left.where == right.where:
            return right
        if len(ours) == 2:
            return replace(right, index=right.index.swaplevel(), where=left.where)
        if sorted(map(repr, ours)) == sorted(map(repr, theirs)) and len(set(ours)) == len(ours):
            index = right.index.reorder_levels(ours)
            return replace(right, index=index, where=left.where)
    msg = f"pred and label have different index levels: {ours} and {theirs}"
    raise InvalidValueError(msg)


def _check_dates(left: pd.Index[Any], right: pd.Index[Any]) -> None:
    ours, theirs = _kind(left), _kind(right)
    if ours != theirs and len(left) and len(right):
        msg = f"pred has {ours}, label has {theirs}, so that no day can match: convert one of them"
        raise InvalidValueError(msg)


def _kind(dates: pd.Index[Any]) -> str:
    if isinstance(dates, pd.DatetimeIndex):
        return "dates without a time zone" if dates.tz is None else "dates with a time zone"
    return "periods as dates" if isinstance(dates, pd.PeriodIndex) else "a date level that holds no dates"


def _same_codes(left: pd.MultiIndex, right: pd.MultiIndex) -> bool:
    if left is right:
        return True
    return len(left) == len(right) and all(
        (ours.dtype == theirs.dtype and ours.equals(theirs))
        and np.array_equal(row_codes(left, where), row_codes(right, where))
        for where, (ours, theirs) in enumerate(zip(left.levels, right.levels, strict=True))
    )


def _by_day(dates: pd.Index[Any], days: Codes, pred: Values, label: Values) -> Panel:
    """Group the rows by day, keeping their order within one; `days` are positions in `dates`."""
    if (days[1:] < days[:-1]).any():
        if len(dates) < 1 << 15:
            days = days.astype(np.int16, copy=False)  # sorted by radix
        rows = np.argsort(days, kind="stable")
        days, pred, label = days[rows], pred[rows], label[rows]
    bounds = np.searchsorted(days, np.arange(len(dates) + 1).astype(days.dtype))
    first = int(bounds[0])  # before it are the rows without a date
    return Panel.from_sizes(dates, np.diff(bounds), pred[first:], label[first:])


def _merge(left: _Side, right: _Side) -> Panel | None:
    """Merge two different indexes of two levels; None when rows repeat or lack a date or an instrument."""
    dates, left_day, right_day = _common_level(left.index, right.index, left.where)
    names, left_name, right_name = _common_level(left.index, right.index, 1 - left.where)
    if any(int(codes.min()) < 0 for codes in (left_day, left_name, right_day, right_name)):
        return None
    if np.array_equal(left_day, right_day) and np.array_equal(left_name, right_name):
        return _by_day(dates, left_day, left.values, right.values)
    width = len(names)
    cells = len(dates) * width
    if cells <= SPARSE * (left.values.size + right.values.size):
        pred = _scatter(left.values, _cells(left_day, left_name, width), cells)
        label = _scatter(right.values, _cells(right_day, right_name, width), cells)
        used = None
    else:
        parts = [*_cells(left_day, left_name, width), *_cells(right_day, right_name, width)]
        used, places = np.unique(np.concatenate(parts), return_inverse=True)
        pred = _scatter(left.values, [places[: left.values.size]], used.size)
        label = _scatter(right.values, [places[left.values.size :]], used.size)
    if pred is None or label is None:
        return None
    if used is not None:
        sizes = np.bincount(used // width, minlength=len(dates))
        return Panel.from_sizes(dates, sizes, pred[0], label[0])
    seen = np.logical_or(pred[1], label[1], out=pred[1])
    sizes = np.count_nonzero(seen.reshape(len(dates), width), axis=1)
    if seen.all():
        return Panel.from_sizes(dates, sizes, pred[0], label[0])
    return Panel.from_sizes(dates, sizes, pred[0][seen], label[0][seen])


def _common_level(
    left: pd.MultiIndex, right: pd.MultiIndex, where: int
) -> tuple[pd.Index[Any], Codes, Codes]:
    """Return one ascending level for both indexes, and the rows' positions in it."""
    ours, theirs = left.levels[where], right.levels[where]
    union = ours if ours.equals(theirs) else ours.union(theirs, sort=False)
    if not union.is_monotonic_increasing:
        with contextlib.suppress(TypeError):  # names of mixed types have no order: any fixed one will do
            union = union.sort_values()
    return (
        union,
        _recode(union.get_indexer(ours), row_codes(left, where)),
        _recode(union.get_indexer(theirs), row_codes(right, where)),
    )


def _recode(positions: npt.NDArray[Any], codes: Codes) -> Codes:
    """Translate codes by a table of positions; -1 stays -1."""
    if np.array_equal(positions, np.arange(positions.size)):
        return codes
    recoded: Codes = np.append(positions, -1).astype(np.int32).take(codes)
    return recoded


def _cells(days: Codes, names: Codes, width: int) -> Iterator[Ints]:
    """Yield the cells of a grid (days, instruments) that the rows stand for, in portions."""
    for start in range(0, days.size, CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        yield days[rows].astype(np.int64) * width + names[rows]


def _scatter(values: Values, cells: Any, total: int) -> tuple[Values, Flags] | None:
    """Put values into cells, NaN elsewhere, and say which have one; None when two values share a cell."""
    placed = np.full(total, np.nan, values.dtype)
    seen = np.zeros(total, np.bool_)
    start = 0
    for portion in cells:
        placed[portion] = values[start : start + portion.size]
        seen[portion] = True
        start += portion.size
    return (placed, seen) if np.count_nonzero(seen) == values.size else None


def _join(left: _Side, right: _Side) -> Panel:
    """Leave an unusual join (three levels, missing keys, repeated rows) to pandas."""
    try:
        frame = pd.DataFrame(
            {"pred": pd.Series(left.values, left.index), "label": pd.Series(right.values, right.index)}
        )
    except (TypeError, ValueError) as error:
        msg = (
            f"pred and label have different indexes and cannot be joined row by row ({error}): "
            "drop repeated rows, or give both the same index"
        )
        raise InvalidValueError(msg) from error
    dates, days = sorted_level(cast("pd.MultiIndex", frame.index), left.where)
    return _by_day(
        dates, days, numeric_values(frame["pred"], "pred"), numeric_values(frame["label"], "label")
    )
