"""Tables that a test can read at a glance: rows are days, columns instruments."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from aqrec.quotes import Market

Rows = Sequence[Sequence[float]]
FREE = {
    "open_cost": 0.0,
    "close_cost": 0.0,
    "min_cost": 0.0,
    "trade_unit": None,
    "limit_threshold": float("inf"),
}


def days(count: int) -> pd.DatetimeIndex:
    return pd.bdate_range("2024-01-01", periods=count)


def market(close: Rows, **fields: Rows) -> Market:
    names = [chr(ord("A") + i) for i in range(len(close[0]))]
    arrays = {
        f"${name}": np.array(rows, dtype=np.float64) for name, rows in {"close": close, **fields}.items()
    }
    return Market(days(len(close)), names, arrays)


def scores(rows: Sequence[Mapping[str, float]]) -> pd.Series:
    """One mapping a day, from the first day on."""
    items = {
        (day, name): value
        for day, row in zip(days(len(rows)), rows, strict=True)
        for name, value in row.items()
    }
    index = pd.MultiIndex.from_tuples(list(items), names=["datetime", "instrument"])
    return pd.Series(list(items.values()), index, name="score", dtype=float)


def held(portfolio: Any) -> list[str]:
    """Return the names held at the end of each day, each as one word."""
    return ["".join(position.stocks) for position in portfolio["1day"][1].values()]
