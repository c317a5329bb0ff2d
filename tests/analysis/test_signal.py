"""The signal functions against their definitions, on messy small inputs."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqrec import analysis
from aqrec.analysis import _panel
from aqrec.errors import InvalidValueError

from . import reference

ZONES = [None, "UTC", "Asia/Shanghai", "America/New_York"]


def assert_same(actual: pd.Series, expected: pd.Series, dtype: Any = np.float64) -> None:
    assert actual.dtype == dtype
    assert list(actual.index) == list(expected.index)
    np.testing.assert_allclose(
        actual.to_numpy(np.float64), expected.to_numpy(np.float64), rtol=1e-12, atol=1e-12
    )


def values(draw: st.DrawFn, size: int) -> np.ndarray:
    """Coarse values, so that ties, constants and labels equal to their mean occur, or fine ones; with NaN."""
    special = draw(st.sampled_from([[], [np.nan], [np.nan, np.inf, -np.inf]]))
    coarse = st.sampled_from([-0.3, -0.1, -0.0, 0.0, 0.1, 0.2, 0.3, *special])
    fine = st.floats(-4, 4, width=32) if not special else coarse
    element = draw(st.sampled_from([coarse, fine]))
    dtype = draw(st.sampled_from([np.float64, np.float32]))
    return np.array(draw(st.lists(element, min_size=size, max_size=size)), dtype)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[pd.Series, pd.Series]:
    """A prediction and a label whose indexes are equal, shifted, shuffled, swapped, repeated or one-sided."""
    dates = pd.date_range(
        "2024-01-05", periods=draw(st.integers(1, 4)), freq="B", tz=draw(st.sampled_from(ZONES))
    )
    names = [f"N{i}" for i in range(draw(st.integers(1, 9)))]
    rows = [(date, name) for date in dates for name in names]
    taken = draw(st.lists(st.sampled_from(rows), min_size=1, max_size=40, unique=draw(st.booleans())))
    if draw(st.booleans()):
        taken.sort()
    index = pd.MultiIndex.from_tuples(taken, names=["datetime", "instrument"])
    other = index
    if index.is_unique and draw(st.booleans()):
        others = draw(st.lists(st.sampled_from(rows), min_size=0, max_size=40, unique=True))
        other = pd.MultiIndex.from_tuples(others or [(dates[0], "N0")], names=["datetime", "instrument"])
    pred = pd.Series(values(draw, len(index)), index, name="score")
    label = pd.Series(values(draw, len(other)), other, name="LABEL0")
    if draw(st.booleans()):
        pred, label = pred.swaplevel(), label.swaplevel()
    return pred, label


@given(pairs(), st.booleans())
def test_ic_and_rank_ic_are_the_correlations_of_each_day(
    pair: tuple[pd.Series, pd.Series], dropna: bool
) -> None:
    actual = analysis.calc_ic(*pair, dropna=dropna)
    for ours, expected in zip(actual, reference.ic(*pair, "datetime"), strict=True):
        assert_same(ours, expected.dropna() if dropna else expected)
        assert ours.index.name == "datetime"
        assert ours.name is None


@given(pairs(), st.sampled_from([0.05, 0.1, 0.2, 0.35, 0.5, 1, 1 / 3]), st.booleans())
def test_long_short_return_compares_the_means_of_both_ends(
    pair: tuple[pd.Series, pd.Series], quantile: float, dropna: bool
) -> None:
    spread, average = analysis.calc_long_short_return(*pair, quantile=quantile, dropna=dropna)
    expected = reference.long_short_return(*pair, "datetime", quantile, dropna=dropna)
    assert_same(spread, expected[0], expected[0].dtype)
    assert_same(average, expected[1], expected[1].dtype)
    assert (spread.index.name, average.index.name) == ("datetime", "datetime")
    assert (spread.name, average.name) == (None, "label")


@given(pairs(), st.sampled_from([0.2, 0.35, 0.5, 1]), st.booleans(), st.booleans())
def test_precision_counts_the_hits_of_both_ends(
    pair: tuple[pd.Series, pd.Series], quantile: float, dropna: bool, is_alpha: bool
) -> None:
    arguments: dict[str, Any] = {"quantile": quantile, "dropna": dropna, "is_alpha": is_alpha}
    if int(1 / quantile) >= pair[1].index.get_level_values("instrument").nunique():
        with pytest.raises(InvalidValueError, match="instruments"):
            analysis.calc_long_short_prec(*pair, **arguments)
        return
    actual = analysis.calc_long_short_prec(*pair, **arguments)
    for ours, expected in zip(actual, reference.precision(*pair, "datetime", **arguments), strict=True):
        assert_same(ours, expected)
        assert (ours.index.name, ours.name) == ("datetime", "label")


@given(pairs(), st.integers(-5, 5))
def test_autocorrelation_compares_a_day_with_an_earlier_one(
    pair: tuple[pd.Series, pd.Series], lag: int
) -> None:
    pred = pair[0]
    if not pred.index.is_unique:
        with pytest.raises(InvalidValueError, match="several rows"):
            analysis.pred_autocorr(pred, lag)
        return
    actual = analysis.pred_autocorr(pred, lag)
    assert_same(actual, reference.autocorr(pred, lag, "instrument", "datetime"))
    assert actual.index.name is None


@given(pairs(), st.sampled_from(["BLOCK_VALUES", "CHUNK_ROWS", "SPARSE"]), st.integers(1, 9))
def test_how_the_rows_are_portioned_does_not_show(
    pair: tuple[pd.Series, pd.Series], constant: str, value: int
) -> None:
    def everything() -> list[pd.Series]:
        return [
            *analysis.calc_ic(*pair),
            *analysis.calc_long_short_return(*pair, quantile=0.4),
            analysis.pred_autocorr(pair[0].groupby(level=[0, 1]).first()),
        ]

    whole = everything()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_panel, constant, 0 if constant == "SPARSE" else value)
        for ours, expected in zip(everything(), whole, strict=True):
            pd.testing.assert_series_equal(ours, expected, rtol=1e-13, atol=1e-13)


def sample(days: int = 3, names: int = 30, seed: int = 0) -> tuple[pd.Series, pd.Series]:
    index = pd.MultiIndex.from_product(
        [
            pd.date_range("2024-01-01", periods=days, freq="B"),
            pd.Index([f"S{i:03d}" for i in range(names)]),
        ],
        names=["datetime", "instrument"],
    )
    rng = np.random.default_rng(seed)
    pred = pd.Series(rng.standard_normal(len(index)), index)
    return pred, 0.1 * pred + pd.Series(rng.standard_normal(len(index)), index)


@pytest.mark.parametrize("constant", [0.1, 1 / 3, 7.7, 1e-3, 0.0, -1e9])
@pytest.mark.parametrize("names", [3, 30, 250])
def test_a_constant_day_has_no_correlation_however_its_mean_is_rounded(constant: float, names: int) -> None:
    pred, label = sample(names=names)
    label.loc["2024-01-02"] = constant
    for result in analysis.calc_ic(pred, label) + analysis.calc_ic(label, pred):
        assert list(result.isna()) == [False, True, False]


def test_correlation_survives_a_large_common_offset() -> None:
    pred, label = sample()
    plain, offset = analysis.calc_ic(pred, label)[0], analysis.calc_ic(pred + 1e6, label - 1e6)[0]
    np.testing.assert_allclose(offset, plain, rtol=0, atol=1e-9)


def test_perfect_correlation_is_exactly_one_and_never_beyond() -> None:
    pred, _ = sample(days=50, names=17)
    for sign in (1, -1):
        ic, ric = analysis.calc_ic(pred, sign * pred * 0.3)
        assert ((sign * ic).between(1 - 1e-12, 1)).all()
        assert (ric == sign).all()


def test_an_infinite_value_spoils_the_ic_of_its_day_but_not_the_rank_ic() -> None:
    pred, label = sample()
    pred.iloc[4] = np.inf
    ic, ric = analysis.calc_ic(pred, label)
    assert list(ic.isna()) == [True, False, False]
    assert ric.notna().all()


@pytest.mark.parametrize("order", ["rows", "levels", "both", "label's levels", "pred's rows"])
def test_order_of_rows_and_levels_does_not_matter(order: str) -> None:
    pred, label = sample()
    label = label.drop(label.index[5:9])
    expected = [*analysis.calc_ic(pred, label), *analysis.calc_long_short_return(pred, label)]
    shuffled = pred.sample(frac=1, random_state=1), label.sample(frac=1, random_state=2)
    pred, label = {
        "rows": shuffled,
        "levels": (pred.swaplevel().sort_index(), label.swaplevel().sort_index()),
        "both": (shuffled[0].swaplevel(), shuffled[1].swaplevel()),
        "label's levels": (pred, shuffled[1].swaplevel()),
        "pred's rows": (shuffled[0], label),
    }[order]
    actual = [*analysis.calc_ic(pred, label), *analysis.calc_long_short_return(pred, label)]
    for ours, wanted in zip(actual, expected, strict=True):
        pd.testing.assert_series_equal(ours, wanted, rtol=1e-13, atol=1e-14)


def test_equal_rows_under_other_levels_keep_their_order() -> None:
    """Ties go by row order, also when the label's index has unused level values and so looks different."""
    pred, label = sample(days=1, names=10)
    pred[:] = 1.0
    pred, label = pred.sample(frac=1, random_state=3), label.sample(frac=1, random_state=3)
    expected = analysis.calc_long_short_return(pred, label, quantile=0.3)
    extra = pd.Series(
        0.0, pd.MultiIndex.from_tuples([(pd.Timestamp("2023-01-01"), "A")], names=label.index.names)
    )
    unused = pd.concat([label, extra]).iloc[:-1]
    assert len(unused.index.levels[0]) == 2
    for ours, wanted in zip(
        analysis.calc_long_short_return(pred, unused, quantile=0.3), expected, strict=True
    ):
        pd.testing.assert_series_equal(ours, wanted)
    # All predictions are equal: both ends are the first rows as given, and the difference is nothing.
    assert (expected[0] == 0).all()
    long, _ = analysis.calc_long_short_prec(pred, label, quantile=0.3)
    assert long.iloc[0] == (label.iloc[:3] > 0).mean()


