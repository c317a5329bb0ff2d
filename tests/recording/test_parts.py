"""Large artifacts in parts: stored, resumed, replaced, read and downloaded."""

import asyncio
import random
import tracemalloc
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aqrec
from aqrec.errors import ConflictError, InvalidInputError, LoadObjectError, StorageError
from aqrec.options import Options
from aqrec.recording import _parts
from aqrec.stores import CountingStore, FaultyStore, LatencyStore, LostResponse, MemoryStore, Torn, open_store
from aqrec.sync import open_recorder
from tests._support import run_script
from tests.engine.support import options, serve

N = 1 << 16
"""The smallest size of parts, bytes"""
SIZES = [0, 1, N - 1, N, N + 1, 2 * N - 1, 2 * N, 2 * N + 1, 5 * N + 17]


def small_parts(**others: Any) -> Options:
    return options(shard_bytes=N, **others)


@pytest.fixture
def name() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def store(name: str) -> MemoryStore:
    return MemoryStore(name)


def data_of(size: int, seed: int = 0) -> bytes:
    return random.Random(f"{size}/{seed}").randbytes(size)


async def part_keys(store: MemoryStore) -> list[str]:
    return sorted([info.key async for info in store.list("runs") if "/parts/" in info.key])


async def load(url: str, run_id: str, path: str) -> Any:
    """Load an artifact as a new manager does, which knows nothing of sizes."""
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        return await (await manager.get_recorder(recorder_id=run_id)).load_object(path)


@pytest.mark.parametrize("size", SIZES)
async def test_objects_and_files_of_every_size_come_back(
    store: MemoryStore, name: str, tmp_path: Path, size: int
) -> None:
    """Up to the size of a part they are one plain object, beyond it full parts and a rest."""
    data = data_of(size)
    source = tmp_path / "file.bin"
    await asyncio.to_thread(source.write_bytes, data)
    async with aqrec.open_recorder(f"memory://{name}", experiment="e", options=small_parts()) as recorder:
        await recorder.save_objects(**{"object.bin": data})
        await recorder.log_artifact(source)
        assert await recorder.load_object("object.bin") == data
        for path in ("object.bin", "file.bin"):
            place = await recorder.download_artifact(path, tmp_path / "here")
            assert await asyncio.to_thread(Path(place).read_bytes) == data
    assert await load(f"memory://{name}", recorder.id, "object.bin") == data
    assert await load(f"memory://{name}", recorder.id, "file.bin") == data
    keys = await part_keys(store)
    each = 0 if size <= N else -(-size // N)
    assert len([key for key in keys if key.split("/")[3].endswith("-file.bin")]) == each
    assert len([key for key in keys if key.split("/")[3].endswith("-object.bin")]) == each


async def test_what_fits_one_object_costs_one_put(name: str) -> None:
    """A large one costs one for each part, and none for parts that are known."""
    stores: list[CountingStore] = []

    def make() -> CountingStore:
        stores.append(CountingStore(MemoryStore(name)))
        return stores[-1]

    async with aqrec.open_recorder(serve(make), experiment="e", options=small_parts()) as recorder:
        await recorder.save_objects(a=0)
        (store,) = stores
        store.reset()
        await recorder.save_objects(**{"b.bin": bytes(N)})
        assert store.requests["put_stream"] == 1
        assert not store.requests["list"]
        assert not store.requests["delete"]
        store.reset()
        await recorder.save_objects(**{"c.bin": bytes(2 * N)})  # its size is known beforehand
        assert store.requests["put_stream"] == 2


class Opaque:
    """Nobody knows how large its pickle will be."""

    def __init__(self, size: int) -> None:
        self.data = data_of(size)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Opaque) and self.data == other.data

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("kind", ["local", "memory"])
@pytest.mark.parametrize("compression", [None, "zstd"])
async def test_a_pickle_that_grows_beyond_one_object_is_cut(
    request: pytest.FixtureRequest, kind: str, compression: Any
) -> None:
    url: str = request.getfixturevalue(f"{kind}_url")
    chosen = small_parts(compression=compression, allow=(f"{__name__}.*",))
    async with aqrec.open_recorder(url, experiment="e", options=chosen) as recorder:
        await recorder.save_objects(x=Opaque(3 * N))
        assert await recorder.load_object("x") == Opaque(3 * N)


