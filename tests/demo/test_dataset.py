from __future__ import annotations

import pickle

import pandas as pd
import pytest

from aqrec.demo import FEATURES, LABEL, DemoDataset, load_prices
from aqrec.errors import InvalidInputError


@pytest.fixture(scope="module")
def dataset():
    segments = {"train": ("1991-02-01", "1991-12-31"), "test": ("1992-01-01", "1992-12-31")}
    return DemoDataset(load_prices().loc[:"1992"], segments)


def test_default_segments_do_not_overlap():
    segments = DemoDataset(load_prices().iloc[:300]).segments

    assert segments["train"][1] < segments["test"][0]


def test_segment(dataset):
    """A segment holds its days, both ends included, and the columns that were asked for."""
    test = dataset.prepare("test")

    days = test.index.unique("datetime")
    assert (str(days[0].date()), str(days[-1].date())) == ("1992-01-02", "1992-12-31")
    assert list(dataset.prepare("test", "feature").columns) == list(FEATURES)
    assert list(dataset.prepare("test", col_set="label", data_key="raw").columns) == [LABEL]
    assert len(dataset.prepare("train")) + len(test) == len(dataset.frame.loc["1991-02-01":])


def test_its_prices_can_be_traded_on(dataset):
    quotes = dataset.quotes()

    assert list(quotes.columns) == ["datetime", "instrument", "$close", "$change"]
    assert len(quotes) == dataset.prices.size


def test_slice_of_days(dataset):
    days = slice(pd.Timestamp("1992-01-01"), pd.Timestamp("1992-12-31"))

    pd.testing.assert_frame_equal(dataset.prepare(days), dataset.prepare("test"))


def test_rows_to_learn_from_have_labels(dataset):
    raw, learn = dataset.prepare("test"), dataset.prepare("test", data_key="learn")

    pd.testing.assert_frame_equal(learn, raw.dropna())
    assert len(raw) - len(learn) == 2 * 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"segments": "valid"}, "'valid' is none of train, test"),
        ({"segments": "test", "col_set": "price"}, "'price' is none of feature, label, __all"),
        ({"segments": "test", "data_key": "x"}, "'x' is none of raw, infer, learn"),
    ],
)
def test_unknown_names(dataset, arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        dataset.prepare(**arguments)


def test_pickle_holds_prices_not_features(dataset):
    """A dataset that was used is stored as small as a new one, and gives the same rows."""
    frame = dataset.frame

    stored = pickle.dumps(dataset)

    assert len(stored) < 2 * len(pickle.dumps(dataset.prices))
    pd.testing.assert_frame_equal(pickle.loads(stored).frame, frame)
