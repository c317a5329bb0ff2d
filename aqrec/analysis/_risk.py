"""Figures about a series of returns, and about the orders of a backtest."""

from __future__ import annotations

import math
import re
import warnings
from numbers import Real
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from aqrec.errors import InvalidValueError

from ._inputs import check_frame, check_series, numeric_values

__all__ = ["INDICATOR_WEIGHTS", "indicator_analysis", "risk_analysis", "weighted_means"]

INDICATOR_WEIGHTS = {"mean": "count", "amount_weighted": "deal_amount", "value_weighted": "value"}
"""Column whose numbers are the weights of days, by method"""

_FREQUENCY = re.compile(r"([0-9]*)(month|mon|week|w|day|d|minute|min)", re.IGNORECASE)
_BARS_PER_YEAR = {"m": 12, "w": 50, "d": 238, "minute": 240 * 238}


def risk_analysis(
    r: pd.Series[Any],
    N: float | None = None,  # noqa: N803 (Qlib's keyword)
    freq: str | None = "day",
    mode: Literal["sum", "product"] = "sum",
) -> pd.DataFrame:
    """Return mean, volatility, yearly return, information ratio and largest drawdown of returns.

    Parameters
    ----------
    r
        One simple return per bar, in order. NaN are skipped, but count as bars in the exponents of "product".
    N
        Bars per year. Default: from `freq`.
    freq
        Length of a bar, such as ``"day"``, ``"2day"``, ``"week"``, ``"month"``, ``"30min"``. A year has 12
        months, 50 weeks, or 238 days of 240 minutes. If `N` is given, it is ignored; with a warning, unless
        it is "day".
    mode
        "sum": returns are added up. "product": they are compounded.

    Returns
    -------
    DataFrame
        Column ``risk``, float64, with the rows

        - ``mean``: arithmetic; for "product" geometric, Cₜ^(1/T) - 1, where C is the running product of 1 + r
          and T the number of bars;
        - ``std``: sample deviation (n - 1) of r; for "product" of log(1 + r);
        - ``annualized_return``: mean * N; for "product" Cₜ^(N/T) - 1;
        - ``information_ratio``: mean / std * sqrt(N); infinite or NaN without any variance;
        - ``max_drawdown``: smallest difference between the running sum of r and its running maximum; for
          "product" the smallest ratio of C to its running maximum, less 1. Never positive. The curve begins
          with the first return, so that a loss in the first bar is no drawdown.

    Raises
    ------
    InvalidValueError
        `r` is not a numeric Series; `N` and `freq` are both None; one of them or `mode` is not a legal value.
    """
    series = check_series(r, "r")
    if mode not in ("sum", "product"):
        msg = f"mode must be 'sum' or 'product', not {mode!r}"
        raise InvalidValueError(msg)
    scaler = _scaler(N, freq)
    returns = pd.Series(numeric_values(series, "r"))
    with np.errstate(all="ignore"):
        if mode == "sum":
            mean = np.float64(returns.mean())
            std = np.float64(returns.std(ddof=1))
            annualized = mean * scaler
            curve = returns.cumsum()
            drawdown = (curve - curve.cummax()).min()
        else:
            curve = (1 + returns).cumprod()
            final = np.float64(curve.iloc[-1] if len(curve) else np.nan)
            bars = max(1, len(curve))
            mean = final ** (1 / bars) - 1
            std = np.float64(cast("pd.Series[float]", np.log(1 + returns)).std(ddof=1))
            annualized = final ** (scaler / bars) - 1
            drawdown = (curve / curve.cummax() - 1).min()
        figures = {
            "mean": mean,
            "std": std,
            "annualized_return": annualized,
            "information_ratio": mean / std * np.sqrt(scaler),
            "max_drawdown": drawdown,
        }
    return pd.Series(figures, dtype=np.float64).to_frame("risk")


def indicator_analysis(
    df: pd.DataFrame, method: Literal["mean", "amount_weighted", "value_weighted"] = "mean"
) -> pd.DataFrame:
    """Return averages over time of a backtest's trading indicators.

    Parameters
    ----------
    df
        One row per bar with the columns ``ffr`` (fulfilment rate), ``pa`` (price advantage), ``pos`` (share
        of orders with a positive one), ``count``, ``deal_amount``, ``value``.
    method
        Weight of a bar for ``ffr`` and ``pa``: "mean" its number of orders, "amount_weighted" its absolute
        dealt amount, "value_weighted" its absolute dealt value. ``pos`` always goes by the number of orders.

    Returns
    -------
    DataFrame
        Column ``value``, float64, with the rows ``ffr``, ``pa``, ``pos``: sum of indicator times weight, over
        the sum of weights. A NaN indicator is left out above but its weight stays below. NaN when the weights
        add up to 0.

    Raises
    ------
    InvalidValueError
        `df` is not a frame, lacks a column, holds anything but numbers, or `method` is unknown.
    """
    frame = check_frame(df, "df")
    if method not in INDICATOR_WEIGHTS:
        msg = f"method must be one of {', '.join(INDICATOR_WEIGHTS)}, not {method!r}"
        raise InvalidValueError(msg)
    weight = INDICATOR_WEIGHTS[method]
    lacking = sorted({"ffr", "pa", "pos", "count", weight}.difference(frame.columns))
    if lacking:
        msg = f"df lacks the columns {', '.join(lacking)} of a backtest's indicators"
        raise InvalidValueError(msg)
    return weighted_means(frame, weight, np.zeros(len(frame), dtype=np.intp), bars=1).T.set_axis(
        ["value"], axis="columns"
    )


def weighted_means(
    frame: pd.DataFrame, weight: str, bar_of: npt.NDArray[np.intp], *, bars: int | None = None
) -> pd.DataFrame:
    """Return ``ffr``, ``pa`` and ``pos`` of each bar: sum of indicator times weight, over the sum of weights."""

    def column(name: str) -> npt.NDArray[np.float64]:
        return numeric_values(frame[name], f"column {name!r} of df").astype(np.float64)

    def total(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        known = np.where(np.isnan(values), 0.0, values)
        return np.bincount(bar_of, weights=known, minlength=bars or 0).astype(np.float64)

    averages: dict[str, npt.NDArray[np.float64]] = {}
    with np.errstate(all="ignore"):
        for name, by in {"ffr": weight, "pa": weight, "pos": "count"}.items():
            weights = column(by) if by == "count" else np.abs(column(by))
            averages[name] = total(column(name) * weights) / total(weights)
    return pd.DataFrame(averages)


def _scaler(n: Any, freq: Any) -> float:
    """Return the number of bars per year."""
    if n is not None:
        if isinstance(n, bool) or not isinstance(n, Real) or not 0 < float(n) < math.inf:
            msg = f"N must be a positive number of bars per year, not {n!r}"
            raise InvalidValueError(msg)
        if freq not in (None, "day"):
            warnings.warn(f"risk_analysis: N={n!r} is used and freq={freq!r} ignored", stacklevel=3)
        return float(n)
    if freq is None:
        msg = "risk_analysis needs N or freq to scale to a year; both are None"
        raise InvalidValueError(msg)
    match = _FREQUENCY.fullmatch(freq) if isinstance(freq, str) else None
    if match is None or int(match[1] or 1) == 0:
        msg = f"freq must be a bar length such as 'day', '2day', 'week', 'month' or '30min', not {freq!r}"
        raise InvalidValueError(msg)
    unit = match[2].lower()
    return _BARS_PER_YEAR["minute" if unit.startswith("min") else unit[0]] / int(match[1] or 1)
