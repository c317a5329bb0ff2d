"""Large arrays are stored and loaded without a second copy."""

import io
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from aqrec.artifacts import TrustPolicy, copy_file, read_object, write_object

SIZE = 64_000_000
ROOM = 20_000_000


@contextmanager
def peak_at_most(limit: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        yield
        assert tracemalloc.get_traced_memory()[1] - before < limit
    finally:
        tracemalloc.stop()


def array() -> Any:
    return np.arange(SIZE // 8, dtype="f8")


def frame() -> Any:
    return pd.DataFrame(np.arange(SIZE // 8, dtype="f8").reshape(8, -1).T)


@pytest.mark.parametrize("make", [array, frame, lambda: b"x" * SIZE], ids=["array", "frame", "bytes"])
@pytest.mark.parametrize("trust", ["trusted", "restricted"])
def test_pickles(make: Any, trust: Any, tmp_path: Path) -> None:
    obj = make()
    with (tmp_path / "a").open("wb") as file, peak_at_most(ROOM):
        digest = write_object(file, obj, codec="pickle")
    with (tmp_path / "a").open("rb") as file, peak_at_most(SIZE + ROOM):
        read_object(
            file, codec="pickle", size=digest.size, checksum=digest.checksum, trust=TrustPolicy(trust)
        )


@pytest.mark.parametrize(("codec", "make"), [("npy", array), ("bytes", lambda: b"x" * SIZE)])
def test_other_codecs(codec: str, make: Any, tmp_path: Path) -> None:
    obj = make()
    with (tmp_path / "a").open("wb") as file, peak_at_most(ROOM):
        digest = write_object(file, obj, codec=codec)
    with (tmp_path / "a").open("rb") as file, peak_at_most(SIZE + ROOM):
        read_object(file, codec=codec, size=digest.size, checksum=digest.checksum)


def test_an_archive_of_arrays(tmp_path: Path) -> None:
    obj = {"a": array()}
    with (tmp_path / "a").open("wb") as file, peak_at_most(ROOM):
        digest = write_object(file, obj, codec="npz")
    with (tmp_path / "a").open("rb") as file, peak_at_most(SIZE + ROOM):
        read_object(file, codec="npz", size=digest.size, checksum=digest.checksum)


def test_an_object_of_many_small_parts_is_streamed(tmp_path: Path) -> None:
    """Of the pickler's own, only its table of the objects it has seen grows."""
    obj = [float(i) for i in range(2_000_000)]
    with (tmp_path / "a").open("wb") as file, peak_at_most(ROOM // 10):
        assert write_object(file, obj, codec="pickle").size > 16_000_000


def test_copies(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * SIZE)
    with (
        (tmp_path / "a").open("rb") as source,
        (tmp_path / "b").open("wb") as target,
        peak_at_most(ROOM // 10),
    ):
        copy_file(source, target)
    assert (tmp_path / "b").stat().st_size == SIZE


def test_compressing(tmp_path: Path) -> None:
    obj = array()
    with (tmp_path / "a").open("wb") as file, peak_at_most(ROOM):
        digest = write_object(file, obj, codec="pickle", compression="zstd")
    with (tmp_path / "a").open("rb") as file, peak_at_most(SIZE + ROOM):
        read_object(file, codec="pickle", compression="zstd", size=digest.size, checksum=digest.checksum)


def memory_of_array() -> Any:
    obj = array()
    return obj, obj.__array_interface__["data"][0], obj.nbytes


def memory_of_frame() -> Any:
    obj = frame()
    values = obj.to_numpy()
    assert values.base is not None
    return obj, values.T.__array_interface__["data"][0], values.nbytes


def memory_of_text() -> Any:
    chunk = pa.array(np.arange(1_000_000)).cast(pa.large_string())
    series = pd.Series(pd.array(pa.chunked_array([chunk]), dtype="string[pyarrow]"), copy=False)
    data = chunk.buffers()[2]
    return pd.DataFrame({"text": series}, copy=False), data.address, data.size


@pytest.mark.parametrize("make", [memory_of_array, memory_of_frame, memory_of_text])
@pytest.mark.parametrize("pickler", ["pickle", "cloudpickle"])
def test_the_file_gets_the_objects_own_memory(make: Any, pickler: str) -> None:
    obj, start, size = make()
    inside = 0

    class Spy(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: Any, /) -> int:
            nonlocal inside
            address = np.frombuffer(data, "u1").__array_interface__["data"][0]
            inside += len(data) if start <= address < start + size else 0
            return len(data)

    write_object(Spy(), obj, codec="pickle", pickler=pickler)  # type: ignore[arg-type]
    assert inside == size
