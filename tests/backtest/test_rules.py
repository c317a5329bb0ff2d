"""Rules of the exchange, the books, the benchmark and the configs, one at a time."""

import math
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from aqrec.backtest import Exchange, Order, SimulatorExecutor, Step, TopkDropoutStrategy, backtest
from aqrec.errors import InvalidInputError, UnknownInstrumentsWarning

from .golden import calendar, case, prediction, quotes, table
from .golden import market as golden_market
from .small import FREE, held, market, scores

NAN = math.nan


class Orders:
    """Gives orders by the number of the day."""

    def __init__(self, *days: list[tuple[str, float, int]]) -> None:
        self.days = days

    def generate_orders(self, step: Step) -> list[Order]:
        today = self.days[step.number] if step.number < len(self.days) else []
        return [Order(name, amount, direction) for name, amount, direction in today]  # type: ignore[arg-type]


BUY, SELL = Order.BUY, Order.SELL


def run(quotes: Any, *orders: Any, account: Any = 1000.0, executor: Any = None, **exchange: Any) -> Any:
    return backtest(
        quotes.days[0],
        quotes.days[-1],
        Orders(*orders),
        executor,
        account=account,
        exchange_kwargs={**FREE, **exchange},
        quotes=quotes,
    )


def fills(result: Any) -> pd.DataFrame:
    return result[1]["1day"][1].orders


# --- prices and limits ------------------------------------------------------------------------------------


def test_deals_are_at_the_close_where_the_wanted_price_is_missing() -> None:
    quotes = market([[10.0]] * 4, open=[[9.0], [NAN], [0.0], [1e-9]])
    result = run(quotes, *[[("A", 1.0, BUY)]] * 4, deal_price="open")
    assert fills(result)["trade_price"].tolist() == [9.0, 10.0, 10.0, 10.0]


def test_purchases_and_sales_may_have_prices_of_their_own() -> None:
    quotes = market([[10.0]], open=[[9.0]])
    result = run(quotes, [("A", 2.0, BUY), ("A", 1.0, SELL)], deal_price=["open", "$close"])
    assert fills(result)["trade_price"].tolist() == [9.0, 10.0]


def test_a_change_at_the_limit_is_compared_in_float32() -> None:
    change = float(np.float32(0.095))
    assert change < 0.095000005
    quotes = market([[10.0, 10.0]], change=[[change, -change]])
    result = run(quotes, [(name, 1.0, BUY) for name in "AB"], limit_threshold=0.095)
    assert fills(result)["trade_price"].isna().tolist() == [True, False]


def test_an_unknown_change_is_no_limit_and_a_missing_one_is_that_of_the_close() -> None:
    quotes = market([[10.0]] * 2, change=[[NAN]] * 2)
    assert fills(run(quotes, [("A", 1.0, BUY)], limit_threshold=0.01))["deal_amount"].tolist() == [1.0]
    quotes = market([[10.0, 10.0], [NAN, 10.2], [11.0, 10.3]])
    result = run(quotes, [], [], [("A", 1.0, BUY), ("B", 1.0, BUY)], limit_threshold=0.09)
    assert fills(result)["trade_price"].isna().tolist() == [True, False]


@pytest.mark.parametrize("kind", [tuple, list])
def test_limits_may_be_expressions(kind: Any) -> None:
    quotes = market([[10.0, 10.0, 10.0]], change=[[0.06, -0.06, NAN]])
    rules = kind(["$change > 0.05", "$change < -0.05"])
    result = run(quotes, [(name, 1.0, BUY) for name in "ABC"], limit_threshold=rules)
    assert fills(result)["trade_price"].isna().tolist() == [True, False, False]


def test_an_expression_without_a_value_limits() -> None:
    quotes = market([[10.0], [10.0]], change=[[0.0], [0.0]])
    rules = ("Ref($change, 1)", "0*$change")
    result = run(quotes, [("A", 1.0, BUY)], [("A", 1.0, BUY)], limit_threshold=rules)
    assert fills(result)["trade_price"].isna().tolist() == [True, False]


