"""A restricted load calls nothing that is not on the list, and says what it would have taken."""

import copyreg
import io
import pickle
import re
import subprocess
import sys
import warnings
from collections import ChainMap, Counter, OrderedDict, defaultdict, deque
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from importlib import import_module
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from aqrec.artifacts import TrustPolicy, _allowed, default_trust
from aqrec.errors import InvalidValueError, LoadObjectError, UntrustedObjectError
from aqrec.options import Options
from tests.artifacts.helpers import RESTRICTED, TRUSTED, load, same

calls: list[object] = []


def boom(*args: object) -> None:
    """What no restricted load may ever call."""
    calls.append(args)


class Bomb:
    def __reduce__(self) -> Any:
        return boom, ("bang",)


class Other:
    pass


class Harmless:
    def __init__(self) -> None:
        self.value = 1

    class Inner:
        pass


@pytest.fixture(autouse=True)
def nothing_is_called() -> Any:
    calls.clear()
    yield
    assert calls == []


# --- programs, written by hand ------------------------------------------------------------------------------

NONE, EMPTY, MARK, STOP = b"N", b")", b"(", b"."
REDUCE, BUILD, NEWOBJ, TUPLE, TUPLE1, TUPLE2 = b"R", b"b", b"\x81", b"t", b"\x85", b"\x86"


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value.encode())]) + value.encode()


def name(module: str, attribute: str) -> bytes:
    return text(module) + text(attribute) + b"\x93"


def program(*parts: bytes) -> bytes:
    return b"\x80\x05" + b"".join(parts) + STOP


def build(obj: object) -> bytes:
    """The opcodes that make a plain object, without header and STOP."""
    return pickle.dumps(obj, protocol=3)[2:-1]


BOOM = (__name__, "boom")

RUNS_CODE = [
    ("builtins", "eval"),
    ("builtins", "exec"),
    ("builtins", "compile"),
    ("builtins", "open"),
    ("builtins", "__import__"),
    ("builtins", "map"),
    ("builtins", "filter"),
    ("builtins", "type"),
    ("builtins", "super"),
    ("builtins", "property"),
    ("builtins", "setattr"),
    ("builtins", "breakpoint"),
    ("__builtin__", "eval"),
    ("os", "system"),
    ("posix", "system"),
    ("nt", "system"),
    ("subprocess", "Popen"),
    ("sys", "exit"),
    ("importlib", "import_module"),
    ("runpy", "run_path"),
    ("operator", "attrgetter"),
    ("operator", "methodcaller"),
    ("functools", "partial"),
    ("functools", "reduce"),
    ("types", "CodeType"),
    ("types", "FunctionType"),
    ("pickle", "loads"),
    ("_pickle", "loads"),
    ("copyreg", "_reconstructor"),
    ("copyreg", "add_extension"),
    ("_codecs", "encode"),
    ("pathlib", "Path.write_text"),
    ("numpy", "load"),
    ("numpy", "memmap"),
    ("numpy", "fromfile"),
    ("numpy", "vectorize"),
    ("numpy", "void"),
    ("numpy.f2py", "compile"),
    ("numpy.testing", "runstring"),
    ("numpy.lib.npyio", "NpzFile"),
    ("pandas", "read_pickle"),
    ("pandas", "eval"),
    ("pandas", "read_csv"),
    ("pandas.io.common", "get_handle"),
    ("pandas.core.computation.eval", "eval"),
    ("pyarrow.lib", "ExtensionType"),
    ("pyarrow", "memory_map"),
    ("pyarrow.lib", "OSFile"),
    ("cloudpickle.cloudpickle", "_make_function"),
    ("dill._dill", "_create_function"),
    ("aqrec.artifacts._restricted", "load_restricted"),
    BOOM,
]


