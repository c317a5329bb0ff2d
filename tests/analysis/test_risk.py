"""The figures of returns and orders, where golden data does not reach."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqrec.analysis import indicator_analysis, risk_analysis
from aqrec.errors import InvalidValueError

ROWS = ["mean", "std", "annualized_return", "information_ratio", "max_drawdown"]
returns = st.lists(st.floats(-0.5, 0.5).map(lambda v: v + 0.0), min_size=1, max_size=30)


def drawdown(curve: list[float], *, ratio: bool) -> float:
    worst, top = 0.0, -math.inf
    for value in curve:
        top = max(top, value)
        worst = min(worst, value / top - 1 if ratio else value - top)
    return worst


def deviation(values: list[float]) -> float:
    if len(values) < 2:
        return math.nan
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))


@given(returns, st.lists(st.integers(0, 30), max_size=5), st.integers(1, 400))
def test_sums_of_returns(values: list[float], gaps: list[int], bars: int) -> None:
    holed = list(values)
    for gap in gaps:
        holed.insert(gap, math.nan)
    figures = risk_analysis(pd.Series(holed), N=bars)
    assert list(figures.index) == ROWS
    assert list(figures.columns) == ["risk"]
    mean, std = math.fsum(values) / len(values), deviation(values)
    curve = [math.fsum(values[: i + 1]) for i in range(len(values))]
    expected = [mean, std, mean * bars, math.nan, drawdown(curve, ratio=False)]
    if std > 1e-12:
        expected[3] = mean / std * math.sqrt(bars)
    actual = figures["risk"].tolist()
    if not std > 1e-12:
        actual[3] = math.nan
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-12)


@given(returns, st.integers(1, 400))
def test_products_of_returns(values: list[float], bars: int) -> None:
    figures = risk_analysis(pd.Series(values), N=bars, mode="product")["risk"]
    curve = [math.prod(1 + v for v in values[: i + 1]) for i in range(len(values))]
    assert figures["mean"] == pytest.approx(curve[-1] ** (1 / len(values)) - 1, rel=1e-9, abs=1e-12)
    assert figures["std"] == pytest.approx(
        deviation([math.log(1 + v) for v in values]), abs=1e-12, nan_ok=True
    )
    assert figures["annualized_return"] == pytest.approx(
        curve[-1] ** (bars / len(values)) - 1, rel=1e-9, abs=1e-12
    )
    assert figures["max_drawdown"] == pytest.approx(drawdown(curve, ratio=True), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("freq", "bars"),
    [
        ("day", 238),
        ("d", 238),
        ("1d", 238),
        ("2day", 119),
        ("Week", 50),
        ("5w", 10),
        ("month", 12),
        ("3mon", 4),
        ("min", 57120),
        ("30minute", 1904),
    ],
)
def test_a_frequency_stands_for_a_number_of_bars(freq: str, bars: float) -> None:
    r = pd.Series([0.01, -0.02, 0.03])
    for mode in ("sum", "product"):
        pd.testing.assert_frame_equal(
            risk_analysis(r, freq=freq, mode=mode), risk_analysis(r, N=bars, mode=mode)
        )


def test_bars_per_year_win_over_a_frequency_with_a_warning() -> None:
    r = pd.Series([0.01, -0.02, 0.03])
    with pytest.warns(UserWarning, match="N=12 is used and freq='week' ignored"):
        both = risk_analysis(r, N=12, freq="week")
    pd.testing.assert_frame_equal(both, risk_analysis(r, N=12, freq=None))
    pd.testing.assert_frame_equal(both, risk_analysis(r, 12))


@pytest.mark.parametrize("mode", ["sum", "product"])
@pytest.mark.parametrize("values", [[], [math.nan], [-1.0, -3.0], [0.1, 0.1], [math.inf, 0.1]])
def test_degenerate_returns_give_nan_without_a_warning(values: list[float], mode: Any) -> None:
    figures = risk_analysis(pd.Series(values, dtype=float), mode=mode)
    assert list(figures.index) == ROWS
    assert figures["risk"].dtype == np.float64
    if not values:
        assert figures["risk"].isna().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"r": [0.1]}, "r must be a pandas Series, not list"),
        ({"r": pd.DataFrame({"r": [0.1]})}, "r must be a pandas Series, not DataFrame; pick one column"),
        ({"r": pd.Series(["a"])}, "r must hold real numbers"),
        ({"mode": "prod"}, "mode must be 'sum' or 'product', not 'prod'"),
        ({"freq": None}, "needs N or freq"),
        ({"freq": "year"}, "freq must be a bar length .*, not 'year'"),
        ({"freq": "0day"}, "not '0day'"),
        ({"freq": 5}, "not 5"),
        ({"N": 0}, "N must be a positive number .*, not 0"),
        ({"N": math.nan}, "N must be"),
        ({"N": "252"}, "N must be .*, not '252'"),
        ({"N": True}, "N must be .*, not True"),
    ],
)
def test_risk_analysis_names_what_is_wrong(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        risk_analysis(**{"r": pd.Series([0.1]), **arguments})


INDICATORS = pd.DataFrame(
    {
        "ffr": [1.0, 0.5, np.nan],
        "pa": [0.1, -0.1, 0.2],
        "pos": [0.5, 0.25, 1.0],
        "count": [2, 1, 1],
        "deal_amount": [-10.0, 30.0, 10.0],
        "value": [100.0, -100.0, 200.0],
    }
)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("mean", [2.5 / 4, 0.3 / 4, 2.25 / 4]),
        ("amount_weighted", [25 / 50, 0.0, 2.25 / 4]),
        ("value_weighted", [150 / 400, 40 / 400, 2.25 / 4]),
    ],
)
def test_indicators_are_weighted_means_whose_nan_keep_their_weight(
    method: Any, expected: list[float]
) -> None:
    result = indicator_analysis(INDICATORS, method)
    assert list(result.index) == ["ffr", "pa", "pos"]
    assert list(result.columns) == ["value"]
    np.testing.assert_allclose(result["value"], expected, rtol=1e-13, atol=1e-15)


def test_indicators_without_any_weight_are_nan() -> None:
    assert indicator_analysis(INDICATORS.assign(count=0))["value"].isna().all()
    assert indicator_analysis(INDICATORS.iloc[:0])["value"].isna().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"df": INDICATORS["ffr"]}, "df must be a pandas DataFrame, not Series"),
        ({"df": INDICATORS.drop(columns=["pos", "count"])}, "df lacks the columns count, pos "),
        ({"df": INDICATORS.assign(pa="x")}, "column 'pa' of df must hold real numbers"),
        ({"method": "median"}, "method must be one of mean, amount_weighted, value_weighted, not 'median'"),
    ],
)
def test_indicator_analysis_names_what_is_wrong(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        indicator_analysis(**{"df": INDICATORS, **arguments})
