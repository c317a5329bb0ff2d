"""The figures of `SigAnaRecord`, from pandas objects alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from aqrec.analysis import calc_ic, calc_long_short_return
from aqrec.errors import InvalidValueError, MissingInputError

if TYPE_CHECKING:
    Daily = pd.Series[Any]

__all__ = ["signal_figures"]


def signal_figures(
    pred: object, label: object, *, label_col: int, long_short: bool, ann_scaler: float
) -> tuple[dict[str, Daily], dict[str, float]]:
    """Return the daily figures by file name, and their summary by metric name.

    A ratio is mean / standard deviation (ddof 1) over the days that have a figure, in float64; without two
    such days it is NaN.
    """
    score = _column("the prediction", pred, 0)
    truth = _column("the label", label, label_col)
    ic, ric = calc_ic(score, truth)
    daily = {"ic.pkl": ic, "ric.pkl": ric}
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
