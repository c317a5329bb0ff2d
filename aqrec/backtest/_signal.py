"""Scores, put on the days and instruments of a market."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from aqrec.errors import InvalidValueError
from aqrec.quotes import Market
from aqrec.quotes._days import without_zone

__all__ = ["Signal", "signal_days", "signal_instruments", "signal_series"]


class Signal(NamedTuple):
    """Scores by day and instrument of a market, and which of them have a row at all."""

    scores: npt.NDArray[np.float64]
    scored: npt.NDArray[np.bool_]
    days: npt.NDArray[np.bool_]

    @classmethod
    def on(cls, series: pd.Series[Any], market: Market) -> Signal:
        """Put each score on the last trading day that is not after it; of several, the last that is a number counts."""
        index = cast("pd.MultiIndex", series.index)
        moments, time_codes = _level(index, "datetime")
        names, name_codes = _level(index, "instrument")
        moments = moments.astype("datetime64[ns]")
        day_of = np.searchsorted(market.days, moments, side="right") - 1
        column_of = np.array([market.columns.get(str(name), -1) for name in names], dtype=np.intp)
        # A code of -1 stands for a missing key.
        days = np.where(time_codes < 0, -1, np.append(day_of, -1)[time_codes])
        columns = np.where(name_codes < 0, -1, np.append(column_of, -1)[name_codes])
        values = series.to_numpy(dtype=np.float64, na_value=np.nan)
        if len(np.unique(day_of)) < len(day_of):
            # Several moments of a day: the later ones have to come later.
            order = np.argsort(moments[time_codes], kind="stable")
            days, columns, values = days[order], columns[order], values[order]
        usable = (days >= 0) & (columns >= 0)
        if not usable.all():
            days, columns, values = days[usable], columns[usable], values[usable]
        shape = (len(market.days), len(market.instruments))
        scored: npt.NDArray[np.bool_] = np.zeros(shape, dtype=bool)
        scored[days, columns] = True
        scores = np.full(shape, np.nan)
        known = ~np.isnan(values)
        scores[days[known], columns[known]] = values[known]
        return cls(scores, scored, np.asarray(scored.any(axis=1)))


def signal_series(signal: Any) -> pd.Series[Any]:
    """Return the scores as a Series with levels ``datetime`` and ``instrument``."""
    if (
        isinstance(signal, list | tuple)
        and len(signal) == 2
        and callable(getattr(signal[0], "predict", None))
    ):
        model, dataset = cast("tuple[Any, Any]", tuple(signal))
        signal = model.predict(dataset)
    if isinstance(signal, pd.DataFrame):
        if not len(signal.columns):
            raise InvalidValueError("the signal has no columns")
        signal = signal.iloc[:, 0]
    if not isinstance(signal, pd.Series):
        raise InvalidValueError(
            f"the signal must be a Series or DataFrame of scores, not {type(signal).__name__}"
        )
    index = signal.index
    if not isinstance(index, pd.MultiIndex) or {"datetime", "instrument"}.difference(index.names):
        raise InvalidValueError(
            f"the signal must be indexed by (datetime, instrument), not by {list(index.names)}"
        )
    if not pd.api.types.is_numeric_dtype(signal.dtype):
        raise InvalidValueError(f"the signal must hold numbers; its dtype is {signal.dtype}")
    times = index.levels[index.names.index("datetime")]
    if not isinstance(times, pd.DatetimeIndex):
        raise InvalidValueError(
            f"the level 'datetime' of the signal must hold dates, but its dtype is {times.dtype}; convert it with "
            "pandas.to_datetime"
        )
    without_zone(times, "the level 'datetime' of the signal")
    return signal


def signal_days(series: pd.Series[Any]) -> tuple[pd.Timestamp, pd.Timestamp]:
    """Return the first and last moment of a signal."""
    moments = series.index.get_level_values("datetime")
    if not len(moments):
        raise InvalidValueError("the signal has no rows")
    return moments.min(), moments.max()


def signal_instruments(series: pd.Series[Any]) -> set[str]:
    """Return the instruments of a signal."""
    names, codes = _level(cast("pd.MultiIndex", series.index), "instrument")
    # A level may hold names that no row has.
    rows = np.bincount(codes[codes >= 0], minlength=len(names))
    return {str(name) for name in names[rows > 0]}


def _level(index: pd.MultiIndex, name: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.intp]]:
    """Return the values of a level and, for each row, which of them it has."""
    place = index.names.index(name)
    return index.levels[place].to_numpy(), np.asarray(index.codes[place], dtype=np.intp)