async def test_parquet_in_parts_is_read_at_random(memory_url: str) -> None:
    frame = pd.DataFrame(np.random.default_rng(0).random((50_000, 4)), columns=list("abcd"))
    async with aqrec.open_recorder(memory_url, experiment="e", options=small_parts()) as recorder:
        await recorder.save_objects(**{"t.parquet": frame})
        pd.testing.assert_frame_equal(await recorder.load_object("t.parquet"), frame)
        assert (
            len((await recorder._run.session.run(recorder._run.document())).artifacts["t.parquet"].parts) > 10
        )


@given(st.lists(st.sampled_from(SIZES), min_size=2, max_size=5), st.data())
@settings(max_examples=15)
def test_of_many_versions_the_last_is_read_and_no_part_of_another_stays(
    sizes: list[int], data: st.DataObject
) -> None:
    """Whether they were plain or in parts, objects or files."""
    name = uuid.uuid4().hex
    wanted = b""
    with open_recorder(f"memory://{name}", experiment="e", options=small_parts()) as recorder:
        for number, size in enumerate(sizes):
            wanted = data_of(size, number)
            if data.draw(st.booleans()):
                recorder.save_objects(**{"x.bin": wanted})
            else:
                with pytest.MonkeyPatch.context() as patch, TemporaryFile("x.bin", wanted) as source:
                    patch.setattr(_parts, "_SCRATCH", 1000)
                    recorder.log_artifact(source)
            assert recorder.load_object("x.bin") == wanted
    keys = asyncio.run(part_keys(MemoryStore(name)))
    assert len(keys) == (0 if sizes[-1] <= N else -(-sizes[-1] // N))


class TemporaryFile:
    """A file of a name with bytes in it."""

    def __init__(self, name: str, data: bytes) -> None:
        import tempfile

        self._folder = tempfile.TemporaryDirectory()
        self.path = Path(self._folder.name, name)
        self.path.write_bytes(data)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


@pytest.mark.parametrize(
    "outcome",
    [StorageError("refused"), Torn(10, StorageError("torn")), LostResponse(StorageError("lost"))],
    ids=lambda value: type(value).__name__,
)
async def test_a_file_whose_part_fails_is_absent_and_resumes(
    store: MemoryStore, name: str, tmp_path: Path, outcome: Any
) -> None:
    """The second call sends only what is not stored; what was there before stays readable until then."""
    source = tmp_path / "file.bin"
    old, new = data_of(2 * N, 1), data_of(8 * N + 5, 2)
    failing: list[Any] = [None]
    faulty: list[FaultyStore] = []
    sent: list[str] = []

    def plan(operation: str, key: str, _: int) -> Any:
        if operation == "put_stream" and "/parts/" in key:
            sent.append(key)
            if key.rpartition("/")[2].startswith("000005"):
                return failing[0]
        return None

    def make() -> FaultyStore:
        faulty.append(FaultyStore(MemoryStore(name), plan))
        return faulty[-1]

    async with aqrec.open_recorder(serve(make), experiment="e", options=small_parts(transfers=2)) as recorder:
        await asyncio.to_thread(source.write_bytes, old)
        await recorder.log_artifact(source)
        await asyncio.to_thread(source.write_bytes, new)
        failing[0] = outcome
        with pytest.raises(StorageError) as raised:
            await recorder.log_artifact(source)
        assert any(str(source) in note for note in raised.value.__notes__)
        assert await load(f"memory://{name}", recorder.id, "file.bin") == old
        there = [key for key in await part_keys(store) if (await store.head(key)).size]
        failing[0] = None
        sent.clear()
        await recorder.log_artifact(source)
        assert await load(f"memory://{name}", recorder.id, "file.bin") == new
        kept = set(there) & set(await part_keys(store))
        assert len(kept) >= 4
        assert len(sent) == 9 - len(kept)
    assert len(await part_keys(store)) == 9


async def test_an_object_whose_part_fails_leaves_nothing(store: MemoryStore, name: str) -> None:
    """Its bytes may differ the next time, so nothing of them is kept."""
    plan = {("put_stream", 3): StorageError("refused"), ("put_stream", 6): Torn(5, StorageError("torn"))}
    url = serve(lambda: FaultyStore(MemoryStore(name), plan))
    async with aqrec.open_recorder(url, experiment="e", options=small_parts()) as recorder:
        for _ in range(2):
            with pytest.raises(StorageError):
                await recorder.save_objects(**{"x.bin": data_of(5 * N)})
            assert await part_keys(store) == []
        with pytest.raises(LoadObjectError, match="no artifact"):
            await recorder.load_object("x.bin")
        await recorder.save_objects(**{"x.bin": data_of(5 * N)})
        assert await recorder.load_object("x.bin") == data_of(5 * N)


async def test_parts_that_vanish_while_they_are_reused_are_sent_again(
    store: MemoryStore, name: str, tmp_path: Path
) -> None:
    """Somebody may take them for litter."""
    source = tmp_path / "file.bin"
    await asyncio.to_thread(source.write_bytes, data_of(4 * N))
    plan: dict[tuple[str, int], Any] = {("put_stream", 4): StorageError("refused")}
    litter: list[str] = []

    async def clean(operation: str, key: str) -> None:
        if operation == "put_stream" and litter:
            await store.delete([litter.pop()])

    url = serve(lambda: LatencyStore(FaultyStore(MemoryStore(name), plan), clean))
    async with aqrec.open_recorder(url, experiment="e", options=small_parts(transfers=1)) as recorder:
        with pytest.raises(StorageError):
            await recorder.log_artifact(source)
        litter.append((await part_keys(store))[0])
        await recorder.log_artifact(source)
        assert await load(f"memory://{name}", recorder.id, "file.bin") == data_of(4 * N)


def test_a_killed_process_leaves_no_half_artifact_and_the_next_goes_on(tmp_path: Path) -> None:
    """The parts that it has stored are not sent again by another process."""
    url, source = (tmp_path / "store").as_uri(), tmp_path / "big.bin"
    source.write_bytes(data_of(6 * N))
    run_script(
        f"""
import threading
from aqrec.options import Options
from aqrec.recording import _parts
from aqrec.sync import open_recorder

copy, count = _parts._copy_part, [0]

def hang_at_the_fourth(*args):
    count[0] += 1
    if count[0] == 4:
        print("ready", flush=True)
        threading.Event().wait()
    return copy(*args)

_parts._copy_part = hang_at_the_fourth
options = Options(provenance=False, shard_bytes={N}, transfers=1)
with open_recorder({url!r}, experiment="e", recorder_id="r", options=options) as recorder:
    recorder.log_artifact({str(source)!r})
""",
        signal=9,
        when="ready",
    )
    stored = {path.name for path in tmp_path.rglob("00000?-*")}
    assert len(stored) == 3
    sent: list[str] = []

    def plan(operation: str, key: str, _: int) -> None:
        if operation == "put_stream":
            sent.append(key)

    there = serve(lambda: FaultyStore(open_store(url), plan))
    with open_recorder(
        there, experiment="e", recorder_id="r", resume=True, options=small_parts()
    ) as recorder:
        with pytest.raises(LoadObjectError, match="no artifact"):
            recorder.load_object("big.bin")
        recorder.log_artifact(source)
        assert recorder.load_object("big.bin") == data_of(6 * N)
    assert len([key for key in sent if "/parts/" in key]) == 3


async def test_a_file_that_changes_is_not_recorded_half_old_half_new(
    memory_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "file.bin"
    await asyncio.to_thread(source.write_bytes, data_of(3 * N))
    copy = _parts._copy_part

    def change(*args: Any) -> None:
        source.write_bytes(data_of(3 * N, 1))
        copy(*args)

    monkeypatch.setattr(_parts, "_copy_part", change)
    async with aqrec.open_recorder(memory_url, experiment="e", options=small_parts()) as recorder:
        with pytest.raises(ConflictError, match=r"file\.bin changed"):
            await recorder.log_artifact(source)
        assert await recorder.list_artifacts() == []


async def test_a_damaged_part_is_found_by_who_loads_and_who_downloads(
    store: MemoryStore, name: str, tmp_path: Path
) -> None:
    async with aqrec.open_recorder(f"memory://{name}", experiment="e", options=small_parts()) as recorder:
        await recorder.save_objects(**{"x.bin": data_of(4 * N)})
        key = (await part_keys(store))[2]
        for damaged in (b"x" * N, b"short"):
            await store.put(key, damaged)
            with pytest.raises(LoadObjectError, match="damaged"):
                await recorder.load_object("x.bin")
            with pytest.raises(LoadObjectError, match=r"part runs/.*/000002 has"):
                await recorder.download_artifact("x.bin", tmp_path)
        await store.delete([key])
        with pytest.raises(LoadObjectError, match="bytes are missing"):
            await recorder.load_object("x.bin")
        with pytest.raises(LoadObjectError, match="bytes are missing"):
            await recorder.download_artifact("x.bin", tmp_path)
    assert await asyncio.to_thread(lambda: list(tmp_path.iterdir())) == []


async def test_a_reader_of_the_old_version_goes_over_to_the_new(name: str) -> None:
    """Its parts vanish under the reader's hands, who looks at the reference again."""
    async with (
        aqrec.open_recorder(
            f"memory://{name}", experiment="e", recorder_id="r", options=small_parts()
        ) as writer,
    ):
        await writer.save_objects(**{"x.bin": data_of(3 * N, 1)})
        replaced = False

        async def replace(operation: str, key: str) -> None:
            nonlocal replaced
            if operation == "get" and "/parts/" in key and not replaced:
                replaced = True
                await writer.save_objects(**{"x.bin": data_of(3 * N, 2)})

        url = serve(lambda: LatencyStore(MemoryStore(name), replace))
        async with aqrec.ExperimentManager(url, options=options()) as manager:
            reader = await manager.get_recorder(recorder_id="r")
            assert await reader.load_object("x.bin") == data_of(3 * N, 2)
        assert replaced


async def test_two_writers_of_one_large_artifact_leave_the_latest_whole(name: str) -> None:
    """Neither touches the parts of the other before it is superseded."""
    url = f"memory://{name}"
    async with (
        aqrec.open_recorder(serve(lambda: MemoryStore(name)), experiment="e", recorder_id="r", options=small_parts()) as one,
        aqrec.open_recorder(serve(lambda: MemoryStore(name)), experiment="e", recorder_id="r", options=small_parts()) as two,
    ):  # fmt: skip
        for number in range(4):
            await asyncio.gather(
                one.save_objects(**{"x.bin": data_of(3 * N, 10 * number)}),
                two.save_objects(**{"x.bin": data_of(3 * N, 10 * number + 1)}),
            )
            assert await load(url, "r", "x.bin") in (data_of(3 * N, 10 * number + k) for k in (0, 1))


@pytest.mark.parametrize("what", ["object", "file", "load", "download"])
async def test_cancelling_leaves_nothing_running_and_nothing_half(
    store: MemoryStore, name: str, tmp_path: Path, what: str, no_threads_left: None
) -> None:
    source = tmp_path / "file.bin"
    await asyncio.to_thread(source.write_bytes, data_of(6 * N))
    holding = False
    reached = asyncio.Event()
    loop = asyncio.get_running_loop()
    under_way = 0

    async def hold(operation: str, key: str) -> None:
        nonlocal under_way
        if holding and operation != "delete" and "/00000" in key:
            under_way += 1
            loop.call_soon_threadsafe(reached.set)
            try:
                await asyncio.Event().wait()
            finally:
                under_way -= 1

    url = serve(lambda: LatencyStore(MemoryStore(name), hold))
    async with aqrec.open_recorder(url, experiment="e", options=small_parts()) as recorder:
        await recorder.save_objects(**{"there.bin": data_of(6 * N)})
        before = await part_keys(store)
        calls: dict[str, Callable[[], Any]] = {
            "object": lambda: recorder.save_objects(**{"x.bin": data_of(6 * N, 1)}),
            "file": lambda: recorder.log_artifact(source),
            "load": lambda: recorder.load_object("there.bin"),
            "download": lambda: recorder.download_artifact("there.bin", tmp_path / "here"),
        }
        holding = True
        task = asyncio.create_task(calls[what]())
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        holding = False
        await recorder.flush()
        while under_way:  # the caller does not wait for the engine's clean-up
            await asyncio.sleep(0.001)
        await recorder.save_objects(after=1)
        assert await recorder.list_artifacts() == ["after", "there.bin"]
        assert await recorder.load_object("there.bin") == data_of(6 * N)
    if what != "file":  # whose parts are there for the next attempt
        assert await part_keys(store) == before
    if what == "download":
        assert await asyncio.to_thread(lambda: list((tmp_path / "here").iterdir())) == []


async def test_memory_stays_bounded_whatever_the_size(tmp_path: Path) -> None:
    """Saving and loading a file of 160 MB takes nine blocks of 8 MiB, not the file."""
    size = 160 << 20
    source = tmp_path / "file.bin"

    def make() -> None:
        with source.open("wb") as file:
            for seed in range(size >> 20):
                file.write(data_of(1000, seed) * 1048 + bytes(576))

    await asyncio.to_thread(make)

    def read(file: Any) -> int:
        count = 0
        scratch = bytearray(1 << 20)
        while done := file.readinto(scratch):
            count += done
        return count

    url = (tmp_path / "store").as_uri()
    async with aqrec.open_recorder(url, experiment="e", options=options(shard_bytes=8 << 20)) as recorder:
        await recorder.save_objects(a=1)
        tracemalloc.start()
        try:
            await recorder.log_artifact(source)
            await recorder.download_artifact("file.bin", tmp_path / "here")
            run = recorder._run
            ref = (await run.session.run(run.document())).artifacts["file.bin"]
            assert len(ref.parts) == size // (8 << 20)
            assert await run.session.run(_parts.get_stream(run.engine.store, ref, read)) == size
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 80 << 20


def test_sizes_of_parts_and_transfers_are_checked() -> None:
    for bad in ({"shard_bytes": 100}, {"transfers": 0}, {"transfers": 65}):
        with pytest.raises(InvalidInputError):
            Options(**bad)  # type: ignore[arg-type]


async def test_on_a_file_system_artifacts_of_any_size_stay_plain_files(
    local_url: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless parts are asked for; elsewhere they begin at 1 GiB."""
    from aqrec.recording import _saving

    monkeypatch.setattr(_saving, "_GIB", 1000)
    for url, key in ((local_url, "artifacts/x.bin"), (f"memory://{name}", "parts/")):
        async with aqrec.open_recorder(url, experiment="e", options=options()) as recorder:
            await recorder.save_objects(**{"x.bin": bytes(3000)})
            store = recorder._run.engine.store
            keys = await recorder._run.session.run(_all_keys(store))
            assert [each for each in keys if f"{recorder.id}/{key}" in each]
            assert await recorder.load_object("x.bin") == bytes(3000)


async def _all_keys(store: Any) -> list[str]:
    return [info.key async for info in store.list("")]
