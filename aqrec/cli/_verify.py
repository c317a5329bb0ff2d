"""``aqrec verify``: check a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import typer

from aqrec.cli._console import cell, data_table, note, print_json, stdout
from aqrec.cli._data import opened
from aqrec.cli._text import plural
from aqrec.cli._upkeep import cost_text, shown_progress
from aqrec.recording import _upkeep as upkeep

if TYPE_CHECKING:
    from aqrec.cli._where import Where

__all__ = ["verify"]

_SEVERAL = {"sealed history": "sealed histories"}


def verify(place: Where, *, contents: bool, repair: bool, as_json: bool) -> None:
    """Check a store; see the command's help."""
    with opened(place) as view, shown_progress() as progress:
        done = view.upkeep(
            lambda session: upkeep.verify(session, contents=contents, repair=repair, progress=progress)
        )
    if as_json:
        print_json({"store": view.url, "ok": done.ok, **msgspec.to_builtins(done)})
    else:
        console = stdout()
        if done.problems:
            table = data_table()
            table.add_column("what", no_wrap=True)
            table.add_column("state", no_wrap=True)
            table.add_column("problem", overflow="fold")
            for problem in done.problems:
                state = cell("repaired", "green") if problem.repaired else cell("damaged", "bold red")
                table.add_row(problem.kind, state, cell(f"{problem.key}: {problem.text}"))
            console.print(table)
        else:
            console.print("Everything is as it should be.")
        counted = [
            plural(count, kind, _SEVERAL.get(kind))
            for kind, count in done.checked.items()
            if kind != "torn" and count
        ]
        note(console, f"Checked {', '.join(counted)}. {cost_text(done.cost)}")
    if not done.ok:
        raise typer.Exit(1)
