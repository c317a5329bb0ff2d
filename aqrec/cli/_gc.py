"""``aqrec gc``: delete what nothing refers to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from aqrec.cli._console import data_table, note, print_json, stdout
from aqrec.cli._data import opened
from aqrec.cli._text import plural, size
from aqrec.cli._upkeep import cost_text, seconds, shown_progress
from aqrec.recording import _upkeep as upkeep

if TYPE_CHECKING:
    from aqrec.cli._where import Where

__all__ = ["gc"]


def gc(place: Where, grace: str, *, unreferenced: bool, yes: bool, as_json: bool) -> None:
    """Collect garbage; see the command's help."""
    wait = seconds("--grace", grace)
    with opened(place) as view, shown_progress() as progress:
        done = view.upkeep(
            lambda session: upkeep.gc(
                session, grace=wait, dry_run=not yes, unreferenced=unreferenced, progress=progress
            )
        )
    if as_json:
        print_json({"store": view.url, **msgspec.to_builtins(done), "bytes": done.bytes})
        return
    console = stdout()
    if not done.orphans:
        console.print("There are no orphans.")
    else:
        table = data_table()
        table.add_column("orphans", no_wrap=True)
        table.add_column("objects", justify="right", no_wrap=True)
        table.add_column("size", justify="right", no_wrap=True)
        for kind, (count, total) in done.kinds.items():
            table.add_row(kind, f"{count:,}", size(total))
        console.print(table)
        objects = f"{plural(len(done.orphans), 'orphan')} of {size(done.bytes)}"
        console.print(
            f"Deleted {objects}." if yes else f"Would delete {objects}: add --yes. --json lists them."
        )
    for reason, count in done.kept.items():
        note(console, f"Kept {plural(count, 'object')} that nothing refers to, {reason}.")
    note(console, cost_text(done.cost))
