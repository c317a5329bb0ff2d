"""Stable orders of many short rows at once.

A row is sorted by one plain integer sort, which numpy vectorises, instead of an ``argsort``, which follows
pointers: the float's bits become an integer of the same order, and its lowest bits make room for the column
number. What this cuts off the value hardly ever decides an order; rows where it might are recognised and
ordered again from their full values, so the result is exact. Equal values keep the order of their columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

__all__ = ["average_ties", "gather", "leading_columns", "stable_order"]

ScalarT = TypeVar("ScalarT", bound=np.generic)

_HIGHEST = np.int64(0x7FFF_FFFF_FFFF_FFFF)
_FLOAT32_SPARE_BITS = 29
"""Low bits of a float64 that are zero when it holds a float32."""


def gather(matrix: npt.NDArray[ScalarT], columns: Ints) -> npt.NDArray[ScalarT]:
    """Return ``matrix[i, columns[i, j]]``; `matrix` is C-contiguous."""
    offsets = np.arange(matrix.shape[0], dtype=np.int64)[:, None] * matrix.shape[1]
    chosen: npt.NDArray[ScalarT] = matrix.ravel().take(columns + offsets)
    return chosen


def stable_order(values: Floats, absent: Flags | None, *, exact: bool) -> tuple[Ints, Flags | None]:
    """Return the columns of each row in ascending, stable order of `values`, and where neighbours tie.

    Parameters
    ----------
    values
        (rows, columns).
    absent
        True where there is no value; these columns come last, in their own order. None: nothing is absent
        or NaN.
    exact
        Every value is a float32 in disguise, so that the packed key loses nothing.

    Returns
    -------
    order
        int64 (rows, columns).
    tied
        (rows, columns - 1): True where the values at order positions j and j + 1 are equal. None: no ties
        at all.
    """
    keys, low = _pack(values, absent)
    keys.sort(axis=1)
    close = _same_prefix(keys, low)
    order = np.bitwise_and(keys, low, out=keys)
    if absent is not None:
        present = values.shape[1] - np.count_nonzero(absent, axis=1)
        close &= np.arange(1, values.shape[1]) < present[:, None]
    if not close.any():
        return order, None
    if exact and _lossless(low):
        return order, close
    rows = np.flatnonzero(close.any(axis=1))
    subset = values[rows]
    if absent is not None:
        subset[absent[rows]] = np.nan
    columns = order[rows]
    ordered = gather(subset, columns)
    wrong = np.flatnonzero((ordered[:, 1:] < ordered[:, :-1]).any(axis=1))
    if wrong.size:
        columns[wrong] = np.argsort(subset[wrong], axis=1, kind="stable")
        order[rows] = columns
        ordered[wrong] = gather(subset[wrong], columns[wrong])
    close[rows] = ordered[:, 1:] == ordered[:, :-1]
    return order, close if close.any() else None


def leading_columns(values: Floats, absent: Flags | None, count: int, *, largest: bool, exact: bool) -> Ints:
    """Return the first `count` columns of the stable order of each row, for less than sorting it.

    Parameters
    ----------
    values, absent, exact
        As for `stable_order`.
    count
        1 … columns.
    largest
        Descending instead of ascending; ties still keep the order of their columns, absent ones still come
        last.
    """
    keys, low = _pack(values, absent)
    if largest:
        keys ^= ~low  # the key of -x is the complement of the key of x
        if absent is not None:
            np.copyto(keys, (_HIGHEST & ~low) | np.arange(values.shape[1]), where=absent)
    kept = min(count + 1, values.shape[1])  # one more, to see a tie across the cut
    if kept < values.shape[1]:
        keys.partition(kept - 1, axis=1)
        keys = keys[:, :kept].copy()
    keys.sort(axis=1)
    leading = (keys & low)[:, :count]
    if exact and _lossless(low):
        return leading
    close = _same_prefix(keys, low)
    rows = np.flatnonzero(close.any(axis=1))
    if rows.size:
        rows = rows[_lossy(values[rows], keys[rows] & low, close[rows], low)]
    if rows.size:
        subset = np.negative(values[rows]) if largest else values[rows]
        order, _ = stable_order(subset, None if absent is None else absent[rows], exact=False)
        leading[rows] = order[:, :count]
    return leading


def average_ties(ranks: Floats, tied: Flags) -> Floats:
    """Replace the ranks of equal values by their mean, in place.

    Parameters
    ----------
    ranks
        (rows, columns), C-contiguous: rank of the value at each position of the order.
    tied
        As returned by `stable_order`.

    Returns
    -------
    Sum of t³ - t over the groups of t equal values, for each row.
    """
    pairs = np.flatnonzero(tied)
    row = pairs // tied.shape[1]
    position = pairs + row
    begins = np.flatnonzero(np.concatenate(([True], position[1:] != position[:-1] + 1)))
    lengths = np.diff(begins, append=position.size) + 1
    firsts = position[begins]
    flat = ranks.reshape(-1)
    means = flat[firsts] + (lengths - 1) / 2
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    flat[np.repeat(firsts, lengths) + within] = np.repeat(means, lengths)
    sums = np.zeros(ranks.shape[0])
    np.add.at(sums, row[begins], lengths.astype(np.float64) ** 3 - lengths)
    return sums


def _pack(values: Floats, absent: Flags | None) -> tuple[Ints, np.int64]:
    """Return keys that sort like (value, column), and the mask of the bits that hold the column."""
    columns = values.shape[1]
    low = np.int64((1 << max(1, (columns - 1).bit_length())) - 1)
    keys = (values + 0.0).view(np.int64)  # + 0.0 makes the two zeros one
    flip = keys >> 63
    flip &= _HIGHEST
    keys ^= flip
    if absent is not None:
        np.copyto(keys, _HIGHEST, where=absent)
    keys &= ~low
    keys |= np.arange(columns)
    return keys, low


def _lossy(values: Floats, head: Ints, close: Flags, low: np.int64) -> Flags:
    """Return in which rows unequal values share a prefix, and may be misplaced in `head` or left out."""
    ordered = gather(values, head)
    lossy: Flags = (close & (ordered[:, 1:] != ordered[:, :-1])).any(axis=1)
    if head.shape[1] < values.shape[1]:
        cut = np.flatnonzero(close[:, -1])
        behind = values[cut]
        last = ordered[cut, -1:]
        bits = (behind + 0.0).view(np.uint64) ^ (last + 0.0).view(np.uint64)
        lossy[cut] |= ((bits <= np.uint64(low)) & (behind != last)).any(axis=1)
    return lossy


def _lossless(low: np.int64) -> bool:
    return int(low) < 1 << _FLOAT32_SPARE_BITS


def _same_prefix(keys: Ints, low: np.int64) -> Flags:
    bits = keys.view(np.uint64)
    same: Flags = (bits[:, 1:] ^ bits[:, :-1]) <= np.uint64(low)
    return same
