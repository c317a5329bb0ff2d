"""Pearson and Spearman correlation of many rows at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._order import average_ties, gather, stable_order

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]

__all__ = ["missing_in_either", "pearson", "spearman"]

_ROUNDING = 1e-14
"""Relative spread below which a row might be constant, the spread being nothing but rounding of its mean."""


def missing_in_either(left: Floats, right: Floats) -> Flags | None:
    """Return where a value is NaN on one side or both; None when nowhere."""
    missing = np.isnan(left)
    missing |= np.isnan(right)
    return missing if missing.any() else None


def pearson(left: Floats, right: Floats, missing: Flags | None) -> Floats:
    """Return the correlation of each row of `left` with the same row of `right`.

    Sum of the products of deviations from the mean over the root of the product of their squares' sums. NaN
    for fewer than two pairs, or when a side is constant or has an infinite value.
    """
    with np.errstate(invalid="ignore", divide="ignore", over="ignore", under="ignore"):
        left, left_square = _centred(left, missing)
        right, right_square = _centred(right, missing)
        product = np.einsum("ij,ij->i", left, right)
        return _bounded(product / np.sqrt(left_square) / np.sqrt(right_square))


def spearman(left: Floats, right: Floats, missing: Flags | None, *, exact: tuple[bool, bool]) -> Floats:
    """Return the rank correlation of each row of `left` with the same row of `right`.

    Ties share their mean rank. NaN for fewer than two pairs, or when a side is constant. `exact`: see
    `stable_order`, for either side.

    No ranks are carried back to the rows: with the right side put into the order of the left, a position is
    the left's rank, and sorting the right side then yields both ranks side by side.
    """
    rows, columns = left.shape
    order, left_tied = stable_order(left, missing, exact=exact[0])
    right = gather(right, order)
    if missing is None:
        size = np.full(rows, float(columns))
        tail = None
    else:
        size = columns - np.count_nonzero(missing, axis=1).astype(np.float64)
        tail = np.arange(columns) >= size[:, None]
    order, right_tied = stable_order(right, tail, exact=exact[1])
    place = np.arange(columns, dtype=np.float64)
    spread = size**3 - size  # twelve times the sum of squares of the centred ranks
    left_spread = right_spread = spread
    if tail is None and left_tied is None and right_tied is None:
        product = order.astype(np.float64) @ (place - (columns - 1) / 2)
    else:
        centre = (size[:, None] - 1) / 2
        right_rank = np.repeat(place[None, :], rows, axis=0)
        left_rank = order.astype(np.float64)
        if right_tied is not None:
            right_spread = spread - average_ties(right_rank, right_tied)
        if left_tied is not None:
            averaged = np.repeat(place[None, :], rows, axis=0)
            left_spread = spread - average_ties(averaged, left_tied)
            left_rank = gather(averaged, order)
        left_rank -= centre
        if tail is not None:
            left_rank[tail] = 0
        right_rank -= centre
        product = np.einsum("ij,ij->i", left_rank, right_rank)
    with np.errstate(invalid="ignore", divide="ignore"):
        return _bounded(12 * product / np.sqrt(left_spread) / np.sqrt(right_spread))


def _centred(values: Floats, missing: Flags | None) -> tuple[Floats, Floats]:
    """Return the rows less their means, 0 where missing, and their squares' sums, NaN for a constant row."""
    columns = values.shape[1]
    if missing is None:
        mean = values.sum(axis=1) / columns
        centred = values - mean[:, None]
    else:
        centred = np.where(missing, 0.0, values)
        mean = centred.sum(axis=1) / (columns - np.count_nonzero(missing, axis=1))
        centred -= mean[:, None]
        centred[missing] = 0
    square = np.einsum("ij,ij->i", centred, centred)
    narrow = np.flatnonzero(square <= columns * (_ROUNDING * mean) ** 2)
    if narrow.size:
        subset = values[narrow]
        gone = False if missing is None else missing[narrow]
        high = np.where(gone, -np.inf, subset).max(axis=1)
        low = np.where(gone, np.inf, subset).min(axis=1)
        square[narrow[high <= low]] = np.nan
    return centred, square


def _bounded(correlation: Floats) -> Floats:
    """Take away what rounding adds beyond a perfect correlation."""
    return np.clip(correlation, -1.0, 1.0, out=correlation)