@pytest.mark.parametrize(
    ("region", "unit", "limited"), [("cn", 100.0, True), ("us", 1.0, False), ("tw", 1000.0, True)]
)
def test_a_region_has_its_lots_and_limits(region: Any, unit: float, limited: bool) -> None:
    quotes = market([[1.0, 1.0]], factor=[[1.0, 1.0]], change=[[0.0, 0.11]])
    result = backtest(
        quotes.days[0],
        quotes.days[0],
        Orders([("A", 1999.0, BUY), ("B", 1.0, BUY)]),
        account=1e6,
        quotes=quotes,
        region=region,
    )
    assert fills(result)["deal_amount"][0] == 1999.0 // unit * unit
    assert math.isnan(fills(result)["trade_price"][1]) == limited


def test_lots_are_raw_shares_and_one_holding_without_a_factor_ends_them() -> None:
    quotes = market([[1.0, 1.0]], factor=[[0.5, 0.25]])
    result = run(quotes, [("A", 450.0, BUY), ("B", 450.0, BUY)], trade_unit=100)
    assert fills(result)["deal_amount"].tolist() == [400.0, 400.0]
    quotes = market([[1.0, 1.0]], factor=[[0.5, NAN]])
    result = run(quotes, [("A", 450.0, BUY), ("B", 450.0, BUY)], trade_unit=100)
    assert fills(result)["deal_amount"].tolist() == [450.0, 450.0]


def test_only_listed_codes_can_be_traded() -> None:
    result = run(market([[1.0, 1.0]]), [("A", 1.0, BUY), ("B", 1.0, BUY)], codes=["B"])
    assert fills(result)["trade_price"].isna().tolist() == [True, False]


# --- amounts and costs ------------------------------------------------------------------------------------


def test_a_cap_of_the_day_counts_what_was_dealt_and_one_of_an_order_does_not() -> None:
    quotes = market([[1.0]], volume=[[100.0]])
    orders = [("A", 8.0, BUY)] * 3
    for kind, dealt in (("cum", [8.0, 2.0, 0.0]), ("current", [8.0, 8.0, 8.0])):
        result = run(quotes, orders, volume_threshold=(kind, "0.1*$volume"))
        np.testing.assert_allclose(fills(result)["deal_amount"], dealt, atol=1e-5)


def test_the_smallest_cap_of_a_side_holds() -> None:
    quotes = market([[1.0]], volume=[[100.0]])
    caps = {"all": ("current", "0.5*$volume"), "buy": ["current", "0.2*$volume"]}
    result = run(quotes, [("A", 90.0, BUY), ("A", 90.0, SELL)], volume_threshold=caps)
    np.testing.assert_allclose(fills(result)["deal_amount"], [20.0, -20.0], rtol=1e-6)


def test_where_the_cap_is_unknown_nothing_is_dealt() -> None:
    quotes = market([[1.0]], volume=[[NAN]])
    for caps in (("cum", "0.1*$volume"), {"all": ("current", "$volume"), "buy": ("cum", "2*$close")}):
        result = run(quotes, [("A", 1.0, BUY)], volume_threshold=caps)
        assert fills(result)["deal_amount"].tolist() == [0.0]
        assert result[0]["1day"][0]["account"].tolist() == [1000.0]


def test_costs_are_a_share_of_the_value_but_not_less_than_the_least() -> None:
    quotes = market([[1.0]])
    result = run(quotes, [("A", 100.0, BUY), ("A", 60.0, SELL)], open_cost=0.1, close_cost=0.01, min_cost=5.0)
    assert fills(result)["trade_cost"].tolist() == [10.0, 5.0]


def test_impact_grows_with_the_square_of_the_share_and_is_whole_without_volume() -> None:
    quotes = market([[1.0, 1.0, 1.0]], volume=[[200.0, 0.0, NAN]])
    result = run(quotes, [(name, 100.0, BUY) for name in "ABC"], impact_cost=0.4)
    np.testing.assert_allclose(fills(result)["trade_cost"], [100 * 0.4 * 0.25, 40.0, 40.0])


def test_a_purchase_is_cut_to_what_the_cash_affords() -> None:
    quotes = market([[2.0]])
    result = run(quotes, [("A", 80.0, BUY)], account=110.0, open_cost=0.1)
    assert fills(result)["deal_amount"].tolist() == pytest.approx([50.0])
    result = run(quotes, [("A", 20.0, BUY)], account=30.0, open_cost=0.1, min_cost=10.0)
    assert fills(result)["deal_amount"].tolist() == pytest.approx([10.0])
    result = run(quotes, [("A", 600.0, BUY)], account=110.0, open_cost=0.1)
    assert fills(result)["deal_amount"].tolist() == [0.0]
    result = run(quotes, [("A", 1.0, BUY)], account=4.0, min_cost=5.0)
    assert fills(result)["deal_amount"].tolist() == [0.0]


