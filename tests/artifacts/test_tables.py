"""What Parquet is given comes back as it was, or is refused when it is saved."""

import datetime as dt
import io
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqrec.artifacts import write_object
from aqrec.errors import InvalidValueError
from tests.artifacts.helpers import load, round_trip, save

DAYS = pd.DatetimeIndex(["2020-01-01", "2020-01-02", "2020-01-03"])
ARROW = {
    "int64[pyarrow]": [1, None, 3],
    "timestamp[ns][pyarrow]": [pd.Timestamp("2020"), None, pd.NaT],
}
VALUES: dict[str, Any] = {
    **{dtype: pd.Series([1, 2, 3], dtype=dtype) for dtype in ("i1", "u8", "i8", "f2", "f4", "f8")},
    **{dtype: pd.Series([1, None, 3], dtype=dtype) for dtype in ("Int8", "UInt64", "Float32", "f8")},
    "boolean": pd.Series([True, None, False], dtype="boolean"),
    **{
        dtype: pd.Series(["a", None, "ä"], dtype=dtype)
        for dtype in ("str", "string[python]", "string[pyarrow]")
    },
    **{dtype: pd.Series(values, dtype=dtype) for dtype, values in ARROW.items()},
    "bool": pd.Series([True, False, True]),
    **{f"times in {unit}": pd.Series(DAYS.as_unit(unit)) for unit in ("s", "ms", "us", "ns")},
    "zoned times": pd.Series(DAYS.tz_localize("Asia/Shanghai")),
    "times at an offset": pd.Series(DAYS.tz_localize("+08:00")),
    "durations": pd.Series(pd.to_timedelta([1, 2, 3], unit="s")),
    "periods": pd.Series(pd.period_range("2020", periods=3, freq="M")),
    "intervals": pd.Series(pd.interval_range(0, 3)),
    "categories": pd.Series(pd.Categorical(["b", None, "a"], categories=list("zab"), ordered=True)),
    "categories of numbers": pd.Series(pd.Categorical([3, None, 1], categories=[9, 1, 3])),
    "categories of times": pd.Series(pd.Categorical(DAYS)),
    "objects: text": pd.Series(["a", None, "ä"], dtype=object),
    "objects: bytes": pd.Series([b"a", None, b""], dtype=object),
    "objects: numbers": pd.Series([1, None, -3], dtype=object),
    "objects: truth": pd.Series([True, None, False], dtype=object),
    "objects: dates": pd.Series([dt.date(2020, 1, 1), None, dt.date(1, 1, 1)], dtype=object),
    "objects: nothing": pd.Series([None, None, None], dtype=object),
}
INDEXES: dict[str, Any] = {
    "range": pd.RangeIndex(3),
    "named range": pd.RangeIndex(10, 16, 2, name="r"),
    "numbers": pd.Index([5, 1, 1], name="n"),
    "number as name": pd.Index([5, 1, 1], name=0),
    "floats": pd.Index([1.5, np.nan, -0.0]),
    "text": pd.Index(["x", "y", "ä"], name="i"),
    "text objects": pd.Index(["x", "y", "ä"], dtype=object),
    "days": DAYS.rename("datetime"),
    "every day": pd.date_range("2020-01-01", periods=3),
    "every business day": pd.date_range("2020-01-01", periods=3, freq="B", tz="UTC"),
    "every 90 minutes": pd.timedelta_range("0h", periods=3, freq="90min"),
    "zoned": DAYS.tz_localize("America/New_York"),
    "durations": pd.to_timedelta([1, 2, 3], unit="D"),
    "periods": pd.period_range("2020", periods=3, freq="D"),
    "categories": pd.CategoricalIndex(["b", "a", "b"], categories=list("cba")),
    "truth": pd.Index([True, False, True]),
    "levels": pd.MultiIndex.from_arrays([DAYS, ["SH1", "SH2", None]], names=["datetime", "instrument"]),
    "levels of objects": pd.MultiIndex.from_arrays([np.array(list("abc"), dtype=object), [1, 2, 3]]),
    "levels of categories": pd.MultiIndex.from_arrays([pd.Categorical(list("bab"), list("cba")), [1, 2, 2]]),
    "names of numbers": pd.MultiIndex.from_arrays([[1, 2, 3], [1, 2, 3]], names=[0, None]),
}
COLUMNS: dict[str, Any] = {
    "text": ["a", "b"],
    "named": pd.Index(["a", "b"], name="columns"),
    "numbers": [0, 1],
    "other numbers": pd.Index([7, -1]),
    "days": DAYS[:2],
    "levels": pd.MultiIndex.from_tuples([("feature", "x"), ("label", "y")], names=["g", None]),
}


