"""Damaged stores: what is read was written, the rest is found, and damage in the middle is told."""

import asyncio
import logging
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import pytest

import aqrec
from aqrec.format import _layout as layout
from aqrec.format._document import RunDocument, latest
from aqrec.format._frames import HEADER, POINTS, Frame, decode_frames, encode_frame
from aqrec.format._points import PointsFrame, encode_points, pack_stepless, values_packer
from aqrec.format._records import LogHeader
from aqrec.reading import Catalog, read_metric_history
from aqrec.stores import MemoryStore
from tests.engine.support import options

Points = list[tuple[int | None, float]]


class Small(NamedTuple):
    """A store with one running run, as bytes."""

    objects: dict[str, bytes]
    run_id: str
    journal: str
    events: str
    params: dict[str, Any]
    loss: Points


async def _make() -> Small:
    url = f"memory://{uuid.uuid4().hex}"
    async with aqrec.ExperimentManager(url, options=options(seal="never")) as manager:
        experiment = await manager.create_exp("alpha")
        recorder = await experiment.create_recorder("small")
        await recorder.start_run()
        params: dict[str, Any] = {}
        loss: Points = []
        for number in range(4):
            params[f"p{number}"] = [number, "x" * number]
            await recorder.log_params(**{f"p{number}": params[f"p{number}"]})
            await recorder.set_tags(count=number)
            for step in (3 * number, 3 * number + 1):
                loss.append((step, step / 7))
                await recorder.log_metrics(step=step, loss=step / 7, other=1.0)
            await recorder.flush()
        store = MemoryStore(url.removeprefix("memory://"))
        objects = {info.key: await store.get(info.key) async for info in store.list()}
        run_id = recorder.id
        await recorder.end_run()
    (journal,) = [key for key in objects if key.startswith(layout.JOURNAL)]
    (events,) = [key for key in objects if key.startswith(layout.EVENTS)]
    return Small(objects, run_id, journal, events, params, loss)


@pytest.fixture(scope="module")
def small() -> Small:
    return asyncio.run(_make())


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.ERROR, logger="aqrec"):
        yield


class Read(NamedTuple):
    doc: RunDocument | None
    loss: Points
    damage: dict[str, list[Any]]


async def _read(small: Small, key: str, data: bytes) -> Read:
    store = MemoryStore(uuid.uuid4().hex)
    for name, whole in small.objects.items():
        await store.put(name, data if name == key else whole)
    catalog = Catalog(store)
    await catalog.refresh()
    doc = catalog.runs.get(small.run_id)
    loss: Points = []
    if doc is not None:

        async def document() -> RunDocument:
            return doc

        frame = await read_metric_history(store, document, "loss")
        loss = list(zip(frame["step"].tolist(), frame["value"].tolist(), strict=True))
    return Read(doc, loss, catalog.damage)


def is_subsequence(part: list[Any], whole: list[Any]) -> bool:
    rest = iter(whole)
    return all(item in rest for item in part)


def flips(data: bytes) -> Iterator[tuple[int, bytes]]:
    for at in range(len(data)):
        for mask in (0x01, 0xFF):
            damaged = bytearray(data)
            damaged[at] ^= mask
            yield at, bytes(damaged)


def frames(data: bytes) -> list[Frame]:
    return [frame for frame in decode_frames(data) if isinstance(frame, Frame)]


async def test_the_undamaged_store_reads_completely(small: Small) -> None:
    read = await _read(small, "", b"")
    assert read.doc is not None
    assert read.loss == small.loss
    assert read.doc.params == small.params
    assert latest(read.doc)["loss"].value == small.loss[-1][1]
    assert read.damage == {}


async def test_any_flipped_byte_of_a_journal_costs_one_frame_at_most_and_is_told(
    small: Small, caplog: pytest.LogCaptureFixture
) -> None:
    data = small.objects[small.journal]
    last = frames(data)[-1]
    for at, damaged in flips(data):
        caplog.clear()
        read = await _read(small, small.journal, damaged)
        assert is_subsequence(read.loss, small.loss), at
        assert len(read.loss) >= len(small.loss) - 2, at
        told = " ".join(record.getMessage() for record in caplog.records)
        if at < last.offset:
            assert small.journal in told, at
        else:  # looks torn, but the catalog knows that more was durable
            assert "points of metric 'loss' are missing" in told, at


async def test_a_journal_cut_anywhere_gives_a_beginning_of_the_history(
    small: Small, caplog: pytest.LogCaptureFixture
) -> None:
    data = small.objects[small.journal]
    seen = set()
    for length in range(len(data)):
        caplog.clear()
        read = await _read(small, small.journal, data[:length])
        assert read.loss == small.loss[: len(read.loss)], length
        seen.add(len(read.loss))
        told = {record.getMessage() for record in caplog.records}
        assert len(told) == 1, length
        assert "missing" in told.pop(), length
    assert seen == {0, 2, 4, 6}


async def test_a_torn_end_that_nobody_was_told_of_is_normal(
    small: Small, caplog: pytest.LogCaptureFixture
) -> None:
    """A crash tears journal and events alike: the rest is read without a word."""
    journal = small.objects[small.journal]
    torn = journal + journal[frames(journal)[-1].offset :][:40]
    read = await _read(small, small.journal, torn)
    assert read.loss == small.loss
    events = small.objects[small.events]
    read = await _read(small, small.events, events + events[-60:-1])
    assert read.loss == small.loss
    assert read.damage == {}
    assert caplog.records == []


