from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aqrec.demo import FEATURES, LABEL, DemoDataset, RidgeModel, load_prices
from aqrec.errors import InvalidInputError

SEGMENTS = {"train": ("1991-01-01", "1992-12-31"), "test": ("1993-01-01", "1994-06-30")}


@pytest.fixture(scope="module")
def prices():
    return load_prices().loc[:"1994"]


@pytest.fixture(scope="module")
def dataset(prices):
    return DemoDataset(prices, SEGMENTS)


@pytest.fixture(scope="module")
def scores(dataset):
    return RidgeModel().fit(dataset).predict(dataset)


def test_one_score_for_each_row_of_the_segment(dataset, scores):
    assert (scores.name, scores.dtype) == ("score", np.dtype("float64"))
    assert scores.index.equals(dataset.prepare("test").index)
    assert np.isfinite(scores).all()


def test_fit_and_predict_are_deterministic(prices, scores):
    again = DemoDataset(prices, SEGMENTS)

    pd.testing.assert_series_equal(RidgeModel().fit(again).predict(again), scores, check_exact=True)


@pytest.mark.parametrize("window", [None, 250])
@given(day=st.integers(760, 1130), factor=st.floats(0.1, 10))
@settings(max_examples=15)
def test_scores_do_not_see_the_future(prices, dataset, window, day, factor):
    """Whatever the closes after a day, the scores up to that day stay as they are."""
    changed = prices.copy()
    changed.iloc[day + 1 :] *= np.linspace(factor, 1, 20)
    future = DemoDataset(changed, SEGMENTS)
    until = prices.index[day]

    before = RidgeModel(window=window).fit(dataset).predict(dataset).loc[:until]
    after = RidgeModel(window=window).fit(future).predict(future).loc[:until]

    pd.testing.assert_series_equal(after, before, check_exact=True)


def test_closes_of_the_first_predicted_day_are_not_trained_on(prices, dataset):
    """The closes from the first day of a period on do not touch its fit; those of the day before do."""
    changed = prices.copy()
    changed.loc["1994-01-03":] *= np.linspace(0.5, 2, 20)
    fitted = RidgeModel(refit="year").fit(dataset)
    again = RidgeModel(refit="year").fit(DemoDataset(changed, SEGMENTS))

    np.testing.assert_array_equal(again.coefficients, fitted.coefficients)
    changed.loc["1993-12-31"] *= np.linspace(0.5, 2, 20)
    other = RidgeModel(refit="year").fit(DemoDataset(changed, SEGMENTS))
    np.testing.assert_array_equal(other.coefficients[0], fitted.coefficients[0])
    assert (other.coefficients[1] != fitted.coefficients[1]).any()


def test_scores_do_not_depend_on_later_days_being_there(prices, dataset, scores):
    """Cut at a day, the table gives the scores that would have been made then."""
    cut = DemoDataset(prices.loc[:"1993-08-16"], SEGMENTS)

    early = RidgeModel().fit(cut).predict(cut)

    pd.testing.assert_series_equal(early, scores.loc[:"1993-08-16"], rtol=1e-9)


def test_progress(dataset):
    """Each refit is told with its number and how it went; training days end before the prediction begins."""
    told = []

    model = RidgeModel().fit(dataset, on_fold=lambda *arguments: told.append(arguments))

    assert [(number, count) for number, count, _ in told] == [(number, 6) for number in range(1, 7)]
    folds = [info for _, _, info in told]
    assert [fold.start for fold in folds] == [start.date() for start in model.starts]
    days = list(dataset.prepare(slice(None), "label").index.unique("datetime").date)
    for fold in folds:
        assert days.index(fold.start) - days.index(fold.train_end) == 3
        assert fold.rows == 20 * (days.index(fold.train_end) - days.index(fold.train_start) + 1)
        assert 0.9 < fold.loss < 1
        assert 0 < fold.ic < 1


@pytest.mark.parametrize(("refit", "folds"), [("year", 2), ("quarter", 6), ("month", 18)])
def test_refits(dataset, refit, folds):
    model = RidgeModel(refit=refit).fit(dataset)

    assert model.coefficients.shape == (folds, len(FEATURES))


