"""Arrays come back in their type, shape and order; nothing is ever pickled inside of them."""

import io
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn

from aqrec.artifacts import write_object
from aqrec.errors import InvalidValueError, LoadObjectError
from tests.artifacts.helpers import load, round_trip, same, save

plain_types = st.one_of(
    hn.scalar_dtypes(),
    hn.array_dtypes(hn.integer_dtypes() | hn.unicode_string_dtypes(max_len=3), max_size=3),
)
arrays = hn.arrays(plain_types, hn.array_shapes(min_dims=0, min_side=0, max_side=4))


@given(arrays, st.booleans(), st.sampled_from([None, "zstd"]))
def test_npy(array: Any, fortran: bool, compression: str | None) -> None:
    array = np.asfortranarray(array) if fortran and array.ndim else array
    assert same(round_trip(array, "npy", compression=compression), array)


@given(arrays)
def test_numpy_itself_reads_the_file(array: Any) -> None:
    assert same(np.load(io.BytesIO(save(array, "npy")[0])), array)


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), arrays, max_size=3
    )
)
def test_npz(named: dict[str, Any]) -> None:
    assert same(round_trip(named, "npz"), named)


def test_a_sequence_of_arrays_loads_by_position() -> None:
    back = round_trip([np.zeros(2), np.ones(3)], "npz")
    assert list(back) == ["arr_0", "arr_1"]
    assert same(back["arr_1"], np.ones(3))


def test_archives_are_what_numpy_writes_and_equal_for_equal_arrays() -> None:
    data, digest = save({"a": np.arange(3), "b": np.eye(2)}, "npz")
    with np.load(io.BytesIO(data)) as archive:
        assert same(archive["b"], np.eye(2))
    assert save({"a": np.arange(3), "b": np.eye(2)}, "npz")[1] == digest
    file = io.BytesIO()
    np.savez_compressed(file, c=np.arange(4))
    assert same(load(file.getvalue(), "npz")["c"], np.arange(4))


def test_records_with_many_fields_come_back() -> None:
    record = np.zeros(2, dtype=[(f"some_rather_long_field_{i}", "f8") for i in range(500)])
    assert same(round_trip(record, "npy"), record)


def test_a_mapped_file_is_an_array_like_others(tmp_path: Any) -> None:
    mapped = np.memmap(tmp_path / "m", dtype="f8", mode="w+", shape=(3,))
    assert same(round_trip(mapped, "npy"), np.zeros(3))


REFUSED: list[tuple[str, Any, str]] = [
    ("npy", [1, 2], "list"),
    ("npy", np.float64(1), "float64"),
    ("npy", np.array([1, "a"], dtype=object), "object"),
    ("npy", np.zeros(1, dtype=[("a", "O")]), "needs a pickle"),
    ("npy", np.ma.array([1], mask=[True]), "masked"),
    ("npz", np.ones(2), "ndarray"),
    ("npz", {"a": [1]}, "list under the key 'a'"),
    ("npz", {1: np.ones(2)}, "key 1"),
    ("npz", {"a\0": np.ones(2)}, "key"),
    ("npz", {"\ud800": np.ones(2)}, "key"),
    ("npz", [np.array([None])], "arr_0"),
]


@pytest.mark.parametrize(("codec", "obj", "why"), REFUSED)
def test_what_would_not_come_back_is_refused_before_anything_is_written(
    codec: str, obj: Any, why: str
) -> None:
    file = io.BytesIO()
    with pytest.raises(InvalidValueError, match=why):
        write_object(file, obj, codec=codec)
    assert file.getvalue() == b""


@pytest.mark.skipif(not hasattr(np.dtypes, "StringDType"), reason="numpy 1 has no such type")
def test_text_of_any_width_needs_a_pickle() -> None:
    with pytest.raises(InvalidValueError, match="StringDType"):
        save(np.array(["a"], dtype=np.dtypes.StringDType()), "npy")


def test_a_pickle_inside_an_array_file_is_not_loaded() -> None:
    file = io.BytesIO()
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert pickle.loads(file.getvalue()[128:])[0] == {"a": 1}
    with pytest.raises(LoadObjectError, match="allow_pickle"):
        load(file.getvalue(), "npy")