def check_frame(frame: pd.DataFrame, **options: Any) -> None:
    back = round_trip(frame, "parquet", **options)
    pd.testing.assert_frame_equal(back, frame)
    assert list(back.dtypes) == list(frame.dtypes)


@pytest.mark.parametrize("name", VALUES)
def test_values_of_every_type_come_back(name: str) -> None:
    values = VALUES[name]
    check_frame(pd.DataFrame({"before": 1, "a": values, "after": 2}))
    check_frame(pd.DataFrame({"a": values})[:0])
    series = values.rename("s")
    back = round_trip(series, "parquet")
    pd.testing.assert_series_equal(back, series)
    if values.dtype == object:
        assert [type(value) for value in back] == [type(value) for value in series]


@pytest.mark.parametrize("name", INDEXES)
def test_indexes_of_every_type_come_back(name: str) -> None:
    index = INDEXES[name]
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0]}, index=index)
    check_frame(frame)
    back = round_trip(frame["a"], "parquet")
    pd.testing.assert_series_equal(back, frame["a"])
    assert back.index.names == index.names
    assert type(back.index) is type(index)


@pytest.mark.parametrize("name", COLUMNS)
def test_column_labels_come_back(name: str) -> None:
    check_frame(pd.DataFrame(np.ones((3, 2)), columns=COLUMNS[name]))


def test_a_custom_frequency_is_not_kept() -> None:
    index = pd.date_range("2020-01-01", periods=3, freq=pd.offsets.CustomBusinessDay(holidays=["2020-01-03"]))
    assert round_trip(pd.Series([1, 2, 3], index=index), "parquet").index.freq is None


@pytest.mark.parametrize("label", [None, "score", 5, ("feature", "x"), pd.Timestamp("2020")])
def test_the_name_of_a_series_comes_back(label: Any) -> None:
    series = pd.Series([1.0, 2.0], name=label)
    back = round_trip(series, "parquet")
    assert isinstance(back, pd.Series)
    assert back.name == label
    pd.testing.assert_series_equal(back, series)


@pytest.mark.parametrize("frame", [pd.DataFrame(), pd.DataFrame(index=[1, 2]), pd.DataFrame(columns=["a"])])
def test_empty_frames_come_back(frame: pd.DataFrame) -> None:
    check_frame(frame)


def test_attributes_of_a_frame_come_back() -> None:
    frame = pd.DataFrame({"a": [1]})
    frame.attrs = {"unit": "bp", "n": [1, 2]}
    assert round_trip(frame, "parquet").attrs == frame.attrs
    assert frame.attrs["unit"] == "bp"
    frame.attrs = {"when": object()}
    with pytest.raises(InvalidValueError, match="attrs"):
        save(frame, "parquet")


cells = {
    "f8": st.floats(),
    "i8": st.integers(-(2**63), 2**63 - 1),
    "Int16": st.none() | st.integers(-(2**15), 2**15 - 1),
    "str": st.none() | st.text(),
    "bool": st.booleans(),
    "M8[us]": st.datetimes(),
    "object": st.none() | st.text(),
}


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    rows = draw(st.integers(0, 5))
    names = draw(st.lists(st.text(), unique=True, max_size=4))
    data: dict[str, Any] = {}
    for name in names:
        dtype = draw(st.sampled_from(sorted(cells)))
        data[name] = pd.Series(draw(st.lists(cells[dtype], min_size=rows, max_size=rows)), dtype=dtype)
    frame = pd.DataFrame(data, index=range(rows))
    keys = [name for name in names if frame[name].dtype != object]
    if keys and draw(st.booleans()):
        frame = frame.set_index(keys[: draw(st.integers(1, len(keys)))])
    return frame