@pytest.mark.parametrize(("module", "attribute"), RUNS_CODE, ids=":".join)
@pytest.mark.parametrize("how", ["STACK_GLOBAL", "GLOBAL", "INST"])
def test_what_runs_code_is_refused_by_name(module: str, attribute: str, how: str) -> None:
    if how == "STACK_GLOBAL":
        data = program(name(module, attribute), text("1"), TUPLE1, REDUCE)
    elif how == "GLOBAL":
        data = program(f"c{module}\n{attribute}\n".encode(), text("1"), TUPLE1, REDUCE)
    else:
        data = program(MARK, text("1"), f"i{module}\n{attribute}\n".encode())
    with pytest.raises(UntrustedObjectError) as caught:
        load(data, "pickle", trust=RESTRICTED, name="models/m.pkl")
    message = str(caught.value)
    for part in ("models/m.pkl", f"{module}.{attribute}", "trust='trusted'"):
        assert part in message
    # Whoever does what an error says must not be led to allow these.
    foreign = module == HERE
    assert ("leave it alone" in message) != foreign
    assert ("allow=" in message) == foreign


@pytest.mark.parametrize(
    ("module", "attribute"),
    [
        ("pandas", "io.common.os.system"),
        ("pandas", "DataFrame.to_pickle"),
        ("numpy", "ndarray.tofile"),
        ("collections", "OrderedDict.__init__.__globals__"),
        ("datetime", "sys"),
        ("collections", "abc"),
        ("builtins", "dict.fromkeys"),
        ("zoneinfo", "ZoneInfo._unpickle"),
        ("", "eval"),
        ("builtins", ""),
        ("builtins:eval", "x"),
        ("builtins\n", "eval"),
    ],
)
def test_no_path_leads_from_an_allowed_module_to_anything_else(module: str, attribute: str) -> None:
    with pytest.raises(UntrustedObjectError):
        load(program(name(module, attribute)), "pickle", trust=RESTRICTED)


@pytest.mark.parametrize("protocol", range(6))
def test_the_classic_attack_fails_in_every_protocol(protocol: int) -> None:
    with pytest.raises(UntrustedObjectError, match="boom"):
        load(pickle.dumps([1, Bomb()], protocol=protocol), "pickle", trust=RESTRICTED)


def test_it_works_where_everything_is_trusted() -> None:
    load(pickle.dumps(Bomb()), "pickle", trust=TRUSTED)
    assert calls == [("bang",)]
    calls.clear()


def test_a_name_that_is_no_text_is_no_name() -> None:
    with pytest.raises(LoadObjectError):
        load(program(b"K\x01", text("eval"), b"\x93"), "pickle", trust=RESTRICTED)


def test_getattr_gives_nothing_but_what_time_zones_need() -> None:
    getattr_ = name("builtins", "getattr")
    for owner, attribute in [
        (name("zoneinfo", "ZoneInfo"), "from_file"),
        (name("zoneinfo", "ZoneInfo"), "__class__"),
        (name("builtins", "str"), "format"),
        (name("pandas", "DataFrame"), "__init__"),
        (build(1), "__class__"),
        (getattr_, "_function"),
    ]:
        with pytest.raises(UntrustedObjectError):
            load(program(getattr_, owner, text(attribute), TUPLE2, REDUCE), "pickle", trust=RESTRICTED)


def test_a_time_zone_is_looked_up_by_its_name_only() -> None:
    zone = program(
        name("builtins", "getattr"), name("zoneinfo", "ZoneInfo"), text("_unpickle"), TUPLE2, REDUCE,
        text("../../etc/passwd"), b"\x88", TUPLE2, REDUCE,
    )  # fmt: skip
    with pytest.raises(LoadObjectError):
        load(zone, "pickle", trust=RESTRICTED)