def test_without_any_cost_all_the_cash_is_spent() -> None:
    result = run(market([[2.0]]), [("A", 1000.0, BUY)], account=30.0)
    assert fills(result)["deal_amount"].tolist() == [15.0]


def test_no_more_is_sold_than_held_and_a_rest_by_rounding_goes_with_it() -> None:
    quotes = market([[2.0], [2.0]], factor=[[1.0], [1.0]])
    account = {"cash": 0.0, "A": {"amount": 250.0, "price": 2.0}}
    result = run(quotes, [("A", 400.0, SELL)], account=account, trade_unit=100)
    assert fills(result)["deal_amount"].tolist() == [-200.0]
    result = run(quotes, [("A", 250.001, SELL)], account=account, trade_unit=100)
    assert held(result[0]) == ["", ""]


# --- the books --------------------------------------------------------------------------------------------


def test_proceeds_that_settle_later_cannot_be_spent_today() -> None:
    quotes = market([[1.0, 1.0]] * 2)
    account = {"cash": 0.0, "A": {"amount": 10.0, "price": 1.0}}
    orders = [[("A", 10.0, SELL), ("B", 10.0, BUY)], [("B", 10.0, BUY)]]
    assert held(run(quotes, *orders, account=account)[0]) == ["B", "B"]
    later = run(quotes, *orders, account=account, executor=SimulatorExecutor(settle_type="cash"))[0]
    assert held(later) == ["", "B"]
    report, positions = later["1day"]
    assert report["cash"].tolist() == [0.0, 0.0]
    assert report["account"].tolist() == [10.0, 10.0]
    first = positions[report.index[0]]
    assert (first.cash_delay, first.get_cash(), first.get_cash(include_settle=True)) == (10.0, 0.0, 10.0)
    assert first.position["cash_delay"] == 10.0


def test_in_parallel_sales_do_not_pay_for_purchases() -> None:
    account = {"cash": 0.0, "A": {"amount": 10.0, "price": 1.0}}
    orders = [("A", 10.0, SELL), ("B", 10.0, BUY)]
    parallel = {"class": "SimulatorExecutor", "kwargs": {"trade_type": "parallel"}}
    assert held(run(market([[1.0, 1.0]]), orders, account=account, executor=parallel)[0]) == [""]


def test_a_suspended_holding_keeps_its_last_price() -> None:
    quotes = market([[2.0], [NAN], [3.0]])
    report, positions = run(quotes, [("A", 10.0, BUY)])[0]["1day"]
    assert report["value"].tolist() == [20.0, 20.0, 30.0]
    assert [position.count_day.tolist() for position in positions.values()] == [[1], [2], [3]]


def test_first_holdings_are_worth_something_before_the_first_day_but_not_in_qlib() -> None:
    quotes = market([[1.0], [2.0], [2.0]])
    account = {"cash": 10.0, "A": {"amount": 10.0, "price": 1.0}}
    arguments: dict[str, Any] = {"exchange_kwargs": FREE, "quotes": quotes, "account": account}
    span = (quotes.days[1], quotes.days[2])
    report = backtest(*span, Orders(), **arguments)[0]["1day"][0]
    assert report["return"].tolist() == [0.5, 0.0]
    report = backtest(*span, Orders(), benchmark=None, **{**arguments, "account": {"cash": 10.0, "A": 10.0}})
    assert report[0]["1day"][0]["return"].tolist() == [0.5, 0.0]
    compat = backtest(*span, Orders(), benchmark="A", qlib_compat=True, **arguments)[0]["1day"][0]
    assert compat["return"].tolist() == [2.0, 0.0]
    assert account == {"cash": 10.0, "A": {"amount": 10.0, "price": 1.0}}


