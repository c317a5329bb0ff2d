"""The figures of the templates that judge a signal, from pandas objects alone."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from aqrec.analysis import calc_ic, calc_long_short_prec, calc_long_short_return
from aqrec.analysis._panel import align
from aqrec.errors import InvalidInputError, InvalidValueError, MissingInputError
from aqrec.templates._dataset import PRECISION_FILES

if TYPE_CHECKING:
    Daily = pd.Series[Any]

__all__ = ["precision_figures", "segment_figures", "signal_figures", "signal_groups", "squared_error"]


def signal_figures(
    pred: object, label: object, *, label_col: int, long_short: bool, ann_scaler: float
) -> tuple[dict[str, Any], dict[str, float]]:
    """Return the daily figures by file name, and their summary by metric name.

    A ratio is mean / standard deviation (ddof 1) over the days that have a figure, in float64; without two
    such days it is NaN.
    """
    score = _column("the prediction", pred, 0)
    truth = _column("the label", label, label_col)
    ic, ric = _correlations(score, truth)
    daily: dict[str, Any] = {"ic.pkl": ic, "ric.pkl": ric}
    metrics = {
        "IC": _mean(ic),
        "ICIR": _ratio(ic),
        "Rank IC": _mean(ric),
        "Rank ICIR": _ratio(ric),
    }
    if long_short:
        spread, average = calc_long_short_return(score, truth)
        daily |= {"long_short_r.pkl": spread, "long_avg_r.pkl": average}
        for name, returns in (("Long-Short", spread), ("Long-Avg", average)):
            metrics[f"{name} Ann Return"] = _mean(returns) * ann_scaler
            metrics[f"{name} Ann Sharpe"] = _ratio(returns) * ann_scaler**0.5
    return daily, metrics


def signal_groups(pred: object, label: object, *, label_col: int) -> pd.DataFrame:
    """Return what the picture of the groups shows."""
    from aqrec.plots import group_returns  # noqa: PLC0415 - wanted by those who draw

    return group_returns(_column("the prediction", pred, 0), _column("the label", label, label_col))


def precision_figures(pred: object, label: object) -> tuple[dict[str, Daily], dict[str, float]]:
    """Return the daily figures of `HFSignalRecord` by file name, and their summary by metric name."""
    score, truth = _column("the prediction", pred, 0), _column("the label", label, 0)
    ic, ric = _correlations(score, truth)
    rising, falling = calc_long_short_prec(score, truth, is_alpha=True)
    spread, average = calc_long_short_return(score, truth)
    metrics = {
        "IC": _mean(ic),
        "ICIR": _ratio(ic),
        "Rank IC": _mean(ric),
        "Rank ICIR": _ratio(ric),
        "Long precision": _mean(rising),
        "Short precision": _mean(falling),
        "Long-Short Average Return": _mean(spread),
        "Long-Short Average Sharpe": _ratio(spread),
    }
    daily = (ic, ric, rising, falling, spread, average)
    return dict(zip(PRECISION_FILES, daily, strict=True)), metrics


def segment_figures(pred: object, label: object) -> dict[str, Any]:
    """Return what `MultiSegRecord` saves of one segment."""
    ic, ric = _correlations(_column("the prediction", pred, 0), _column("the label", label, 0))
    return {"all-IC": ic, "mean-IC": _mean(ic), "all-Rank-IC": ric, "mean-Rank-IC": _mean(ric)}


def squared_error(pred: object, label: object) -> float:
    """Return the mean squared difference, in float64, over the rows that have both; a NaN is none."""
    score, truth = _column("the prediction", pred, 0), _column("the label", label, 0)
    panel = align(score, truth, "datetime").complete()
    if not len(panel.pred):
        _check_common(score, truth)
        raise MissingInputError("no row has both a prediction and a label: there is nothing to compare")
    difference = panel.pred.astype(np.float64) - panel.label.astype(np.float64)
    return float(np.mean(difference * difference))


def _correlations(score: Daily, truth: Daily) -> tuple[Daily, Daily]:
    """Return IC and rank IC; NaN where the numbers do not tell, an error where the rows do not meet."""
    ic, ric = calc_ic(score, truth)
    if not ic.notna().any():
        _check_common(score, truth)
    return ic, ric


def _check_common(score: Daily, truth: Daily) -> None:
    """Raise if no row of one side is a row of the other."""
    ours, theirs = score.index, truth.index
    if ours.names != theirs.names:
        theirs = cast("pd.MultiIndex", theirs).reorder_levels(list(ours.names))
    if not ours.isin(theirs).any():
        raise InvalidInputError(
            f"the prediction and the label have no row in common: {_extent('the prediction', ours)}, "
            f"{_extent('the label', theirs)}; give both the same days and the same names of instruments"
        )


def _extent(what: str, index: pd.Index[Any]) -> str:
    """Say how many rows there are, and from where to where."""
    spans: list[str] = []
    for place, name in enumerate(index.names):
        values = index.get_level_values(place).unique()
        with contextlib.suppress(TypeError):  # values of several types
            values = values.sort_values()
        spans.append(f"{name} {values[0]!s} to {values[-1]!s}")
    return f"{what} has {len(index):,} rows ({', '.join(spans)})"


def _column(what: str, table: object, number: int) -> Daily:
    if not isinstance(table, pd.DataFrame | pd.Series):
        raise InvalidValueError(f"{what} is {type(table).__name__}; a pandas DataFrame or Series is needed")
    if table.empty:
        raise MissingInputError(f"{what} is empty: there is nothing to analyse")
    if isinstance(table, pd.Series):
        return table
    if not -table.shape[1] <= number < table.shape[1]:
        raise InvalidValueError(
            f"{what} has no column number {number}; its columns are {list(table.columns)}"
        )
    return table.iloc[:, number]


def _mean(daily: Daily) -> float:
    return float(daily.astype(np.float64).mean())


def _ratio(daily: Daily) -> float:
    values = daily.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.float64(values.mean()) / np.float64(values.std()))
