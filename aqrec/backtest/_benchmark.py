"""What the portfolio is compared with."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from aqrec._checks import shown
from aqrec.errors import InvalidValueError
from aqrec.quotes import Market
from aqrec.quotes._days import without_zone

__all__ = ["bench_returns", "benchmark_names"]

Returns = npt.NDArray[np.floating[Any]]


def bench_returns(benchmark: Any, market: Market, bars: slice) -> Returns:
    """Return the benchmark's return on each of these days of the market.

    Closes are float32 and so is what is made of them, as in Qlib: ratio, less 1, mean over instruments.
    """
    if benchmark is None:
        return np.zeros(bars.stop - bars.start)
    if isinstance(benchmark, pd.Series):
        return _given(benchmark, market, bars)
    names = benchmark_names(benchmark)
    unknown = [name for name in names if name not in market.columns]
    if unknown:
        raise InvalidValueError(
            f"the benchmark {', '.join(map(repr, unknown))} is not in the quotes; name instruments that are, give a Series "
            "of returns by day, or None to compare with nothing"
        )
    close = market.field("$close")[:, [market.columns[name] for name in names]].astype(np.float32)
    close = close[max(bars.start - 1, 0) : bars.stop]
    if bars.start == 0:
        close = np.vstack([np.full((1, close.shape[1]), np.nan, dtype=np.float32), close])
    wrong = (close <= 0) | np.isinf(close)
    if wrong.any():
        row, place = np.argwhere(wrong)[0]
        raise InvalidValueError(
            f"$close of the benchmark {names[place]!r} is {close[row, place]:g} on some day; a close is above 0, or NaN where it is "
            "not known"
        )
    with np.errstate(all="ignore"):
        change = close[1:] / close[:-1] - np.float32(1)
    several = len(names) > 1
    mean = (
        np.asarray(pd.DataFrame(change).mean(axis=1).to_numpy(), dtype=np.float32)
        if several
        else change[:, 0]
    )
    known = np.where(np.isnan(mean), np.float32(0), mean)
    return (known + np.float32(1)) - np.float32(1)


def benchmark_names(benchmark: Any) -> list[str]:
    """Return the instruments that a benchmark names; none if it is a Series of returns or None."""
    if benchmark is None or isinstance(benchmark, pd.Series):
        return []
    names = [benchmark] if isinstance(benchmark, str) else benchmark
    if (
        isinstance(names, list | tuple | np.ndarray | pd.Index)
        and len(names)
        and all(isinstance(name, str) for name in names)
    ):
        return [str(name) for name in names]
    raise InvalidValueError(
        f"the benchmark must be an instrument, a list of some, a Series of returns by day, or None, not {shown(benchmark)}"
    )


def _given(benchmark: pd.Series[Any], market: Market, bars: slice) -> Returns:
    if not isinstance(benchmark.index, pd.DatetimeIndex) or not pd.api.types.is_numeric_dtype(
        benchmark.dtype
    ):
        raise InvalidValueError("a benchmark Series must hold returns, indexed by day")
    values = benchmark.to_numpy()
    if values.dtype.type not in (np.float32, np.float64):
        values = benchmark.to_numpy(dtype=np.float64, na_value=np.nan)
    moments = without_zone(benchmark.index, "the days of the benchmark").as_unit("ns").to_numpy()
    places = np.searchsorted(market.days, moments, side="right") - 1 - bars.start
    usable = (places >= 0) & (places < bars.stop - bars.start) & ~np.isnan(values)
    # What comes after the last day of the quotes belongs to no bar, and what has no day to none either.
    usable &= ~np.isnat(moments) & (moments < market.days[-1] + np.timedelta64(1, "D"))
    product = np.ones(bars.stop - bars.start, dtype=values.dtype)
    np.multiply.at(product, places[usable], values[usable] + values.dtype.type(1))
    return np.asarray(product - values.dtype.type(1))
