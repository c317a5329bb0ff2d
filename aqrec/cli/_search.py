"""``aqrec search``: the runs that a filter finds, as a table, CSV, JSON or Parquet."""

from __future__ import annotations

import csv
import io
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from aqrec.cli._console import cell, data_table, json_text, note, status_cell, stdout
from aqrec.cli._data import StoreView, opened
from aqrec.cli._text import cut, duration, moment, number, one_line, plural
from aqrec.errors import InvalidInputError
from aqrec.reading import Selection
from aqrec.reading._filter_nodes import keys
from aqrec.recording._searching import Query

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Console
    from rich.text import Text

    from aqrec.cli._where import Where

__all__ = ["Form", "search_runs"]

Form = Literal["table", "csv", "json", "parquet"]

_ROWS: Final = 20
_CELL: Final = 28
_GAP: Final = 3
"""Between two columns of `data_table`"""
_FACTS: Final = ("run_id", "run_name", "status", "start_time", "duration")
_MADE_ID: Final = re.compile(r"[0-9a-f]{32}")
_ENDINGS: Final[dict[str, Form]] = {".csv": "csv", ".json": "json", ".parquet": "parquet"}


def search_runs(
    place: Where | None,
    text: str,
    experiments: list[str],
    *,
    order_by: list[str],
    fields: list[str],
    view: str,
    limit: int | None,
    form: Form | None,
    output: Path | None,
) -> None:
    """Print what a search finds; see the command's help."""
    chosen = form or (_ENDINGS.get(output.suffix, "csv") if output is not None else "table")
    if chosen == "parquet" and output is None and sys.stdout.isatty():
        raise InvalidInputError("Parquet is not for terminals; add --output FILE")
    table = chosen == "table"
    most = (_ROWS if table else None) if limit is None else limit or None
    wanted = list(fields)
    if table:
        selection = Selection(text, order_by)
        wanted = [*_FACTS, *(fields or _mentioned(selection))]
    query = Query(
        experiment_names=experiments or None,
        filter_string=text,
        order_by=order_by,
        # One more tells whether there are more.
        max_results=most + 1 if table and most else most,
        view=view,
        fields=list(dict.fromkeys(wanted)) or None,
        output_format="arrow",
    )
    query.check()
    Selection(text, order_by, most)  # a mistake costs no request
    with opened(place) as store:
        for name in experiments:
            store.experiment(name, deleted=view != "active")
        found: pa.Table = store.search(query)
        if table:
            _print_table(stdout(), store, found, most, told=bool(text))
            return
    _write(found, chosen, output)


def _mentioned(selection: Selection) -> list[str]:
    """Return the metrics, params and tags that the question is about, and all metrics where it is about none."""
    names: list[str] = []
    asked = [*keys(selection.node), *(key for key, _ in selection.order.terms)]
    for key in asked:
        if key.entity in {"metrics", "params", "tags"}:
            name = f"{key.entity}.`{key.name}`"
            names.append(name if key.access == "last" else f"{key.access}({name})")
    return list(dict.fromkeys(names)) or ["metrics.*"]


def _print_table(console: Console, view: StoreView, found: pa.Table, most: int | None, *, told: bool) -> None:
    rows: list[dict[str, Any]] = found.slice(0, most).to_pylist()
    if not rows:
        console.print(f"No run of {view.place} fits." if told else f"{view.place} holds no run.")
        return
    ids: list[str] = [row["run_id"] for row in rows]
    short = view.short([run_id for run_id in ids if _MADE_ID.fullmatch(run_id)])
    columns: list[tuple[str, list[Text], bool]] = [
        ("run", [cell(short.get(run_id, run_id), "bold cyan") for run_id in ids], False),
        ("name", [_fitted(row["run_name"]) for row in rows], False),
        ("status", [status_cell(row["status"]) for row in rows], False),
        ("started", [_started(row["start_time"]) for row in rows], False),
        ("took", [_took(row["duration"]) for row in rows], True),
    ]
    width = sum(_width(column) for column in columns)
    left = 0
    for name in found.column_names[len(_FACTS) :]:
        column = (cut(name, _CELL), [_value(row[name]) for row in rows], not name.startswith("tags."))
        if width + _width(column) <= console.width:
            columns.append(column)
            width += _width(column)
        else:
            left += 1
    table = data_table()
    for name, _, right in columns:
        table.add_column(cell(name), justify="right" if right else "left", no_wrap=True)
    for cells in zip(*(column[1] for column in columns), strict=True):
        table.add_row(*cells)
    console.print(table)
    if left:
        note(console, f"{plural(left, 'more column')} left out; choose with --field, or take --format csv")
    if most is not None and found.num_rows > most:
        note(console, f"the first {most:,}; --limit 0 shows all")


def _width(column: tuple[str, list[Text], bool]) -> int:
    return max(len(column[0]), *(text.cell_len for text in column[1])) + _GAP


def _fitted(text: str | None) -> Text:
    fitted = cell(text or "")
    fitted.truncate(_CELL, overflow="ellipsis")
    return fitted


def _started(time: Any) -> Text:
    return cell("" if time is None else moment(round(time.timestamp() * 1000)))


def _took(seconds: float | None) -> Text:
    return cell("" if seconds is None else duration(round(seconds * 1000)))


def _value(value: Any) -> Text:
    if value is None:
        return cell("")
    if isinstance(value, float):
        return cell(number(value, 5))
    if hasattr(value, "timestamp"):
        return _started(value)
    return _fitted(one_line(value))


def _write(found: pa.Table, form: Form, output: Path | None) -> None:
    content = _content(found, form)
    if output is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    # Nobody finds half a file under the name.
    part = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)


def _content(found: pa.Table, form: Form) -> bytes:
    if form == "parquet":
        import pyarrow.parquet as pq  # noqa: PLC0415 - heavy

        data = io.BytesIO()
        pq.write_table(found, data)
        return data.getvalue()
    rows = [{key: _plain(value) for key, value in row.items()} for row in found.to_pylist()]
    if form == "json":
        return json_text(rows).encode(errors="backslashreplace")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(found.column_names)
    writer.writerows(row.values() for row in rows)
    return text.getvalue().encode(errors="backslashreplace")


def _plain(value: Any) -> Any:
    return value.isoformat(timespec="milliseconds") if hasattr(value, "isoformat") else value
