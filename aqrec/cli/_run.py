"""``aqrec run``: a workflow file, or a recorded run once more, from beginning to end."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from math import isnan
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from aqrec.cli._console import cell, data_table, note, print_error, print_json, status_text, stderr, stdout
from aqrec.cli._data import StoreView, opened, span
from aqrec.cli._text import duration, number, plain, plural
from aqrec.errors import AqrecError, InvalidWorkflowError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from rich.console import Console

    from aqrec.cli._where import Where
    from aqrec.errors import WorkflowProblem
    from aqrec.format._document import RunDocument

__all__ = ["check", "run"]

_MOST_METRICS = 30


def check(workflow: str) -> None:
    """Check a workflow file; see the command's help."""
    from aqrec.sync.workflow import check as check_workflow  # noqa: PLC0415 - loads what templates need

    with _problems_shown():
        config = check_workflow(workflow)
    records = config["task"].get("record") or []
    count = len(records) if isinstance(records, list) else 1
    stdout().print(
        cell(f"{workflow} is good: a model, a data set, {plural(count, 'record')}"), soft_wrap=True
    )


def run(
    workflow: str | None,
    text: str | None,
    place: Where,
    *,
    experiment: str | None,
    name: str | None,
    as_json: bool,
) -> None:
    """Run a workflow file, or a recorded run once more, and show what came out; see the command's help."""
    from aqrec.sync import R  # noqa: PLC0415

    old: str | None = None
    if text is not None:
        with opened(place) as view:
            old = view.find(text).run_id
    try:
        with _problems_shown():
            R.configure(storage_options=place.options)
            run_id = _run(workflow, old, place, experiment, name, as_json=as_json)
    finally:
        R.close()
        R.configure(storage_options={})
    with opened(place) as view:
        doc = view.find(run_id)
        if as_json:
            print_json(view.plain_run(doc))
        else:
            _show(stdout(), view, doc, view.find(old) if old is not None else None, place)


# -- running -----------------------------------------------------------------------------------------------


def _run(
    workflow: str | None,
    old: str | None,
    place: Where,
    experiment: str | None,
    name: str | None,
    *,
    as_json: bool,
) -> str:
    from aqrec.sync import R  # noqa: PLC0415
    from aqrec.sync import workflow as workflows  # noqa: PLC0415 - loads what templates need

    begun: list[str] = []
    # What models print must not end up in the JSON document.
    quiet = contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()
    # People keep their own modules beside the file or where they stand, as for `python file.py`.
    if os.getcwd() not in sys.path:  # noqa: PTH109
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    try:
        with quiet, _progress() as tell:

            def on_progress(what: str, done: int, total: int) -> None:
                if not begun:
                    begun.append(R.get_recorder().id)
                tell(what, done, total)

            options: dict[str, Any] = {
                "experiment_name": experiment,
                "recorder_name": name,
                "uri": place.location,
                "on_progress": on_progress,
            }
            if old is not None:
                return workflows.rerun(old, **options).id
            return workflows.run(workflow or "", **options).id
    except (AqrecError, OSError) as error:
        if begun:
            error.add_note(_failed(begun[0], place))
        raise
    except Exception as error:  # noqa: BLE001 - a model or data set may raise anything
        _explain(error, begun[0] if begun else None, place)


def _explain(error: Exception, run_id: str | None, place: Where) -> NoReturn:
    """Show where foreign code failed: its author needs the place."""
    traceback.print_exception(error)
    if run_id is not None:
        error.add_note(_failed(run_id, place))
    print_error(error)
    raise typer.Exit(1)


def _failed(run_id: str, place: Where) -> str:
    return f"the run ended FAILED; what it had saved is kept: aqrec show {run_id}{place.arguments()}"


@contextlib.contextmanager
def _problems_shown() -> Generator[None]:
    """Show each problem of a workflow below the line it is in."""
    try:
        yield
    except InvalidWorkflowError as error:
        _show_problems(error)
        raise typer.Exit(1) from None


def _show_problems(error: InvalidWorkflowError) -> None:
    from rich.text import Text  # noqa: PLC0415

    console = stderr()
    heading = str(error).partition("\n")[0]
    console.print(Text.assemble(("error: ", "bold red"), plain(heading)), soft_wrap=True)
    margin = max((len(str(problem.line or "")) for problem in error.problems), default=0)
    for problem in error.problems:
        console.print()
        for line in _problem(problem, margin, other=not heading.startswith(f"{problem.file} ")):
            console.print(line, soft_wrap=True)


