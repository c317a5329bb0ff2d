"""What Qlib itself computed, number by number: report, holdings, orders, indicators, risk."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from aqrec import analysis
from aqrec.backtest import backtest, positions_frame

from .golden import CASES, case, market, prediction, table

TOLERANCE = {"rtol": 1e-9, "atol": 1e-9}
MONEY = {"rtol": 1e-9, "atol": 1e-6}


def run(name: str, *, qlib_compat: bool) -> Any:
    facts = case(name)
    strategy = facts["strategy"]
    strategy = {**strategy, "kwargs": {**strategy["kwargs"], "qlib_compat": qlib_compat}}
    return backtest(
        **facts["backtest"],
        strategy=strategy,
        quotes=market(facts["dataset"]),
        pred=prediction(name),
        qlib_compat=qlib_compat,
    )


@pytest.fixture(scope="module", params=[False, True], ids=["mended", "compat"])
def compat(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(scope="module", params=CASES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def outcome(name: str, compat: bool) -> Any:
    return run(name, qlib_compat=compat)


def test_the_report(name: str, outcome: Any) -> None:
    report = outcome[0]["1day"][0]
    expected = table(f"{name}/report_normal.parquet").set_index("datetime")
    assert list(report.columns) == list(expected.columns)
    pd.testing.assert_index_equal(report.index, expected.index)
    for column in expected:
        assert report[column].dtype == expected[column].dtype
        tolerance = MONEY if column == "cash" else TOLERANCE
        np.testing.assert_allclose(report[column], expected[column], **tolerance)
    np.testing.assert_array_equal(report["bench"], expected["bench"])


def test_the_holdings_and_the_account(name: str, outcome: Any) -> None:
    positions = outcome[0]["1day"][1]
    expected = table(f"{name}/positions.parquet")
    holdings = positions_frame(positions)
    assert list(holdings.columns) == list(expected.columns)
    for key in ("datetime", "instrument", "count_day"):
        assert holdings[key].tolist() == expected[key].tolist()
    for column in ("amount", "price", "weight"):
        np.testing.assert_allclose(holdings[column], expected[column], **TOLERANCE)
    account = table(f"{name}/account.parquet")
    assert list(positions) == account["datetime"].tolist()
    assert [len(day.stocks) for day in positions.values()] == account["n_stock"].tolist()
    for column in ("cash", "now_account_value"):
        values = [getattr(day, column) for day in positions.values()]
        np.testing.assert_allclose(values, account[column], **MONEY)
    assert all(day.cash_delay is None for day in positions.values())


def test_the_orders(name: str, outcome: Any) -> None:
    orders = outcome[1]["1day"][1].orders
    expected = table(f"{name}/orders.parquet").drop(columns="seq")
    assert list(orders.columns) == list(expected.columns)
    keys = ["datetime", "instrument"]
    orders, expected = orders.sort_values(keys), expected.sort_values(keys)
    for key in keys:
        assert orders[key].tolist() == expected[key].tolist()
    for column in expected.columns.drop(keys):
        np.testing.assert_allclose(orders[column], expected[column], **TOLERANCE)


def test_the_daily_indicators(name: str, outcome: Any) -> None:
    indicators = outcome[1]["1day"][0]
    expected = table(f"{name}/indicators_normal.parquet").set_index("datetime")
    pd.testing.assert_frame_equal(indicators, expected, rtol=1e-9, atol=1e-9)


def test_the_figures_of_the_portfolio(name: str, outcome: Any) -> None:
    report = outcome[0]["1day"][0]
    excess = report["return"] - report["bench"]
    expected = table(f"{name}/port_analysis.parquet").set_index(["group", "measure"])["risk"]
    for group, returns in {
        "excess_return_without_cost": excess,
        "excess_return_with_cost": excess - report["cost"],
    }.items():
        figures = analysis.risk_analysis(returns, freq="1day")["risk"]
        np.testing.assert_allclose(figures, expected[group], **TOLERANCE)
    figures = analysis.indicator_analysis(outcome[1]["1day"][0])["value"]
    recorded = table(f"{name}/indicator_analysis.parquet").set_index("indicator")["value"]
    np.testing.assert_allclose(figures, recorded, **TOLERANCE)


def test_start_and_end_come_from_the_signal() -> None:
    report = run("g01_syn40_default", qlib_compat=False)[0]["1day"][0]
    observed = case("g01_syn40_default")["observed"]
    assert str(report.index[0]) == observed["effective_start_time"]
    assert str(report.index[-1]) == observed["effective_end_time"]
