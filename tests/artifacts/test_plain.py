"""JSON, YAML, text, pages and bytes come back equal; what would not is refused."""

import datetime as dt
import io
import json
import math
from collections import OrderedDict
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from aqrec.artifacts import write_object
from aqrec.errors import InvalidValueError, LoadObjectError
from tests.artifacts.helpers import load, round_trip, same, save

texts = st.text(st.characters(exclude_categories=["Cs"]))
finite = st.floats(allow_nan=False, allow_infinity=False)
zones = st.none() | st.integers(-14 * 60, 14 * 60).map(lambda m: dt.timezone(dt.timedelta(minutes=m)))


def trees(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
        max_leaves=12,
    )


@given(trees(st.none() | st.booleans() | st.integers() | finite | texts))
def test_json(tree: object) -> None:
    data, digest = save(tree, "json")
    assert same(load(data, "json", digest), tree)
    assert json.loads(data.decode()) == tree


@given(
    trees(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | texts
        | st.dates()
        | st.datetimes(timezones=zones)
    )
)
def test_yaml(tree: object) -> None:
    data, digest = save(tree, "yaml")
    assert same(load(data, "yaml", digest), tree)


@given(texts)
def test_text_keeps_every_character(text: str) -> None:
    assert round_trip(text, "text") == text
    assert round_trip(text, "html") == text


@given(st.binary())
def test_bytes(data: bytes) -> None:
    assert save(data, "bytes")[0] == data
    for obj in (data, bytearray(data), memoryview(data)):
        back = round_trip(obj, "bytes")
        assert back == data
        assert type(back) is bytes


def test_a_view_with_gaps_is_stored_without_them() -> None:
    assert round_trip(memoryview(b"abcdef")[::2], "bytes") == b"ace"
    assert round_trip(memoryview(np.arange(3, dtype="<i2")), "bytes") == b"\0\0\1\0\2\0"


@pytest.mark.parametrize("codec", ["json", "yaml"])
def test_kindred_types_load_as_the_plain_ones(codec: str) -> None:
    given_ = {
        "tuple": (1, 2),
        "ordered": OrderedDict(a=1),
        "float": np.float32(0.5),
        "int": np.int8(3),
        "bool": np.bool_(True),
        "text": np.str_("x"),
        "array": np.array([[1, 2], [3, 4]]),
    }
    assert same(
        round_trip(given_, codec),
        {
            "tuple": [1, 2],
            "ordered": {"a": 1},
            "float": 0.5,
            "int": 3,
            "bool": True,
            "text": "x",
            "array": [[1, 2], [3, 4]],
        },
    )


def test_keys_stay_in_their_order() -> None:
    for codec in ("json", "yaml"):
        assert list(round_trip({"z": 1, "a": 2}, codec)) == ["z", "a"]


def test_json_is_readable() -> None:
    assert save({"名": [1]}, "json")[0].decode() == '{\n  "名": [\n    1\n  ]\n}\n'


def cycle() -> Any:
    made: list[Any] = []
    made.append(made)
    return made


REFUSED: list[tuple[str, Any, str]] = [
    ("json", {"a": [1, math.nan]}, r"nan at \$\.a\[1\].*\.yaml"),
    ("json", [math.inf], "inf"),
    ("json", np.array([1.0, np.nan]), "nan"),
    ("json", {1: 2}, "key 1"),
    ("json", {"a": {None: 2}}, r"key None at \$\.a"),
    ("json", {"a": dt.date(2020, 1, 1)}, "datetime.date"),
    ("json", {1, 2}, "set"),
    ("json", b"x", "bytes"),
    ("json", pd.DataFrame({"a": [1]}), "DataFrame"),
    ("json", ["\ud800"], "UTF-8"),
    ("json", cycle(), "contains itself"),
    ("json", [10**5000], "bits"),
    ("json", object(), "object"),
    ("json", {"a": np.array([object()])}, "ndarray"),
    ("yaml", {1: 2}, "key 1"),
    ("yaml", {"a": {1, 2}}, "set"),
    ("yaml", pd.Timestamp("2020"), "Timestamp"),
    ("yaml", dt.datetime(2020, 1, 1, tzinfo=dt.timezone(dt.timedelta(seconds=1))), "time zone"),
    ("yaml", ["\ud800"], "UTF-8"),
    ("yaml", cycle(), "contains itself"),
    ("text", b"bytes", "bytes"),
    ("text", {"a": 1}, "dict"),
    ("text", "\ud800", "UTF-8"),
    ("html", 3, "int"),
    ("html", b"<p>", "bytes"),
    ("bytes", "text", "str"),
    ("bytes", np.ones(3), "ndarray"),
]


@pytest.mark.parametrize(("codec", "obj", "why"), REFUSED)
def test_what_would_not_come_back_is_refused_before_anything_is_written(
    codec: str, obj: Any, why: str
) -> None:
    file = io.BytesIO()
    with pytest.raises(InvalidValueError, match=why):
        write_object(file, obj, codec=codec)
    assert file.getvalue() == b""


def test_yaml_runs_no_code() -> None:
    attack = yaml.dump(print).encode()
    assert b"!!python/name" in attack
    with pytest.raises(LoadObjectError):
        load(attack, "yaml")


class ToHtml:
    def to_html(self) -> str:
        return "<i>1</i>"


class WriteHtml:
    def write_html(self, file: Any) -> None:
        file.write("<i>2</i>")


class ReprHtml:
    def _repr_html_(self) -> str:
        return "<i>3</i>"


class NoHtml:
    def to_html(self) -> None:
        return None


def test_pages_of_objects_that_make_one() -> None:
    assert round_trip(ToHtml(), "html") == "<i>1</i>"
    assert round_trip(WriteHtml(), "html") == "<i>2</i>"
    assert round_trip(ReprHtml(), "html") == "<i>3</i>"
    assert "<table" in round_trip(pd.DataFrame({"a": [1]}), "html")
    with pytest.raises(InvalidValueError, match="NoneType"):
        save(NoHtml(), "html")
    with pytest.raises(InvalidValueError):
        save(ToHtml, "html")