def test_a_position_answers_as_that_of_qlib() -> None:
    _, positions = run(market([[2.0, 4.0]]), [("A", 10.0, BUY), ("B", 5.0, BUY)], account=100.0)[0]["1day"]
    (position,) = positions.values()
    assert position.get_stock_list() == ["A", "B"]
    assert (position.get_stock_amount("A"), position.get_stock_price("B")) == (10.0, 4.0)
    assert position.get_stock_amount("Z") == 0.0
    assert (position.calculate_stock_value(), position.calculate_value()) == (40.0, 100.0)
    assert position.get_stock_weight_dict() == {"A": 0.2, "B": 0.2}
    assert position.get_stock_weight_dict(only_stock=True) == {"A": 0.5, "B": 0.5}
    assert position.position == {
        "A": {"amount": 10.0, "price": 2.0, "weight": 0.2, "count_day": 1},
        "B": {"amount": 5.0, "price": 4.0, "weight": 0.2, "count_day": 1},
        "cash": 60.0,
        "now_account_value": 100.0,
    }


@pytest.mark.parametrize(
    ("method", "ffr"),
    [("mean", (1.0 + 0.5) / 2), ("amount_weighted", (10 + 2.5) / 15), ("value_weighted", (10 + 5) / 20)],
)
def test_indicators_average_over_the_orders_of_a_day(method: str, ffr: float) -> None:
    quotes = market([[1.0, 2.0, NAN], [1.0, 2.0, 1.0]], volume=[[100.0, 5.0, 1.0]] * 2)
    executor = SimulatorExecutor(indicator_config={"ffr_config": {"weight_method": method}})
    result = run(
        quotes,
        [("A", 10.0, BUY), ("B", 10.0, BUY), ("A", 0.0, BUY), ("A", 10.0, BUY)],
        executor=executor,
        volume_threshold=("current", "$volume"),
    )
    table = result[1]["1day"][0]
    assert table["ffr"].iloc[0] == pytest.approx(ffr)
    assert table["count"].tolist() == [2, 0]
    assert table["deal_amount"].tolist() == [15.0, 0.0]
    assert table["value"].tolist() == [20.0, 0.0]
    assert table[["ffr", "pa", "pos"]].iloc[1].isna().all()
    assert table[["pa", "pos"]].iloc[0].tolist() == [0.0, 0.0]
    assert len(fills(result)) == 4


# --- the benchmark ----------------------------------------------------------------------------------------


def bench(benchmark: Any, quotes: Any, start: int = 1, **keywords: Any) -> pd.Series:
    result = backtest(
        quotes.days[start],
        quotes.days[-1],
        Orders(),
        benchmark=benchmark,
        account=1.0,
        quotes=quotes,
        **keywords,
    )
    return result[0]["1day"][0]["bench"]


def test_several_benchmarks_are_averaged_in_float32() -> None:
    quotes = market([[1.0, 1.0], [1.1, 1.3], [1.1, NAN]])
    assert bench("A", quotes).dtype == np.float32
    np.testing.assert_allclose(bench(["A", "B"], quotes), [0.2, 0.0], atol=1e-7)
    assert bench("A", quotes, start=0).tolist()[0] == 0.0


def test_a_benchmark_may_be_returns_or_nothing() -> None:
    quotes = market([[1.0]] * 4)
    returns = pd.Series([0.5, 0.1, 0.2, NAN], index=pd.to_datetime(quotes.days))
    returns[pd.Timestamp(quotes.days[2]) + pd.Timedelta(hours=3)] = 0.5
    np.testing.assert_allclose(bench(returns, quotes), [0.1, 0.8, 0.0])
    assert bench(None, quotes).tolist() == [0.0, 0.0, 0.0]


def test_no_benchmark_means_an_index_in_qlib() -> None:
    with pytest.raises(InvalidInputError, match="SH000300"):
        bench(None, market([[1.0]] * 3), qlib_compat=True)


@pytest.mark.parametrize("benchmark", ["Z", ["A", "Z"], [], pd.Series([1.0])])
def test_a_benchmark_that_is_none_is_refused(benchmark: Any) -> None:
    with pytest.raises(InvalidInputError, match="benchmark"):
        bench(benchmark, market([[1.0]] * 3))


# --- arguments --------------------------------------------------------------------------------------------


