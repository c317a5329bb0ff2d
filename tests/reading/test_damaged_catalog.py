"""Damaged heads and histories: what is answered was written, and what is not says which file it is and what to do."""

import asyncio
import logging
import random
import uuid
from collections.abc import Iterator

import pytest

from aqrec.errors import AqrecError, CorruptError
from aqrec.format import _layout as layout
from aqrec.format._document import document_to_json
from aqrec.format._head import decode_head, encode_head
from aqrec.reading import Catalog, Selection, read_metric_history
from aqrec.stores import MemoryStore
from aqrec.upkeep import compact
from tests.upkeep.support import record, shared

Store = dict[str, bytes]


async def _make() -> Store:
    url, store = shared(append=False)
    await record(url, 1, 2, upkeep="never")
    await record(url, 3, upkeep="never", seal="bulk")
    await record(url, 4, upkeep="never", seal="bulk")
    await compact(Catalog(store), grace=0)
    return {info.key: await store.get(info.key) async for info in store.list()}


@pytest.fixture(scope="module")
def objects() -> Store:
    return asyncio.run(_make())


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


async def _open(objects: Store, key: str = "", data: bytes = b"") -> Catalog:
    store = MemoryStore(uuid.uuid4().hex, append=False)
    for name, whole in objects.items():
        await store.put(name, data if name == key else whole)
    return Catalog(store)


async def _search(catalog: Catalog) -> list[bytes]:
    """Return what a search with columns of all kinds finds."""
    await catalog.refresh()
    return await catalog.search(
        Selection("params.number > 0 AND metrics.loss >= 0", ["metrics.loss DESC"]),
        None,
        "active",
        lambda _: "",
        lambda answer: [document_to_json(doc) for doc in answer.documents()],
    )


def _mutants(data: bytes, seed: int, count: int) -> Iterator[bytes]:
    chance = random.Random(seed)
    for number in range(count):
        if number % 4 == 3:
            yield data[: chance.randrange(len(data))]
            continue
        changed = bytearray(data)
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        yield bytes(changed)


@pytest.mark.parametrize("folder", [layout.HEADS, layout.SEALED])
async def test_nothing_is_made_up_of_a_damaged_file(objects: Store, folder: str) -> None:
    key = max(key for key in objects if key.startswith(folder))
    right = await _search(await _open(objects))
    assert len(right) == 4
    points = await _points(await _open(objects))
    told, errors = 0, list[AqrecError]()
    for data in _mutants(objects[key], 7, 160):
        catalog = await _open(objects, key, data)
        try:
            found = await _search(catalog)
            assert set(found) <= set(right)
            if found != right:
                assert key in catalog.damage
                told += 1
            if len(found) == len(right):
                assert await _points(catalog) == points
        except AqrecError as error:
            errors.append(error)
    assert told + len(errors) > 60
    for error in errors:
        assert isinstance(error, CorruptError), error
        assert key in str(error), error
        assert folder == layout.HEADS or "aqrec verify" in str(error), error


async def _points(catalog: Catalog) -> list[list[object]]:
    await catalog.refresh()
    found = []
    for run_id in sorted(catalog.runs):

        async def document(run_id: str = run_id) -> object:
            return catalog.runs[run_id]

        found.append((await read_metric_history(catalog.store, document, "loss")).values.tolist())
    return found


def test_heads_of_older_versions_have_no_checksum() -> None:
    old = b'{"format": 1, "number": 7, "nonce": "n", "snapshots": []}'
    assert decode_head(old, "catalog/heads/000000000007").number == 7
    head = decode_head(old, "k")
    assert decode_head(encode_head(head), "k").number == 7
    with pytest.raises(CorruptError, match="checksum"):
        decode_head(encode_head(head).replace(b'"number": 7', b'"number": 8'), "k")