def _problem(problem: WorkflowProblem, margin: int, *, other: bool) -> list[Any]:
    from rich.text import Text  # noqa: PLC0415

    lines: list[Any] = []
    if problem.line is not None:
        if other:
            lines.append(Text(f"  {plain(str(problem.file))}", "dim"))
        lines.append(
            Text.assemble((f"  {problem.line:>{margin}} | ", "dim"), plain(problem.source, keep="\t"))
        )
        column = problem.column or 1
        blank = "".join("\t" if char == "\t" else " " for char in problem.source[: column - 1])
        lines.append(Text.assemble((f"  {'':>{margin}} | ", "dim"), blank, ("^", "bold red")))
    key = (f"{plain(problem.key)}: ", "cyan") if problem.key else ""
    lines.append(
        Text.assemble(f"  {'':>{margin}}   " if problem.line is not None else "  ", key, plain(problem.text))
    )
    return lines


@contextlib.contextmanager
def _progress() -> Generator[Callable[[str, int, int], None]]:
    """Show how far the work is, where somebody can see it; leaves nothing behind."""
    console = stderr()
    if not console.is_terminal or console.is_dumb_terminal:
        yield lambda *_: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(),
        TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("checking", total=None, count="")
        yield lambda what, done, total: progress.update(
            bar, description=what, completed=done, total=total, count=f"{done}/{total}"
        )


# -- showing -----------------------------------------------------------------------------------------------


def _show(console: Console, view: StoreView, doc: RunDocument, old: RunDocument | None, place: Where) -> None:
    short = view.short_ids([doc] if old is None else [doc, old])
    heading = cell(f"{doc.experiment_name}/{doc.name}", "bold")
    heading.append("  ").append_text(status_text(doc))
    heading.append(f"  run {short[doc.run_id]}", "dim")
    length = span(doc)
    if length is not None:
        heading.append(f"  {duration(length)}", "dim")
    console.print(heading)
    console.print()
    if old is None:
        _show_metrics(console, doc)
    else:
        _show_comparison(console, doc, old, short[old.run_id])
    console.print()
    console.print(cell("Files", "bold"))
    console.print(cell(f"  {view.folder(doc)}"), soft_wrap=True)
    console.print()
    console.print(cell("Look further", "bold"))
    where = place.arguments()
    for command in (f"aqrec show {short[doc.run_id]}{where}", f"aqrec run --from {short[doc.run_id]}{where}"):
        console.print(cell(f"  {command}", "cyan"), soft_wrap=True)


def _show_metrics(console: Console, doc: RunDocument) -> None:
    values = _values(doc)
    if not values:
        note(console, "no metrics: the workflow has no record that computes any")
        return
    table = data_table()
    table.add_column("metric", style="cyan", overflow="fold")
    table.add_column("value", justify="right", no_wrap=True, style="bold")
    for key, value in list(values.items())[:_MOST_METRICS]:
        table.add_row(cell(key), number(value))
    console.print(table)
    if len(values) > _MOST_METRICS:
        note(console, f"and {len(values) - _MOST_METRICS:,} more")


def _show_comparison(console: Console, doc: RunDocument, old: RunDocument, short: str) -> None:
    """Show the metrics beside those of the run that was repeated."""
    new, before = _values(doc), _values(old)
    table = data_table()
    table.add_column("metric", style="cyan", overflow="fold")
    for title in ("value", f"of {short}", "difference"):
        table.add_column(title, justify="right", no_wrap=True)
    different = 0
    for key in sorted({*new, *before}):
        value, other = new.get(key), before.get(key)
        same = value == other or (value is not None and other is not None and isnan(value) and isnan(other))
        different += not same
        delta = "" if same or value is None or other is None else f"{value - other:+.3g}"
        table.add_row(cell(key), *("" if end is None else number(end) for end in (value, other)), delta)
    if new or before:
        console.print(table)
        console.print()
    if different:
        note(console, f"{plural(different, 'metric')} differ{'s' if different == 1 else ''} from run {short}")
    else:
        note(console, f"all metrics equal those of run {short}")


def _values(doc: RunDocument) -> dict[str, float]:
    from aqrec.format._document import latest  # noqa: PLC0415

    return {key: row.value for key, row in sorted(latest(doc).items())}