@pytest.mark.parametrize("levels", [["datetime", "instrument"], ["instrument", "datetime"]])
def test_ties_keep_the_order_of_many_shuffled_rows(levels: list[str]) -> None:
    pred, label = (s.sample(frac=1, random_state=5).reorder_levels(levels) for s in sample(days=3, names=200))
    pred = pred.round()
    expected = reference.long_short_return(pred, label, "datetime", 0.1, dropna=False)
    actual = analysis.calc_long_short_return(pred, label, quantile=0.1)
    np.testing.assert_allclose(actual[0].to_numpy(), expected[0].to_numpy(), rtol=1e-12)


def test_nan_predictions_come_last_but_fill_up() -> None:
    pred, label = sample(days=1, names=10)
    pred.iloc[:8] = np.nan
    filled = (label.iloc[[8, 9, 0, 1]] > 0).mean()
    assert 0 < filled < 1
    long, short = analysis.calc_long_short_prec(pred, label, quantile=0.4)
    assert long.tolist() == [filled]
    assert short.tolist() == [1 - filled]


def test_rows_of_one_side_count_as_rows_of_their_day_unless_dropped() -> None:
    pred, label = sample(days=1, names=12)
    pred, label = pred.iloc[:6], label.iloc[3:]
    long_pre = analysis.calc_long_short_prec(pred, label, quantile=0.25)[0]
    dropped = analysis.calc_long_short_prec(pred, label, quantile=0.25, dropna=True)[0]
    assert len(long_pre) == 1  # 12 rows: three on either side
    assert len(dropped) == 0  # 3 rows: none