def test_backtests_can_share_an_exchange_and_use_a_part_of_its_days() -> None:
    name = "g01_syn40_default"
    facts = case(name)
    pred = prediction(name)
    exchange = Exchange(
        golden_market("syn40").including({*pred.index.get_level_values("instrument")}),
        **facts["backtest"]["exchange_kwargs"],
    )
    arguments = {**facts["backtest"], "exchange_kwargs": {"exchange": exchange}}
    portfolio, _ = backtest(**arguments, strategy=facts["strategy"], pred=pred)
    expected = table(f"{name}/report_normal.parquet").set_index("datetime")
    np.testing.assert_allclose(portfolio["1day"][0]["account"], expected["account"], rtol=1e-12)
    with pytest.raises(InvalidInputError, match="does not know"):
        backtest(**arguments, strategy=facts["strategy"], pred=pred.rename({"SH600000": "NEW"}, level=1))
    part = pred.rename({"SH600001": "NEW"}, level=1)
    part = part[part.index.get_level_values("instrument") != "NEW"]
    assert "NEW" in part.index.levels[1]
    backtest(**arguments, strategy=facts["strategy"], pred=part)
    short = Exchange(golden_market("syn40"), start_time="2017-06-02")
    with pytest.raises(InvalidInputError, match="2017-06-02"):
        backtest(
            **{**arguments, "exchange_kwargs": {"exchange": short}}, strategy=facts["strategy"], pred=pred
        )


def test_quotes_may_be_a_long_table() -> None:
    name = "g03_real4_open_lots"
    facts = case(name)
    frame = quotes("real4").rename(columns=lambda column: column.removeprefix("$"))
    frame = frame.set_index(["datetime", "instrument"])
    assert len(calendar("real4")) == len(frame.index.levels[0])
    portfolio, _ = backtest(
        **facts["backtest"], strategy=facts["strategy"], quotes=frame, pred=prediction(name)
    )
    expected = table(f"{name}/report_normal.parquet")
    np.testing.assert_allclose(portfolio["1day"][0]["account"], expected["account"], rtol=1e-12)


QUOTES = market([[1.0]] * 3)
SIGNAL = scores([{"A": 1.0}])
TOPK = TopkDropoutStrategy(signal=SIGNAL, topk=1, n_drop=1)


