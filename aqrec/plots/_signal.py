"""Pictures of a signal: how it correlates with what came, and what its groups earned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from aqrec.analysis import calc_ic
from aqrec.analysis._panel import align
from aqrec.errors import InvalidInputError
from aqrec.plots._draw import BLUE, DENSE, GREY, INK, ORANGE, PALE, figure, note, span, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_signal", "group_returns", "plot_signal"]

_MONTH, _YEAR = 21, 252
_LONG = 750
"""Days beyond which the mean of a month is a blur"""
_NO_IC = "No day has one: at least two names with a prediction and a label, not all alike, are needed"
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_GROUP_COLOURS = ("#1f5fa8", "#6fa3d6", "#b9b9b9", "#efb066", "#d26a1b")


def plot_signal(
    pred: pd.Series[Any],
    label: pd.Series[Any],
    ic: pd.Series[float] | None = None,
    ric: pd.Series[float] | None = None,
) -> dict[str, Figure]:
    """Draw how well a prediction tells the labels apart.

    Parameters
    ----------
    pred, label
        As for `aqrec.analysis.calc_ic`, which is asked for `ic` and `ric` if they are not given.
    ic, ric
        Information coefficient and rank information coefficient by day.

    Returns
    -------
    dict
        Figures by name. ``ic``: the daily IC; the mean of IC and rank IC over 21 days (252 if there are many, all so far
        if there are fewer than 42), on a scale of its own; and their running sums. ``ic_monthly``: the mean IC of each month. ``groups``: the running sum of the
        mean label of five groups, ranked by the day's prediction, and of half the difference between the first and the
        last. Where there is nothing to draw, the figure says so.

    Raises
    ------
    InvalidInputError
        There is no day.
    """
    if ic is None or ric is None:
        ic, ric = calc_ic(pred, label)
    return draw_signal(ic, ric, group_returns(pred, label))


def draw_signal(ic: pd.Series[float], ric: pd.Series[float], groups: pd.DataFrame) -> dict[str, Figure]:
    """Draw the same from tables by day.

    Parameters
    ----------
    ic, ric
        As for `plot_signal`.
    groups
        As `group_returns` returns it.

    Returns
    -------
    dict
        The figures of `plot_signal`.

    Raises
    ------
    InvalidInputError
        There is no day.
    """
    if ic.empty:
        raise InvalidInputError("there is no day: nothing can be drawn")
    return {"ic": _ic(ic, ric), "ic_monthly": _monthly(ic), "groups": _groups(groups)}


def group_returns(pred: pd.Series[Any], label: pd.Series[Any], groups: int = 5) -> pd.DataFrame:
    """Return the mean label of groups of instruments, ranked by the day's prediction.

    Parameters
    ----------
    pred, label
        As for `aqrec.analysis.calc_ic`. Rows that lack one of the two do not count.
    groups
        How many, as equal in size as can be.

    Returns
    -------
    DataFrame
        float64, by day: ``Group 1`` (the best predictions) to the last, NaN where a day has too few rows for the group;
        and ``Long-short``, half the difference between the first and the last.
    """
    panel = align(pred, label, "datetime").complete()
    means = np.full((len(panel.dates), groups), np.nan)
    for block in panel.blocks():
        best_first = np.argsort(-block.pred, axis=1, kind="stable")
        labels = np.take_along_axis(block.label, best_first, axis=1).astype(np.float64)
        group = np.arange(labels.shape[1]) * groups // panel.sizes[block.days, None]
        for number in range(groups):
            inside = group == number
            with np.errstate(invalid="ignore"):
                means[block.days, number] = np.where(inside, labels, 0.0).sum(axis=1) / inside.sum(axis=1)
    table = pd.DataFrame(means, panel.dates, [f"Group {number + 1}" for number in range(groups)])
    table["Long-short"] = (table["Group 1"] - table[f"Group {groups}"]) / 2
    return table


def _ic(ic: pd.Series[float], ric: pd.Series[float]) -> Figure:
    made, (daily, mean, total) = figure(7.0, 3, sharex=True)
    # Thousands of dots as a raster: as a vector they are megabytes that nobody can tell apart.
    few = len(ic) <= DENSE
    look: dict[str, Any] = {"markersize": 7.0} if few else {"markersize": 2.5, "alpha": 0.6}
    daily.plot(ic.index, ic, ".", color=PALE, label="Each day", rasterized=not few, **look)
    window = _MONTH if len(ic) <= _LONG else _YEAR
    short = len(ic) < 2 * _MONTH
    for name, series, colour in (("IC", ic, BLUE), ("Rank IC", ric, ORANGE)):
        least = 1 if short else max(_MONTH, window // 4)
        smooth = series.rolling(len(ic) if short else window, min_periods=least).mean()
        mean.plot(smooth.index, smooth, color=colour, linewidth=1.5, label=name)
        total.plot(series.index, series.fillna(0.0).cumsum(), color=colour, linewidth=1.5, label=name)
    for axes in (daily, mean, total):
        axes.axhline(0.0, color=GREY, linewidth=0.8)
    average, std = float(ic.mean()), float(ic.std())
    ratio = f", ICIR {average / std:.3f}" if std > 0 else ""
    known = bool(ic.notna().any())
    style(daily, f"Information coefficient{f': mean {average:.4f}{ratio}' if known else ''}", "IC of a day")
    style(mean, "Mean of the days so far" if short else f"Mean over {window} days", "mean")
    style(total, "Running sum", "sum of daily values")
    for axes in (mean, total):  # beside the title, where no line is
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.97), frameon=False, fontsize=9.5, ncols=2)
    if not known:
        note(daily, _NO_IC)
    for axes in (daily, mean, total):
        span(axes, ic.index)
    return made


def _monthly(ic: pd.Series[float]) -> Figure:
    days = pd.DatetimeIndex(ic.index)
    first, last = int(days.year.min()), int(days.year.max())
    months = pd.MultiIndex.from_product([range(first, last + 1), range(1, 13)])
    means = ic.groupby([days.year, days.month]).mean().reindex(months)
    cells = means.to_numpy(dtype=np.float64).reshape(-1, 12)
    years = range(first, last + 1)
    bound = float(np.nanmax(np.abs(cells), initial=0.0)) or 1.0
    made, (axes,) = figure(max(1.8, 0.9 + 0.29 * len(years)))
    image = axes.imshow(cells, cmap="RdBu", vmin=-bound, vmax=bound, aspect="auto")
    axes.set_xticks(range(12), _MONTHS)
    axes.set_yticks(range(len(years)), [str(year) for year in years])
    for row, column in zip(*np.nonzero(~np.isnan(cells)), strict=True):
        value = float(cells[row, column])
        ink = "white" if abs(value) > 0.65 * bound else INK
        axes.text(
            column, row, f"{round(value, 2) + 0.0:.2f}", ha="center", va="center", fontsize=7.5, color=ink
        )
    if np.isnan(cells).all():
        note(axes, _NO_IC)
    style(axes, "Mean IC by month", grid=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
    bar = made.colorbar(image, ax=axes, shrink=0.9, pad=0.02)
    bar.ax.tick_params(labelsize=8.5, length=2)
    bar.outline.set_visible(False)
    return made


def _groups(means: pd.DataFrame) -> Figure:
    made, (axes,) = figure()
    sums = means.fillna(0.0).cumsum()
    names = [name for name in means.columns if name.startswith("Group")]
    for name, colour in zip(names, _GROUP_COLOURS, strict=False):
        rank = " (best)" if name == names[0] else " (worst)" if name == names[-1] else ""
        axes.plot(sums.index, sums[name], color=colour, linewidth=1.3, label=f"{name}{rank}")
    axes.plot(sums.index, sums["Long-short"], color=INK, linewidth=1.6, linestyle="--", label="Long-short")
    axes.axhline(0.0, color=GREY, linewidth=0.8)
    style(axes, "Groups by prediction", "sum of mean labels", shares=True)
    if sums.empty:
        note(axes, "No row has both a prediction and a label")
    span(axes, sums.index)
    axes.legend(loc="best" if len(sums) <= DENSE else "upper left", frameon=False, fontsize=9.5, ncols=2)
    return made
