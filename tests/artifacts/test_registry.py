"""File names choose codecs; codecs of others join in."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import pytest

import aqrec.artifacts
from aqrec.artifacts import (
    Codec,
    TrustPolicy,
    _registry,
    codec_for_load,
    codec_for_save,
    get_codec,
    register_codec,
)
from aqrec.errors import AlreadyExistsError, InvalidNameError, InvalidValueError, LoadObjectError
from tests.artifacts.helpers import round_trip

FRAME = pd.DataFrame({"a": [1.0]})


@pytest.mark.parametrize(
    ("name", "obj", "codec"),
    [
        ("pred.pkl", FRAME, "pickle"),
        ("raw.pkl", b"bytes", "pickle"),
        ("a.PICKLE", 1, "pickle"),
        ("dataset", {"a": 1}, "pickle"),
        ("task", b"bytes", "bytes"),
        ("model.bin", b"bytes", "bytes"),
        ("model.bin", bytearray(b"x"), "bytes"),
        ("model.bin", memoryview(b"x"), "bytes"),
        ("model.bin", {"a": 1}, "pickle"),
        ("report_normal_1day.pkl", FRAME, "pickle"),
        ("v1.2", {"a": 1}, "pickle"),
        ("model.bin", np.ones(2), "pickle"),
        ("a/b.c/pred.parquet", FRAME, "parquet"),
        ("s.parquet", FRAME["a"], "parquet"),
        ("x.npy", np.ones(2), "npy"),
        ("x.npz", {"a": np.ones(2)}, "npz"),
        ("c.json", {"a": 1}, "json"),
        ("c.yaml", {"a": 1}, "yaml"),
        ("c.yml", [1], "yaml"),
        ("readme.MD", "text", "text"),
        ("code.diff", "text", "text"),
        ("out.log", "text", "text"),
        ("t.csv", "a,b\n", "text"),
        ("p.html", "<p>", "html"),
        ("p.html", FRAME, "html"),
        ("f.jpeg", b"picture", "jpg"),
        ("f.svg", b"picture", "svg"),
        (".json", {"a": 1}, "pickle"),
        ("data.json.gz", b"x", "bytes"),
    ],
)
def test_the_name_chooses(name: str, obj: object, codec: str) -> None:
    assert codec_for_save(name, obj) == codec


@pytest.mark.parametrize(
    ("name", "obj", "takes"),
    [
        ("a.parquet", {"a": 1}, "DataFrame or Series"),
        ("a.npy", FRAME, "numpy array"),
        ("a.npz", np.ones(2), "dict of numpy arrays"),
        ("a.json", FRAME, "finite numbers"),
        ("a.yaml", object(), "dates"),
        ("a.txt", {"a": 1}, "text"),
        ("a.csv", FRAME, "text"),
        ("a.html", 1, "_repr_html_"),
        ("a.png", FRAME, "figure"),
    ],
)
def test_an_object_that_does_not_fit_its_name_is_refused(name: str, obj: object, takes: str) -> None:
    with pytest.raises(InvalidValueError, match=takes) as caught:
        codec_for_save(name, obj)
    assert repr(name) in str(caught.value)
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.pkl", "pickle"),
        ("task", "pickle"),
        ("a/b.c/task", "pickle"),
        ("model.bin", "bytes"),
        ("a.CSV", "text"),
    ],
)
def test_a_name_alone_chooses_for_loading(name: str, codec: str) -> None:
    assert codec_for_load(name) == codec


def test_every_built_in_codec_is_there_under_its_name() -> None:
    for name in _registry._BUILT_IN:
        assert get_codec(name).name == name
    for suffix, name in _registry._SUFFIXES.items():
        assert suffix in get_codec(name).suffixes


class Reversed(Codec):
    name = "reversed-test-codec"
    suffixes = (".backwards",)
    takes = "text"

    def accepts(self, obj: object) -> bool:
        return isinstance(obj, str)

    def encode(self, obj: object) -> Callable[[BinaryIO], None]:
        if not isinstance(obj, str):
            self.refuse(obj)

        def write(file: BinaryIO) -> None:
            file.write(obj[::-1].encode())

        return write

    def decode(self, file: BinaryIO, trust: TrustPolicy, /) -> object:
        return (file.read().decode()[::-1], trust.mode)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_registry, "_codecs", dict(_registry._codecs))
    monkeypatch.setattr(_registry, "_SUFFIXES", dict(_registry._SUFFIXES))


def test_a_codec_of_others_joins_in(registry: None) -> None:
    with pytest.raises(LoadObjectError):
        get_codec("reversed-test-codec")
    register_codec(Reversed())
    assert codec_for_save("a.backwards", "text") == codec_for_load("a.backwards") == "reversed-test-codec"
    assert round_trip("text", "reversed-test-codec", trust=TrustPolicy("never")) == ("text", "never")
    with pytest.raises(InvalidValueError, match=r"\.backwards takes text, not int"):
        codec_for_save("a.backwards", 3)


def test_a_name_or_ending_has_one_codec_unless_it_is_replaced(registry: None) -> None:
    register_codec(Reversed())
    with pytest.raises(AlreadyExistsError, match="reversed"):
        register_codec(Reversed())
    register_codec(Reversed(), replace=True)

    class Json(Reversed):
        name = "other"
        suffixes = (".new", ".json")

    with pytest.raises(AlreadyExistsError, match=r"\.json.*'json'"):
        register_codec(Json())
    assert codec_for_save("a.new", 1) == "pickle"
    register_codec(Json(), replace=True)
    assert codec_for_save("a.json", "text") == "other"


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("", ".x"), ("pickle", ".x"), ("n", "x"), ("n", ".X"), ("n", ".a.b"), ("n", ""), ("n", ".")],
)
def test_an_ill_formed_name_or_ending_is_refused(name: str, suffix: str, registry: None) -> None:
    codec: Any = Reversed()
    codec.name, codec.suffixes = name, (suffix,)
    with pytest.raises(InvalidNameError):
        register_codec(codec)


def test_the_package_is_light_and_shows_all_its_names() -> None:
    heavy = ["numpy", "pandas", "pyarrow", "yaml", "pickletools", "xxhash", "cloudpickle", "dill", "pickle"]
    code = (
        "import sys, aqrec\nbefore = set(sys.modules)\nimport aqrec.artifacts\n"
        f"print(sorted(set({heavy}) & (set(sys.modules) - before)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
    assert set(aqrec.artifacts.__all__) <= set(dir(aqrec.artifacts))
    for name in aqrec.artifacts.__all__:
        assert getattr(aqrec.artifacts, name) is not None
    with pytest.raises(AttributeError):
        aqrec.artifacts.nothing  # noqa: B018