@pytest.mark.parametrize(
    ("keywords", "match"),
    [
        ({"strategy": None}, "strategy"),
        ({"strategy": object()}, "generate_orders"),
        ({"quotes": None}, "quotes"),
        ({"pos_type": "InfPosition"}, "pos_type"),
        ({"executor": object()}, "SimulatorExecutor"),
        ({"account": {"A": 1.0}}, "'cash'"),
        ({"account": {"cash": 1.0, "A": 1.0}}, "no close before"),
        ({"account": {"cash": 1.0, "A": {"price": 1.0}}}, "the amount of 'A'"),
        ({"account": {"cash": 1.0, "A": {"amount": 1.0, "price": NAN}}}, "the price of 'A'"),
        ({"account": -1.0}, "account"),
        ({"account": "1e6"}, "account"),
        ({"start_time": "2030-01-01", "end_time": "2030-02-01"}, "no trading day"),
        ({"start_time": 5}, "start_time.* 5"),
        ({"start_time": 2024}, "number 20240131"),
        (
            {"end_time": pd.Timestamp("2024-01-02", tz="Asia/Shanghai")},
            "end_time must be without a time zone",
        ),
        ({"exchange_kwargs": {"start_time": True}}, "start_time.*True"),
        ({"account": 0.0}, "worth something"),
        ({"account": {"cash": 0}}, "worth something"),
        ({"benchmark": 3}, "benchmark.*not 3"),
        ({"benchmark": {"A": 1}}, "benchmark"),
        ({"exchange_kwargs": [1]}, r"exchange_kwargs must be a dict with the keys close_cost, .*not \[1\]"),
        ({"quotes": {}}, "a Market, a DataFrame, a path or a URL"),
        ({"qlib_compat": "false"}, "qlib_compat must be True or False, not 'false'"),
        ({"strategy": {"class": "TopkDropoutStrategy", "kwargs": [1]}}, "kwargs must be a dict"),
        ({"strategy": {"class": 5}}, "class must be a class or its name"),
        ({"strategy": {"class": "Strategy", "module_path": 5}}, "module_path must be the name"),
        ({"start_time": "soon"}, "start_time must be a date.*'soon'"),
        ({"region": "fr"}, "region"),
        ({"strategy": Orders()}, "start_time and end_time"),
        (
            {"strategy": {"class": "TopkDropoutStrategy", "args": {}}},
            "unknown 'args'; its keys are class, kwargs, module_path",
        ),
        ({"strategy": {"class": "Unknown"}}, "'Unknown'"),
        ({"strategy": {"class": "Unknown", "module_path": "collections"}}, "cannot be imported"),
        ({"strategy": {"class": "namedtuple", "module_path": "collections"}}, "not a class"),
        ({"strategy": {"class": "TopkDropoutStrategy", "kwargs": {"signal": "<PRED>"}}}, "pred"),
        ({"strategy": {"class": "TopkDropoutStrategy", "kwargs": {"signal": SIGNAL, "k": 1}}}, "'k'"),
        ({"strategy": {"class": "WeightStrategy", "module_path": "qlib.contrib.strategy"}}, "install pyqlib"),
        ({"executor": {"class": "SimulatorExecutor", "kwargs": {"time_per_step": "1min"}}}, "time_per_step"),
        ({"executor": {"class": "SimulatorExecutor", "kwargs": {"trade_type": "both"}}}, "trade_type"),
        ({"executor": {"class": "SimulatorExecutor", "kwargs": {"settle_type": "stock"}}}, "settle_type"),
        (
            {"executor": SimulatorExecutor, "exchange_kwargs": {}},
            "SimulatorExecutor",
        ),
        ({"exchange_kwargs": {"freq": "1min"}}, "freq"),
        ({"exchange_kwargs": {"open_costs": 1}}, "open_costs"),
        ({"exchange_kwargs": {"open_cost": -1}}, "open_cost"),
        ({"exchange_kwargs": {"min_cost": NAN}}, "min_cost"),
        ({"exchange_kwargs": {"deal_price": 3}}, "deal_price"),
        ({"exchange_kwargs": {"deal_price": "vwap"}}, r"\$vwap"),
        ({"exchange_kwargs": {"limit_threshold": "0.1"}}, "limit_threshold"),
        ({"exchange_kwargs": {"limit_threshold": True}}, "limit_threshold"),
        ({"exchange_kwargs": {"limit_threshold": -0.1}}, "from 0 on.*not -0.1"),
        ({"exchange_kwargs": {"limit_threshold": NAN}}, "limit_threshold"),
        ({"exchange_kwargs": {"limit_threshold": ("$change >", "0")}}, "cannot be read"),
        (
            {"exchange_kwargs": {"open_cost": "0.1", "min_cost": math.inf}},
            "open_cost must be.*; min_cost must be",
        ),
        ({"exchange_kwargs": {"trade_unit": "100"}}, "trade_unit"),
        ({"exchange_kwargs": {"codes": 5}}, "codes"),
        ({"exchange_kwargs": {"codes": ["B", "C"]}}, r"none of the 2 instruments of codes \(B, C\), but A"),
        ({"exchange_kwargs": {"volume_threshold": ("sum", "$volume")}}, "volume_threshold"),
        ({"exchange_kwargs": {"volume_threshold": {"both": ("cum", "$close")}}}, "volume_threshold"),
        ({"exchange_kwargs": {"trade_unit": 0}}, "trade_unit"),
        ({"exchange_kwargs": {"codes": "csi300"}}, "codes"),
        ({"exchange_kwargs": {"exchange": 1}}, "exchange"),
    ],
)
def test_what_has_no_meaning_is_refused(keywords: Any, match: str) -> None:
    with pytest.raises(InvalidInputError, match=match):
        backtest(**{"strategy": TOPK, "quotes": QUOTES, **keywords})


@pytest.mark.parametrize(
    ("keywords", "match"),
    [
        (
            {"indicator_config": {"pa_config": {"weight_method": "median"}}},
            "pa_config: weight_method.*'median'",
        ),
        ({"indicator_config": {"ffr_config": {"weight": "mean"}}}, "ffr_config has the unknown 'weight'"),
        (
            {"indicator_config": {"ffr": {}}},
            "unknown 'ffr'; its keys are ffr_config, pa_config, show_indicator",
        ),
        ({"indicator_config": [1]}, "indicator_config must be a dict"),
        ({"indicator_config": {"pa_config": None}}, "pa_config must be a dict"),
        ({"generate_portfolio_metrics": "false"}, "generate_portfolio_metrics must be True or False"),
        ({"settle_type": 1, "trade_type": None}, "trade_type must be.*settle_type must be"),
    ],
)
def test_an_executor_that_has_no_meaning_is_refused(keywords: Any, match: str) -> None:
    with pytest.raises(InvalidInputError, match=match):
        SimulatorExecutor(**keywords)


