"""Pickles are what plain pickle writes, without its copies, and come back equal."""

import io
import pickle
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqrec.artifacts import TrustPolicy
from aqrec.errors import InvalidInputError, InvalidValueError
from tests.artifacts.helpers import RESTRICTED, TRUSTED, load, round_trip, same, save

DTYPES = ["f8", ">f4", "i2", "?", "c16", "M8[ns]", "U3", "S5", [("a", "f8"), ("b", "U2")]]
# On both sides of 64 KiB, from which on a buffer goes to the file as it is.
SIZES = [0, 1, 12, 3_000, 66_000]


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    size = draw(st.sampled_from(SIZES))
    seed = draw(st.integers(0, 255))
    array = np.full(size * dtype.itemsize, 0, "u1")
    if dtype.kind in "fic":
        array = np.resize(np.arange(seed, seed + 251) % 120, array.shape).astype("u1")
    made = array.view(dtype) if size else np.empty(0, dtype)
    form = draw(st.sampled_from(["flat", "fortran", "grid", "reversed", "read-only", "scalar"]))
    if form == "fortran":
        made = np.asfortranarray(made[: size // 6 * 6].reshape(-1, 6))
    elif form == "grid":
        made = made[: size // 6 * 6].reshape(6, -1)
    elif form == "reversed":
        made = made[::-1]
    elif form == "read-only":
        made.flags.writeable = False
    elif form == "scalar" and size:
        made = made[0:1].reshape(())
    return made


leaves = st.one_of(
    st.none(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(max_size=50),
    st.sampled_from([b"x" * 70_000, bytearray(70_000), "ä" * 70_000]),
    arrays(),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text(max_size=5), inner, max_size=4),
        inner.map(lambda value: [value, (value, value)]),
    ),
    max_leaves=8,
)


def plain(obj: object) -> bytes:
    file = io.BytesIO()
    pickle.dump(obj, file, protocol=5)
    return file.getvalue()


@given(trees)
def test_the_file_is_the_one_that_plain_pickle_writes(tree: object) -> None:
    data, digest = save(tree, "pickle")
    assert data == plain(tree)
    assert digest.size == len(data)
    assert same(load(data, "pickle", digest), pickle.loads(data))
    assert same(load(data, "pickle", digest, trust=RESTRICTED), pickle.loads(data))


class Buffered:
    """Gives its bytes to the pickler as a buffer, in the layout it has."""

    def __init__(self, buffer: Any) -> None:
        self.buffer = buffer

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Buffered, (pickle.PickleBuffer(self.buffer),)


@pytest.mark.parametrize("size", [5, 65_535, 65_536, 300_000])
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_buffers_of_any_class_are_stored_in_band(kind: Any, size: int) -> None:
    made = kind(b"%d" % (i % 10) for i in range(0)) + kind(b"7" * size)
    back = round_trip(Buffered(made), "pickle")
    assert back.buffer == made
    assert type(back.buffer) is kind


def test_a_fortran_ordered_buffer_is_stored_in_its_memory_order() -> None:
    grid = np.asfortranarray(np.arange(20_000.0).reshape(100, 200))
    back = round_trip(Buffered(memoryview(grid)), "pickle")
    assert bytes(back.buffer) == grid.tobytes("F")


def test_a_buffer_with_gaps_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="non-contiguous"):
        save(Buffered(memoryview(np.arange(9))[::2]), "pickle")


def test_one_array_in_two_places_is_stored_once_and_stays_one() -> None:
    array = np.arange(50_000.0)
    data, digest = save({"a": array, "b": [array]}, "pickle")
    assert digest.size < 1.1 * array.nbytes
    back = load(data, "pickle", digest)
    assert back["a"] is back["b"][0]
    back["a"][0] = 7
    assert back["b"][0][0] == 7


FRAMES = {
    "numbers": pd.DataFrame(np.arange(60_000.0).reshape(-1, 3), columns=list("abc")),
    "mixed": pd.DataFrame({"i": range(30_000), "s": [f"x{i}" for i in range(30_000)], "o": [(1,)] * 30_000}),
    "objects": pd.DataFrame({"s": pd.Series(["ä", None, "b"] * 10_000, dtype=object)}),
    "arrow": pd.DataFrame({"s": pd.array(["ä", None] * 20_000, dtype="string[pyarrow]")}),
    "categories": pd.DataFrame({"c": pd.Categorical(["b", "a", None] * 22_000, categories=list("zab"))}),
    "levels": pd.DataFrame(
        {"score": np.arange(20_000.0)},
        index=pd.MultiIndex.from_product(
            [pd.date_range("2020-01-01", periods=100, tz="Asia/Shanghai"), [f"SH{i}" for i in range(200)]],
            names=["datetime", "instrument"],
        ),
    ),
    "nullable": pd.DataFrame({"n": pd.array([1, None] * 40_000, dtype="Int64")}),
    "part": pd.DataFrame(np.arange(60_000.0).reshape(-1, 3)).iloc[5:-5, 1:],
}


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("trust", [TRUSTED, RESTRICTED], ids=["trusted", "restricted"])
def test_frames_come_back(name: str, trust: TrustPolicy) -> None:
    assert same(round_trip(FRAMES[name], "pickle", trust=trust), FRAMES[name])


@pytest.mark.parametrize("name", ["mixed", "levels"])
def test_compressed_frames_come_back(name: str) -> None:
    assert same(round_trip(FRAMES[name], "pickle", compression="zstd"), FRAMES[name])


ARROW = pd.Series([f"text {i}" for i in range(20_000)], dtype="string[pyarrow]")


@pytest.mark.parametrize(
    "series",
    [
        ARROW,
        ARROW[5:9],
        ARROW[:0],
        ARROW[1:],
        pd.concat([ARROW, ARROW]),
        ARROW.str.len().astype("int64[pyarrow]"),
    ],
)
def test_parts_of_arrow_columns_come_back_and_take_no_more_room(series: Any) -> None:
    data, digest = save(series, "pickle")
    assert same(load(data, "pickle", digest), series)
    assert same(pickle.loads(data), series)
    assert len(data) < 1.1 * len(plain(series)) + 100


def test_a_frame_that_comes_back_can_be_written_to() -> None:
    back = round_trip(FRAMES["numbers"], "pickle")
    back.iloc[0, 0] = -1.0
    assert back.iloc[0, 0] == -1.0


def test_compression_makes_it_smaller_and_the_digest_is_of_the_stored_bytes() -> None:
    zeros = np.zeros(100_000)
    data, digest = save(zeros, "pickle", compression="zstd")
    assert digest.size == len(data) < 1_000
    assert same(load(data, "pickle", digest, compression="zstd"), zeros)


def test_an_unknown_compression_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="zstd"):
        save(1, "pickle", compression="rar")


