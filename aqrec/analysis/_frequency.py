"""Daily tables of a backtest, as a coarser executor would have reported them."""

from __future__ import annotations

import re
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from aqrec.errors import InvalidValueError

from ._inputs import check_frame, numeric_values
from ._risk import INDICATOR_WEIGHTS, weighted_means

__all__ = ["resample_indicators", "resample_report"]

_FREQUENCY = re.compile(r"(\d*)(month|mon|week|w|day|d)", re.IGNORECASE)
_PERIODS = {"w": "W-SUN", "m": "M"}
_REPORT = ("account", "return", "total_turnover", "turnover", "total_cost", "cost", "value", "cash", "bench")


def resample_report(report: pd.DataFrame, freq: str) -> pd.DataFrame:
    """Return a backtest's report with one row for each week, month or number of days.

    It is what an executor of that step would report of the same trades: a return is that of the account from the end of the
    row before to the end of this one, before costs; the benchmark's returns are compounded.

    Parameters
    ----------
    report
        One row a day, ascending, as `aqrec.backtest.backtest` returns it.
    freq
        ``"week"`` (Monday to Sunday), ``"month"``, ``"day"``, or several, such as ``"2week"``, counted from the first row on.

    Returns
    -------
    DataFrame
        The same columns and dtypes, indexed by the first day of each row. ``account``, ``value``, ``cash`` and the running sums
        are those of its last day; ``turnover`` and ``cost`` are shares of the account at the end of the row before.

    Raises
    ------
    InvalidValueError
        `report` is no such table, or `freq` is none of these.

    Examples
    --------
    ::

        weekly = resample_report(portfolio["1day"][0], "week")
        risk_analysis(weekly["return"] - weekly["bench"] - weekly["cost"], freq="week")
    """
    days = _checked(report, "report", _REPORT)
    bars, starts, ends = _bars(days.index, freq)
    if not len(days):
        return days.copy()
    last = days.iloc[ends]
    account, costs = last["account"].to_numpy(), last["total_cost"].to_numpy()
    turnovers = last["total_turnover"].to_numpy()
    first = days.iloc[0]
    with np.errstate(all="ignore"):
        worth = (first["account"] + first["total_cost"]) / (1 + first["return"])
        before = np.concatenate([[worth], account[:-1]])
        spent = np.diff(costs, prepend=0.0)
        made = {
            "return": (account - before + spent) / before,
            "turnover": np.diff(turnovers, prepend=0.0) / before,
            "cost": spent / before,
        }
    bench = days["bench"].to_numpy()
    one = bench.dtype.type(1)
    product = np.ones(len(ends), dtype=bench.dtype)
    np.multiply.at(product, bars, bench + one)
    return last.assign(**made, bench=product - one).set_axis(days.index[starts])


def resample_indicators(
    df: pd.DataFrame,
    freq: str,
    method: Literal["mean", "amount_weighted", "value_weighted"] = "mean",
) -> pd.DataFrame:
    """Return a backtest's indicators with one row for each week, month or number of days.

    Parameters
    ----------
    df
        One row a day, ascending, as `aqrec.backtest.backtest` returns it.
    freq
        As for `resample_report`.
    method
        As for `indicator_analysis`: how ``ffr`` and ``pa`` of the days are weighted.

    Returns
    -------
    DataFrame
        The same columns, indexed by the first day of each row: ``ffr``, ``pa`` and ``pos`` are those that `indicator_analysis`
        gives of its days, ``deal_amount``, ``value`` and ``count`` their sums.

    Raises
    ------
    InvalidValueError
        `df` is no such table, or `freq` or `method` is none of these.
    """
    days = _checked(df, "df", ("ffr", "pa", "pos", "deal_amount", "value", "count"))
    if method not in INDICATOR_WEIGHTS:
        msg = f"method must be one of {', '.join(INDICATOR_WEIGHTS)}, not {method!r}"
        raise InvalidValueError(msg)
    bars, starts, _ = _bars(days.index, freq)
    sums = days[["deal_amount", "value", "count"]].groupby(bars).sum()
    means = weighted_means(days, INDICATOR_WEIGHTS[method], bars)
    return pd.concat([means, sums], axis=1)[list(days.columns)].set_axis(days.index[starts])


def _checked(table: Any, name: str, columns: tuple[str, ...]) -> pd.DataFrame:
    """Return the columns of a backtest's table as numbers."""
    frame = check_frame(table, name)
    lacking = [column for column in columns if column not in frame.columns]
    index = frame.index
    if lacking or not isinstance(index, pd.DatetimeIndex):
        wrong = (
            f"lacks {', '.join(lacking)}" if lacking else f"is indexed by {type(index).__name__}, not by day"
        )
        msg = f"{name} must be a table of `aqrec.backtest.backtest`, but it {wrong}"
        raise InvalidValueError(msg)
    if not index.is_monotonic_increasing or not index.is_unique or index.hasnans:
        msg = f"{name} must have one row a day, ascending; sort it, and drop repeated days"
        raise InvalidValueError(msg)
    kept = frame[[column for column in frame.columns if column in columns]]
    for column in columns:
        numeric_values(kept[column], f"column {column!r} of {name}")
    return kept


def _bars(
    index: pd.Index[Any], freq: Any
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the bar of each row, and the rows with which each bar begins and ends."""
    match = _FREQUENCY.fullmatch(freq) if isinstance(freq, str) else None
    count = int(match[1] or 1) if match else 0
    if match is None or not count:
        msg = f"freq must be 'day', 'week', 'month' or several of them, such as '2week', not {freq!r}"
        raise InvalidValueError(msg)
    unit = match[2][0].lower()
    if unit == "d":
        numbers = np.arange(len(index))
    else:
        periods = pd.DatetimeIndex(index).tz_localize(None).to_period(_PERIODS[unit])
        numbers = periods.asi8 - periods.asi8[:1]
    numbers = numbers // count
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    bars = np.zeros(len(index), dtype=np.intp)
    bars[starts[1:]] = 1
    return np.cumsum(bars), starts, np.append(starts[1:], len(index))[: len(starts)] - 1
