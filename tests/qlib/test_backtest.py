"""aqrec's backtest and Qlib's own, on the same real prices: random rules, number for number."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import aqrec.sync
from aqrec.analysis import indicator_analysis, resample_report, risk_analysis
from aqrec.backtest import backtest, positions_frame
from aqrec.quotes import read_quotes
from aqrec.quotes._expression import evaluate, fields_of
from aqrec.quotes._read import FIELDS
from aqrec.sync import templates
from tests.qlib.prices import BENCHMARK, hard_provider, scores

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.timeout(1200)]

EXACT = {"rtol": 1e-9, "atol": 1e-12}
MONEY = {"rtol": 1e-9, "atol": 1e-6}

STRATEGIES = st.fixed_dictionaries(
    {
        "topk": st.integers(1, 8),
        "n_drop": st.integers(0, 4),
        "hold_thresh": st.integers(1, 4),
        "only_tradable": st.booleans(),
        "forbid_all_trade_at_limit": st.booleans(),
        "risk_degree": st.sampled_from([0.95, 0.5]),
        "method_sell": st.sampled_from(["bottom", "bottom", "random"]),
    }
)
CAPS = [
    None,
    ("current", "0.1*$turnover"),
    {"all": ("cum", "0.2*$turnover"), "buy": ("current", "0.1*Mean($turnover, 5)")},
    {"sell": ("cum", "0.05*$turnover"), "buy": ("current", "0.1*$turnover")},
]
EXCHANGES = st.fixed_dictionaries(
    {
        "deal_price": st.sampled_from(["close", "open", "$open", ("$open", "$close"), None]),
        "limit_threshold": st.sampled_from(
            [
                0.095,
                0.02,
                0.01,
                ("$change > 0.015", "$change < -0.02"),
                ("Ref($close, 1) > 200", "$open < 20"),
            ]
        ),
        "volume_threshold": st.sampled_from(CAPS),
        "open_cost": st.sampled_from([0.0005, 0.01]),
        "close_cost": st.sampled_from([0.0015, 0.02]),
        "min_cost": st.sampled_from([5, 0, 300]),
        "impact_cost": st.sampled_from([0, 0.1]),
    },
    optional={
        "trade_unit": st.sampled_from([None, 1, 100]),
        "codes": st.sampled_from([slice(0, 12), slice(6, 20)]),
    },
)
EXECUTORS = st.fixed_dictionaries(
    {
        "time_per_step": st.just("day"),
        "generate_portfolio_metrics": st.just(True),
        "settle_type": st.sampled_from(["None", "cash"]),
        "trade_type": st.sampled_from(["serial", "parallel"]),
        "indicator_config": st.fixed_dictionaries(
            {},
            optional={
                name: st.fixed_dictionaries(
                    {"weight_method": st.sampled_from(["mean", "amount_weighted", "value_weighted"])}
                )
                for name in ("ffr_config", "pa_config")
            },
        ),
    }
)


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DatetimeIndex, list[str]]:
    import qlib

    folder = tmp_path_factory.mktemp("provider") / "hard"
    days, names = hard_provider(folder)
    qlib.init(provider_uri=str(folder), region="cn", kernels=1, logging_level=50)
    return folder, days, names


def on_qlib(seed: int, **arguments: Any) -> Any:
    from qlib.backtest import backtest as run

    np.random.seed(seed)
    portfolio, indicators = run(**copy.deepcopy(arguments))
    report, positions = portfolio["1day"]
    daily, orders = indicators["1day"]
    return report, positions, daily, orders


def qlibs_orders(orders: Any, columns: list[str]) -> pd.DataFrame:
    tables = [
        pd.DataFrame({name: values.to_dict() for name, values in indicator.data.items()})
        .rename_axis("instrument")
        .reset_index()
        .assign(datetime=day)
        for day, indicator in orders.order_indicator_his.items()
    ]
    filled = [table for table in tables if len(table)]
    return pd.concat(filled) if filled else pd.DataFrame(columns=columns)


@settings(
    max_examples=max(12, settings.default.max_examples // 4),
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    seed=st.integers(0, 10_000),
    strategy=STRATEGIES,
    rules=EXCHANGES,
    executor=EXECUTORS,
    span=st.tuples(st.integers(1, 60), st.integers(25, 70)),
    benchmark=st.sampled_from([BENCHMARK, "several", "series"]),
    account=st.sampled_from([1e6, 3e4, "holdings"]),
)
def test_every_number_is_that_of_qlib(
    market: Any, seed: int, strategy: Any, rules: Any, executor: Any, span: Any, benchmark: Any, account: Any
) -> None:
    folder, days, names = market
    first, last = days[span[0]], days[span[0] + span[1]]
    if "codes" in rules:
        rules = {**rules, "codes": names[rules["codes"]]}
    if benchmark == "several":
        benchmark = [BENCHMARK, names[0], names[7]]
    elif benchmark == "series":
        benchmark = pd.Series(np.random.default_rng(seed).normal(0, 0.01, len(days)), days)
    if account == "holdings":
        account = {
            "cash": 1e5,
            names[1]: {"amount": 300.0, "price": 20.0},
            names[5]: {"amount": 50.0, "price": 9.0},
        }
    pred = scores(days, names, seed)
    plan = {
        "class": "TopkDropoutStrategy",
        "module_path": "qlib.contrib.strategy",
        "kwargs": {"signal": pred, **strategy},
    }
    dealer = {"class": "SimulatorExecutor", "module_path": "qlib.backtest.executor", "kwargs": executor}
    arguments: dict[str, Any] = {
        "start_time": first,
        "end_time": last,
        "executor": dealer,
        "benchmark": benchmark,
        "account": account,
        "exchange_kwargs": rules,
    }
    report, positions, daily, orders = on_qlib(seed, strategy=plan, **arguments)
    ours = {**plan, "kwargs": {**plan["kwargs"], "rng": np.random.RandomState(seed)}}
    portfolio, indicators = backtest(strategy=ours, quotes=folder, qlib_compat=True, **arguments)

    table, held = portfolio["1day"]
    assert list(table.columns) == list(report.columns)
    assert table.index.tolist() == report.index.tolist()
    for column in report:
        tolerance = MONEY if column in ("cash", "value") else EXACT
        np.testing.assert_allclose(table[column], report[column], err_msg=column, **tolerance)

    kept = positions_frame(held)
    theirs = pd.DataFrame(
        [
            (day, name, *(position.position[name][key] for key in ("amount", "price", "weight", "count_day")))
            for day, position in positions.items()
            for name in sorted(position.get_stock_list())
        ],
        columns=list(kept.columns),
    )
    # Before the first day Qlib keeps a position too.
    theirs = theirs[theirs["datetime"].isin(report.index)]
    for key in ("datetime", "instrument", "count_day"):
        assert kept[key].tolist() == theirs[key].tolist()
    for column in ("amount", "price", "weight"):
        np.testing.assert_allclose(kept[column], theirs[column], err_msg=column, rtol=1e-9, atol=1e-9)

    summary, indicator = indicators["1day"]
    for column in summary:
        np.testing.assert_allclose(summary[column], daily[column], err_msg=column, rtol=1e-9, atol=1e-9)
    keys = ["datetime", "instrument"]
    mine = indicator.orders.drop_duplicates(keys, keep="last").sort_values(keys)
    other = qlibs_orders(orders, list(mine.columns)).sort_values(keys)
    for key in keys:
        assert mine[key].tolist() == other[key].tolist()
    for column in mine.columns.drop(keys):
        np.testing.assert_allclose(
            mine[column], other[column].astype(float), err_msg=column, rtol=1e-9, atol=1e-9
        )

    from qlib.contrib.evaluate import indicator_analysis as qlibs_indicators
    from qlib.contrib.evaluate import risk_analysis as qlibs_risk

    excess = table["return"] - table["bench"] - table["cost"]
    for mode in ("sum", "product"):
        np.testing.assert_allclose(
            risk_analysis(excess, freq="day", mode=mode)["risk"],  # type: ignore[arg-type]
            qlibs_risk(report["return"] - report["bench"] - report["cost"], freq="day", mode=mode)["risk"],
            rtol=1e-7,
        )
    for method in ("mean", "amount_weighted", "value_weighted"):
        np.testing.assert_allclose(
            indicator_analysis(summary, method)["value"],  # type: ignore[arg-type]
            qlibs_indicators(daily, method)["value"],
            rtol=1e-9,
        )


def test_what_only_qlib_has_runs_on_it_through_the_templates(market: Any, memory_url: str) -> None:
    """Weeks of days: two reports; and the weekly one is what resample_report makes of the daily one."""
    _, days, names = market
    inner = {
        "class": "TopkDropoutStrategy",
        "module_path": "qlib.contrib.strategy",
        "kwargs": {"signal": "<PRED>", "topk": 4, "n_drop": 1},
    }
    simulator = {
        "class": "SimulatorExecutor",
        "module_path": "qlib.backtest.executor",
        "kwargs": {"time_per_step": "day", "generate_portfolio_metrics": True},
    }
    nested = {
        "time_per_step": "week",
        "generate_portfolio_metrics": True,
        "skip_empty_decision": False,
        "inner_executor": simulator,
        "inner_strategy": inner,
    }
    backtest = {
        "start_time": days[4],  # a Tuesday
        "end_time": days[70],
        "account": 1e6,
        "benchmark": BENCHMARK,
        "exchange_kwargs": {"open_cost": 0.01, "close_cost": 0.02, "limit_threshold": 0.095},
    }
    config = {
        "strategy": {"class": "Outer", "module_path": "tests.qlib.outer"},
        "executor": {
            "class": "NestedExecutor",
            "module_path": "qlib.backtest.executor",
            "kwargs": nested,
        },
        "backtest": backtest,
    }
    with aqrec.sync.open_recorder(memory_url) as recorder:
        recorder.save_objects(**{"pred.pkl": scores(days, names, 1)})
        record = templates.PortAnaRecord(recorder, config, risk_analysis_freq=["week", "day", "month"])
        made = record.generate()
        assert made is not None
        weekly, daily = made["report_normal_1week.pkl"], made["report_normal_1day.pkl"]
        resampled = resample_report(daily, "week")
        assert resampled.index.tolist() == weekly.index.tolist()
        for column in weekly:
            np.testing.assert_allclose(
                resampled[column], weekly[column], err_msg=column, rtol=1e-9, atol=1e-9
            )
        excess = weekly["return"] - weekly["bench"] - weekly["cost"]
        figures = recorder.load_object("portfolio_analysis/port_analysis_1week.pkl")
        np.testing.assert_allclose(
            figures.loc["excess_return_with_cost", "risk"], risk_analysis(excess, freq="week")["risk"]
        )
        metrics = recorder.list_metrics()
    assert {key.split(".")[0] for key in metrics} == {"1week", "1day", "1month"}


EXPRESSIONS = [
    *(
        "$close/Ref($close, 1)-1",
        "Delta($close, 3)",
        "Ref($open, -2)",
        "$change>0.01",
        "0.1*$volume",
        "1/$volume",
    ),
    *(f"{name}($volume, {days})" for name in ("Mean", "Sum", "Std", "Max", "Min") for days in (0, 1, 5)),
    *("Abs($change)", "Sign($change)", "Log($volume)", "Not($change>0)", "Power($close, 2)", "-1*$close"),
    *("Greater($open, $close)", "Less($open, $close)", "If($change>0, $open, $close)", "If($open>20, 1, 0)"),
    *("Add($open, 1)", "Sub($open, $close)", "Mul($open, $close)", "Div($open, $close)", "Eq($factor, 1)"),
    *("Gt($open, $close)", "Ge($open, $close)", "Lt($open, $close)", "Le($open, $close)", "Ne($open, 0)"),
    *("And($change>0, $open>20)", "Or($change>0, $open>20)", "($change>0.01) & ($open>20)"),
    *("($change>0.01) | ($open>20)", "Mean(Abs($change), 3)*$volume", "Max(Ref($close, 1), 2) < $close"),
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expressions_have_the_values_of_qlib(market: Any, expression: str) -> None:
    from qlib.data import D

    folder, days, names = market
    table = D.features(names, [expression], days[0], days[-1])[expression]
    expected = table.unstack("instrument").reindex(index=days, columns=names).to_numpy(dtype=np.float64)
    quotes = read_quotes(folder, instruments=names, fields=sorted({*FIELDS, *fields_of(expression)}))
    values = evaluate(quotes, expression)[:, [quotes.columns[name] for name in names]]
    np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-12)
