"""What is known about each stock at the close of a day, and what happens to it afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from aqrec.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FEATURES", "LABEL", "LABEL_HORIZON", "features_and_labels"]

LABEL = "LABEL0"
LABEL_HORIZON = 2
"""Days after which a label is known: it needs the closes of the two days that follow its own."""


def _past_return(days: int, skipped: int = 0) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda prices: prices.shift(skipped) / prices.shift(days) - 1


def _volatility(days: int) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda prices: (prices / prices.shift(1) - 1).rolling(days).std()


def _rank(days: int) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda prices: _past_return(days)(prices).rank(axis=1, pct=True)


_FORMULAS: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "RETURN1": _past_return(1),
    "RETURN5": _past_return(5),
    "RETURN20": _past_return(20),
    "RETURN60": _past_return(60),
    "RETURN120": _past_return(120),
    "MOMENTUM250": _past_return(250, skipped=20),
    "VOLATILITY20": _volatility(20),
    "VOLATILITY60": _volatility(60),
    "HIGH250": lambda prices: prices / prices.rolling(250).max() - 1,
    "BESTDAY20": lambda prices: (prices / prices.shift(1) - 1).rolling(20).max(),
    "RANK5": _rank(5),
    "RANK120": _rank(120),
}

FEATURES = tuple(_FORMULAS)


def features_and_labels(prices: pd.DataFrame) -> pd.DataFrame:
    """Compute features and the label of each stock and day.

    A feature of day t uses closes up to and including day t; ``n`` is in trading days:

    - ``RETURNn``: return over the last n days (short ones tend to revert, long ones to continue)
    - ``MOMENTUM250``: return from day t-250 to day t-20
    - ``VOLATILITYn``: standard deviation of the last n daily returns
    - ``HIGH250``: distance from the highest of the last 250 closes, at most 0
    - ``BESTDAY20``: best daily return of the last 20
    - ``RANKn``: rank of the return over n days among the stocks of the day, in (0, 1]

    ``LABEL0`` is the return from the close of day t+1 to that of day t+2, as in Qlib (``Ref($close, -2) /
    Ref($close, -1) - 1``): a score of day t is traded at the next close, and held for a day.

    Parameters
    ----------
    prices
        Closes, one row per trading day in ascending order, one column per instrument.

    Returns
    -------
    DataFrame
        float64; MultiIndex (datetime, instrument), sorted; columns `FEATURES` and ``LABEL0``. Rows lacking a
        feature are left out (the first 250 days of a stock). The label is NaN on the last two days.

    Raises
    ------
    InvalidInputError
        The days are not ascending, or one comes twice.
    """
    if not (prices.index.is_monotonic_increasing and prices.index.is_unique):
        raise InvalidInputError(
            "prices: each day must come once and in ascending order; sort the rows by day"
        )
    prices = prices.sort_index(axis=1)
    tables = {name: formula(prices) for name, formula in _FORMULAS.items()}
    tables[LABEL] = prices.shift(-2) / prices.shift(-1) - 1
    index = pd.MultiIndex.from_product([prices.index, prices.columns], names=["datetime", "instrument"])
    columns = [table.to_numpy(dtype=np.float64).ravel() for table in tables.values()]
    values = np.stack(columns, axis=-1)
    complete = np.flatnonzero(np.isfinite(values[:, :-1]).all(axis=1))
    return pd.DataFrame(values[complete], index=index[complete], columns=list(tables))
