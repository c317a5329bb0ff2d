"""Stores with some runs, and everything that can be read of them."""

from __future__ import annotations

import json
import uuid
from typing import Any

import aqrec
from aqrec.format._document import document_to_json
from aqrec.reading import Catalog
from aqrec.stores import MemoryStore, Store
from tests.engine.support import options, serve

__all__ = ["everything", "record", "shared"]


def shared(*, append: bool) -> tuple[str, MemoryStore]:
    """Return the URL of a new store that grows files or not, and the store itself."""
    name = uuid.uuid4().hex
    return serve(lambda: MemoryStore(name, append=append)), MemoryStore(name, append=append)


async def record(url: str, *numbers: int, experiment: str = "alpha", **settings: Any) -> None:
    """Record a short run for each number."""
    async with aqrec.ExperimentManager(url, options=options(**settings)) as manager:
        handle = await manager.get_exp(experiment_name=experiment)
        for number in numbers:
            recorder = await handle.create_recorder(f"run {number}", recorder_id=f"r{number}")
            async with recorder:
                await recorder.log_params(number=number, kind="a" if number % 2 else number / 2)
                await recorder.set_tags(first=1, second="x")
                await recorder.delete_tags("first")
                for step in range(3):
                    await recorder.log_metrics(step=step, loss=number + step)


async def everything(store: Store) -> dict[str, Any]:
    """Return all that a new reader finds in a store's catalog, as JSON can hold it."""
    catalog = Catalog(store)
    await catalog.refresh()
    return {
        "runs": {run_id: json.loads(document_to_json(doc)) for run_id, doc in sorted(catalog.runs.items())},
        "experiments": {
            known.experiment_id: repr(known)
            for known in sorted(catalog.experiments.values(), key=lambda known: known.name)
        },
        "unknown": sorted(event.raw for event in catalog.unknown),
        "listed": [doc.run_id for doc in catalog.runs_of(view="all")],
    }
