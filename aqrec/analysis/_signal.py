"""How well predictions tell labels apart, day by day."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from aqrec.errors import InvalidValueError

from ._correlation import missing_in_either, pearson, spearman
from ._inputs import check_indexed, check_lag, check_level, check_quantile, numeric_values
from ._means import compensated_means, leading_means
from ._order import gather, leading_columns
from ._panel import BLOCK_VALUES, align, distinct_at_least, row_codes, sorted_level, without_freq

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping

    import numpy.typing as npt

    from ._panel import Block, Panel

    Values = npt.NDArray[np.floating[Any]]

__all__ = ["calc_all_ic", "calc_ic", "calc_long_short_prec", "calc_long_short_return", "pred_autocorr"]


def calc_ic(
    pred: pd.Series[Any], label: pd.Series[Any], date_col: str = "datetime", dropna: bool = False
) -> tuple[pd.Series[float], pd.Series[float]]:
    """Return the information coefficient and the rank information coefficient of each day.

    The IC of a day is Pearson's correlation of its predictions with its labels, the rank IC is Spearman's
    (equal values share the mean of their ranks). Both are taken over the rows where neither side is NaN.

    Parameters
    ----------
    pred, label
        Numbers indexed by a MultiIndex of two levels, one of them called `date_col`; levels and rows may be
        in any order. The two are outer-joined by row.
    date_col
        Name of the date level.
    dropna
        Leave out the days whose coefficient is NaN, in either result by itself.

    Returns
    -------
    ic, ric
        float64, indexed by the days that have a row on either side, ascending. NaN for a day with fewer
        than two complete rows or with a constant side; the IC also for one with an infinite value.

    Raises
    ------
    InvalidValueError
        `pred` or `label` is not a numeric Series with such an index, or the two cannot be joined: their
        indexes differ and one repeats rows, or only one has dates with a time zone.
    """
    panel = align(pred, label, date_col)
    exact = panel.pred.dtype == np.float32, panel.label.dtype == np.float32
    ic, ric = np.empty(panel.sizes.size), np.empty(panel.sizes.size)
    for block in panel.blocks():
        labels = block.label.astype(np.float64, copy=False)
        missing = missing_in_either(block.pred, labels)
        ic[block.days] = pearson(block.pred, labels, missing)
        ric[block.days] = spearman(block.pred, labels, missing, exact=exact)
    results = pd.Series(ic, panel.dates), pd.Series(ric, panel.dates)
    return (results[0].dropna(), results[1].dropna()) if dropna else results


def calc_all_ic(
    pred_dict_all: Mapping[Hashable, pd.Series[Any]],
    label: pd.Series[Any],
    date_col: str = "datetime",
    dropna: bool = False,
    n_jobs: int = -1,
) -> dict[Hashable, dict[str, pd.Series[float]]]:
    """Return `calc_ic` of several predictions against one label.

    Parameters
    ----------
    pred_dict_all
        Predictions by name.
    label, date_col, dropna
        As for `calc_ic`.
    n_jobs
        Accepted for Qlib's sake and not used: one prediction takes less time than starting a process would.

    Returns
    -------
    dict
        By name, ``{"ic": ..., "ric": ...}``.

    Raises
    ------
    InvalidValueError
        As for `calc_ic`.
    """
    del n_jobs
    results: dict[Hashable, dict[str, pd.Series[float]]] = {}
    for name, pred in pred_dict_all.items():
        ic, ric = calc_ic(pred, label, date_col=date_col, dropna=dropna)
        results[name] = {"ic": ic, "ric": ric}
    return results


def calc_long_short_return(
    pred: pd.Series[Any],
    label: pd.Series[Any],
    date_col: str = "datetime",
    quantile: float = 0.2,
    dropna: bool = False,
) -> tuple[pd.Series[float], pd.Series[float]]:
    """Return each day's gain of the best predictions over the worst, and that of holding everything.

    With n = int(rows of the day * quantile), "best" are the n largest predictions and "worst" the n smallest.
    Equal predictions are taken in the order of their rows, NaN ones last.

    Parameters
    ----------
    pred, label, date_col
        As for `calc_ic`; the label is the plain return.
    quantile
        Share of a day's rows that each side takes: above 0, at most 1.
    dropna
        Drop the rows with NaN on either side before anything else. By default they count as rows of their
        day, and NaN labels are left out of the means.

    Returns
    -------
    long_short_r
        (mean label of the best - mean label of the worst) / 2 by day; NaN where n is 0 or no label is known.
    long_avg_r
        Mean label of all rows of the day, called ``label``.

    Means of float32 labels are float32; `long_short_r` is float64 when a day lacks one of its sides.

    Raises
    ------
    InvalidValueError
        As for `calc_ic`, or `quantile` is out of range.
    """
    quantile = check_quantile(quantile)
    panel = align(pred, label, date_col)
    if dropna:
        panel = panel.complete()
    days = panel.sizes.size
    sides = np.full((2, days), np.nan, panel.label.dtype)
    found = np.zeros((2, days), np.bool_)
    counts = _counts(panel, quantile)
    for block, best, worst in _extremes(panel, counts):
        for side, labels in enumerate((best, worst)):
            sides[side, block.days], found[side, block.days] = leading_means(labels, counts[block.days])
    # Qlib collects the means of a side in a list; one gap makes the whole of it float64.
    long, short = (
        means if known.all() else means.astype(np.float64) for means, known in zip(sides, found, strict=True)
    )
    with np.errstate(invalid="ignore"):
        spread = (long - short) / 2
    return pd.Series(spread, panel.dates), pd.Series(compensated_means(panel), panel.dates, name="label")


def calc_long_short_prec(
    pred: pd.Series[Any],
    label: pd.Series[Any],
    date_col: str = "datetime",
    quantile: float = 0.2,
    dropna: bool = False,
    is_alpha: bool = False,
) -> tuple[pd.Series[float], pd.Series[float]]:
    """Return how often the best predictions rose and the worst fell, day by day.

    Parameters
    ----------
    pred, label, date_col, quantile, dropna
        As for `calc_long_short_return`, which says what "best" and "worst" mean.
    is_alpha
        Judge each label against the mean of all labels of its day, rather than against 0.

    Returns
    -------
    long_pre
        Share of positive labels among those of the best. NaN labels do not count; NaN where there are no
        others.
    short_pre
        Share of negative labels among those of the worst.

    Both are float64 and called ``label``. Days with n = 0 are left out. (A sample of one day, on which Qlib
    raises TypeError, is no exception here.)

    Raises
    ------
    InvalidValueError
        As for `calc_long_short_return`, or `label` has no more than int(1 / quantile) instruments.
    """
    quantile = check_quantile(quantile)
    _, index, where = check_indexed(label, "label", date_col)
    needed = int(1 / quantile) + 1
    if index.nlevels < 2 or not distinct_at_least(index, 0 if where == 1 else 1, needed):
        msg = f"precision at quantile {quantile:g} needs labels of at least {needed} instruments"
        raise InvalidValueError(msg)
    panel = align(pred, label, date_col)
    if is_alpha:
        # The last digit of a mean depends on the order of rows, which the join may have changed.
        own = align(label, label, date_col)
        means = np.append(compensated_means(own), np.nan)[own.dates.get_indexer(panel.dates)]
        panel = panel.less(means)
    if dropna:
        panel = panel.complete()
    counts = _counts(panel, quantile)
    shares = np.full((2, panel.sizes.size), np.nan)
    for block, best, worst in _extremes(panel, counts):
        chosen = np.arange(best.shape[1]) < counts[block.days, None]
        for side, (labels, hit) in enumerate(((best, best > 0), (worst, worst < 0))):
            known = np.count_nonzero(chosen & ~np.isnan(labels), axis=1)
            with np.errstate(invalid="ignore"):
                shares[side, block.days] = np.count_nonzero(chosen & hit, axis=1) / known
    judged = counts > 0
    dates = panel.dates[judged]
    return (
        pd.Series(shares[0, judged], dates, name="label"),
        pd.Series(shares[1, judged], dates, name="label"),
    )


def pred_autocorr(
    pred: pd.Series[Any] | pd.DataFrame,
    lag: int = 1,
    inst_col: str = "instrument",
    date_col: str = "datetime",
) -> pd.Series[float]:
    """Return how much each day's predictions resemble those of `lag` prediction days before.

    Parameters
    ----------
    pred
        Numbers indexed by a MultiIndex of the levels `date_col` and `inst_col`, in any order. Of a frame, the
        first column is taken.
    lag
        Counted in days that have predictions. A negative one looks ahead.
    inst_col, date_col
        Names of the levels.

    Returns
    -------
    Series
        Pearson's correlation over the instruments with predictions on both days; float64, by day,
        ascending, the index without a name. NaN where there is no such day, where fewer than two
        instruments have both, and where a side is constant.

    Raises
    ------
    InvalidValueError
        `pred` is not numeric, lacks a level or has a third one, repeats a row, or `lag` is not an integer.
    """
    lag = check_lag(lag)
    column: Any = pred.iloc[:, 0] if isinstance(pred, pd.DataFrame) and pred.shape[1] else pred
    series, index, where = check_indexed(column, "pred", date_col)
    if index.nlevels != 2 or check_level(index, "pred", inst_col) == where:
        msg = f"pred must have the index levels {date_col!r} and {inst_col!r} only, not {list(index.names)}"
        raise InvalidValueError(msg)
    dates, matrix = _unstack(index, where, numeric_values(series, "pred"))
    days, width = matrix.shape
    result = np.full(days, np.nan)
    last = days + min(0, lag)
    step = max(1, BLOCK_VALUES // width)
    for begin in range(max(0, lag), last, step):
        end = min(begin + step, last)
        today, before = matrix[begin:end], matrix[begin - lag : end - lag]
        result[begin:end] = pearson(today, before, missing_in_either(today, before))
    return pd.Series(result, dates)


def _counts(panel: Panel, quantile: float) -> npt.NDArray[np.int64]:
    return (panel.sizes * quantile).astype(np.int64)


def _extremes(panel: Panel, counts: npt.NDArray[np.int64]) -> Iterator[tuple[Block, Values, Values]]:
    """Yield blocks with the labels of each day's best and of its worst predictions, the most extreme first.

    The two matrices are as wide as the largest count of the block; blocks without any are passed over.
    """
    exact = panel.pred.dtype == np.float32
    for block in panel.blocks():
        count = int(counts[block.days].max())
        if count:
            absent = np.isnan(block.pred)
            missing = absent if absent.any() else None
            best = leading_columns(block.pred, missing, count, largest=True, exact=exact)
            worst = leading_columns(block.pred, missing, count, largest=False, exact=exact)
            yield block, gather(block.label, best), gather(block.label, worst)


def _unstack(
    index: pd.MultiIndex, where: int, values: Values
) -> tuple[pd.Index[Any], npt.NDArray[np.float64]]:
    """Return the days that occur, ascending and unnamed, and the values as a matrix (days, instruments)."""
    dates, days = sorted_level(index, where)
    names = row_codes(index, 1 - where)
    width = len(index.levels[1 - where]) + 1  # the last column is that of a missing name
    dated = days >= 0
    if not dated.all():
        days, names, values = days[dated], names[dated], values[dated]
    occurs = np.zeros(len(dates), np.bool_)
    occurs[days] = True
    used = np.flatnonzero(occurs)
    cells = (np.cumsum(occurs) - 1).take(days) * width + names.astype(np.int64) % width
    matrix = np.full(used.size * width, np.nan)
    matrix[cells] = values
    seen = np.zeros(matrix.size, np.bool_)
    seen[cells] = True
    if np.count_nonzero(seen) != values.size:
        msg = f"pred has several rows of the same {index.names[0]} and {index.names[1]}; keep one of each"
        raise InvalidValueError(msg)
    return without_freq(dates.take(used).rename(None)), matrix.reshape(used.size, width)
