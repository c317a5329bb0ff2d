"""The globals that a restricted pickle may name, each reviewed.

A name is here because pickles of plain data, of numpy arrays or of pandas objects contain it, and because
calling it *with any arguments that a pickle can build* runs no code of the pickle's choice: it neither
imports by name, nor evaluates text, nor calls an argument, nor looks up an attribute by name, nor
writes a file, nor reads one except for the description of a time zone. Where that holds for some
arguments only, a guard takes the function's place.

Keys are ``module:name``. Old and new homes of one thing are listed side by side, so that files of
pandas 2 and 3 and of numpy 1 and 2 can be read by each other where pandas and numpy permit it.
"""

from __future__ import annotations

import zoneinfo
from importlib import import_module
from typing import TYPE_CHECKING, Any

from aqrec.artifacts._sealed import Inert, SealedFunction
from aqrec.errors import UntrustedObjectError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterable


def _names(modules: str, names: str) -> frozenset[str]:
    return frozenset(f"{module}:{name}" for module in modules.split() for name in names.split())


def _union(*parts: Iterable[str]) -> frozenset[str]:
    return frozenset[str]().union(*parts)


# Types and constants written in C that nobody can assign to. They are handed out as they are and may
# also appear as data. Absent on purpose: type (makes classes), map, filter and property (call their
# arguments), memoryview, super, and numpy's void, object_ and ndarray (they take raw memory for objects).
CONSTANTS = _union(
    _names(
        "builtins",
        "Ellipsis NotImplemented bool bytearray bytes complex dict float frozenset int list object range set "
        "slice str tuple",
    ),
    _names("collections", "OrderedDict defaultdict deque"),
    _names("datetime", "date datetime time timedelta timezone"),
    _names("decimal", "Decimal"),
    _names(
        "numpy",
        "bool bool_ bytes_ complex128 complex64 datetime64 float16 float32 float64 int16 int32 int64 int8 "
        "longdouble str_ timedelta64 uint16 uint32 uint64 uint8",
    ),
)

# The one instance that pickles share. Attributes set on it change nothing that pandas looks at.
SHARED = _names("pandas pandas._libs.missing", "NA")

