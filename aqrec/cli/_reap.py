"""``aqrec reap``: give up runs whose processes died."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from aqrec.cli._console import cell, data_table, note, print_json, stdout
from aqrec.cli._data import opened
from aqrec.cli._text import ago, plural
from aqrec.cli._upkeep import cost_text, seconds, shown_progress
from aqrec.format._ids import now_ms
from aqrec.recording import _upkeep as upkeep

if TYPE_CHECKING:
    from aqrec.cli._where import Where

__all__ = ["reap"]


def reap(place: Where, horizon: str, *, yes: bool, as_json: bool) -> None:
    """Give up silent runs; see the command's help."""
    silence = seconds("--horizon", horizon)
    with opened(place) as view, shown_progress() as progress:
        done = view.upkeep(
            lambda session: upkeep.reap(session, horizon=silence, dry_run=not yes, progress=progress)
        )
    if as_json:
        print_json({"store": view.url, **msgspec.to_builtins(done)})
        return
    console = stdout()
    ended = [run for run in done.runs if run.ended]
    if done.runs:
        table = data_table()
        for name in ("run", "experiment", "name", "last heard of"):
            table.add_column(name, no_wrap=True, overflow="ellipsis")
        table.add_column("points sealed", justify="right", no_wrap=True)
        now = now_ms()
        for run in done.runs:
            table.add_row(
                cell(run.run_id),
                cell(run.experiment_name),
                cell(run.name),
                ago(run.heard, now) if run.ended else "ended",
                f"{run.points:,}" if yes else "",
            )
        console.print(table)
    if not yes and ended:
        console.print(f"Would set {plural(len(ended), 'run')} FAILED: add --yes.")
    elif yes:
        console.print(f"Set {plural(len(ended), 'run')} FAILED.")
    else:
        console.print("No run is to be given up.")
    note(console, f"{plural(done.running, 'run')} going on. {cost_text(done.cost)}")
