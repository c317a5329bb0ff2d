"""Sealed histories: exact, small, readable in part, and by other engines."""

import io
import json
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqrec.errors import CorruptError
from aqrec.format import _parquet as parquet
from aqrec.format._parquet import HistoryPart, HistoryWriter, read_histories
from aqrec.format._records import Footer

Point = tuple[int | None, int, float]


def read_history(
    file: io.BytesIO, *, key: str, run_id: str, footer: Footer | None = None
) -> list[HistoryPart]:
    return read_histories(file, keys=[key], run_id=run_id, footer=footer).get(key, [])


def points_of(parts: list[HistoryPart]) -> list[Point]:
    points: list[Point] = []
    for part in parts:
        steps = [None] * len(part.values) if part.steps is None else part.steps.tolist()
        absent = [part.steps is None] * len(part.values) if part.absent is None else part.absent.tolist()
        points += [
            (None if gone else step, stamp, value)
            for step, gone, stamp, value in zip(
                steps, absent, part.stamps.tolist(), part.values.tolist(), strict=True
            )
        ]
    return points


def write(blocks: list[tuple[str, str, list[Point]]], *, bulk: bool = False) -> bytes:
    return write_whole(blocks, bulk=bulk)[0]


def write_whole(blocks: list[tuple[str, str, list[Point]]], *, bulk: bool = False) -> tuple[bytes, Footer]:
    file = io.BytesIO()
    writer = HistoryWriter(file, {"format": 1, "through": {"r": 3}}, bulk=bulk)
    for run, key, points in blocks:
        at = 0
        while at < len(points):  # a block has steps or none
            stop = at
            while stop < len(points) and (points[stop][0] is None) == (points[at][0] is None):
                stop += 1
            part = points[at:stop]
            steps = None if part[0][0] is None else np.array([p[0] for p in part], np.int64)
            stamps, values = (
                np.array([p[1] for p in part], np.int64),
                np.array([p[2] for p in part], np.float64),
            )
            writer.write(run, key, "w", steps, stamps, values)
            at = stop
    writer.close()
    assert writer.points == sum(len(points) for _, _, points in blocks)
    return file.getvalue(), writer.footer


POINTS = st.lists(
    st.tuples(st.none() | st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**53 - 1), st.floats()),
    min_size=1,
    max_size=8,
)
NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=6)


def exact(points: list[Point]) -> list[tuple[Any, ...]]:
    return [(step, stamp, repr(value)) for step, stamp, value in points]


@given(st.dictionaries(NAMES, POINTS, min_size=1, max_size=5))
def test_every_key_reads_back_in_order_and_exactly(histories: dict[str, list[Point]]) -> None:
    data = write([("run", key, points) for key, points in sorted(histories.items())])
    for key, points in histories.items():
        assert exact(points_of(read_history(io.BytesIO(data), key=key, run_id="run"))) == exact(points)
    assert read_history(io.BytesIO(data), key="no such key", run_id="run") == []


@given(st.dictionaries(st.tuples(st.sampled_from(["r1", "r2", "ä"]), NAMES), POINTS, min_size=1, max_size=6))
def test_runs_that_share_a_file_are_kept_apart(histories: dict[tuple[str, str], list[Point]]) -> None:
    data = write([(run, key, points) for (run, key), points in sorted(histories.items())], bulk=True)
    for (run, key), points in histories.items():
        assert exact(points_of(read_history(io.BytesIO(data), key=key, run_id=run))) == exact(points)
    assert read_history(io.BytesIO(data), key="x", run_id="stranger") == []


def test_a_file_without_points_is_legal() -> None:
    assert read_history(io.BytesIO(write([])), key="x", run_id="r") == []


def test_long_keys_with_a_common_beginning_are_told_apart() -> None:
    keys = sorted(["k" * 1000, "k" * 999 + "a", "ä" * 1000, "ä" * 999 + "b"])
    data = write([("r", key, [(number, 0, float(number))]) for number, key in enumerate(keys)])
    for number, key in enumerate(keys):
        assert points_of(read_history(io.BytesIO(data), key=key, run_id="r")) == [(number, 0, float(number))]


