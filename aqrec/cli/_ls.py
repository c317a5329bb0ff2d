"""``aqrec ls``: experiments, or the runs of one."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from aqrec.cli._console import cell, data_table, note, print_json, status_text, stdout
from aqrec.cli._data import StoreView, last_activity, opened, span
from aqrec.cli._text import ago, duration, iso, moment, number, plural
from aqrec.format._document import latest
from aqrec.format._ids import now_ms

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from aqrec.cli._where import Where
    from aqrec.format._document import RunDocument
    from aqrec.format._records import MetricSummary
    from aqrec.reading import ExperimentDocument

__all__ = ["ls"]

_ROWS = 20
_NARROW = 80
_METRICS = 5
_METRIC_WIDTH = 18
_GAP = 3
"""Between two columns of `data_table`"""


def ls(
    place: Where,
    experiment_name: str | None,
    metrics: list[str],
    *,
    everything: bool,
    limit: int | None,
    as_json: bool,
) -> None:
    """List a store; see the command's help."""
    with opened(place) as view:
        experiments = view.experiments(deleted=everything)
        if as_json:
            print_json(_document(view, experiments, experiment_name, everything=everything, limit=limit))
            return
        console = stdout()
        most = _ROWS if limit is None else limit or None
        if experiment_name is not None:
            chosen = view.experiment(experiment_name, deleted=everything)
            _print_runs(console, view, chosen, metrics, everything=everything, most=most)
            return
        _print_experiments(console, view, experiments, everything=everything, most=most)
        if len(experiments) == 1:
            console.print()
            _print_runs(console, view, experiments[0], metrics, everything=everything, most=most)
        elif experiments:
            note(console, "Runs of one: aqrec ls STORE --experiment NAME")


def _document(
    view: StoreView,
    experiments: list[ExperimentDocument],
    name: str | None,
    *,
    everything: bool,
    limit: int | None,
) -> dict[str, Any]:
    if name is None:
        rows = [_plain_experiment(view, experiment, everything=everything) for experiment in experiments]
        return {"store": view.url, "experiments": rows[: limit or None]}
    experiment = view.experiment(name, deleted=everything)
    runs = view.runs(experiment, deleted=everything)[: limit or None]
    return {
        "store": view.url,
        "experiment": _plain_experiment(view, experiment, everything=everything),
        "runs": [view.plain_run(doc) for doc in runs],
    }


def _plain_experiment(view: StoreView, experiment: ExperimentDocument, *, everything: bool) -> dict[str, Any]:
    runs = view.runs(experiment, deleted=everything)
    counts = Counter(doc.status for doc in runs)
    return {
        "experiment_id": experiment.experiment_id,
        "name": experiment.name,
        "deleted": not experiment.alive,
        "runs": len(runs),
        "statuses": dict(sorted(counts.items())),
        "last_activity": iso(max(map(last_activity, runs), default=None)),
    }


def _print_experiments(
    console: Console,
    view: StoreView,
    experiments: list[ExperimentDocument],
    *,
    everything: bool,
    most: int | None,
) -> None:
    if not experiments:
        console.print(f"{view.place} holds no experiment.")
        return
    table = data_table()
    table.add_column("experiment", overflow="ellipsis", no_wrap=True, max_width=max(console.width - 44, 12))
    for name in ("runs", "running", "failed"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("last activity", no_wrap=True)
    now = now_ms()
    for experiment in experiments[:most]:
        runs = view.runs(experiment, deleted=everything)
        counts = Counter(doc.status for doc in runs)
        title = cell(experiment.name)
        if not experiment.alive:
            title.append(" deleted", "dim")
        stamp = max(map(last_activity, runs), default=None)
        table.add_row(
            title,
            f"{len(runs):,}",
            cell(f"{counts['RUNNING']:,}", "yellow" if counts["RUNNING"] else "dim"),
            cell(f"{counts['FAILED']:,}", "bold red" if counts["FAILED"] else "dim"),
            "" if stamp is None else ago(stamp, now),
        )
    console.print(table)
    _tell_rest(console, len(experiments), most, "experiment")


def _print_runs(
    console: Console,
    view: StoreView,
    experiment: ExperimentDocument,
    metrics: list[str],
    *,
    everything: bool,
    most: int | None,
) -> None:
    found = view.runs(experiment, deleted=everything)
    if not found:
        console.print(cell(f"Experiment {experiment.name} has no run."))
        return
    runs = found[:most]
    narrow = console.width < _NARROW
    short = view.short_ids(runs)
    columns = [
        _Column("run", [cell(short[doc.run_id], "bold cyan") for doc in runs]),
        _Column("name", [_fitted(doc.name, 14 if narrow else 28) for doc in runs]),
        _Column("status", [status_text(doc, deleted=view.deleted(doc)) for doc in runs]),
        _Column("started", [cell(_started(doc, year=not narrow)) for doc in runs]),
    ]
    if not narrow:
        spans = [span(doc) for doc in runs]
        columns.append(_Column("took", [cell("" if s is None else duration(s)) for s in spans], right=True))
    values = [latest(doc) for doc in runs]
    for key in metrics or _telling(values):
        column = _Column(
            _fitted(key, _METRIC_WIDTH).plain,
            [cell(number(row[key].value, 5) if key in row else "") for row in values],
            right=True,
        )
        # A metric that was asked for is shown even where it does not fit.
        if metrics or sum(c.width for c in (*columns, column)) <= console.width:
            columns.append(column)
    table = data_table()
    for column in columns:
        table.add_column(column.name, justify="right" if column.right else "left", no_wrap=True)
    for row in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*row)
    console.print(table)
    _tell_rest(console, len(found), most, "run")


class _Column:
    """A column whose width is known before it is printed."""

    def __init__(self, name: str, cells: list[Text], *, right: bool = False) -> None:
        self.name = name
        self.cells = cells
        self.right = right
        self.width = max(len(name), *(text.cell_len for text in cells)) + _GAP


def _started(doc: RunDocument, *, year: bool) -> str:
    return "" if doc.start_time is None else moment(doc.start_time, year=year)


def _fitted(text: str, width: int) -> Text:
    fitted = cell(text)
    fitted.truncate(width, overflow="ellipsis")
    return fitted


def _telling(runs: list[dict[str, MetricSummary]]) -> list[str]:
    """Return the metrics that most of the runs have; results, which are logged once, before series."""
    have: Counter[str] = Counter()
    series: Counter[str] = Counter()
    for row in runs:
        for key, summary in row.items():
            have[key] += 1
            series[key] += summary.count > 1
    # Of equals the shortest, so that more of them fit.
    return sorted(have, key=lambda key: (-have[key], 2 * series[key] > have[key], len(key), key))[:_METRICS]


def _tell_rest(console: Console, count: int, most: int | None, noun: str) -> None:
    if most is not None and count > most:
        note(console, f"… and {plural(count - most, f'more {noun}')}; --limit 0 shows all")