# Classes written in Python or Cython. A pickle may make instances and set their state, no more.
CLASSES = _union(
    _names("aqrec.backtest", "Indicator Position"),
    _names("collections", "ChainMap Counter"),
    _names("fractions", "Fraction"),
    _names("pathlib pathlib._local", "PosixPath PurePath PurePosixPath PureWindowsPath"),
    _names("uuid", "UUID"),
    _names("dateutil.relativedelta", "relativedelta"),
    _names("dateutil.tz.tz", "tzoffset tzutc"),
    _names("pandas", "DataFrame Series"),
    _names("pandas.core.frame", "DataFrame"),
    _names("pandas.core.series", "Series"),
    _names("pandas.core.internals.managers", "BlockManager SingleBlockManager"),
    _names(
        "pandas",
        "CategoricalIndex DatetimeIndex Index IntervalIndex MultiIndex PeriodIndex RangeIndex TimedeltaIndex",
    ),
    _names("pandas.core.indexes.base", "Index"),
    _names("pandas.core.indexes.category", "CategoricalIndex"),
    _names("pandas.core.indexes.datetimes", "DatetimeIndex"),
    _names("pandas.core.indexes.interval", "IntervalIndex"),
    _names("pandas.core.indexes.multi", "MultiIndex"),
    _names("pandas.core.indexes.period", "PeriodIndex"),
    _names("pandas.core.indexes.range", "RangeIndex"),
    _names("pandas.core.indexes.timedeltas", "TimedeltaIndex"),
    _names("pandas", "Categorical"),
    _names(
        "pandas.arrays",
        "ArrowExtensionArray ArrowStringArray BooleanArray Categorical DatetimeArray FloatingArray "
        "IntegerArray IntervalArray NumpyExtensionArray PeriodArray SparseArray StringArray TimedeltaArray",
    ),
    _names("pandas.core.arrays.arrow.array", "ArrowExtensionArray"),
    _names("pandas.core.arrays.boolean", "BooleanArray BooleanDtype"),
    _names("pandas.core.arrays.categorical", "Categorical"),
    _names("pandas.core.arrays.datetimes", "DatetimeArray"),
    _names("pandas.core.arrays.floating", "Float32Dtype Float64Dtype FloatingArray"),
    _names("pandas.core.arrays.interval", "IntervalArray"),
    _names("pandas.core.arrays.numpy_", "NumpyExtensionArray"),
    _names("pandas.core.arrays.period", "PeriodArray"),
    _names("pandas.core.arrays.sparse.array", "SparseArray"),
    _names("pandas.core.arrays.string_", "StringArray StringArrayNumpySemantics StringDtype"),
    _names("pandas.core.arrays.string_arrow", "ArrowStringArray ArrowStringArrayNumpySemantics"),
    _names("pandas.core.arrays.timedeltas", "TimedeltaArray"),
    _names("pandas._libs.sparse", "BlockIndex IntIndex"),
    _names(
        "pandas pandas.core.arrays.integer",
        "Int16Dtype Int32Dtype Int64Dtype Int8Dtype UInt16Dtype UInt32Dtype UInt64Dtype UInt8Dtype",
    ),
    _names("pandas.core.arrays.integer", "IntegerArray"),
    _names("pandas", "BooleanDtype Float32Dtype Float64Dtype StringDtype"),
    _names(
        "pandas pandas.core.dtypes.dtypes",
        "ArrowDtype CategoricalDtype DatetimeTZDtype IntervalDtype PeriodDtype SparseDtype",
    ),
    _names("pandas.core.dtypes.dtypes", "NumpyEADtype"),
    _names("pandas pandas._libs.interval", "Interval"),
    _names("pandas pandas._libs.tslibs.period", "Period"),
    _names("pandas pandas._libs.tslibs.offsets", "DateOffset"),
    _names(
        "pandas._libs.tslibs.offsets",
        "BMonthBegin BMonthEnd BQuarterBegin BQuarterEnd BYearBegin BYearEnd BusinessDay BusinessHour "
        "BusinessMonthBegin BusinessMonthEnd CustomBusinessDay Day Easter Hour LastWeekOfMonth Micro Milli "
        "Minute MonthBegin MonthEnd Nano QuarterBegin QuarterEnd Second SemiMonthBegin SemiMonthEnd Week "
        "WeekOfMonth YearBegin YearEnd",
    ),
)

# Functions that build one thing from plain arguments.
FUNCTIONS = _union(
    _names("pandas._libs.arrays", "__pyx_unpickle_NDArrayBacked"),
    _names("pandas._libs.internals", "_unpickle_block"),
    _names("pandas._libs.interval", "__pyx_unpickle_IntervalMixin"),
    _names("pandas._libs.tslibs.nattype", "__nat_unpickle _nat_unpickle"),
    _names("pandas._libs.tslibs.timedeltas", "_timedelta_unpickle"),
    _names("pandas._libs.tslibs.timestamps", "_unpickle_timestamp"),
    _names("pandas.core.indexes.datetimes", "_new_DatetimeIndex"),
    _names("pandas.core.indexes.interval", "_new_IntervalIndex"),
    _names("pandas.core.indexes.timedeltas", "_new_TimedeltaIndex"),
    _names(
        "pyarrow.lib",
        "_reconstruct_record_batch _reconstruct_table binary chunked_array decimal128 decimal256 dictionary "
        "field large_list list_ map_ py_buffer schema struct timestamp type_for_alias",
    ),
    _names("pytz", "FixedOffset _UTC _p"),
)


# Classes that are only ever arguments of a guarded function. numpy.ndarray, called, takes any bytes for
# an array of objects; ZoneInfo, called, is not what its pickles do.
INERT = {"numpy:ndarray": "numpy.ndarray", "zoneinfo:ZoneInfo": "zoneinfo.ZoneInfo"}


def _reject(what: str) -> UntrustedObjectError:
    return UntrustedObjectError(f"a pickle calls {what}, which no plain pickle does")


def _is_inert(value: object, name: str) -> bool:
    return isinstance(value, Inert) and value.name == name