@given(frames(), st.sampled_from([None, "zstd"]))
def test_any_frame_comes_back(frame: pd.DataFrame, compression: str | None) -> None:
    check_frame(frame, compression=compression)


def test_missing_objects_load_as_none_in_a_column_and_as_nan_in_an_index() -> None:
    objects = pd.Series(["a", np.nan], dtype=object)
    assert round_trip(objects, "parquet")[1] is None
    back = round_trip(pd.Series([1, 2], index=pd.Index(["a", None], dtype=object)), "parquet")
    assert back.index.dtype == object
    assert pd.isna(back.index[1])


REFUSED: dict[str, tuple[Any, str]] = {
    "lists": (pd.DataFrame({"a": [[1], [2]]}), "mixed Python objects in column 'a'"),
    "tuples": (pd.Series([(1, 2)], name="t"), "column 't'"),
    "mixed": (pd.DataFrame({"a": pd.Series([b"x", "y"], dtype=object)}), "column 'a'"),
    "numbers and truth": (pd.DataFrame({"a": pd.Series([1, True], dtype=object)}), "column 'a'"),
    "decimals": (pd.DataFrame({"a": [Decimal("1.5")]}), "column 'a'"),
    "fractions among numbers": (pd.DataFrame({"a": pd.Series([1, 1.5], dtype=object)}), "column 'a'"),
    "complex": (pd.DataFrame({"a": [1j]}), "complex"),
    "sparse": (pd.DataFrame({"a": pd.Series([0.0], dtype="Sparse[float]")}), "parse"),
    "cut": (pd.DataFrame({"a": pd.cut([1, 2, 3], 2)}), "Parquet cannot hold"),
    "huge": (pd.DataFrame({"a": [2**70]}), "Parquet cannot hold"),
    "repeated labels": (pd.DataFrame(np.ones((1, 2)), columns=["a", "a"]), "uplicate"),
    "mixed labels": (pd.DataFrame({1: [1], "a": [2]}), "labels"),
    "tuple as name": (pd.DataFrame({"a": [1]}, index=pd.Index([5], name=("a", "b"))), "named"),
    "objects as index": (pd.DataFrame({"a": [1, 2]}, index=pd.Index(["a", 1], dtype=object)), "level 0"),
    "dict": ({"a": [1]}, "dict"),
    "array": (np.ones(3), "ndarray"),
    "lazy": (pl.LazyFrame({"a": [1]}), "LazyFrame"),
    "class": (pd.DataFrame, "type"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_parquet_would_change_is_refused_before_anything_is_written(name: str) -> None:
    obj, why = REFUSED[name]
    file = io.BytesIO()
    with pytest.raises(InvalidValueError, match=why) as caught:
        write_object(file, obj, codec="parquet")
    assert "DataFrame or Series of pandas" in str(caught.value)
    assert ".pkl" in str(caught.value)
    assert file.getvalue() == b""


TABLES: dict[str, Any] = {
    "arrow": pa.table({"a": [1, 2], "b": ["x", None]}),
    "batch": pa.record_batch({"a": [1, 2], "b": ["x", None]}),
    "polars": pl.DataFrame({"a": [1, 2], "b": ["x", None]}),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_others_load_as_pandas(name: str) -> None:
    back = round_trip(TABLES[name], "parquet")
    assert back["a"].tolist() == [1, 2]
    assert back["b"][0] == "x"
    assert pd.isna(back["b"][1])


def test_a_polars_series_becomes_a_column_of_its_name() -> None:
    assert round_trip(pl.Series("q", [1, 2]), "parquet")["q"].tolist() == [1, 2]


def test_other_tools_read_the_file() -> None:
    index = INDEXES["levels"]
    data, _ = save(pd.DataFrame({"score": [1.0, 2.0, 3.0]}, index=index), "parquet")
    table = pq.read_table(io.BytesIO(data))
    assert table.column_names == ["score", "datetime", "instrument"]
    assert pl.read_parquet(io.BytesIO(data))["score"].to_list() == [1.0, 2.0, 3.0]


def test_files_of_other_tools_are_read() -> None:
    file = io.BytesIO()
    pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", "y"], name="k")).to_parquet(file)
    assert load(file.getvalue(), "parquet").loc["y", "a"] == 2
