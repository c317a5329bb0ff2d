"""What all pictures share: their look, and how they become bytes."""

from __future__ import annotations

import base64
import html
import importlib.util
import io
import threading
from typing import TYPE_CHECKING, Any

from aqrec.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "BLUE",
    "DENSE",
    "GREY",
    "INK",
    "ORANGE",
    "PALE",
    "RED",
    "figure",
    "html_page",
    "note",
    "percent",
    "png",
    "require_matplotlib",
    "span",
    "style",
]

BLUE, PALE, GREY, ORANGE, RED, INK = "#1f5fa8", "#86b4e0", "#7a7a7a", "#e08a1e", "#b5342b", "#262626"
_GRID, _DPI, _WIDTH = "#e6e6e6", 130, 9.0
_FEW = 8
"""Days whose dates fit below an axis"""
DENSE = 130
"""Bars beyond which their points run into one another"""

_drawing = threading.Lock()
"""Fonts are shared by all figures, and not made for threads"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ margin: 2rem auto; max-width: 72rem; padding: 0 1.5rem; color: #262626; background: #fff;
  font: 16px/1.5 system-ui, sans-serif; }}
h1 {{ font-size: 1.5rem; }} h2 {{ font-size: 1.1rem; margin-top: 2.5rem; }}
img {{ width: 100%; height: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .25rem .9rem; text-align: right; border-bottom: 1px solid #e6e6e6; }}
th:first-child {{ text-align: left; }} th {{ font-weight: 600; }}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""


def require_matplotlib() -> None:
    """Raise `InvalidInputError`, with what to install, if matplotlib is not there."""
    if importlib.util.find_spec("matplotlib") is None:
        raise InvalidInputError("plots need matplotlib, which is not installed: pip install 'aqrec[plots]'")


def figure(height: float = 4.2, rows: int = 1, **options: Any) -> tuple[Figure, list[Axes]]:
    """Return an empty figure with so many axes, one below the other."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - optional, and slow to import

    made = Figure(figsize=(_WIDTH, height), dpi=_DPI, layout="constrained", facecolor="white")
    axes = made.subplots(rows, 1, squeeze=False, **options)[:, 0]
    return made, list(axes)


def style(axes: Axes, title: str, ylabel: str = "", *, shares: bool = False, grid: bool = True) -> None:
    """Give axes their title and the common look."""
    from matplotlib.ticker import FuncFormatter  # noqa: PLC0415

    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", color=INK)
    axes.set_ylabel(ylabel, fontsize=9.5, color=INK)
    axes.tick_params(labelsize=9, colors=INK, length=3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#b0b0b0")
    if grid:
        axes.grid(axis="y", color=_GRID, linewidth=0.8)
        axes.set_axisbelow(True)
    if shares:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))


def span(axes: Axes, index: pd.Index[Any]) -> None:
    """Let the time axis go from the first bar to the last; a few days are named each, and points are seen whole."""
    if len(index) > 1:
        first, last = index[0], index[-1]
        margin = (last - first) * (0.015 if len(index) <= DENSE else 0)
        axes.set_xlim(first - margin, last + margin)
    days = sorted({f"{bar:%Y-%m-%d}" for bar in index}) if len(index) <= DENSE else []
    if 0 < len(days) <= _FEW:
        import numpy as np  # noqa: PLC0415

        axes.set_xticks([np.datetime64(day) for day in days], days)
    if len(index) == 1:  # a line of one point is none
        for line in axes.lines:
            line.set_marker("o")
            line.set_markersize(6)


def percent(value: float) -> str:
    """Return a round share as text, with no more decimals than it has."""
    return f"{round(100 * value, 6) + 0.0:,g}%".replace("-", "\N{MINUS SIGN}")


def note(axes: Axes, text: str) -> None:
    """Say in the middle of empty axes why they are."""
    axes.text(0.5, 0.62, text, transform=axes.transAxes, ha="center", va="center", fontsize=10, color=GREY)


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG picture."""
    return _saved(figure, "png")


def html_page(
    title: str, figures: Mapping[str, Figure], tables: Mapping[str, pd.DataFrame] | None = None
) -> str:
    """Return a page with tables and figures, the latter as vector graphics; it needs no other file and no script.

    Parameters
    ----------
    title
        Of the page.
    figures
        matplotlib figures by heading.
    tables
        Small tables by heading, which come first. Numbers are written with four digits, text as it is.
    """
    parts: list[str] = []
    for heading, table in (tables or {}).items():
        parts += [f"<h2>{html.escape(heading)}</h2>", _table(table)]
    for heading, drawn in figures.items():
        picture = base64.b64encode(_saved(drawn, "svg")).decode("ascii")
        alt = html.escape(heading, quote=True)
        parts.append(f'<h2>{alt}</h2>\n<img alt="{alt}" src="data:image/svg+xml;base64,{picture}">')
    return _PAGE.format(title=html.escape(title), body="\n".join(parts))


def _table(table: pd.DataFrame) -> str:
    head = "".join(f"<th>{html.escape(str(column))}</th>" for column in table.columns)
    rows = "".join(
        f"<tr><th>{html.escape(str(name))}</th>{''.join(f'<td>{_cell(value)}</td>' for value in row)}</tr>\n"
        for name, row in zip(table.index, table.to_numpy(dtype=object).tolist(), strict=True)
    )
    return f"<table>\n<tr><th></th>{head}</tr>\n{rows}</table>"


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return html.escape(value)
    number = float(value) + 0.0
    return f"{number:,.0f}" if abs(number) >= 10_000 else f"{number:#.4g}"


def _saved(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    # Without a date, so that equal numbers give an equal picture.
    metadata = {"Date": None} if kind == "svg" else None
    with _drawing:
        if figure.get_layout_engine() is not None:
            # Laid out once, not again for each picture of it: that is a third of the time.
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
        figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()
