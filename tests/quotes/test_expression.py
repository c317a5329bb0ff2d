"""Expressions in Qlib's notation."""

import numpy as np
import pandas as pd
import pytest

from aqrec.errors import InvalidInputError
from aqrec.quotes import Market
from aqrec.quotes._expression import evaluate, fields_of
from tests.backtest.golden import market as golden_market
from tests.backtest.golden import table

NAN = np.nan
X = np.array([[1.0, -2.0], [3.0, NAN], [2.0, 5.0]], dtype=np.float32)
MARKET = Market(
    pd.bdate_range("2024-01-01", periods=3), ["A", "B"], {"$x": X, "$y": np.full((3, 2), 2, np.float32)}
)


@pytest.mark.parametrize(
    ("text", "column_a"),
    [
        ("$x", [1, 3, 2]),
        (" -$x + 2*$y / 4 ", [0, -2, -1]),
        ("$x**2", [1, 9, 4]),
        ("$x > 1.5", [0, 1, 1]),
        ("($x >= 2) & ($x <= 2)", [0, 0, 1]),
        ("($x < 2) | ~($x != 3)", [1, 1, 0]),
        ("$x == 2", [0, 0, 1]),
        ("Ref($x, 1)", [NAN, 1, 3]),
        ("Ref($x, -1)", [3, 2, NAN]),
        ("Delta($x, 1)", [NAN, 2, -1]),
        ("Mean($x, 2)", [1, 2, 2.5]),
        ("Sum($x, 0)", [1, 4, 6]),
        ("Max($x, 2)", [1, 3, 3]),
        ("Min($x, 2)", [1, 1, 2]),
        ("Std($x, 3)", [NAN, np.sqrt(2), 1]),
        ("Abs(-$x)", [1, 3, 2]),
        ("Sign(Sub($x, 2))", [-1, 1, 0]),
        ("Log(Power($x, 2))", [0, np.log(9), np.log(4)]),
        ("If(Gt($x, $y), Add($x, 1), Mul($y, 5))", [10, 4, 10]),
        ("Greater($x, $y)", [2, 3, 2]),
        ("Less($x, Div($y, 1))", [1, 2, 2]),
        ("And(Ge($x, 2), Le($x, 2))", [0, 0, 1]),
        ("Or(Lt($x, 2), Eq($x, 3))", [1, 1, 0]),
        ("Not(Ne($x, 2))", [0, 0, 1]),
        ("7", [7, 7, 7]),
        ("Mean(5, 2)", [5, 5, 5]),
        ("($x > 1) + ($x > 2)", [0, 2, 1]),
        ("-($x > 1)", [0, -1, -1]),
        ("If($x > 1, 2, 3)", [3, 2, 2]),
        ("Ref($x, 9)", [NAN, NAN, NAN]),
    ],
)
def test_values(text: str, column_a: list[float]) -> None:
    values = evaluate(MARKET, text)
    assert values.dtype == np.float32
    assert values.shape == (3, 2)
    np.testing.assert_allclose(values[:, 0], np.array(column_a, dtype=np.float32), rtol=1e-6)


def test_nothing_compares_with_nan_and_float64_stays() -> None:
    assert evaluate(MARKET, "$x > 0")[1, 1] == 0
    wide = Market(MARKET.days, ["A", "B"], {"$x": X.astype(np.float64)})
    assert evaluate(wide, "0.1*$x").dtype == np.float64


@pytest.mark.parametrize("column", ["$change>0.05", "$change<-0.05", "0.6*$volume", "0.5*$volume"])
def test_values_are_those_of_qlib(column: str) -> None:
    expected = table("g02_syn40_expr_vol/exchange_quote.parquet")
    market = golden_market("syn40")
    values = evaluate(market, column)
    rows = np.searchsorted(market.days, expected["datetime"].to_numpy())
    columns = [market.columns[name] for name in expected["instrument"]]
    np.testing.assert_array_equal(values[rows, columns], expected[column])


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("$x >", "cannot be read"),
        ("$z + 1", r"no field '\$z'"),
        ("WMA($x, 2)", "WMA"),
        ("Ref($x)", "Ref takes 2"),
        ("Ref($x, n=1)", "not understood"),
        ("1 < $x < 2", "not understood"),
        ("__import__('os').getcwd()", "not understood"),
        ("$x if $x else 1", "not understood"),
        ("9**9**9", "'9 [*][*] 9 [*][*] 9' .* has no value"),
        ("1/0", "has no value"),
        ("(-1)**0.5", "no real number"),
        ("9" * 400 + "+$x", "has no value"),
        ("Power(9, Power(9, 9))", "has no value"),
        ("Mean($x, 2.5)", "Mean takes a whole number of days from 0 on"),
        ("Mean($x, -1)", "from 0 on"),
        ("Ref($x, $y)", "other than 0"),
        ("Ref($x, 0)", "other than 0"),
        ("Delta($x, True)", "whole number of days"),
        ("Ref($x, 9999999999999999999999)", "whole number of days"),
        ("-" * 60 + "$x", "more than 50 levels deep"),
        ("(" * 300 + "$x" + ")" * 300, "cannot be read"),
        ("$x+" * 4000 + "$x", "12,002 characters"),
        ("-" * 9000 + "$x", "more than 50 levels deep"),
        ("$x\0", "cannot be read"),
    ],
)
def test_what_cannot_be_understood_is_refused(text: str, match: str) -> None:
    with pytest.raises(InvalidInputError, match=match):
        evaluate(MARKET, text)


def test_the_fields_of_an_expression_are_known_without_values() -> None:
    assert fields_of("If($close > Ref($open, 1), 0.1*$volume, 7)") == {"$close", "$open", "$volume"}