@pytest.mark.parametrize(
    "target",
    [
        name("pandas", "DataFrame"),
        name("pandas.core.indexes.base", "_new_Index"),
        name("numpy", "ndarray"),
        name("numpy", "dtype"),
        name("collections", "Counter"),
        name("collections", "OrderedDict"),
        name("builtins", "list"),
        name("aqrec.backtest", "Indicator"),
        name("aqrec.backtest", "Position"),
        name("zoneinfo", "ZoneInfo"),
        name("builtins", "getattr") + name("zoneinfo", "ZoneInfo") + text("_unpickle") + TUPLE2 + REDUCE,
    ],
)
@pytest.mark.parametrize(
    "state", [{"aqrec_was_here": 1}, (None, {"aqrec_was_here": 1}), (None, {"__init__": 1})]
)
def test_classes_and_functions_cannot_be_changed(target: bytes, state: object) -> None:
    """The BUILD opcode sets attributes of whatever object it is pointed at."""
    before = {kind: dict(vars(kind)) for kind in (pd.DataFrame, Counter, OrderedDict, np.ndarray)}
    with pytest.raises(LoadObjectError):
        load(program(target, build(state), BUILD), "pickle", trust=RESTRICTED)
    assert before == {kind: dict(vars(kind)) for kind in before}


HOLDINGS = ("Position", "Indicator")


@pytest.mark.parametrize("kind", HOLDINGS)
def test_the_results_of_a_backtest_have_no_code_that_a_state_could_set_off(kind: str) -> None:
    """Whoever adds such a method to them must take them off the list, or guard it."""
    found = getattr(import_module("aqrec.backtest"), kind)
    hooks = ("__setstate__", "__new__", "__setattr__", "__getattr__", "__del__", "__reduce__", "__call__")
    assert found.__mro__[1:] == (object,)
    assert not [hook for hook in hooks if hook in vars(found)]
    setters = [value.fset for value in vars(found).values() if isinstance(value, property) and value.fset]
    assert not setters


@pytest.mark.parametrize("kind", HOLDINGS)
@pytest.mark.parametrize(
    "state",
    [
        b"}" + text("__class__") + name("pandas", "DataFrame") + b"s",
        NONE + b"}" + text("__class__") + name("pandas", "DataFrame") + b"s" + TUPLE2,
        NONE + b"}" + text("__class__") + name("builtins", "dict") + b"s" + TUPLE2,
        NONE + b"}" + text("position") + name("builtins", "list") + b"s" + TUPLE2,
        NONE + b"}" + text("__init__") + name("builtins", "list") + b"s" + TUPLE2,
        NONE + b"}" + text("stocks") + name("pandas", "eval") + b"s" + TUPLE2,
    ],
    ids=["dict", "class", "builtin", "property", "method", "function"],
)
def test_the_state_of_a_backtests_results_makes_them_nothing_else(kind: str, state: bytes) -> None:
    """Either it is refused, or the object is of its class and holds data."""
    found = getattr(import_module("aqrec.backtest"), kind)
    before = dict(vars(found))
    data = program(name("aqrec.backtest", kind), EMPTY, NEWOBJ, state, BUILD)
    with suppress(LoadObjectError):
        assert type(load(data, "pickle", trust=RESTRICTED)) is found
    assert dict(vars(found)) == before


def test_an_array_cannot_be_made_over_bytes_of_the_pickles_choice() -> None:
    """numpy itself would take the eight bytes for the address of a Python object."""
    arguments = build(((1,), "O", b"\x41" * 8))
    for call in (NEWOBJ, REDUCE):
        with pytest.raises(LoadObjectError):
            load(program(name("numpy", "ndarray"), arguments, call), "pickle", trust=RESTRICTED)


RECONSTRUCT = name("numpy._core.multiarray", "_reconstruct")


@pytest.mark.parametrize(
    "arguments",
    [
        name("builtins", "list") + build((0,)) + build(b"b") + b"\x87",
        name("pandas", "DataFrame") + build((0,)) + build(b"b") + b"\x87",
        name("zoneinfo", "ZoneInfo") + build((0,)) + build(b"b") + b"\x87",
        name("numpy", "ndarray") + build((1,)) + text("O") + b"\x87",
    ],
)
def test_arrays_are_reconstructed_as_plain_empty_arrays_only(arguments: bytes) -> None:
    with pytest.raises(UntrustedObjectError):
        load(program(RECONSTRUCT, arguments, REDUCE), "pickle", trust=RESTRICTED)


