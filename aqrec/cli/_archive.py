"""``aqrec archive``: artifacts move to another place, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from aqrec.cli._console import cell, data_table, note, print_json, stdout
from aqrec.cli._data import opened
from aqrec.cli._text import plural, size
from aqrec.cli._upkeep import cost_text, policy_of, shown_progress
from aqrec.recording import _upkeep as upkeep

if TYPE_CHECKING:
    from aqrec.cli._where import Where

__all__ = ["archive"]

_SHOWN = 20


def archive(
    to: Where,
    place: Where,
    older_than: str | None,
    keep_last: int | None,
    status: str | None,
    filter_string: str,
    experiments: Sequence[str] | None,
    *,
    back: bool,
    compress: bool,
    least_bytes: int,
    yes: bool,
    as_json: bool,
) -> None:
    """Move artifacts; see the command's help."""
    policy = policy_of(older_than, keep_last, status, filter_string, experiments)
    policy.check_values()
    with opened(place) as view, shown_progress() as progress:
        done = view.upkeep(
            lambda session: upkeep.archive(
                session,
                policy,
                url=to.location,
                back=back,
                compress=compress,
                storage_options=to.options or None,
                least_bytes=least_bytes,
                dry_run=not yes,
                progress=progress,
            )
        )
        if as_json:
            print_json({"store": view.url, **msgspec.to_builtins(done)})
            return
        console = stdout()
        if done.runs:
            table = data_table()
            for name in ("run", "experiment", "name"):
                table.add_column(name, no_wrap=True, overflow="ellipsis")
            for name in ("artifacts", "size"):
                table.add_column(name, justify="right", no_wrap=True)
            for run in done.runs[:_SHOWN]:
                table.add_row(
                    cell(run.run_id),
                    cell(run.experiment_name),
                    cell(run.name),
                    str(run.artifacts),
                    size(run.bytes),
                )
            console.print(table)
            if len(done.runs) > _SHOWN:
                note(console, f"… and {len(done.runs) - _SHOWN:,} more; --json lists all.")
        in_place = compress and to.location is None
        if yes:
            console.print(
                f"{'Compressed' if in_place else 'Moved'} {plural(done.moved, 'artifact')} of {plural(len(done.runs), 'run')}."
            )
        else:
            count = sum(run.artifacts for run in done.runs)
            more = ": add --yes" if done.runs else ""
            console.print(
                f"Would {'compress' if in_place else 'move'} {plural(count, 'artifact')} with {size(done.bytes)}{more}."
            )
        for reason, number in done.kept.items():
            note(console, f"{plural(number, 'artifact')} {reason}: kept.")
        note(console, cost_text(done.cost))
