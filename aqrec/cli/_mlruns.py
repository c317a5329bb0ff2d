"""``aqrec import mlruns`` and ``aqrec export mlruns``: MLflow's stores in and out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import typer

from aqrec.cli._console import cell, note, print_json, stderr, stdout
from aqrec.cli._text import plural
from aqrec.integrations.mlflow import export_mlruns, import_mlruns
from aqrec.recording._default import defaults
from aqrec.stores import redact_url

if TYPE_CHECKING:
    from aqrec.cli._where import Where
    from aqrec.integrations.mlflow._importing import Artifacts

__all__ = ["export_runs", "import_runs"]


def import_runs(
    source: str, place: Where, artifacts: Artifacts, experiments: list[str] | None, *, as_json: bool
) -> None:
    """Import; see the command's help. Exits with 1 if a run could not be imported whole, with 130 after Ctrl-C."""
    reached = (0, 0)

    def tell(seen: int, total: int) -> None:
        nonlocal reached
        reached = seen, total
        if show is not None:
            show(seen, total)

    try:
        with _progress("importing") as show:
            done = import_mlruns(
                source,
                place.location,
                artifacts=artifacts,
                experiments=experiments,
                storage_options=place.options,
                on_progress=tell,
            )
    except KeyboardInterrupt:
        so_far = f"after {reached[0]} of {plural(reached[1], 'run')}" if reached[1] else "at its beginning"
        text = f"Interrupted {so_far}. What was imported is stored; the same command goes on with the rest."
        stderr().print(cell(text), soft_wrap=True)
        raise typer.Exit(130) from None
    url = redact_url(place.location if place.location is not None else defaults.default_uri())
    if as_json:
        print_json({"store": url, **msgspec.to_builtins(done)})
    else:
        console = stdout()
        console.print(
            cell(f"Imported {plural(done.runs, 'run')} with {plural(done.points, 'point')} into {url}.")
        )
        if done.unchanged:
            note(console, f"{plural(done.unchanged, 'run')} had nothing new.")
        if done.deleted:
            note(console, f"{plural(done.deleted, 'run')} that MLflow calls deleted stayed out.")
        if done.referenced:
            note(
                console,
                f"The artifacts of {plural(done.referenced, 'run')} stay where the tag mlflow.artifact_uri says.",
            )
        if done.empty:
            note(console, f"{plural(done.empty, 'experiment')} without runs came too.")
        if done.tags_left:
            names = ", ".join(map(repr, done.tags_left))
            note(console, f"Tags of experiments stayed out, aqrec has none: {names}.")
    _tell(done.failed)


def export_runs(folder: Path, place: Where, experiments: list[str] | None, *, as_json: bool) -> None:
    """Export; see the command's help. Exits with 1 if a run could not be exported."""
    with _progress("exporting") as show:
        done = export_mlruns(
            folder,
            place.location,
            experiments=experiments,
            storage_options=place.options,
            on_progress=show,
        )
    if as_json:
        print_json({"folder": str(folder), **msgspec.to_builtins(done)})
    else:
        console = stdout()
        console.print(cell(f"Exported {plural(done.runs, 'run')} to {folder}."))
        for key, name in sorted(done.renamed.items()):
            note(console, f"{key!r} is called {name!r} there: MLflow does not allow it.")
    _tell(done.failed)


def _tell(failed: dict[str, str]) -> None:
    for what, why in failed.items():
        stderr().print(cell(f"{what}: {why}", "bold red"), soft_wrap=True)
    if failed:
        raise typer.Exit(1)


@contextlib.contextmanager
def _progress(what: str) -> Generator[Callable[[int, int], None] | None]:
    """Show how far it is, where somebody watches."""
    console = stderr()
    if not console.is_terminal or console.is_dumb_terminal:
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn(f"{what} runs"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
