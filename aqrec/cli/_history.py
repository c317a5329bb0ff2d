"""``aqrec history``: how metrics went."""

from __future__ import annotations

import csv
import io
import sys
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal

from aqrec.cli._console import ascii_only, cell, data_table, note, print_json, stdout
from aqrec.cli._data import StoreView, opened
from aqrec.cli._plot import chart, sparkline
from aqrec.cli._text import iso, moment, number, plural
from aqrec.errors import NotFoundError
from aqrec.format._document import latest

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from rich.console import Console

    from aqrec.cli._where import Where
    from aqrec.format._document import RunDocument

__all__ = ["Form", "history", "print_chart"]

Form = Literal["table", "plot", "csv", "json"]

_ROWS = 20
_PLOT_ROWS = 12
_WIDEST = 120
Point = tuple["int | None", int, float]
"""step, ms since epoch, value"""


def history(text: str, keys: list[str], place: Where, *, last: int | None, form: Form) -> None:
    """Show histories; see the command's help."""
    with opened(place) as view:
        doc = view.find(text)
        wanted = list(dict.fromkeys(keys))
        found = {key: _points(view, doc, key) for key in wanted}
        absent = [key for key in wanted if not found[key]]
        if absent:
            raise _unknown(doc, absent)
    shown = {key: points[-last:] if last else points for key, points in found.items()}
    if form == "json":
        print_json({"run_id": doc.run_id, "metrics": {key: _plain(points) for key, points in shown.items()}})
    elif form == "csv":
        _write_csv(shown)
    elif form == "plot":
        console = stdout()
        for number_, (key, points) in enumerate(shown.items()):
            if number_:
                console.print()
            _plot(console, key, points)
    else:
        console = stdout()
        for key, points in shown.items():
            _summarise(console, key, points)
        console.print()
        _print_tables(console, shown, _ROWS if last is None else last)


def _points(view: StoreView, doc: RunDocument, key: str) -> list[Point]:
    frame: pd.DataFrame = view.call(view.run(doc).metric_history(key))
    steps = frame["step"].to_numpy(dtype="float64", na_value=float("nan"))
    exact = frame["step"].fillna(0).to_numpy(dtype="int64").tolist()
    stamps = frame["timestamp"].astype("int64").tolist()
    absent = (steps != steps).tolist()  # noqa: PLR0124 - NaN
    return [
        (None if none else step, stamp, value)
        for none, step, stamp, value in zip(absent, exact, stamps, frame["value"].tolist(), strict=True)
    ]


def _unknown(doc: RunDocument, absent: list[str]) -> NotFoundError:
    known = sorted(latest(doc))
    near = get_close_matches(absent[0], known, 3, 0.5)
    if not known:
        told = "it has no metric at all"
    elif near:
        told = f"did you mean {' or '.join(map(repr, near))}?"
    else:
        told = f"it has {', '.join(map(repr, known[:10]))}{' …' if len(known) > 10 else ''}"
    return NotFoundError(f"run {doc.run_id} has no metric {', '.join(map(repr, absent))}; {told}")


def _plain(points: list[Point]) -> list[dict[str, Any]]:
    return [{"step": step, "timestamp": iso(stamp), "value": value} for step, stamp, value in points]


def _write_csv(shown: dict[str, list[Point]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["key", "step", "timestamp", "value"])
    for key, points in shown.items():
        writer.writerows(
            [key, "" if step is None else step, iso(stamp), repr(value)] for step, stamp, value in points
        )
    sys.stdout.write(text.getvalue())


def _summarise(console: Console, key: str, points: list[Point]) -> None:
    values = [value for _, _, value in points]
    line = cell(key, "bold cyan")
    line.append(f"  {plural(len(points), 'point')}", "dim")
    width = min(console.width, _WIDEST) - 2
    console.print(line)
    console.print(f"  {sparkline(values, width, ascii_only=ascii_only(console))}", style="cyan", no_wrap=True)


def _plot(console: Console, key: str, points: list[Point]) -> None:
    steps = [step for step, _, _ in points]
    values = [value for _, _, value in points]
    if None in steps:
        labels = ("1", str(len(points)))
        x: Sequence[float] = range(len(points))
    else:
        x = [float(step) for step in steps if step is not None]
        labels = (f"step {min(x):.0f}", f"step {max(x):.0f}")
    title = cell(key, "bold cyan")
    title.append(f"  {plural(len(points), 'point')}, last {number(values[-1])}", "dim")
    console.print(title)
    if not print_chart(console, x, values, labels):
        note(console, "  none of the values is a finite number")


def print_chart(
    console: Console,
    x: Sequence[float],
    y: Sequence[float],
    labels: tuple[str, str],
    height: int = _PLOT_ROWS,
) -> bool:
    """Draw a line chart with its ranges; return False if there is nothing to draw."""
    plain_text = ascii_only(console)
    ruler = "|" if plain_text else "│"
    margin = 12
    width = max(min(console.width, _WIDEST) - margin - 3, 10)
    drawn = chart(x, y, width, height, ascii_only=plain_text)
    if drawn is None:
        return False
    middle = drawn.low / 2 + drawn.high / 2
    marks = {0: drawn.high, len(drawn.rows) // 2: middle, len(drawn.rows) - 1: drawn.low}
    for row, text in enumerate(drawn.rows):
        mark = f"{marks[row]:.4g}" if row in marks else ""
        line = cell(f"{mark:>{margin}} {ruler} ", "dim")
        line.append(text, "cyan")
        console.print(line, no_wrap=True, crop=True)
    first, last = labels
    gap = " " * max(width - len(first) - len(last), 1)
    console.print(f"{'':{margin}}   {first}{gap}{last}", style="dim", no_wrap=True)
    return True


def _print_tables(console: Console, shown: dict[str, list[Point]], most: int) -> None:
    """Print one table if the keys were logged by the same steps, else one after another."""
    steps = [[step for step, _, _ in points] for points in shown.values()]
    together = all(row == steps[0] and None not in row and len(set(row)) == len(row) for row in steps)
    groups = [list(shown)] if together else [[key] for key in shown]
    for group in groups:
        rows = list(zip(*(shown[key] for key in group), strict=True))
        part = rows[-most:] if most else rows
        table = data_table()
        table.add_column("step", justify="right", no_wrap=True)
        table.add_column("time", no_wrap=True, style="dim")
        for key in group:
            table.add_column(cell(key), justify="right", overflow="ellipsis", no_wrap=True)
        for row in part:
            step, stamp, _ = row[0]
            table.add_row(
                "" if step is None else str(step),
                moment(stamp, seconds=True),
                *(number(value) for _, _, value in row),
            )
        console.print(table)
        if len(part) < len(rows):
            note(console, f"the last {len(part)} of {len(rows):,}; --last 0 shows all, --csv and --json too")
