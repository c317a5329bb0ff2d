"""``aqrec retain``, ``restore`` and ``purge``: which runs stay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from aqrec.cli._console import cell, data_table, note, print_json, stdout
from aqrec.cli._data import opened
from aqrec.cli._text import ago, plural, size
from aqrec.cli._upkeep import cost_text, policy_of, seconds, shown_progress
from aqrec.errors import InvalidInputError, RecorderNotFoundError
from aqrec.format._ids import now_ms
from aqrec.recording import _upkeep as upkeep
from aqrec.recording._workspace import Workspace

if TYPE_CHECKING:
    from aqrec.cli._data import StoreView
    from aqrec.cli._where import Where
    from aqrec.upkeep import Removed

__all__ = ["purge", "restore", "retain"]

_SHOWN = 20


def retain(
    place: Where,
    older_than: str | None,
    keep_last: int | None,
    status: str | None,
    filter_string: str,
    experiments: Sequence[str] | None,
    *,
    yes: bool,
    as_json: bool,
) -> None:
    """Delete what expires; see the command's help."""
    policy = policy_of(older_than, keep_last, status, filter_string, experiments)
    policy.check()
    with opened(place) as view, shown_progress() as progress:
        done = view.upkeep(lambda session: upkeep.retain(session, policy, dry_run=not yes, progress=progress))
        _print(view, done, "ended", "Deleted" if yes else "Would delete", as_json=as_json)
        if yes and done.runs and not as_json:
            note(stdout(), "aqrec restore RUN brings one back; aqrec purge removes them for good.")


def purge(place: Where, older_than: str, *, yes: bool, as_json: bool) -> None:
    """Remove deleted runs for good; see the command's help."""
    wait = seconds("--older-than", older_than)
    with opened(place) as view, shown_progress() as progress:
        done = view.upkeep(
            lambda session: upkeep.purge(session, older_than=wait, dry_run=not yes, progress=progress)
        )
        _print(view, done, "deleted", "Purged" if yes else "Would purge", as_json=as_json)


def restore(text: str, place: Where) -> None:
    """Show a deleted run again; see the command's help."""
    with opened(place) as view:
        fitting = [
            doc for doc in view.runs(deleted=True) if view.deleted(doc) and doc.run_id.startswith(text)
        ]
        exact = [doc for doc in fitting if doc.run_id == text] or fitting
        if not exact:
            raise RecorderNotFoundError(
                f"no deleted run of {view.place} has an id that begins with {text!r}; aqrec ls --all shows them"
            )
        if len(exact) > 1:
            raise InvalidInputError(
                f"{len(exact)} deleted runs have an id that begins with {text!r}; write more of it"
            )
        (doc,) = exact
        if not doc.deleted:
            raise InvalidInputError(
                f"run {doc.run_id} was deleted with its experiment {doc.experiment_name!r}; restore that: "
                "ExperimentManager.restore_exp"
            )
        view.upkeep(lambda session: Workspace(session).restore_run(doc.run_id))
        stdout().print(cell(f"Restored {doc.run_id}, {doc.experiment_name}/{doc.name}."))


def _print(view: StoreView, done: Removed, when: str, what: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"store": view.url, **msgspec.to_builtins(done)})
        return
    console = stdout()
    if done.runs:
        table = data_table()
        for name in ("run", "experiment", "name", "status", when):
            table.add_column(name, no_wrap=True, overflow="ellipsis")
        table.add_column("artifacts", justify="right", no_wrap=True)
        now = now_ms()
        for run in done.runs[:_SHOWN]:
            table.add_row(
                cell(run.run_id),
                cell(run.experiment_name),
                cell(run.name),
                run.status,
                ago(run.time, now),
                size(run.bytes),
            )
        console.print(table)
        if len(done.runs) > _SHOWN:
            note(console, f"… and {len(done.runs) - _SHOWN:,} more; --json lists all.")
    total = sum(run.bytes for run in done.runs)
    more = ": add --yes" if done.dry_run and done.runs else ""
    console.print(f"{what} {plural(len(done.runs), 'run')} with {size(total)} of artifacts{more}.")
    if done.kept:
        note(console, f"{plural(len(done.kept), 'deleted run')} going on: kept.")
    note(console, cost_text(done.cost))
