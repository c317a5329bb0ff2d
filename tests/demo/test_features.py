from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqrec.demo import FEATURES, LABEL, LABEL_HORIZON, features_and_labels, load_prices
from aqrec.errors import InvalidInputError


@pytest.fixture(scope="module")
def prices():
    return load_prices().iloc[:600]


@pytest.fixture(scope="module")
def frame(prices):
    return features_and_labels(prices)


def test_shape(prices, frame):
    """One row for each stock and day that has 250 days behind it, sorted by day and stock."""
    assert list(frame.columns) == [*FEATURES, LABEL]
    assert frame.index.names == ["datetime", "instrument"]
    assert frame.index.is_monotonic_increasing
    assert len(frame) == (600 - 250) * 20
    assert frame.index[0] == (prices.index[250], "AAPL")
    assert set(frame.dtypes) == {np.dtype("float64")}


def test_only_the_last_days_lack_a_label(prices, frame):
    unlabelled = frame.index[frame[LABEL].isna()]

    assert list(unlabelled.unique("datetime")) == list(prices.index[-LABEL_HORIZON:])
    assert np.isfinite(frame[list(FEATURES)].to_numpy()).all()


def test_values(prices, frame):
    """Each number by its definition, for one stock and day."""
    day, stock = 400, "KO"
    closes = prices[stock].to_numpy()
    returns = closes[1:] / closes[:-1] - 1  # returns[i] is the one of day i + 1
    today = frame.loc[(prices.index[day], stock)]
    expected = {
        **{f"RETURN{n}": closes[day] / closes[day - n] - 1 for n in (1, 5, 20, 60, 120)},
        **{f"VOLATILITY{n}": np.std(returns[day - n : day], ddof=1) for n in (20, 60)},
        "MOMENTUM250": closes[day - 20] / closes[day - 250] - 1,
        "HIGH250": closes[day] / closes[day - 249 : day + 1].max() - 1,
        "BESTDAY20": returns[day - 20 : day].max(),
        LABEL: closes[day + 2] / closes[day + 1] - 1,
    }
    for n in (5, 120):
        others = prices.iloc[day] / prices.iloc[day - n]
        expected[f"RANK{n}"] = (others <= others[stock]).sum() / 20

    assert set(expected) == set(frame.columns)
    assert today.to_dict() == pytest.approx(expected, rel=1e-9)


@given(st.integers(260, 590), st.floats(0.1, 10))
def test_features_do_not_see_the_future(prices, frame, day, factor):
    """Other closes after a day leave its features, and the labels known by then, bit for bit as they are."""
    changed = prices.copy()
    changed.iloc[day + 1 :] *= factor
    until = prices.index[day]

    again = features_and_labels(changed)

    pd.testing.assert_frame_equal(
        again.loc[:until, list(FEATURES)], frame.loc[:until, list(FEATURES)], check_exact=True
    )
    known = prices.index[day - LABEL_HORIZON]
    pd.testing.assert_series_equal(again.loc[:known, LABEL], frame.loc[:known, LABEL], check_exact=True)


def test_stock_that_is_listed_later(prices):
    """A stock takes part 250 days after its first close; the others do not wait for it."""
    later = prices.copy()
    later.iloc[:100, later.columns.get_loc("KO")] = np.nan

    frame = features_and_labels(later)

    assert frame.xs("KO", level="instrument").index[0] == prices.index[350]
    assert frame.xs("GE", level="instrument").index[0] == prices.index[250]


def test_columns_in_any_order(prices, frame):
    pd.testing.assert_frame_equal(features_and_labels(prices[prices.columns[::-1]]), frame)


@pytest.mark.parametrize("rows", [[1, 0, 2], [0, 0, 1]])
def test_days_out_of_order_are_refused(prices, rows):
    with pytest.raises(InvalidInputError, match="ascending order"):
        features_and_labels(prices.iloc[rows])