def _array(subtype: object, shape: Any, typecode: Any, /) -> Any:
    """Guard numpy's ``_reconstruct``: an empty array, whose state follows."""
    np: Any = import_module("numpy")
    if not _is_inert(subtype, "numpy.ndarray"):
        raise _reject("numpy's _reconstruct for something else than ndarray")
    if typecode not in (b"b", "b"):
        raise _reject("numpy's _reconstruct with a data type")
    return np.ndarray(shape, "b")


def _array_of_buffer(buffer: Any, dtype: Any, shape: Any, order: Any, *axes: Any) -> Any:
    """Guard numpy's ``_frombuffer``: with a data type that says itself whether it holds objects."""
    np: Any = import_module("numpy")
    # The function has moved between versions of numpy; a reduced array names where it is.
    return np.zeros(1).__reduce_ex__(5)[0](buffer, _twin(dtype), shape, order, *axes)


def _scalar(dtype: Any, data: Any = None, /) -> Any:
    """Guard numpy's ``scalar``; of objects it would only give back ``data``."""
    np: Any = import_module("numpy")
    return np.float64(0).__reduce__()[0](_twin(dtype), data)


def _twin(dtype: Any) -> Any:
    """Rebuild a data type from its description.

    Its flags come out of the pickle and could deny that it holds pointers to objects; and the pickle could
    change it once more after an array has been made with it.
    """
    np: Any = import_module("numpy")
    if dtype.fields is None and dtype.subdtype is None:
        return np.dtype(dtype.str)
    return np.lib.format.descr_to_dtype(np.lib.format.dtype_to_descr(dtype))


def _dtype(code: object, align: object = False, copy: object = False, /) -> Any:
    """Guard ``numpy.dtype``: of a short type code only: no objects with a ``dtype`` attribute, no pairs."""
    np: Any = import_module("numpy")
    if not isinstance(code, str) or len(code) > 64:
        raise _reject("numpy.dtype with something else than a type code")
    return np.dtype(code, bool(align), bool(copy))


def _index(kind: Any, state: Any, /) -> Any:
    """Guard pandas' ``_new_Index``; a MultiIndex has its codes checked against its levels."""
    pd: Any = import_module("pandas")
    if not (isinstance(kind, type) and issubclass(kind, pd.Index)):
        raise _reject("pandas' _new_Index for something else than an Index")
    if issubclass(kind, pd.MultiIndex):
        return kind(
            levels=state["levels"],
            codes=state["codes"],
            sortorder=state.get("sortorder"),
            names=state.get("names"),
            verify_integrity=True,
        )
    return import_module("pandas.core.indexes.base")._new_Index(kind, state)


def _arrow_array(data: Any, /) -> Any:
    """Guard pyarrow's ``_restore_array``: add the check of offsets and text that it lacks."""
    pa: Any = import_module("pyarrow")
    array = pa.lib._restore_array(data)
    array.validate(full=True)
    return array


def _attribute(owner: object, name: object, /) -> Any:
    """Guard ``getattr``: for the only pair that plain data needs: how a ZoneInfo is unpickled."""
    if not _is_inert(owner, "zoneinfo.ZoneInfo") or name != "_unpickle":
        raise _reject("getattr")
    return SealedFunction(_zone)


def _zone(key: object, from_cache: object, /) -> dt.tzinfo:
    return zoneinfo.ZoneInfo(str(key)) if from_cache else zoneinfo.ZoneInfo.no_cache(str(key))


GUARDS: dict[str, Callable[..., Any]] = {
    "builtins:getattr": _attribute,
    "numpy:dtype": _dtype,
    "numpy._core.multiarray:_reconstruct": _array,
    "numpy._core.multiarray:scalar": _scalar,
    "numpy._core.numeric:_frombuffer": _array_of_buffer,
    "numpy.core.multiarray:_reconstruct": _array,
    "numpy.core.multiarray:scalar": _scalar,
    "numpy.core.numeric:_frombuffer": _array_of_buffer,
    "pandas.core.indexes.base:_new_Index": _index,
    "pyarrow.lib:_restore_array": _arrow_array,
}