def test_a_data_type_that_hides_its_objects_is_seen_through() -> None:
    """State with the flags set to none, over a field of objects: bytes would be taken for addresses."""
    object_type = name("numpy", "dtype") + build(("O", False, True)) + REDUCE
    void = name("numpy", "dtype") + build(("V8", False, True)) + REDUCE
    fields = b"}" + text("a") + MARK + object_type + b"K\x00" + TUPLE + b"s"
    state = (
        MARK + b"K\x03" + text("|") + NONE + build(("a",)) + fields + b"K\x08" + b"K\x01" + b"K\x00" + TUPLE
    )
    array = program(
        name("numpy._core.numeric", "_frombuffer"), MARK, build(b"\x41" * 8), void, state, BUILD,
        build((1,)), text("C"), TUPLE, REDUCE,
    )  # fmt: skip
    with pytest.raises(LoadObjectError):
        load(array, "pickle", trust=RESTRICTED)


@pytest.mark.parametrize(
    "argument", [build({"names": ["a"], "formats": ["O"]}), name("builtins", "list"), build(7)]
)
def test_data_types_are_made_of_type_codes_only(argument: bytes) -> None:
    with pytest.raises(UntrustedObjectError):
        load(program(name("numpy", "dtype"), argument, TUPLE1, REDUCE), "pickle", trust=RESTRICTED)


def test_indexes_are_made_of_index_classes_only() -> None:
    for kind in (name("builtins", "dict"), name("pandas", "DataFrame"), name("collections", "Counter")):
        made = program(name("pandas.core.indexes.base", "_new_Index"), kind, b"}", TUPLE2, REDUCE)
        with pytest.raises(UntrustedObjectError):
            load(made, "pickle", trust=RESTRICTED)


def test_codes_beyond_the_levels_of_an_index_are_refused() -> None:
    index = pd.MultiIndex.from_arrays([[10, 11, 12, 13, 14], [1.5] * 5])
    codes = np.array([0, 1, 2, 3, 100], "i1").tobytes()
    data = pickle.dumps(index, protocol=5).replace(np.arange(5, dtype="i1").tobytes(), codes)
    assert codes in data
    with pytest.raises(LoadObjectError, match="code max"):
        load(data, "pickle", trust=RESTRICTED)


def test_text_with_offsets_outside_of_itself_is_refused() -> None:
    series = pd.Series(pd.array(["aa", "bb"], dtype="string[pyarrow]"))
    sound = pa.array(["aa", "bb"], series.array._pa_array.type).buffers()[1].to_pybytes()
    data = pickle.dumps(series, protocol=5)
    step = len(sound) // 3
    assert sound in data
    broken = data.replace(sound, sound[: 2 * step] + (10**6).to_bytes(step, "little"))
    with pytest.raises(LoadObjectError, match="ffset"):
        load(broken, "pickle", trust=RESTRICTED)


def test_a_registered_extension_is_no_way_around_the_list() -> None:
    copyreg.add_extension(*BOOM, 0xF1)
    try:
        data = program(b"\x82\xf1", text("1"), TUPLE1, REDUCE)
        load(data, "pickle", trust=TRUSTED)
        assert calls
        calls.clear()
        with pytest.raises(UntrustedObjectError, match="boom"):
            load(data, "pickle", trust=RESTRICTED)
    finally:
        copyreg.remove_extension(*BOOM, 0xF1)


def test_objects_outside_of_the_file_are_refused() -> None:
    with pytest.raises(UntrustedObjectError, match="outside"):
        load(program(text("id"), b"Q"), "pickle", trust=RESTRICTED)
    with pytest.raises(LoadObjectError):
        load(program(b"\x97"), "pickle", trust=RESTRICTED)