async def test_any_flipped_byte_of_an_event_log_leaves_true_values_and_is_told(
    small: Small, caplog: pytest.LogCaptureFixture
) -> None:
    data = small.objects[small.events]
    last = frames(data)[-1]
    for at, damaged in flips(data):
        caplog.clear()
        read = await _read(small, small.events, damaged)
        told = bool(caplog.records)
        assert told == (at < last.offset), at
        assert (small.events in read.damage) == (at < last.offset), at
        if read.damage:
            (damage,) = read.damage[small.events]
            assert damage.offset <= at < damage.end
        if read.doc is None:
            continue
        assert read.doc.params.items() <= small.params.items() or read.doc.params == {
            key: small.params[key] for key in read.doc.params
        }
        assert len(read.doc.params) >= len(small.params) - 1
        assert read.doc.tags.get("count") in {None, 0, 1, 2, 3}
        assert read.loss in ([], small.loss) or is_subsequence(read.loss, small.loss)


async def test_an_event_log_cut_anywhere_gives_a_state_the_run_once_had(
    small: Small, caplog: pytest.LogCaptureFixture
) -> None:
    data = small.objects[small.events]
    counts = []
    for length in range(len(data)):
        read = await _read(small, small.events, data[:length])
        assert read.damage == {}
        params = read.doc.params if read.doc is not None else {}
        assert params == {key: small.params[key] for key in sorted(small.params)[: len(params)]}
        counts.append(len(params))
    assert counts == sorted(counts)
    assert set(counts) == {0, 1, 2, 3, 4} - ({4} if counts[-1] < 4 else set())
    assert caplog.records == []


def _segment(first: int, numbers: list[int]) -> bytes:
    header = msgspec.msgpack.encode(LogHeader(writer=WRITER, created=1, first=first))
    pack = values_packer(1)
    return encode_frame(HEADER, header) + b"".join(
        encode_frame(
            POINTS,
            encode_points(PointsFrame(n, "r", ["loss"], pack_stepless(1000) + pack(float(n)), stepped=False)),
        )
        for n in numbers
    )


async def _read_segments(*segments: bytes) -> list[float]:
    store = MemoryStore(uuid.uuid4().hex)
    for number, data in enumerate(segments):
        await store.put(layout.journal_key(WRITER, number), data)

    async def document() -> RunDocument:
        return RunDocument(run_id="r", through={WRITER: 0})

    frame = await read_metric_history(store, document, "loss")
    values: list[float] = frame["value"].tolist()
    return values


WRITER = "0" * 32


async def test_frames_that_were_written_again_after_a_failure_are_read_once() -> None:
    whole = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert await _read_segments(_segment(0, [0, 1, 2, 3]), _segment(2, [2, 3, 4, 5])) == whole
    assert (
        await _read_segments(_segment(0, [0, 1, 2, 3]), _segment(2, []), _segment(2, [2, 3, 4, 5])) == whole
    )
    # The process died before it had written all of them again.
    assert await _read_segments(_segment(0, [0, 1, 2, 3, 4, 5]), _segment(2, [2])) == whole
    assert await _read_segments(_segment(0, [0, 1, 2, 3, 4, 5]), _segment(2, [])) == whole
    assert await _read_segments(_segment(0, [0, 1, 2, 3, 4, 5]), b"") == whole


async def test_a_damaged_copy_is_made_good_by_the_other_in_the_order_of_logging() -> None:
    first, second = _segment(0, [0, 1, 2, 3]), _segment(1, [1, 2, 3, 4, 5])
    for frame in frames(first)[2:]:
        damaged = bytearray(first)
        damaged[frame.offset + 20] ^= 0xFF
        assert await _read_segments(bytes(damaged), second) == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    for at in range(frames(second)[0].end):  # its header, which says that it repeats what was written before
        damaged = bytearray(second)
        damaged[at] ^= 0xFF
        assert await _read_segments(first, bytes(damaged)) == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


async def test_a_torn_tail_is_read_on_when_the_file_grows(small: Small) -> None:
    """What was torn because it was being written is whole at the next refresh."""
    data = small.objects[small.events]
    store = MemoryStore(uuid.uuid4().hex)
    for name, whole in small.objects.items():
        await store.put(name, whole)
    catalog = Catalog(store)
    for length in [*range(0, len(data), 7), len(data)]:
        await store.put(small.events, data[:length])
        await catalog.refresh()
    assert catalog.runs[small.run_id].params == small.params
    assert catalog.damage == {}


@pytest.mark.parametrize("which", ["journal", "events"])
async def test_damage_does_not_stop_the_recorder_of_another_process(
    small: Small, which: str, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The whole way: a local store, a manager, its recorder."""
    key = getattr(small, which)
    data = bytearray(small.objects[key])
    second = frames(bytes(data))[4 if which == "events" else 2]
    data[second.offset + 20] ^= 0xFF
    for name, whole in small.objects.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(data) if name == key else whole)
    async with aqrec.ExperimentManager(str(tmp_path), options=options()) as manager:
        recorder = await manager.get_recorder(recorder_id=small.run_id)
        frame = await recorder.metric_history("loss")
        points = list(zip(frame["step"].tolist(), frame["value"].tolist(), strict=True))
        assert is_subsequence(points, small.loss)
        assert len(points) >= len(small.loss) - 2
        params = await recorder.list_params()
        assert params.items() <= small.params.items()
        assert (await recorder.list_metrics()).keys() == {"loss", "other"}
    assert any(key in record.getMessage() and "damaged" in record.getMessage() for record in caplog.records)
