"""``aqrec sync``: send what ended and offline processes have left in this machine's spool."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Generator
from typing import TYPE_CHECKING

import msgspec
import typer

from aqrec.cli._console import cell, data_table, note, print_json, stderr, stdout
from aqrec.cli._text import ago, plain, plural, size
from aqrec.format._ids import now_ms
from aqrec.sync._spools import send

if TYPE_CHECKING:
    from pathlib import Path

    from aqrec.cli._where import Where
    from aqrec.recording._spools import Attempt, Progress, SpoolReport

__all__ = ["sync"]

_STYLES = {"sent": "green", "waiting": "cyan", "in use": "yellow", "failed": "bold red"}


def sync(place: Where, folder: Path | None, *, dry_run: bool, as_json: bool) -> None:
    """Send the spool; see the command's help. Exits with 1 if something could not be sent."""
    with _progress() as (progress, attempt):
        reports = send(
            place.location, place.options or None, folder, dry_run=dry_run, progress=progress, attempt=attempt
        )
    if as_json:
        print_json({"spools": msgspec.to_builtins(reports)})
    else:
        _print(reports)
    if any(report.state == "failed" for report in reports):
        raise typer.Exit(1)


def _print(reports: list[SpoolReport]) -> None:
    console = stdout()
    if not reports:
        console.print("Nothing waits in the spool.")
        return
    table = data_table()
    for name in ("store", "recorded"):
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    for name in ("objects", "size", "sent"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    now = now_ms()
    for report in reports:
        here = report.state != "in use"
        table.add_row(
            cell(report.url or report.folder),
            ago(report.created, now) if report.created else "",
            f"{report.objects:,}" if here else "",
            size(report.bytes) if here else "",
            size(report.sent_bytes) if here else "",
            cell(report.state, _STYLES[report.state]),
        )
    console.print(table)
    for report in reports:
        if report.reason:
            console.print(cell(f"{report.folder}: {report.reason}"), soft_wrap=True)
    states = Counter(report.state for report in reports)
    note(console, ", ".join(f"{plural(count, 'spool')} {state}" for state, count in sorted(states.items())))


@contextlib.contextmanager
def _progress() -> Generator[tuple[Progress, Attempt]]:
    """Show how far it is and whom it waits for; where nobody watches, only whom it waits for in vain."""
    console = stderr()
    if not console.is_terminal or console.is_dumb_terminal:
        told: dict[str, int] = {}

        def say(url: str, number: int, most: int, why: str) -> None:
            if why and told.get(url, 1) < number:
                told[url] = number
                console.print(cell(f"{url}: attempt {number} of {most}, since {why}"), soft_wrap=True)

        yield lambda _done, _total: None, say
        return
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TransferSpeedColumn,
    )

    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=console,
        transient=True,
    ) as progress:
        task = progress.add_task("", total=None)

        def show(url: str, number: int, most: int, why: str) -> None:
            del why
            waits = f", attempt {number} of {most}" if number > 1 else ""
            progress.update(task, description=plain(f"{url}{waits}"))

        yield lambda done, total: progress.update(task, completed=done, total=total), show