def test_an_executor_takes_what_qlibs_configs_have() -> None:
    config = {"show_indicator": True, "pa_config": {"base_price": "vwap", "weight_method": "value_weighted"}}
    assert SimulatorExecutor(indicator_config=config).weights == ("mean", "value_weighted")


@pytest.mark.parametrize(
    "moment",
    [
        "2024-01-02",
        "20240102",
        "2024/1/2",
        20240102,
        np.int64(20240102),
        np.datetime64("2024-01-02"),
        pd.Timestamp(2024, 1, 2),
    ],
)
def test_days_may_be_written_in_many_ways(moment: Any) -> None:
    report = backtest(moment, moment, TOPK, quotes=QUOTES)[0]["1day"][0]
    assert report.index.tolist() == [pd.Timestamp("2024-01-02")]


def test_what_numpy_calls_a_number_is_one() -> None:
    quotes = market([[1.0]], factor=[[1.0]])
    result = run(
        quotes,
        [("A", 250.0, BUY)],
        trade_unit=np.int64(100),
        min_cost=np.float32(1),
        limit_threshold=np.float64(0.1),
    )
    assert fills(result)["deal_amount"].tolist() == [200.0]


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"close": [[1.0, 1.0], [1.0, 0.0]]}, r"\$close of 'B' on 2024-01-02 is 0, but a close is above 0"),
        ({"close": [[1.0, -1.0]]}, r"\$close of 'B' .* is -1"),
        ({"close": [[math.inf, 1.0]]}, r"\$close of 'A' .* is inf"),
        ({"close": [[1.0, 1.0]], "open": [[1.0, math.inf]]}, r"\$open of 'B' .* is inf"),
        ({"close": [[1.0, 1.0]], "factor": [[1.0, 0.0]]}, r"\$factor of 'B' .* is 0"),
        ({"close": [[1.0, 1.0]], "volume": [[-1.0, 0.0]]}, r"\$volume of 'A' .* is -1"),
    ],
)
def test_prices_that_cannot_be_are_refused(fields: Any, match: str) -> None:
    with pytest.raises(InvalidInputError, match=match):
        Exchange(market(**fields), deal_price="open" if "open" in fields else "close")
    if match.startswith(r"\$close of 'B'"):
        assert Exchange(market(**fields), codes=["A"]).close.shape[1] == 2
        with pytest.raises(InvalidInputError, match="close of the benchmark 'B'"):
            bench("B", market(**fields), start=0, exchange_kwargs={"codes": ["A"]})


def test_only_what_can_be_traded_decides_whether_there_are_lots() -> None:
    """An index to compare with has no factor, which ends the lots of nothing."""
    close, factor = [[1.0, 1.0]] * 3, [[1.0, NAN]] * 3
    orders = [("A", 250.0, BUY), ("B", 250.0, BUY)]
    quotes = market(close, factor=factor)
    keywords: dict[str, Any] = {"account": 1e4, "exchange_kwargs": {**FREE, "trade_unit": 100}}
    span = (quotes.days[1], quotes.days[2])
    for given in (quotes, quotes.comparing("B")):
        result = backtest(*span, Orders(orders), benchmark=["B"], quotes=given, **keywords)
        assert fills(result)["deal_amount"].tolist() == [200.0, 250.0]
    result = backtest(*span, Orders(orders), quotes=quotes, **keywords)
    assert fills(result)["deal_amount"].tolist() == [250.0, 250.0]
    # Named by the signal, it is traded like the others.
    both = TopkDropoutStrategy(signal=scores([{"A": 1.0, "B": 2.0}]), topk=2, n_drop=1, risk_degree=0.05)
    amounts = fills(backtest(*span, both, benchmark="B", quotes=quotes, **keywords))["deal_amount"]
    assert amounts.tolist() == [250.0, 250.0]
    one = TopkDropoutStrategy(signal=scores([{"A": 1.0}]), topk=1, n_drop=1, risk_degree=0.025)
    result = backtest(*span, one, benchmark="B", quotes=quotes, **keywords)
    assert fills(result)["deal_amount"].tolist() == [200.0]


