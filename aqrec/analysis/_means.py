"""Means with the rounding that pandas gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from ._panel import Panel

__all__ = ["compensated_means", "leading_means"]

LONGEST_COMPENSATED = 1 << 15
"""Rows of a day up to which its sum is compensated: a loop over these rows serves all days at once."""


def compensated_means(panel: Panel) -> npt.NDArray[np.floating[Any]]:
    """Return the mean label of each day in the label's own precision.

    NaN labels are skipped; a day without any other is NaN. The sum is Kahan's (Comm. ACM 8, 1965), row by
    row: a grouped mean in pandas is formed like this, and a label that equals its day's mean must do so
    here as well. From days of more than `LONGEST_COMPENSATED` rows on, all sums are numpy's pairwise ones
    in float64.
    """
    label = panel.label
    means = np.full(panel.sizes.size, np.nan, label.dtype)
    if panel.sizes.size == 0:
        return means
    if int(panel.sizes.max()) > LONGEST_COMPENSATED:
        for day, (start, size) in enumerate(zip(panel.starts.tolist(), panel.sizes.tolist(), strict=True)):
            values = label[start : start + size]
            values = values[~np.isnan(values)]
            if values.size:
                means[day] = values.sum(dtype=np.float64) / values.size
        return means
    by_size = np.argsort(-panel.sizes, kind="stable")
    sizes = panel.sizes[by_size]
    reaching = np.searchsorted(-sizes, -np.arange(int(sizes[0])), side="left")  # days that have a row k
    finite = bool(np.isfinite(label).all())
    total = np.zeros(sizes.size, label.dtype)
    excess = np.zeros(sizes.size, label.dtype)
    count = np.zeros(sizes.size, label.dtype)
    position = panel.starts[by_size]
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        for days in reaching.tolist():
            value = label.take(position[:days])
            summed, error = total[:days], excess[:days]
            step = value - error
            grown = summed + step
            if finite:
                np.subtract(grown, summed, out=error)
                error -= step
                summed[:] = grown
            else:
                step = (grown - summed) - step
                step[np.isnan(step)] = 0  # behind an infinite value
                some = ~np.isnan(value)
                np.copyto(error, step, where=some)
                np.copyto(summed, grown, where=some)
                count[:days] += some
            position += 1
        means[by_size] = total / (sizes.astype(label.dtype) if finite else count)
    return means


def leading_means(
    matrix: npt.NDArray[np.floating[Any]], counts: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.floating[Any]], npt.NDArray[np.bool_]]:
    """Return the mean of the first ``counts[i]`` values of each row, NaN skipped, and which rows have one.

    Sums and quotients are in the matrix's own precision, each row by itself, as in the mean of a Series.
    """
    means = np.full(matrix.shape[0], np.nan, matrix.dtype)
    found = np.zeros(matrix.shape[0], np.bool_)
    with np.errstate(invalid="ignore", over="ignore"):
        for count in np.unique(counts[counts > 0]).tolist():
            rows = np.flatnonzero(counts == count)
            chosen = matrix[rows, :count]
            missing = np.isnan(chosen)
            chosen[missing] = 0
            present = count - np.count_nonzero(missing, axis=1)
            some = present > 0
            means[rows[some]] = chosen.sum(axis=1)[some] / present[some].astype(matrix.dtype)
            found[rows[some]] = True
    return means, found
