"""``aqrec compare``: what distinguishes runs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from aqrec.cli._console import cell, data_table, note, print_json, status_cell, stdout
from aqrec.cli._data import StoreView, opened
from aqrec.cli._text import cut, duration, moment, number, one_line, plain, plural
from aqrec.errors import InvalidInputError

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console
    from rich.text import Text

    from aqrec.cli._where import Where
    from aqrec.format._document import RunDocument
    from aqrec.recording._comparing import CodeDifference, Comparison

__all__ = ["compare_runs"]

_LEAST: Final = 16
"""Width of a run's column that values are still told apart in"""
_KEY: Final = 28
_COMMIT: Final = 12


def compare_runs(
    texts: list[str], place: Where | None, *, everything: bool, diff: bool, as_json: bool
) -> None:
    """Show runs side by side; see the command's help."""
    with opened(place) as view:
        docs = list({doc.run_id: doc for doc in map(view.find, texts)}.values())
        if len(docs) < 2:
            raise InvalidInputError("compare takes two different runs or more")
        found = view.compare(docs, everything=everything)
        short = view.short_ids(docs)
        if as_json:
            print_json(_document(view, found))
            return
    console = stdout()
    # So many runs beside each other that their values can be read.
    fitting = max((console.width - _KEY) // (_LEAST + 3), 2)
    for first in range(0, len(docs), fitting):
        if first:
            console.print()
        _print_block(console, found, docs[first : first + fitting], short)
    _print_code(console, found, short, diff=diff)
    if not everything:
        note(console, "Only params and tags that differ; --all shows the others, too")


def _print_block(console: Console, found: Comparison, docs: list[RunDocument], short: dict[str, str]) -> None:
    ids = [doc.run_id for doc in docs]
    table = data_table()
    width = max((console.width - _KEY) // len(docs) - 3, _LEAST)
    table.add_column("", style="cyan", no_wrap=True, overflow="ellipsis", max_width=_KEY)
    for run_id in ids:
        table.add_column(cell(short[run_id], "bold cyan"), no_wrap=True, overflow="ellipsis", max_width=width)
    table.add_row("name", *(cell(doc.name) for doc in docs))
    if len({doc.experiment_name for doc in docs}) > 1:
        table.add_row("experiment", *(cell(doc.experiment_name) for doc in docs))
    table.add_row("status", *(status_cell(doc.status) for doc in docs))
    table.add_row(
        "started", *(cell("" if doc.start_time is None else moment(doc.start_time)) for doc in docs)
    )
    spans = found.runs.loc[ids, "duration"].tolist()
    table.add_row("took", *(cell("" if math.isnan(s) else duration(round(s * 1000))) for s in spans))
    table.add_row("commit", *(_commit(commit) for commit in found.runs.loc[ids, "commit"].tolist()))
    for title, frame in (("params", found.params), ("tags", found.tags)):
        if len(frame):
            _section(table, title)
            for key, row in _rows(frame, ids):
                table.add_row(cell(f"  {key}"), *_values(row))
    if len(found.metrics):
        _section(table, "metrics")
        first = found.metrics.columns[0]
        for key, row in _rows(found.metrics, ids):
            base = float(found.metrics.loc[key, first])  # type: ignore[arg-type]  # one cell of a float64 column
            table.add_row(
                cell(f"  {key}"),
                *(_figure(value, base, first == run) for run, value in zip(ids, row, strict=True)),
            )
    console.print(table)


def _section(table: Any, title: str) -> None:
    table.add_row(cell(title, "bold"))


def _rows(frame: pd.DataFrame, ids: list[str]) -> list[tuple[str, list[Any]]]:
    return list(zip(frame.index.tolist(), frame[ids].to_numpy().tolist(), strict=True))


def _commit(commit: str | None) -> Text:
    return cell("not recorded", "dim") if commit is None else cell(commit[:_COMMIT])


def _values(row: list[Any]) -> list[Text]:
    return [cell("-", "dim") if value is None else cell(cut(one_line(value), 200)) for value in row]


def _figure(value: float, base: float, is_first: bool) -> Text:
    """Return a metric's value, and how far it is from the first run's."""
    if math.isnan(value):
        return cell("-", "dim")
    text = cell(number(value, 5))
    change = value - base
    if not is_first and math.isfinite(change) and change:
        text.append(f" {'+' if change > 0 else ''}{number(change, 3)}", "dim")
    return text


def _print_code(console: Console, found: Comparison, short: dict[str, str], *, diff: bool) -> None:
    first = short[found.runs.index[0]]
    console.print()
    console.print(cell("code", "bold"))
    for other in found.code:
        line = cell(f"  {short[other.run_id]} ", "cyan")
        line.append(_told(other, first))
        console.print(line)
        if diff and other.diff:
            for text in other.diff.splitlines():
                style = {"+": "green", "-": "red", "@": "cyan"}.get(text[:1], "")
                console.print(cell(f"    {plain(text)}", style), soft_wrap=True)
    if not diff and any(other.diff for other in found.code):
        note(console, "--diff shows how the uncommitted changes differ")


def _told(other: CodeDifference, first: str) -> str:
    mine, theirs = other.commits[1], other.commits[0]
    if mine is None or theirs is None:
        return f"not recorded here or in {first}"
    changes = "the same uncommitted changes"
    if other.diff:
        count = sum(
            line[:1] in "+-" and not line.startswith(("+++", "---")) for line in other.diff.splitlines()
        )
        changes = f"uncommitted changes that differ in {plural(count, 'line')}"
    if mine == theirs:
        return f"the same as {first}" if not other.diff else f"the commit of {first}, {changes}"
    return f"commit {mine[:_COMMIT]}, not {theirs[:_COMMIT]} of {first}, {changes}"


def _document(view: StoreView, found: Comparison) -> dict[str, Any]:
    runs = found.runs.reset_index()
    runs["start_time"] = [None if time is None else time for time in runs["start_time"].astype("object")]
    return {
        "store": view.url,
        "runs": [
            {
                **row,
                "start_time": None
                if row["start_time"] != row["start_time"]
                else row["start_time"].isoformat(),
            }
            for row in runs.to_dict("records")
        ],
        "params": _plain(found.params),
        "metrics": _plain(found.metrics.astype("object").where(found.metrics.notna(), None)),
        "tags": _plain(found.tags),
        "code": [
            {"run_id": one.run_id, "commits": list(one.commits), "same": one.same, "diff": one.diff}
            for one in found.code
        ],
    }


def _plain(frame: pd.DataFrame) -> dict[str, dict[str, Any]]:
    return {
        key: dict(zip(frame.columns, row, strict=True)) for key, row in _rows(frame, frame.columns.tolist())
    }
