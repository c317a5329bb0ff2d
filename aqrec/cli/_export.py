"""``aqrec export parquet``, ``csv`` and ``jsonl``: runs and histories as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from aqrec.cli._console import cell, note, print_json, stdout
from aqrec.cli._data import opened
from aqrec.cli._text import plural, size
from aqrec.cli._upkeep import cost_text, shown_progress
from aqrec.recording._exporting import Exporting
from aqrec.recording._searching import Query

if TYPE_CHECKING:
    from aqrec.cli._where import Where

__all__ = ["export_tables"]


def export_tables(
    destination: str,
    destination_options: dict[str, Any],
    place: Where,
    text: str,
    experiments: list[str],
    *,
    form: str,
    order_by: list[str] | None,
    fields: list[str] | None,
    keys: list[str] | None,
    tables: list[str],
    view: str,
    limit: int | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Export; see the command's help."""
    asked = Exporting(
        destination=destination,
        query=Query(
            experiment_names=experiments or None,
            filter_string=text,
            order_by=order_by,
            max_results=limit,
            view=view,
            fields=fields,
            output_format="arrow",
        ),
        output_format=form,
        tables=tables,
        keys=keys,
        overwrite=overwrite,
        storage_options=destination_options or None,
    )
    asked.check()
    with opened(place) as store, shown_progress() as progress:
        for name in experiments:
            store.experiment(name, deleted=view != "active")
        done = store.export(asked, progress)
    if as_json:
        print_json({"store": store.url, **msgspec.to_builtins(done)})
        return
    console = stdout()
    for file, what in ((done.runs, "run"), (done.metrics, "point")):
        if file is not None:
            console.print(cell(f"{file.url}: {plural(file.rows, what)}, {size(file.bytes)}"), soft_wrap=True)
    note(console, cost_text(done.cost))