def test_is_alpha_takes_the_mean_over_all_labels_of_the_day() -> None:
    pred, label = sample(days=1, names=12)
    label[:] = 1.0
    label.iloc[-1] = -100.0
    pred = pred.iloc[:-1]
    assert analysis.calc_long_short_prec(pred, label, is_alpha=True)[0].tolist() == [1.0]
    assert analysis.calc_long_short_prec(pred, label, is_alpha=True, dropna=True)[0].tolist() == [1.0]
    assert analysis.calc_long_short_prec(pred, label, is_alpha=True)[1].tolist() == [0.0]


def test_is_alpha_rounds_the_mean_in_the_order_of_the_label() -> None:
    """0.1 is not above the mean when the labels are added up as given; it is when they are sorted by name."""
    given = [0.1, -0.3, 0.7, -0.1]
    names = pd.MultiIndex.from_product([[pd.Timestamp("2024-01-01")], list("dbca")], names=PRED.index.names)
    label = pd.Series(given, names)
    assert reference.grouped_mean(given, np.dtype(float)) == 0.1
    assert reference.grouped_mean(label.sort_index().tolist(), np.dtype(float)) < 0.1
    pred = pd.Series([1.0, 0.0], names[[0, 1]])
    assert analysis.calc_long_short_prec(pred, label, quantile=0.34, is_alpha=True)[0].tolist() == [0.0]


