from __future__ import annotations

from importlib import resources

import numpy as np
import pandas as pd

from aqrec.demo import load_index, load_prices, load_quotes


def test_prices():
    """Twenty columns of positive closes on ascending days, typed the same whatever the pandas version."""
    prices = load_prices()

    assert prices.shape == (8313, 20)
    assert (prices.index.name, prices.index.dtype) == ("datetime", np.dtype("datetime64[ns]"))
    assert (str(prices.index[0].date()), str(prices.index[-1].date())) == ("1990-01-02", "2022-12-28")
    assert prices.index.is_monotonic_increasing
    assert prices.index.is_unique
    assert set(prices.dtypes) == {np.dtype("float64")}
    assert (prices > 0).all(axis=None)
    assert (prices.columns.name, list(prices.columns[:3])) == ("instrument", ["AAPL", "AMD", "BAC"])
    assert prices.loc["2022-12-28", "AAPL"] == 125.674


def test_index():
    index = load_index()

    assert (index.name, index.dtype) == ("SP500", np.dtype("float64"))
    assert index.index.equals(load_prices().index)
    assert index.loc[pd.Timestamp("2022-12-28")] == 3783.22


def test_each_call_returns_a_table_of_its_own():
    prices = load_prices()
    prices.iloc[:, :] = 0.0

    assert (load_prices() > 0).all(axis=None)


def test_notice_is_carried_with_the_data():
    """Licence and origin are in the package, next to the files they speak of."""
    folder = resources.files("aqrec.demo").joinpath("data")

    assert "BSD 3-Clause License" in folder.joinpath("LICENSE.skfolio").read_text()
    notice = folder.joinpath("README.md").read_text()
    assert all(item.name in notice for item in folder.iterdir() if item.name != "README.md")


def test_quotes():
    """The closes and their changes, as the backtest takes them."""
    quotes, prices = load_quotes(), load_prices()

    assert list(quotes.columns) == ["datetime", "instrument", "$close", "$change"]
    assert len(quotes) == prices.size == 166_260
    apple = quotes[quotes["instrument"] == "AAPL"].set_index("datetime")
    np.testing.assert_array_equal(apple["$close"], prices["AAPL"])
    np.testing.assert_allclose(apple["$change"].iloc[1:], prices["AAPL"].pct_change().iloc[1:], atol=1e-15)
    assert np.isnan(apple["$change"].iloc[0])
