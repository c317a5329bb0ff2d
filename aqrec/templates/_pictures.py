"""The pictures of templates, from small tables alone: what draws them may be another process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from aqrec.plots import draw_signal, html_page, plot_portfolio, png

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["portfolio_pictures", "signal_pictures"]

_SIGNAL = {"ic": "Information coefficient", "ic_monthly": "By month", "groups": "Groups"}
_PORTFOLIO = {
    "cumulative_return": "Cumulative return",
    "drawdown": "Drawdown of the account",
    "turnover": "Turnover",
}
"""Headings of the figures"""
_RISK = {
    "annualized_return": ("annualized return", "{:.2%}"),
    "information_ratio": ("information ratio", "{:.3f}"),
    "max_drawdown": ("max drawdown of the running sum", "{:.2%}"),
    "mean": ("mean of a bar", "{:.4%}"),
    "std": ("standard deviation of a bar", "{:.4%}"),
}
"""Measures of `aqrec.analysis.risk_analysis`, what a page calls them, and how it writes them"""


def signal_pictures(
    ic: pd.Series[Any], ric: pd.Series[Any], groups: pd.DataFrame, metrics: dict[str, float]
) -> dict[str, Any]:
    """Return the pictures of `SigAnaRecord` by file name."""
    figures = draw_signal(ic, ric, groups)
    headed = {_SIGNAL[name]: figure for name, figure in figures.items()}
    page = html_page("Signal", headed, {"Summary": pd.Series(metrics).to_frame("value")})
    return {**{f"{name}.png": png(figure) for name, figure in figures.items()}, "signal.html": page}


def portfolio_pictures(reports: Mapping[str, tuple[pd.DataFrame, pd.DataFrame | None]]) -> dict[str, Any]:
    """Return the pictures of `PortAnaRecord` by file name.

    Parameters
    ----------
    reports
        By frequency, the report and, if there is one, the risk analysis.
    """
    pictures: dict[str, Any] = {}
    for freq, (report, analysis) in reports.items():
        figures = plot_portfolio(report)
        tables = {} if analysis is None else {_TABLE: _risk_table(analysis)}
        headed = {_PORTFOLIO[name]: figure for name, figure in figures.items()}
        pictures[f"report_{freq}.html"] = html_page(f"Portfolio, {freq}", headed, tables)
        pictures |= {f"{name}_{freq}.png": png(figure) for name, figure in figures.items()}
    return pictures


_TABLE = "Return beyond the benchmark, bars summed up"


def _risk_table(analysis: pd.DataFrame) -> pd.DataFrame:
    """Return the risk figures as people write them."""
    groups = {"without costs": "excess_return_without_cost", "with costs": "excess_return_with_cost"}
    cells = {
        column: [form.format(analysis.loc[(group, measure), "risk"]) for measure, (_, form) in _RISK.items()]
        for column, group in groups.items()
    }
    return pd.DataFrame(cells, index=[name for name, _ in _RISK.values()])
