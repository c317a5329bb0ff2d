"""``aqrec compact``: fold a store's catalog, and merge small histories."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from aqrec.cli._console import note, print_json, stdout
from aqrec.cli._data import opened
from aqrec.cli._text import plural

if TYPE_CHECKING:
    from aqrec.cli._where import Where

__all__ = ["compact"]


def compact(place: Where, grace: float, *, own_histories: bool, as_json: bool) -> None:
    """Fold a catalog and merge histories; see the command's help."""
    with opened(place) as view:
        done = view.compact(grace, own_histories=own_histories)
        if as_json:
            print_json({"store": view.url, **msgspec.to_builtins(done)})
            return
        console = stdout()
        logs, objects = plural(done.folded, "event log"), plural(done.deleted, "superseded object")
        console.print(f"Folded {logs} and deleted {objects}.")
        if done.merged:
            files = f"{plural(done.merged, 'file')} of histories into {done.written:,}"
            console.print(f"Merged {files}, with those of {plural(done.runs, 'run')}.")
        note(
            console, f"The catalog is {plural(done.snapshots, 'snapshot')} of {plural(done.rows, 'run')} now."
        )
