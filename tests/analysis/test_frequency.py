"""A backtest's daily tables by weeks, months and numbers of days."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from aqrec.analysis import indicator_analysis, resample_indicators, resample_report, risk_analysis
from aqrec.errors import InvalidInputError
from tests.backtest.golden import case, table


def daily(name: str = "report_normal") -> pd.DataFrame:
    return table(f"g01_syn40_default/{name}.parquet").set_index("datetime")


def slowly(report: pd.DataFrame, groups: list[pd.DataFrame], cash: float) -> pd.DataFrame:
    """Run through the bars and count again."""
    rows, before, turnover, cost = [], cash, 0.0, 0.0
    for days in groups:
        last = days.iloc[-1]
        spent = last["total_cost"] - cost
        bench = np.float32(1)
        for value in days["bench"]:
            bench *= np.float32(value) + np.float32(1)
        rows.append(
            {
                **last[["account", "total_turnover", "total_cost", "value", "cash"]],
                "return": (last["account"] - before + spent) / before,
                "turnover": (last["total_turnover"] - turnover) / before,
                "cost": spent / before,
                "bench": bench - np.float32(1),
            }
        )
        before, turnover, cost = last["account"], last["total_turnover"], last["total_cost"]
    return pd.DataFrame(rows, index=[days.index[0] for days in groups])[list(report.columns)]


@pytest.mark.parametrize(
    ("freq", "rule"), [("week", "W-SUN"), ("1w", "W-SUN"), ("month", "MS"), ("mon", "MS"), ("Day", "D")]
)
def test_a_coarser_report_is_that_of_a_coarser_executor(freq: str, rule: str) -> None:
    report = daily()
    groups = [days for _, days in report.groupby(pd.Grouper(freq=rule)) if len(days)]
    made = resample_report(report, freq)
    expected = slowly(report, groups, case("g01_syn40_default")["backtest"]["account"])
    assert made.index.tolist() == expected.index.tolist()
    assert made.index.name == "datetime"
    assert made.dtypes.tolist() == report.dtypes.tolist()
    for column in report:
        np.testing.assert_allclose(made[column], expected[column], rtol=1e-10, atol=1e-12, err_msg=column)


def test_several_units_are_counted_from_the_first_row() -> None:
    report = daily()
    assert resample_report(report, "5day").index.tolist() == report.index[::5].tolist()
    weeks = resample_report(report, "week").index
    twice = resample_report(report, "2week").index
    assert set(twice) <= set(weeks)
    assert twice[0] == weeks[0]
    assert (np.diff(twice) >= np.timedelta64(7, "D")).all()
    quarters = resample_report(report, "3month")
    assert len(quarters) == math.ceil(len(resample_report(report, "month")) / 3)
    assert quarters["account"].iloc[-1] == report["account"].iloc[-1]


def test_coarser_returns_compound_to_the_same_account_and_can_be_judged() -> None:
    report = daily()
    for freq in ("week", "month", "10day"):
        coarse = resample_report(report, freq)
        growth = [(1 + one["return"] - one["cost"]).prod() for one in (coarse, report)]
        assert growth[0] == pytest.approx(growth[1], rel=1e-12)
        figures = risk_analysis(coarse["return"] - coarse["bench"] - coarse["cost"], freq=freq)
        assert figures["risk"].notna().all()


def test_coarser_indicators_are_those_of_their_days() -> None:
    days = daily("indicators_normal")
    days.loc[days.index[3], "ffr"] = 0.25
    for method in ("mean", "amount_weighted", "value_weighted"):
        months = resample_indicators(days, "month", method)  # type: ignore[arg-type]
        assert list(months.columns) == list(days.columns)
        assert months["count"].dtype == days["count"].dtype
        for start, row in months.iterrows():
            part = days[days.index.to_period("M") == pd.Timestamp(str(start)).to_period("M")]
            assert part.index[0] == start
            assert row["value"] == pytest.approx(part["value"].sum())
            means = indicator_analysis(part, method)["value"]  # type: ignore[arg-type]
            np.testing.assert_allclose(row[["ffr", "pa", "pos"]].astype(float), means, rtol=1e-12)


def test_nothing_stays_nothing() -> None:
    assert resample_report(daily().iloc[:0], "week").empty
    assert resample_indicators(daily("indicators_normal").iloc[:0], "week").empty


@pytest.mark.parametrize("freq", ["30min", "0day", "year", "", None, 5])
def test_a_frequency_that_is_none_is_refused(freq: Any) -> None:
    for resample, name in ((resample_report, "report_normal"), (resample_indicators, "indicators_normal")):
        with pytest.raises(InvalidInputError, match="freq must be 'day', 'week', 'month'"):
            resample(daily(name), freq)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        (daily()["account"], "DataFrame"),
        (daily().drop(columns=["bench", "cash"]), "lacks cash, bench"),
        (daily().reset_index(drop=True), "indexed by RangeIndex"),
        (daily()[::-1], "ascending"),
        (pd.concat([daily()] * 2).sort_index(), "one row a day"),
        (daily().assign(cash="much"), "'cash' of report"),
    ],
)
def test_a_table_that_is_none_is_refused(wrong: Any, match: str) -> None:
    with pytest.raises(InvalidInputError, match=match):
        resample_report(wrong, "week")
    with pytest.raises(InvalidInputError, match="method must be one of"):
        resample_indicators(daily("indicators_normal"), "week", "median")  # type: ignore[arg-type]