def test_results_of_a_time_zone_keep_it() -> None:
    pred, label = sample()
    for series in (pred, label):
        series.index = series.index.set_levels(series.index.levels[0].tz_localize("Asia/Shanghai"), level=0)
    ic, _ = analysis.calc_ic(pred, label)
    assert str(ic.index.tz) == "Asia/Shanghai"
    assert ic.notna().all()
    label.index = label.index.set_levels(label.index.levels[0].tz_convert("UTC"), level=0)
    elsewhere, _ = analysis.calc_ic(pred, label)
    np.testing.assert_allclose(elsewhere.to_numpy(), ic.to_numpy(), rtol=1e-14)
    assert list(elsewhere.index) == list(ic.index)


def test_time_units_of_the_two_sides_may_differ() -> None:
    pred, label = sample()
    label.index = label.index.set_levels(label.index.levels[0].as_unit("s"), level=0)
    for ours, expected in zip(analysis.calc_ic(pred, label), analysis.calc_ic(*sample()), strict=True):
        np.testing.assert_allclose(ours.to_numpy(), expected.to_numpy(), rtol=1e-14)


def test_results_carry_no_frequency_of_the_input() -> None:
    pred, label = sample()
    results = [
        *analysis.calc_ic(pred, label),
        *analysis.calc_long_short_return(pred, label),
        *analysis.calc_long_short_prec(pred, label),
        analysis.pred_autocorr(pred),
    ]
    assert [result.index.freq for result in results] == [None] * 7


@pytest.mark.parametrize(
    "dates",
    [
        [1, 2, 3],
        ["2024-01", "2024-02", "2024-03"],
        pd.period_range("2024-01", periods=3, freq="M"),
        pd.CategoricalIndex(["a", "b", "c"]),
    ],
    ids=["int", "str", "period", "category"],
)
def test_days_may_be_anything_that_has_an_order(dates: Any) -> None:
    plain = sample()
    pred, label = (
        pd.Series(s.to_numpy(), s.index.set_levels(pd.Index(dates), level=0)).iloc[::-1] for s in plain
    )
    label = label.iloc[1:]
    ic, ric = analysis.calc_ic(pred, label)
    assert list(ic.index) == list(dates)
    expected = analysis.calc_ic(plain[0], plain[1].iloc[:-1])
    np.testing.assert_allclose(ic.to_numpy(), expected[0].to_numpy(), rtol=1e-13)
    np.testing.assert_allclose(ric.to_numpy(), expected[1].to_numpy(), rtol=1e-13)


def test_instruments_may_be_categories_or_of_mixed_types() -> None:
    expected = analysis.calc_ic(*sample())
    for names in (pd.CategoricalIndex, lambda level: pd.Index([*level[:10], *range(20)])):
        pred, label = (
            pd.Series(s.to_numpy(), s.index.set_levels(names(s.index.levels[1]), level=1)) for s in sample()
        )
        for ours, wanted in zip(analysis.calc_ic(pred, label.iloc[::-1]), expected, strict=True):
            np.testing.assert_allclose(ours.to_numpy(), wanted.to_numpy(), rtol=1e-13)


