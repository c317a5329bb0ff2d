"""The price tables that come with the package."""

from __future__ import annotations

import gzip
from importlib import resources

import pandas as pd

__all__ = ["load_index", "load_prices", "load_quotes", "quotes_of"]


def load_prices() -> pd.DataFrame:
    """Return daily closes of 20 large American companies, adjusted for splits and dividends.

    Returns
    -------
    DataFrame
        8,313 rows, a DatetimeIndex (ns) named ``datetime`` from 1990-01-02 to 2022-12-28; one float64 column
        for each instrument, in US dollars. No value is missing. Where the table comes from, and its licence,
        stand in ``aqrec/demo/data/README.md``.
    """
    prices = _read("sp500_20.csv.gz")
    prices.columns.name = "instrument"
    return prices


def load_index() -> pd.Series[float]:
    """Return the daily closes of the S&P 500 index on the days of `load_prices`.

    Returns
    -------
    Series
        float64, named ``SP500``, in points, without dividends.
    """
    return _read("sp500_index.csv.gz")["SP500"]


def load_quotes() -> pd.DataFrame:
    """Return the closes of `load_prices` as quotes for `aqrec.backtest.backtest`.

    Returns
    -------
    DataFrame
        166,260 rows; columns ``datetime``, ``instrument``, ``$close``, and ``$change``, the return since the close of
        the day before (NaN on the first). Without ``$factor``: adjusted prices are traded in any amount.
    """
    return quotes_of(load_prices())


def quotes_of(prices: pd.DataFrame) -> pd.DataFrame:
    """Return closes, one column for each instrument, in the form of `load_quotes`."""
    fields = {"$close": prices, "$change": prices / prices.shift(1) - 1}
    columns = {name: table.to_numpy().ravel() for name, table in fields.items()}
    index = pd.MultiIndex.from_product([prices.index, prices.columns], names=["datetime", "instrument"])
    return pd.DataFrame(columns, index).reset_index()


def _read(name: str) -> pd.DataFrame:
    packed = resources.files("aqrec.demo").joinpath("data", name)
    with packed.open("rb") as file, gzip.open(file) as text:
        table = pd.read_csv(text)
    index = pd.DatetimeIndex(pd.to_datetime(table.pop("Date")), name="datetime").as_unit("ns")
    return table.astype("float64").set_index(index)
