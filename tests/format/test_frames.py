"""Frames: whatever happens to the bytes, what is read was written."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqrec.errors import CorruptError
from aqrec.format import _frames as frames
from aqrec.format._frames import EVENTS, HEADER, POINTS, Damage, Frame, decode_frames, encode_frame, scan
from aqrec.format._points import (
    PointsFrame,
    columns,
    decode_points,
    encode_points,
    pack_stepless,
    pack_stepped,
    values_packer,
)
from aqrec.format._records import (
    ExperimentCreated,
    Heartbeat,
    UnknownEvent,
    decode_events,
    encode_events,
)
from tests.format.support import RUN_EVENTS

PAYLOADS = [b"", b"one", b"AQf1", b"\x00" * 40, b"AQf1" * 5, bytes(range(256))]


def build(payloads: list[bytes]) -> bytes:
    return b"".join(encode_frame(POINTS, payload) for payload in payloads)


def good(data: bytes) -> list[bytes]:
    return [frame.payload for frame in decode_frames(data) if isinstance(frame, Frame)]


@given(
    st.lists(
        st.tuples(st.integers(0, 255), st.binary(max_size=60), st.integers(0, 255), st.integers(0, 65_535))
    )
)
def test_frames_come_back_as_they_were_written(written: list[tuple[int, bytes, int, int]]) -> None:
    data = b"".join(
        encode_frame(kind, body, codec=codec, flags=flags) for kind, body, codec, flags in written
    )
    read = list(decode_frames(data))
    assert [(f.kind, f.payload, f.codec, f.flags) for f in read if isinstance(f, Frame)] == written
    assert len(read) == len(written)
    offsets = [frame.offset for frame in read]
    assert offsets == sorted(offsets)
    for frame in read:
        assert next(scan(io.BytesIO(data), len(data), frame.offset)) == frame


@pytest.mark.parametrize("bit", range(8))
def test_one_flipped_bit_costs_one_frame_and_is_told(bit: int) -> None:
    """Every bit of every byte, in turn."""
    data = build(PAYLOADS)
    ends = [frame.end for frame in decode_frames(data)]
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1 << bit
        hit = next(number for number, end in enumerate(ends) if at < end)
        assert good(bytes(damaged)) == PAYLOADS[:hit] + PAYLOADS[hit + 1 :]
        (report,) = [found for found in decode_frames(bytes(damaged)) if isinstance(found, Damage)]
        assert report == Damage(0 if hit == 0 else ends[hit - 1], ends[hit], tail=hit == len(PAYLOADS) - 1)


def test_a_file_cut_anywhere_gives_the_whole_frames_before_the_cut() -> None:
    data = build(PAYLOADS)
    ends = [frame.end for frame in decode_frames(data)]
    for length in range(len(data) + 1):
        read = list(decode_frames(data[:length]))
        whole = sum(end <= length for end in ends)
        assert [f.payload for f in read if isinstance(f, Frame)] == PAYLOADS[:whole]
        torn = [found for found in read if isinstance(found, Damage)]
        if length in {0, *ends}:
            assert torn == []
        else:
            assert torn == [Damage(0 if whole == 0 else ends[whole - 1], length, tail=True)]


@given(st.lists(st.sampled_from(PAYLOADS), max_size=6), st.data())
def test_any_damage_leaves_a_subsequence_of_what_was_written(
    payloads: list[bytes], data: st.DataObject
) -> None:
    whole = build([bytes([number]) + payload for number, payload in enumerate(payloads)])
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 3))):
        if not damaged:
            break
        at = data.draw(st.integers(0, len(damaged) - 1))
        kind = data.draw(st.sampled_from(["overwrite", "cut out", "insert", "zero"]))
        piece = data.draw(st.binary(max_size=20))
        if kind == "overwrite":
            damaged[at : at + len(piece)] = piece[: len(damaged) - at]
        elif kind == "cut out":
            del damaged[at : at + 1 + len(piece)]
        elif kind == "insert":
            damaged[at:at] = piece
        else:
            damaged[at : at + 30] = bytes(min(30, len(damaged) - at))
    numbers = [payload[0] for payload in good(bytes(damaged)) if payload]
    assert numbers == sorted(set(numbers))
    assert all(good(bytes(damaged)).count(bytes([n]) + payloads[n]) == 1 for n in numbers)


def test_good_frames_are_found_across_the_edge_of_a_search_window() -> None:
    for gap in range((1 << 20) - 6, (1 << 20) + 3):
        data = b"x" * gap + encode_frame(POINTS, b"found")
        assert list(decode_frames(data)) == [Damage(0, gap, tail=False), Frame(gap, POINTS, 0, 0, b"found")]


def test_a_length_beyond_the_end_or_the_limit_does_not_swallow_what_follows() -> None:
    for length in (frames.MAX_PAYLOAD, frames.MAX_PAYLOAD + 1, 2**32 - 1, 40):
        bad = bytearray(encode_frame(POINTS, b"bad"))
        bad[4:8] = length.to_bytes(4, "little")
        data = bytes(bad) + encode_frame(EVENTS, b"good")
        assert good(data) == [b"good"]


def test_a_frame_too_long_to_be_read_is_not_written() -> None:
    with pytest.raises(ValueError, match="longer"):
        encode_frame(POINTS, b"x" * (frames.MAX_PAYLOAD + 1))


def test_a_file_that_shrinks_while_it_is_read_ends_quietly() -> None:
    data = build(PAYLOADS)
    assert next(scan(io.BytesIO(data[:20]), len(data))) == Frame(0, POINTS, 0, 0, b"")


# --- points

STEPS = st.integers(-(2**63), 2**63 - 1)


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), min_size=1, max_size=5),
    st.lists(
        st.tuples(STEPS, st.integers(0, 2**53), st.lists(st.floats(), min_size=5, max_size=5)), max_size=5
    ),
    st.booleans(),
)
def test_points_frames_hold_rows_exactly(
    keys: list[str], rows: list[tuple[int, int, list[float]]], stepped: bool
) -> None:
    width = len(keys)
    pack = values_packer(width)
    packed = [
        (pack_stepped(step, stamp) if stepped else pack_stepless(stamp)) + pack(*values[:width])
        for step, stamp, values in rows
    ]
    frame = decode_points(encode_points(PointsFrame(7, "run", keys, b"".join(packed), stepped)))
    assert (frame.seq, frame.run_id, frame.keys) == (7, "run", keys)
    assert (frame.count, frame.points) == (len(rows), len(rows) * width)
    data = columns(frame)
    assert data.timestamps.tolist() == [stamp for _, stamp, _ in rows]
    if stepped:
        assert data.steps is not None
        assert data.steps.tolist() == [step for step, _, _ in rows]
    else:
        assert data.steps is None
    wanted = [tuple(map(repr, values[:width])) for _, _, values in rows]
    assert [tuple(map(repr, row)) for row in data.values.tolist()] == wanted


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x90", b"text", b"\x95\x00\xa1r\x90\xc4\x00\xc3"])
def test_a_points_frame_that_cannot_be_decoded_is_corrupt(payload: bytes) -> None:
    with pytest.raises(CorruptError):
        decode_points(payload)


def test_rows_that_are_cut_are_corrupt() -> None:
    row = pack_stepped(1, 2) + values_packer(2)(3.0, 4.0)
    with pytest.raises(CorruptError, match="whole number of rows"):
        decode_points(encode_points(PointsFrame(0, "r", ["a", "b"], row[:-1])))


# --- events


@given(st.lists(RUN_EVENTS, max_size=6))
def test_events_come_back_equal(events: list) -> None:
    assert encode_events(decode_events(encode_events(events))) == encode_events(events)  # type: ignore[arg-type]


def test_events_of_later_kinds_are_kept_beside_known_ones() -> None:
    import msgspec

    known = [
        ExperimentCreated(clock=1, experiment_id="e", name="alpha"),
        Heartbeat(clock=2, runs=["r"]),
    ]
    later = {"kind": "invented", "clock": 3, "body": [1, 2]}
    mixed = [msgspec.to_builtins(known[0]), later, msgspec.to_builtins(known[1]) | {"more": 1}]
    read = decode_events(msgspec.msgpack.encode(mixed))
    assert read[0] == known[0]
    assert isinstance(read[1], UnknownEvent)
    assert msgspec.msgpack.decode(read[1].raw) == later
    assert read[2] == known[1]


def test_bytes_that_are_no_list_of_events_are_corrupt() -> None:
    for payload in (b"", b"\xc1", b"\x01", b"\x81\xa1a\x01", b"\x92\x01"):
        with pytest.raises(CorruptError):
            decode_events(payload)


def test_a_header_is_a_frame_of_its_own_kind() -> None:
    frame = next(decode_frames(encode_frame(HEADER, b"h")))
    assert isinstance(frame, Frame)
    assert frame.kind == HEADER