def test_repeated_rows_of_one_index_all_count() -> None:
    pred, label = sample(days=1, names=4)
    twice = pd.concat([pred, pred]), pd.concat([label, label])
    for ours, wanted in zip(analysis.calc_ic(*twice), analysis.calc_ic(pred, label), strict=True):
        np.testing.assert_allclose(ours.to_numpy(), wanted.to_numpy(), rtol=1e-12)


def test_repeated_rows_of_different_indexes_cannot_be_joined() -> None:
    pred, label = sample(days=1, names=4)
    with pytest.raises(InvalidValueError, match=r"cannot be joined.*drop repeated rows"):
        analysis.calc_ic(pd.concat([pred, pred.iloc[:1]]), label)
    with pytest.raises(InvalidValueError, match="cannot be joined"):
        analysis.calc_ic(pred, pd.concat([label, label.iloc[:1]]))


def test_rows_without_a_date_are_left_out() -> None:
    pred, label = sample(days=2, names=6)
    dates = pred.index.get_level_values(0).where(np.arange(12) % 6 != 2)
    lost = pd.MultiIndex.from_arrays([dates, pred.index.get_level_values(1)], names=pred.index.names)
    keep = dates.notna()
    expected = analysis.calc_ic(pred[keep], label[keep])
    for index in (lost, lost[::-1]):
        actual = analysis.calc_ic(
            pd.Series(pred.to_numpy(), lost), pd.Series(label, pred.index).set_axis(lost)
        )
        for ours, wanted in zip(actual, expected, strict=True):
            pd.testing.assert_series_equal(ours, wanted)
        assert len(analysis.pred_autocorr(pd.Series(pred.to_numpy(), index))) == 2


def test_three_levels_are_joined_too() -> None:
    pred, label = sample(days=2, names=6)
    pred, label = (pd.concat({"x": s, "y": -s}, names=["group"]) for s in (pred, label))
    whole = analysis.calc_ic(pred, label.iloc[1:])
    expected = reference.ic(pred, label.iloc[1:], "datetime")
    for ours, wanted in zip(whole, expected, strict=True):
        assert_same(ours, wanted)
    moved = label.iloc[1:].reorder_levels(["datetime", "instrument", "group"])
    for ours, wanted in zip(analysis.calc_ic(pred, moved), expected, strict=True):
        assert_same(ours, wanted)


@pytest.mark.parametrize("side", ["both", "pred", "label"])
def test_nothing_gives_an_empty_result_or_an_empty_side(side: str) -> None:
    pred, label = sample(days=2, names=6)
    pred = pred.iloc[:0] if side != "label" else pred
    label = label.iloc[:0] if side != "pred" else label
    results = [*analysis.calc_ic(pred, label), *analysis.calc_long_short_return(pred, label)]
    for result in results:
        assert (len(result), result.dtype, result.index.name) == (
            0 if side == "both" else 2,
            np.float64,
            "datetime",
        )
    assert pd.concat(results[:2]).isna().all()
    # Without any prediction both ends are the first rows of the day.
    assert results[2].fillna(-1).tolist() == ([0.0, 0.0] if side == "pred" else [-1] * len(results[2]))
    assert results[3].isna().all() == (side != "pred")
    assert len(analysis.calc_ic(pred, label, dropna=True)[0]) == 0
    assert len(analysis.calc_long_short_return(pred, label, dropna=True)[0]) == 0
    assert len(analysis.pred_autocorr(pred)) == len(pred) // 6
    if side != "pred":
        with pytest.raises(InvalidValueError, match="at least 6 instruments"):
            analysis.calc_long_short_prec(pred, label)


def test_a_single_day_has_a_precision() -> None:
    pred, label = sample(days=1, names=10)
    long, short = analysis.calc_long_short_prec(pred, label)
    assert long.tolist() == [(label[pred.nlargest(2).index] > 0).mean()]
    assert short.tolist() == [(label[pred.nsmallest(2).index] < 0).mean()]


