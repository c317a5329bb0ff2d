"""Pictures of a backtest's report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aqrec.errors import InvalidInputError
from aqrec.plots._draw import BLUE, DENSE, GREY, PALE, RED, figure, percent, span, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["plot_portfolio"]

_NEEDED = ("return", "cost", "bench", "turnover")
_LOG_FROM = 4.0
"""Growth beyond which equal steps of the axis are equal ratios"""
_MONTH = 21
_ROUND = 0.1
"""Share from which whole per cents tell enough"""


def plot_portfolio(report: pd.DataFrame) -> dict[str, Figure]:
    """Draw what a backtest earned, lost and traded.

    Parameters
    ----------
    report
        As `aqrec.backtest.backtest` returns it: a row for each bar, with the columns ``return`` (before costs), ``cost``,
        ``bench`` and ``turnover``, as shares of the account.

    Returns
    -------
    dict
        Figures by name. ``cumulative_return``: compounded return with costs, without costs, and of the benchmark; on a
        logarithmic axis where it is large. ``drawdown``: how far account and benchmark are below their highest worth
        so far. ``turnover``: traded value of each bar, and its mean over 21 bars if there are as
        many.

    Raises
    ------
    InvalidInputError
        The report has no rows, or lacks a column.
    """
    lacking = [name for name in _NEEDED if name not in report]
    if lacking or report.empty:
        raise InvalidInputError(
            f"the report {f'lacks {lacking}' if lacking else 'has no rows'}: nothing can be drawn"
        )
    returns = {
        "Without costs": report["return"],
        "With costs": report["return"] - report["cost"],
        "Benchmark": report["bench"].astype(np.float64),
    }
    growth = {name: (1.0 + series.fillna(0.0)).cumprod() for name, series in returns.items()}
    # A benchmark of zeros stands for none.
    if not (returns["Benchmark"] != 0).any():
        del growth["Benchmark"]
    return {
        "cumulative_return": _cumulative_return(growth),
        "drawdown": _drawdown(growth),
        "turnover": _turnover(report["turnover"]),
    }


_LOOKS: dict[str, dict[str, Any]] = {
    "Without costs": {"color": PALE, "linewidth": 1.3},
    "With costs": {"color": BLUE, "linewidth": 1.7},
    "Benchmark": {"color": GREY, "linewidth": 1.2},
}


def _cumulative_return(growth: dict[str, pd.Series[float]]) -> Figure:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter  # noqa: PLC0415

    made, (axes,) = figure()
    for name, series in growth.items():
        axes.plot(series.index, series, label=f"{name}  {_earned(series.iloc[-1] - 1)}", **_LOOKS[name])
    high, low = max(s.max() for s in growth.values()), min(s.min() for s in growth.values())
    logarithmic = bool(low > 0 and high / low > _LOG_FROM)
    style(axes, "Cumulative return", "worth of 1 (log scale)" if logarithmic else "compounded")
    if logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.tick_params(axis="y", which="minor", length=0)
    else:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _signed(value - 1)))
    axes.axhline(1.0, color=GREY, linewidth=0.8, linestyle=":")
    index = next(iter(growth.values())).index
    span(axes, index)
    axes.legend(loc="best" if len(index) <= DENSE else "upper left", frameon=False, fontsize=9.5)
    return made


def _earned(share: float) -> str:
    return f"{share:+,.0%}" if abs(share) >= _ROUND else f"{round(share, 3) + 0.0:+.1%}"


def _signed(share: float) -> str:
    text = percent(share)
    return text if text.startswith(("0", "\N{MINUS SIGN}")) and not text.startswith("0.") else f"+{text}"


def _drawdown(growth: dict[str, pd.Series[float]]) -> Figure:
    made, (axes,) = figure(3.2)
    # Before the first bar everything is worth 1.
    below = {name: series / series.cummax().clip(lower=1.0) - 1.0 for name, series in growth.items()}
    mine = below["With costs"]
    axes.fill_between(mine.index, mine, 0.0, color=RED, alpha=0.25, linewidth=0)
    axes.plot(mine.index, mine, color=RED, linewidth=1.0, label=f"With costs  {mine.min():.1%} at worst")
    if "Benchmark" in below:
        bench = below["Benchmark"]
        axes.plot(
            bench.index,
            bench,
            color=GREY,
            linewidth=0.9,
            alpha=0.8,
            zorder=1.5,  # behind the account's
            label=f"Benchmark  {bench.min():.1%} at worst",
        )
    whose = "the account and of the benchmark" if "Benchmark" in below else "the account"
    style(axes, f"Drawdown of {whose}", "below the highest worth so far", shares=True)
    span(axes, mine.index)
    axes.set_ylim(top=0.0)
    axes.legend(loc="lower left", frameon=False, fontsize=9.5)
    return made


def _turnover(turnover: pd.Series[float]) -> Figure:
    made, (axes,) = figure(3.2)
    few = len(turnover) <= DENSE
    look: dict[str, Any] = {"linewidth": 1.2} if few else {"linewidth": 0.5, "alpha": 0.7}
    if len(turnover) < 2 * _MONTH:
        look |= {"marker": "o", "markersize": 3.5}
    # Dense lines as a raster: as a vector they are megabytes that nobody can tell apart.
    axes.plot(turnover.index, turnover, color=PALE, label="Each bar", rasterized=not few, **look)
    if len(turnover) >= _MONTH:
        mean = turnover.rolling(_MONTH, min_periods=1).mean()
        axes.plot(mean.index, mean, color=BLUE, linewidth=1.5, label=f"Mean over {_MONTH} bars")
    style(
        axes,
        f"Turnover, {turnover.mean():.1%} a bar on average",
        "traded value, share of the account",
        shares=True,
    )
    span(axes, turnover.index)
    # The first purchase alone would flatten all the rest.
    shown = float(np.nanquantile(turnover.to_numpy(dtype=np.float64), 0.995)) * 1.15
    axes.set_ylim(0.0, shown if shown > 0 else 1.0)
    axes.legend(loc="upper right", frameon=False, fontsize=9.5, ncols=2)
    return made
