"""Stores with some runs, and everything that can be read of them."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import aqrec
from aqrec.format._document import document_to_json
from aqrec.reading import Catalog
from aqrec.stores import MemoryStore, ObjectInfo, Store, WrapperStore
from tests.engine.support import options, serve

__all__ = ["AgedStore", "aged", "as_it_is", "elsewhere", "everything", "keys", "record", "shared"]


class AgedStore(WrapperStore):
    """A store some of whose objects were written long ago, as far as its clock says.

    `past`: key -> (when it was written, ms by which that seems earlier); all stores that share it agree.
    """

    def __init__(self, inner: Store, past: dict[str, tuple[int, int]]) -> None:
        super().__init__(inner)
        self._past = past

    def _seen(self, info: ObjectInfo) -> ObjectInfo:
        written, shift = self._past.get(info.key, (0, 0))
        return ObjectInfo(info.key, info.size, info.modified - shift) if info.modified == written else info

    async def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
        async for info in super().list(prefix):
            yield self._seen(info)

    async def head(self, key: str) -> ObjectInfo:
        return self._seen(await super().head(key))

    async def age(self, seconds: float) -> None:
        """Let all objects that there are be older by so much."""
        async for info in self._inner.list(""):
            written, shift = self._past.get(info.key, (info.modified, 0))
            known = shift if written == info.modified else 0
            self._past[info.key] = info.modified, known + int(seconds * 1000)


def aged(*, append: bool) -> tuple[str, AgedStore]:
    """Return the URL of a new store whose objects can be made old, and the store itself."""
    name, past = uuid.uuid4().hex, dict[str, tuple[int, int]]()

    def make() -> AgedStore:
        return AgedStore(MemoryStore(name, append=append), past)

    return serve(make), make()


def elsewhere(store: AgedStore) -> str:
    """Return another URL of the same store, as another machine would use it."""
    name, append = store.url.removeprefix("memory://"), store.supports_append
    return serve(lambda: AgedStore(MemoryStore(name, append=append), store._past))


async def as_it_is(store: Store) -> tuple[str, AgedStore]:
    """Return a copy of a store: what there would be if all its writers died now."""
    url, copy = aged(append=False)
    for key in await keys(store):
        await copy.put(key, await store.get(key))
    return url, copy


async def keys(store: Store, folder: str = "") -> list[str]:
    """Return the keys of all objects in a folder."""
    return sorted([info.key async for info in store.list(folder)])


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