@pytest.mark.parametrize("pickler", ["cloudpickle", "dill"])
def test_other_picklers_take_functions_without_a_name(pickler: str) -> None:
    array = np.arange(30_000.0)
    data, digest = save({"double": lambda x: 2 * x, "array": array}, "pickle", pickler=pickler)
    back = load(data, "pickle", digest)
    assert back["double"](21) == 42
    assert same(back["array"], array)


def test_plain_pickle_refuses_a_lambda_and_names_what_takes_it() -> None:
    with pytest.raises(InvalidValueError, match="cloudpickle"):
        save({"f": lambda: 1}, "pickle")


def test_a_class_may_name_its_pickler() -> None:
    class Local:
        pickle_backend = "dill"

    obj = Local()
    data, _ = save(obj, "pickle")
    assert type(load(data, "pickle")).__name__ == "Local"
    with pytest.raises(InvalidValueError):
        save(obj, "pickle", pickler="pickle")


@pytest.mark.parametrize("pickler", ["cloudpickle", "dill"])
def test_a_pickler_that_is_not_installed_is_named_with_its_extra(
    pickler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, pickler, None)
    with pytest.raises(InvalidInputError, match=rf"aqrec\[{pickler}\]"):
        save(1, "pickle", pickler=pickler)


def test_an_unknown_pickler_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="marshal"):
        save(1, "pickle", pickler="marshal")


def test_what_dill_calls_main_is_found() -> None:
    main = b"\x80\x04\x8c\x0b__builtin__\x8c\x08__main__\x93."
    assert load(main, "pickle") is vars(sys.modules["__main__"])
    assert load(b"\x80\x04\x8c\x0b__builtin__\x8c\x08NoneType\x93.", "pickle") is type(None)


def test_an_unpickler_of_the_callers_decides() -> None:
    class Renaming(pickle.Unpickler):
        def find_class(self, module: str, name: str, /) -> Any:
            return super().find_class("collections" if module == "old_place" else module, name)

    data = (
        plain(__import__("collections").Counter("aab"))
        .replace(b"collections", b"old_place  ")
        .replace(b"\x8c\x0bold_place  ", b"\x8c\x09old_place")
    )
    data = data[:2] + b"" + data[11:]  # without its frame, whose length no longer fits
    assert load(data, "pickle", unpickler=Renaming, trust=RESTRICTED) == {"a": 2, "b": 1}


class Touchy:
    def __reduce__(self) -> Any:
        raise KeyError("no state")


def test_whatever_an_object_raises_while_pickled_is_an_invalid_value() -> None:
    with pytest.raises(InvalidValueError, match=r"Touchy.*no state"):
        save(Touchy(), "pickle")
