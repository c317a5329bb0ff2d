"""``aqrec sync``: send what ended and offline processes have left in this machine's spool."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import typer

from aqrec.cli._console import cell, data_table, note, print_json, stderr, stdout
from aqrec.cli._text import ago, plural, size
from aqrec.errors import InvalidInputError
from aqrec.format._ids import now_ms
from aqrec.sync import sync_spool

if TYPE_CHECKING:
    from pathlib import Path

    from aqrec.recording._spools import Progress, SpoolReport

__all__ = ["sync"]

_STYLES = {"sent": "green", "waiting": "cyan", "in use": "yellow", "failed": "bold red"}


def sync(
    location: str | None,
    settings: Sequence[str],
    folder: Path | None,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Send the spool; see the command's help. Exits with 1 if something could not be sent."""
    options = dict(map(_setting, settings))
    with _progress() as progress:
        reports = sync_spool(
            location, storage_options=options or None, folder=folder, dry_run=dry_run, progress=progress
        )
    if as_json:
        print_json({"spools": msgspec.to_builtins(reports)})
    else:
        _print(reports)
    if any(report.state == "failed" for report in reports):
        raise typer.Exit(1)


def _setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise InvalidInputError(
            f"--option {key!r}: write KEY=VALUE, as in endpoint_url=http://localhost:9000"
        )
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


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
def _progress() -> Generator[Progress]:
    console = stderr()
    if not console.is_terminal or console.is_dumb_terminal:
        yield lambda _done, _total: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn  # noqa: PLC0415

    with Progress(
        BarColumn(), DownloadColumn(), TransferSpeedColumn(), console=console, transient=True
    ) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