def test_names_that_the_quotes_do_not_have_are_told() -> None:
    quotes = market([[1.0, 1.0]] * 3)
    pred = scores([{"a": 1.0, "b": 2.0}])
    with pytest.raises(
        InvalidInputError, match=r"none of the 2 instruments of the signal \(a, b\), but A, B; names"
    ):
        backtest(None, None, TopkDropoutStrategy(signal=pred, topk=1, n_drop=1), quotes=quotes)
    some = TopkDropoutStrategy(signal=scores([{"A": 1.0, "X": 3.0, "Y": 2.0}]), topk=1, n_drop=1)
    with pytest.warns(UnknownInstrumentsWarning, match="2 of the 3 instruments of the signal") as caught:
        backtest(None, None, some, quotes=quotes)
    (warned,) = [entry.message for entry in caught]
    assert isinstance(warned, UnknownInstrumentsWarning)
    assert (warned.what, warned.unknown, warned.total) == ("the signal", ("X", "Y"), 3)
    with pytest.warns(UnknownInstrumentsWarning, match="1 of the 2 instruments of codes"):
        Exchange(quotes, codes=["A", "Z"])


def test_a_signal_of_other_days_is_refused() -> None:
    quotes = market([[1.0]] * 5)
    early = TopkDropoutStrategy(signal=scores([{"A": 1.0}]), topk=1, n_drop=1)
    with pytest.raises(
        InvalidInputError, match=r"trades from 2024-01-03 to 2024-01-05.*has some from 2024-01-01"
    ):
        backtest("2024-01-03", "2024-01-05", early, quotes=quotes)


def test_scores_and_returns_with_a_time_zone_are_refused() -> None:
    abroad = SIGNAL.copy()
    abroad.index = abroad.index.set_levels(abroad.index.levels[0].tz_localize("Asia/Shanghai"), level=0)
    with pytest.raises(
        InvalidInputError, match=r"signal must be dates without a time zone, not Asia/Shanghai; say"
    ):
        backtest(None, None, TopkDropoutStrategy(signal=abroad, topk=1, n_drop=1), quotes=QUOTES)
    returns = pd.Series(0.1, pd.DatetimeIndex(QUOTES.days).tz_localize("UTC"))
    with pytest.raises(InvalidInputError, match="benchmark must be dates without a time zone, not UTC"):
        bench(returns, QUOTES)


def test_what_only_qlib_has_is_run_by_qlib(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    root, config, engine = (ModuleType(name) for name in ("qlib", "qlib.config", "qlib.backtest"))
    config.C = SimpleNamespace(registered=False)  # type: ignore[attr-defined]
    engine.backtest = lambda **arguments: asked.update(arguments) or ({}, {})  # type: ignore[attr-defined]
    for module in (root, config, engine):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    strategy = {
        "class": "SoftTopkStrategy",
        "module_path": "qlib.contrib.strategy.cost_control",
        "kwargs": {"signal": "<PRED>", "topk": 5},
    }
    arguments: dict[str, Any] = {"strategy": strategy, "pred": SIGNAL, "benchmark": "SH000300"}
    with pytest.raises(InvalidInputError, match=r"qlib\.init"):
        backtest("2024-01-01", "2024-01-02", **arguments)
    config.C.registered = True
    with pytest.raises(InvalidInputError, match="leave quotes out"):
        backtest("2024-01-01", "2024-01-02", quotes=QUOTES, **arguments)
    account = {"cash": 5.0}
    assert backtest("2024-01-01", "2024-01-02", account=account, **arguments) == ({}, {})
    assert asked["strategy"]["kwargs"] == {"signal": SIGNAL, "topk": 5}
    assert asked["executor"]["class"] == "SimulatorExecutor"
    asked["account"].pop("cash")
    assert account == {"cash": 5.0}


def test_returns_behind_the_last_day_of_the_quotes_belong_to_no_bar() -> None:
    quotes = market([[10.0]] * 4)
    days = pd.DatetimeIndex(quotes.days)
    longer = pd.Series(0.5, days.append(pd.date_range(days[-1] + pd.Timedelta(days=1), periods=5)))
    assert bench(longer, quotes).tolist() == bench(longer[: len(days)], quotes).tolist()