def test_a_key_of_many_points_is_read_without_its_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_SMALL_GROUP", 50)
    monkeypatch.setattr(parquet, "_ROWS_PER_GROUP", 100)
    blocks = [("r", f"k{n}", [(i, i, float(n)) for i in range(60 + 100 * n)]) for n in range(4)]
    data = write(blocks)
    file = pq.ParquetFile(io.BytesIO(data))
    assert file.num_row_groups >= 6
    read: list[int] = []
    original = pq.ParquetFile.read_row_group

    def counted(self: pq.ParquetFile, group: int, **kwargs: Any) -> Any:
        read.append(group)
        return original(self, group, **kwargs)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    for run, key, points in blocks:
        read.clear()
        assert points_of(read_history(io.BytesIO(data), key=key, run_id=run)) == points
        groups = [file.metadata.row_group(group).column(0).statistics for group in read]
        assert all(statistics.min <= key <= statistics.max for statistics in groups)
        assert len(read) <= 1 + len(points) // 100 + 1


def test_other_engines_see_plain_columns_and_the_file_says_what_it_covers() -> None:
    data = write([("r", "loss", [(1, 1_700_000_000_000, 0.5), (None, 1_700_000_000_001, float("nan"))])])
    file = pq.ParquetFile(io.BytesIO(data))
    about = json.loads(file.metadata.metadata[b"aqrec"])
    assert about | {"format": 1, "through": {"r": 3}} == about
    types = {field.name: (str(field.type), field.nullable) for field in file.schema_arrow}
    assert types == {
        "key": ("string", False),
        "step": ("int64", True),
        "timestamp": ("timestamp[ms, tz=UTC]", False),
        "value": ("double", False),
        "writer": ("string", False),
    }
    table = file.read().to_pandas()
    assert table["key"].tolist() == ["loss", "loss"]
    assert table["step"].isna().tolist() == [False, True]
    assert write([], bulk=True) != write([])
    bulk = pq.ParquetFile(io.BytesIO(write([("r", "k", [(1, 2, 3.0)])], bulk=True)))
    assert bulk.schema_arrow.names[0] == "run_id"


def realistic(steps: int) -> list[tuple[str, list[np.ndarray]]]:
    """Ten metrics of a training loop: float32 losses, rounded accuracies, a learning rate, noise."""
    rng = np.random.default_rng(0)
    stamps = 1_760_000_000_000 + rng.integers(9, 11, steps).cumsum()
    keys = []
    for number in range(10):
        if number < 6:
            value = (2 / np.sqrt(np.arange(1, steps + 1)) + rng.normal(0, 0.05, steps)).astype(np.float32)
        elif number < 8:
            value = np.round(rng.random(steps), 4)
        elif number == 8:
            value = np.where(np.arange(steps) < steps // 2, 1e-3, 1e-4)
        else:
            value = np.cumsum(rng.normal(0, 1, steps))
        keys.append((f"train/metric_{number}", [np.arange(steps), stamps, value.astype(np.float64)]))
    return keys


def test_a_point_of_a_training_run_takes_six_bytes_at_most() -> None:
    file = io.BytesIO()
    writer = HistoryWriter(file, {})
    for key, (steps, stamps, values) in realistic(50_000):
        writer.write("r", key, "0" * 32, steps, stamps, values)
    writer.close()
    assert len(file.getvalue()) / writer.points <= 6.0


def test_a_flipped_bit_is_an_error_or_makes_no_difference() -> None:
    """Never a wrong value: pages carry checksums, and that of the footer is known."""
    points: list[Point] = [(n, 1_700_000_000_000 + n, n / 7) for n in range(40)]
    data, footer = write_whole([("r", "a", points), ("r", "b", points)])
    assert 8 + int.from_bytes(data[-8:-4], "little") <= footer.size < len(data)
    for at in range(len(data)):
        for flip in (0x01, 0xFF):
            damaged = bytearray(data)
            damaged[at] ^= flip
            try:
                read = read_history(io.BytesIO(bytes(damaged)), key="b", run_id="r", footer=footer)
            except CorruptError:
                continue
            assert at < len(data) - footer.size
            assert points_of(read) == points, at


@pytest.mark.parametrize("data", [b"", b"PAR1", b"not parquet at all", b"PAR1" + b"\0" * 20 + b"PAR1"])
def test_what_is_no_parquet_file_is_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptError):
        read_history(io.BytesIO(data), key="b", run_id="r")


def test_a_file_cut_anywhere_is_corrupt() -> None:
    data = write([("r", "a", [(n, n, 0.5) for n in range(10)])])
    for length in range(len(data)):
        with pytest.raises(CorruptError):
            read_history(io.BytesIO(data[:length]), key="a", run_id="r")