@pytest.mark.parametrize(
    "dtype", ["float16", "int64", "int8", "bool", "Float64", "Int64", "boolean", "double[pyarrow]", object]
)
def test_numbers_of_every_type_are_taken_as_float64(dtype: Any) -> None:
    pred, label = sample()
    label = (label > 0).astype(float)
    expected = [*analysis.calc_ic(pred, label), *analysis.calc_long_short_return(pred, label)]
    actual = [
        *analysis.calc_ic(pred, label.astype(dtype)),
        *analysis.calc_long_short_return(pred, label.astype(dtype)),
    ]
    for ours, wanted in zip(actual, expected, strict=True):
        pd.testing.assert_series_equal(ours, wanted)


def test_missing_values_of_extension_types_are_nan() -> None:
    pred, label = sample()
    label.iloc[3] = np.nan
    expected = analysis.calc_ic(pred, label)
    for dtype in ("Float64", "double[pyarrow]", object):
        holed = label.astype(dtype)
        if dtype is object:
            holed.iloc[3] = None
        for ours, wanted in zip(analysis.calc_ic(pred, holed), expected, strict=True):
            pd.testing.assert_series_equal(ours, wanted)


def test_inputs_are_left_as_they_were() -> None:
    pred, label = sample()
    label.iloc[::7] = np.nan
    before = pred.copy(), label.copy()
    analysis.calc_ic(pred, label)
    analysis.calc_long_short_return(pred, label, dropna=True)
    analysis.calc_long_short_prec(pred, label, is_alpha=True)
    analysis.pred_autocorr(pred)
    pd.testing.assert_series_equal(pred, before[0])
    pd.testing.assert_series_equal(label, before[1])
    assert pred.index.names == ["datetime", "instrument"]


def test_read_only_values_are_no_obstacle() -> None:
    pred, label = (pd.Series(np.asarray(s), s.index) for s in sample())
    for series in (pred, label):
        series.to_numpy().flags.writeable = False
    analysis.calc_ic(pred, label)
    analysis.calc_long_short_prec(pred, label, is_alpha=True)


def test_the_date_level_may_have_any_name() -> None:
    pred, label = (s.rename_axis(["day", "code"]) for s in sample())
    ic, _ = analysis.calc_ic(pred, label, date_col="day")
    assert ic.index.name == "day"
    assert len(analysis.pred_autocorr(pred, inst_col="code", date_col="day")) == 3


def test_the_other_level_of_the_label_may_have_another_name() -> None:
    pred, label = sample()
    expected = analysis.calc_ic(pred, label)
    for other in (
        label.rename_axis(["datetime", "code"]),
        label.swaplevel().rename_axis(["code", "datetime"]),
    ):
        for ours, wanted in zip(analysis.calc_ic(pred, other.iloc[::-1]), expected, strict=True):
            pd.testing.assert_series_equal(ours, wanted, rtol=1e-13)


def test_all_ics_are_those_of_each_prediction() -> None:
    pred, label = sample()
    every = analysis.calc_all_ic({"plus": pred, "minus": -pred}, label, n_jobs=2)
    assert list(every) == ["plus", "minus"]
    pd.testing.assert_series_equal(every["plus"]["ic"], analysis.calc_ic(pred, label)[0])
    pd.testing.assert_series_equal(every["minus"]["ric"], -every["plus"]["ric"])


def test_autocorrelation_takes_the_first_column_of_a_frame() -> None:
    pred, label = sample()
    frame = pd.DataFrame({"score": pred, "other": label})
    pd.testing.assert_series_equal(analysis.pred_autocorr(frame), analysis.pred_autocorr(pred))


def test_days_of_many_rows_use_plain_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    pred, label = sample()
    label.iloc[4] = np.nan
    label.loc["2024-01-03"] = np.nan
    expected = analysis.calc_long_short_return(pred, label)[1]
    monkeypatch.setattr("aqrec.analysis._means.LONGEST_COMPENSATED", 5)
    pd.testing.assert_series_equal(
        analysis.calc_long_short_return(pred, label)[1], expected, rtol=0, atol=1e-15
    )