@pytest.mark.parametrize("kind", [pd.DataFrame, Counter, np.ndarray, ZoneInfo])
def test_a_class_as_data_is_refused_rather_than_replaced(kind: type) -> None:
    for obj in (kind, [kind], {"a": (kind, 1)}, [pd.DataFrame({"a": [1]}), np.zeros(2), Counter("a"), kind]):
        with pytest.raises(UntrustedObjectError, match="itself"):
            load(pickle.dumps(obj), "pickle", trust=RESTRICTED)


def test_number_types_are_data() -> None:
    kinds = {"dtype": np.float32, "cast": int, "default": defaultdict(list, a=[1])}
    assert load(pickle.dumps(kinds), "pickle", trust=RESTRICTED) == kinds


# --- the list itself ----------------------------------------------------------------------------------------


def resolved(keys: Any) -> dict[str, Any]:
    found = {}
    for key in keys:
        module, attribute = key.split(":")
        with warnings.catch_warnings(action="ignore"), suppress(ImportError, AttributeError):
            # What is missing is of another version of Python, numpy or pandas.
            found[key] = getattr(import_module(module), attribute)
    return found


def test_nothing_that_is_handed_out_as_it_is_can_be_assigned_to() -> None:
    found = resolved(_allowed.CONSTANTS)
    assert len(found) > 30
    for key, value in found.items():
        with pytest.raises((TypeError, AttributeError)):
            value.aqrec_was_here = 1
        assert not hasattr(value, "aqrec_was_here"), key


def test_the_list_holds_what_it_says() -> None:
    classes = resolved(_allowed.CLASSES)
    functions = resolved(_allowed.FUNCTIONS)
    assert len(classes) > 60
    assert len(functions) > 15
    assert [key for key, value in classes.items() if not isinstance(value, type)] == []
    assert [key for key, value in functions.items() if isinstance(value, type) or not callable(value)] == []
    everything = {*_allowed.CONSTANTS, *_allowed.CLASSES, *_allowed.FUNCTIONS, *_allowed.GUARDS}
    assert everything.isdisjoint(":".join(pair) for pair in RUNS_CODE)
    assert [key for key in everything if "." in key.split(":")[1]] == []