def test_window_forgets(dataset):
    told = []

    RidgeModel(window=100).fit(dataset, on_fold=lambda *arguments: told.append(arguments[2]))

    assert {fold.rows for fold in told} == {100 * 20}


def test_coefficients_minimise_the_penalised_loss(dataset):
    """The closed form is the minimum: any step away from it costs."""
    model = RidgeModel(alpha=0.3, refit="year").fit(dataset)
    fitted = model.coefficients[0]
    days = dataset.prepare(slice("1991-01-01", "1992-12-29"), data_key="learn")
    shifted = days - days.groupby(level="datetime").transform("mean")
    rows = shifted / days.groupby(level="datetime").transform("std", ddof=0)
    x, y = rows[list(FEATURES)].to_numpy(), rows[LABEL].to_numpy()

    def cost(b):
        return np.mean((y - x @ b) ** 2) + 0.3 * b @ b

    for step in np.vstack([np.eye(len(FEATURES)), -np.eye(len(FEATURES))]) * 1e-4:
        assert cost(fitted + step) > cost(fitted)


def test_a_raising_callback_leaves_the_model_as_it_was(dataset):
    model = RidgeModel().fit(dataset)
    before = model.coefficients

    def stop(number, count, info):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(dataset, on_fold=stop)

    assert model.coefficients is before


def test_days_on_which_all_stocks_are_alike(prices):
    """A feature that is the same for all stocks says nothing, and does no harm."""
    flat = prices.copy()
    flat.loc["1993-03-01":"1993-04-30"] = flat.loc["1993-03-01"].to_numpy()
    still = DemoDataset(flat, SEGMENTS)

    assert np.isfinite(RidgeModel().fit(still).predict(still)).all()


def test_missing_closes_cost_their_own_rows_only(prices):
    gaps = prices.copy()
    gaps.loc["1992-03-02":"1992-03-13", "KO"] = np.nan
    dataset, told = DemoDataset(gaps, SEGMENTS), []

    scores = (
        RidgeModel(refit="year").fit(dataset, lambda *arguments: told.append(arguments[2])).predict(dataset)
    )

    days = dataset.prepare(slice(str(told[0].train_start), str(told[0].train_end)), data_key="learn")
    assert told[0].rows == len(days)
    assert len(days.xs("GE", level="instrument")) > len(days.xs("KO", level="instrument")) > 0
    assert np.isfinite(scores).all()


def test_model_survives_pickling(dataset, scores):
    model = pickle.loads(pickle.dumps(RidgeModel().fit(dataset)))

    pd.testing.assert_series_equal(model.predict(dataset), scores, check_exact=True)


def test_prediction_needs_a_fit_before_it(dataset):
    with pytest.raises(InvalidInputError, match="call fit first"):
        RidgeModel().predict(dataset)
    with pytest.raises(InvalidInputError, match="begins on 1991-01-02, before the model's first fit"):
        RidgeModel().fit(dataset).predict(dataset, "train")


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ({"train": ("1993-01-01", "1993-01-02"), "test": ("1993-01-04", "1993-06-30")}, "no label is known"),
        (
            {"train": ("1991-01-01", "1992-01-01"), "test": ("2030-01-01", "2031-01-01")},
            "no day from 2030-01-01",
        ),
    ],
)
def test_segments_that_cannot_be_fitted(prices, segments, message):
    with pytest.raises(InvalidInputError, match=message):
        RidgeModel().fit(DemoDataset(prices, segments))


@pytest.mark.parametrize(
    ("argument", "message"), [({"refit": "day"}, "'day'"), ({"alpha": -1.0}, "negative")]
)
def test_impossible_settings(argument, message):
    with pytest.raises(InvalidInputError, match=message):
        RidgeModel(**argument)


def test_what_the_whole_demo_reaches():
    """The figures of the test period, 2001 to 2022, are those that the documentation states."""
    dataset = DemoDataset()

    scores = RidgeModel().fit(dataset).predict(dataset).unstack()

    labels = dataset.prepare("test", "label")[LABEL].unstack()
    ic = scores.corrwith(labels, axis=1).mean()
    rank_ic = scores.rank(axis=1).corrwith(labels.rank(axis=1), axis=1).mean()
    assert scores.shape == (5533, 20)
    assert (ic, rank_ic) == pytest.approx((0.01412, 0.01250), abs=2e-5)
