"""``aqrec compact``: fold a store's catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from aqrec.cli._console import note, print_json, stdout
from aqrec.cli._data import opened
from aqrec.cli._text import plural

if TYPE_CHECKING:
    from aqrec.cli._where import Where

__all__ = ["compact"]


def compact(place: Where, grace: float, *, as_json: bool) -> None:
    """Fold a catalog; see the command's help."""
    with opened(place) as view:
        done = view.compact(grace)
        if as_json:
            print_json({"store": view.url, **msgspec.to_builtins(done)})
            return
        console = stdout()
        logs, objects = plural(done.folded, "event log"), plural(done.deleted, "superseded object")
        console.print(f"Folded {logs} and deleted {objects}.")
        note(
            console, f"The catalog is {plural(done.snapshots, 'snapshot')} of {plural(done.rows, 'run')} now."
        )
