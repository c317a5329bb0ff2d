"""Checks of what callers hand in, with errors that name the argument."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from aqrec.errors import InvalidValueError

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = [
    "check_frame",
    "check_indexed",
    "check_lag",
    "check_level",
    "check_quantile",
    "check_series",
    "numeric_values",
]

_NUMBERS_AS_OBJECTS = frozenset({"boolean", "decimal", "empty", "floating", "integer", "mixed-integer-float"})


def check_series(value: Any, name: str) -> pd.Series[Any]:
    """Return `value` when it is a Series."""
    if isinstance(value, pd.Series):
        return value
    hint = "; pick one column of the frame" if isinstance(value, pd.DataFrame) else ""
    msg = f"{name} must be a pandas Series, not {type(value).__name__}{hint}"
    raise InvalidValueError(msg)


def check_indexed(value: Any, name: str, date_col: str) -> tuple[pd.Series[Any], pd.MultiIndex, int]:
    """Return a Series, its MultiIndex, and which of its levels is `date_col`."""
    series = check_series(value, name)
    index = series.index
    if not isinstance(index, pd.MultiIndex):
        msg = f"{name} must be indexed by a MultiIndex ({date_col}, instrument), not {type(index).__name__}"
        raise InvalidValueError(msg)
    return series, index, check_level(index, name, date_col)


def check_level(index: pd.MultiIndex, name: str, level: str) -> int:
    """Return the position of the only level called `level`."""
    names = list(index.names)
    if names.count(level) == 1:
        return names.index(level)
    msg = (
        f"{name} needs exactly one index level called {level!r}, but its levels are {names}: "
        "name the levels, or say which one is meant"
    )
    raise InvalidValueError(msg)


def check_frame(value: Any, name: str) -> pd.DataFrame:
    """Return `value` when it is a DataFrame."""
    if isinstance(value, pd.DataFrame):
        return value
    msg = f"{name} must be a pandas DataFrame, not {type(value).__name__}"
    raise InvalidValueError(msg)


def numeric_values(series: pd.Series[Any], name: str) -> npt.NDArray[np.floating[Any]]:
    """Return the values as float32 when they are stored so, as float64 otherwise; missing ones are NaN."""
    dtype = series.dtype
    if isinstance(dtype, np.dtype):
        if dtype in (np.dtype(np.float32), np.dtype(np.float64)):
            return cast("npt.NDArray[np.floating[Any]]", series.to_numpy())
        if dtype.kind in "biuf":
            return series.to_numpy().astype(np.float64)
    try:
        if pd.api.types.is_object_dtype(dtype):
            wrong = pd.api.types.infer_dtype(series, skipna=True) not in _NUMBERS_AS_OBJECTS
        else:
            wrong = isinstance(dtype, np.dtype) or not pd.api.types.is_numeric_dtype(dtype)
        if wrong:
            raise TypeError
        return series.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        msg = f"{name} must hold real numbers; its dtype is {dtype}"
        raise InvalidValueError(msg) from error


def check_quantile(value: Any) -> float:
    """Return `value` as a float in (0, 1]."""
    if not isinstance(value, bool) and isinstance(value, Real):
        share = float(value)
        if math.isfinite(share) and 0 < share <= 1:
            return share
    msg = f"quantile must be a number above 0 and at most 1, not {value!r}"
    raise InvalidValueError(msg)


def check_lag(value: Any) -> int:
    """Return `value` as an int."""
    if not isinstance(value, bool) and isinstance(value, Integral):
        return int(value)
    msg = f"lag must be an integer number of days, not {value!r}"
    raise InvalidValueError(msg)