OFFSETS = "Day Hour Minute Second Milli Micro Nano BusinessDay MonthEnd MonthBegin QuarterEnd YearEnd Week"
DATA: dict[str, Any] = {
    "containers": [{1}, frozenset({2}), OrderedDict(a=1), deque([1], 3), Counter("aab"), ChainMap({1: 2})],
    "builtins": [1j, range(3), slice(1, 2), Ellipsis, NotImplemented, bytearray(b"x"), True, 2**100],
    "times": [
        datetime(2020, 1, 1, tzinfo=UTC),
        datetime(2020, 1, 1, tzinfo=ZoneInfo("Asia/Shanghai")),
        datetime(2020, 1, 1, tzinfo=timezone(timedelta(hours=8))),
        date(2020, 1, 1),
        time(1, 2),
        timedelta(1),
    ],
    "numbers": [Decimal("1.50"), Fraction(1, 3), UUID(int=5)],
    "paths": [PurePosixPath("a/b")],
    "numpy scalars": [np.float64(1), np.int8(2), np.bool_(True), np.str_("x"), np.datetime64("2020")],
    "dtypes": [np.dtype(">f8"), np.dtype("M8[ns]"), np.dtype([("a", "f8")])],
    "object array": np.array([1, "a", None], dtype=object),
    "records": np.zeros(3, dtype=[("a", "f8"), ("b", "i4")]),
    "strided": np.arange(10)[::2].copy(),
    "timestamps": [
        pd.Timestamp("2020"),
        pd.Timestamp("2020", tz="UTC"),
        pd.Timedelta(1),
        pd.Period("2020", "D"),
    ],
    "missing": [pd.NaT, pd.NA],
    "interval": pd.Interval(0, 1),
    "offsets": [getattr(pd.offsets, offset)() for offset in OFFSETS.split()] + [pd.DateOffset(months=2)],
    "range index": pd.RangeIndex(3),
    "dates": pd.date_range("2020", periods=3, freq="B"),
    "zoned dates": pd.date_range("2020", periods=3, tz="Asia/Shanghai"),
    "durations": pd.to_timedelta([1, 2], unit="D"),
    "periods": pd.period_range("2020", periods=3, freq="M"),
    "categories": pd.CategoricalIndex(["a", "b"]),
    "intervals": pd.interval_range(0, 3),
    "cut": pd.Series(pd.cut([1, 2, 3], 2)),
    "sparse": pd.Series([0.0, 1.0], dtype="Sparse[float]"),
    "arrow dictionary": pd.Series(["a", "b"], dtype=pd.ArrowDtype(pa.dictionary(pa.int32(), pa.string()))),
    "arrow decimal": pd.Series([Decimal("1.50")], dtype=pd.ArrowDtype(pa.decimal128(5, 2))),
    "arrow list": pd.Series([[1], [2]], dtype=pd.ArrowDtype(pa.list_(pa.int64()))),
    "named": pd.Series([1.0], name=("a", "b"), index=pd.Index(["x"], name="i")),
    "flags": pd.DataFrame({"a": [1]}).set_flags(allows_duplicate_labels=False),
    "arrow table": pa.table({"a": [1, 2], "b": ["x", "y"]}),
    **{
        f"column of {dtype}": pd.Series([1, None], dtype=dtype)
        for dtype in ("Int8", "UInt16", "Int64", "Float32", "boolean", "int64[pyarrow]", "double[pyarrow]")
    },
    **{
        f"column of {dtype}": pd.Series(["a", None], dtype=dtype)
        for dtype in ("object", "string[python]", "string[pyarrow]", "category", "str")
    },
}


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_plain_data_of_every_kind_loads(kind: str, protocol: int) -> None:
    back = load(pickle.dumps(DATA[kind], protocol=protocol), "pickle", trust=RESTRICTED)
    if kind in ("missing", "arrow table"):
        assert str(back) == str(DATA[kind])
    else:
        assert same(back, DATA[kind])


# --- the policy ---------------------------------------------------------------------------------------------

HARMLESS = pickle.dumps(Harmless())
INNER = pickle.dumps(Harmless.Inner(), protocol=4)
HERE = __name__


@pytest.mark.parametrize("pattern", [f"{HERE}.Harmless", f"{HERE}.*", f"{HERE.rsplit('.', 1)[0]}.*"])
def test_the_caller_can_allow_more(pattern: str) -> None:
    assert load(HARMLESS, "pickle", trust=TrustPolicy(allow=(pattern,))).value == 1


@pytest.mark.parametrize("pattern", [f"{HERE}.Other", "other.*", f"{HERE[:-1]}.*", f"{HERE}.Harmless.*"])
def test_only_what_the_caller_allowed(pattern: str) -> None:
    with pytest.raises(UntrustedObjectError):
        load(HARMLESS, "pickle", trust=TrustPolicy(allow=(pattern,)))


def test_what_the_error_proposes_works() -> None:
    data = pickle.dumps([Harmless(), Counter(), Other()])
    policy = TrustPolicy(allow=(f"{HERE}.unused",))
    for _ in range(2):
        with pytest.raises(UntrustedObjectError) as caught:
            load(data, "pickle", trust=policy)
        message = str(caught.value)
        proposed = re.search(r"trust=(TrustPolicy\(allow=\(.*?\)\))", message)
        assert proposed is not None
        policy = eval(proposed[1], {"TrustPolicy": TrustPolicy})
        assert f"Options(allow={policy.allow!r})" in message
        assert Options(allow=policy.allow).allow == policy.allow
        assert caught.value.allowable == policy.allow[-1]
    assert policy.allow == (f"{HERE}.unused", f"{HERE}.Harmless", f"{HERE}.Other")
    assert load(data, "pickle", trust=policy)[0].value == 1