@pytest.mark.parametrize("quantile", [0, -0.2, 1.01, np.nan, np.inf, "0.2", None, True, 0.2j])
def test_a_quantile_out_of_range_is_named(quantile: Any) -> None:
    for function in (analysis.calc_long_short_return, analysis.calc_long_short_prec):
        with pytest.raises(InvalidValueError, match=r"quantile must be .*, not ") as caught:
            function(*sample(), quantile=quantile)
        assert repr(quantile) in str(caught.value)


def test_a_quantile_may_be_a_numpy_number() -> None:
    for ours, wanted in zip(
        analysis.calc_long_short_return(*sample(), quantile=np.float64(0.2)),
        analysis.calc_long_short_return(*sample()),
        strict=True,
    ):
        pd.testing.assert_series_equal(ours, wanted)


PRED, LABEL = sample()


@pytest.mark.parametrize(
    ("pred", "label", "message"),
    [
        (PRED.to_frame(), LABEL, "pred must be a pandas Series, not DataFrame; pick one column"),
        (PRED, LABEL.to_numpy(), "label must be a pandas Series, not ndarray"),
        (PRED.droplevel(1), LABEL, r"pred must be indexed by a MultiIndex \(datetime, instrument\), not"),
        (PRED, LABEL.rename_axis(["day", "code"]), r"label needs .* 'datetime', .*\['day', 'code'\]"),
        (PRED.rename_axis([None, None]), LABEL, r"pred needs .* called 'datetime'.*name the levels"),
        (PRED.rename_axis(["datetime"] * 2), LABEL, "pred needs exactly one index level"),
        (PRED.astype(str), LABEL, "pred must hold real numbers; its dtype is"),
        (PRED, LABEL.astype(str).astype(object), "label must hold real numbers; its dtype is object"),
        (PRED, LABEL + 1j, "label must hold real numbers; its dtype is complex128"),
        (PRED, pd.Series(pd.Timestamp(0), LABEL.index), "label must hold real numbers"),
        (pd.concat({"x": PRED}, names=["group"]), LABEL, "different index levels"),
        (
            PRED,
            LABEL.set_axis(LABEL.index.set_levels(LABEL.index.levels[0].tz_localize("UTC"), level=0)),
            "pred has dates without a time zone, label has dates with a time zone",
        ),
        (
            PRED,
            LABEL.set_axis(LABEL.index.set_levels(LABEL.index.levels[0].astype(str), level=0)),
            "label has a date level that holds no dates",
        ),
    ],
)
def test_bad_input_is_named_with_what_to_do(pred: Any, label: Any, message: str) -> None:
    for function in (
        analysis.calc_ic,
        analysis.calc_long_short_return,
        analysis.calc_long_short_prec,
    ):
        with pytest.raises(InvalidValueError, match=message):
            function(pred, label)


def test_dates_without_an_order_are_refused() -> None:
    pred, label = (s.set_axis(s.index.set_levels([1, "b", 2.5], level=0)) for s in sample())
    with pytest.raises(InvalidValueError, match="'datetime' holds values that cannot be ordered"):
        analysis.calc_ic(pred, label)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lag": 1.0}, "lag must be an integer number of days, not 1.0"),
        ({"lag": True}, "lag must be"),
        ({"inst_col": "code"}, "needs exactly one index level called 'code'"),
        ({"inst_col": "datetime"}, "only"),
    ],
)
def test_autocorrelation_names_what_is_wrong(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        analysis.pred_autocorr(PRED, **arguments)


def test_autocorrelation_wants_two_levels() -> None:
    with pytest.raises(InvalidValueError, match="index levels 'datetime' and 'instrument' only"):
        analysis.pred_autocorr(pd.concat({"x": PRED}, names=["group"]))


def test_no_function_warns_about_what_it_is_built_for() -> None:
    pred, label = sample(days=4)
    pred.loc["2024-01-01"] = np.nan
    label.loc["2024-01-02"] = np.inf
    pred.loc["2024-01-03"] = 1e300
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        analysis.calc_ic(pred, label)
        analysis.calc_long_short_return(pred, label)
        analysis.calc_long_short_prec(pred, label, is_alpha=True)
        analysis.pred_autocorr(pred)