@pytest.mark.parametrize("attribute", ["subprocess", "suppress", "subprocess.Popen", "gone.os.system", "a b"])
def test_an_error_proposes_nothing_that_a_module_has_from_elsewhere(attribute: str) -> None:
    with pytest.raises(UntrustedObjectError) as caught:
        load(program(name(HERE, attribute)), "pickle", trust=RESTRICTED)
    assert "allow=" not in str(caught.value)
    assert caught.value.allowable is None


def test_a_name_within_a_class_must_be_spelled_out() -> None:
    with pytest.raises(UntrustedObjectError):
        load(INNER, "pickle", trust=TrustPolicy(allow=(f"{HERE}.*",)))
    assert load(INNER, "pickle", trust=TrustPolicy(allow=(f"{HERE}.Harmless.Inner",)))


@pytest.mark.parametrize("attribute", ["subprocess", "pickle", "import_module", "UTC"])
def test_a_wildcard_does_not_reach_what_the_module_imported(attribute: str) -> None:
    assert hasattr(sys.modules[HERE], attribute)
    with pytest.raises(UntrustedObjectError):
        load(program(name(HERE, attribute)), "pickle", trust=TrustPolicy(allow=(f"{HERE}.*",)))


def test_an_allowed_class_is_itself_also_as_data() -> None:
    assert load(pickle.dumps([Harmless]), "pickle", trust=TrustPolicy(allow=(f"{HERE}.Harmless",))) == [
        Harmless
    ]


def test_an_allowed_class_that_is_not_there_is_named() -> None:
    with pytest.raises(LoadObjectError, match=r"gone\.Model"):
        load(program(name("gone", "Model")), "pickle", trust=TrustPolicy(allow=("gone.Model",)))


@pytest.mark.parametrize(
    "pattern",
    ["", "*", "name", "a b.c", "pkg.*.c", "pkg*", ".x", "builtins.*", "os.*", "os.path.*", "pkg:name"],
)
def test_a_pattern_that_means_nothing_or_everything_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidValueError):
        TrustPolicy(allow=(pattern,))
    with pytest.raises(InvalidValueError):
        default_trust(allow=pattern)


def test_never_loads_no_pickle_and_everything_else() -> None:
    never = TrustPolicy("never")
    for options in ({}, {"unpickler": pickle.Unpickler}):
        with pytest.raises(UntrustedObjectError, match=r"a\.pkl.*AQREC_TRUST"):
            load(pickle.dumps(1), "pickle", trust=never, name="a.pkl", **options)
    assert load(b"[1]", "json", trust=never) == [1]


@pytest.mark.parametrize("mode", ["Trusted", "", "all"])
def test_an_unknown_mode_is_refused(mode: Any) -> None:
    with pytest.raises(InvalidValueError):
        TrustPolicy(mode)


def test_the_environment_decides_where_nobody_did(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AQREC_TRUST", raising=False)
    assert default_trust() == TrustPolicy("restricted")
    monkeypatch.setenv("AQREC_TRUST", "trusted")
    assert default_trust(allow=["a.B"]) == TrustPolicy("trusted", ("a.B",))
    assert default_trust("never") == TrustPolicy("never")
    monkeypatch.setenv("AQREC_TRUST", "yes")
    with pytest.raises(InvalidValueError, match="AQREC_TRUST"):
        default_trust()


def test_loading_plain_data_imports_no_numpy() -> None:
    code = (
        "import io, pickle, sys\n"
        "from aqrec.artifacts import read_object\n"
        "data = pickle.dumps({'a': [1, 2.5]})\n"
        "assert read_object(io.BytesIO(data), codec='pickle') == {'a': [1, 2.5]}\n"
        "print(sorted({'numpy', 'pandas', 'pyarrow'} & set(sys.modules)))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_default_of_reading_is_restricted() -> None:
    from aqrec.artifacts import read_object

    with pytest.raises(UntrustedObjectError):
        read_object(io.BytesIO(pickle.dumps(Bomb())), codec="pickle")
