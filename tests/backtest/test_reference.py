"""The fast code against the slow: random prices with limits, suspensions, lots and volume caps, number for number."""

from typing import Any

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from aqrec.backtest import TopkDropoutStrategy, backtest, positions_frame

from .reference import Reference

SETTINGS = settings(deadline=None)
FEWER = settings(deadline=None, max_examples=max(10, settings.default.max_examples // 4))
TOLERANCE = {"rtol": 1e-9, "atol": 1e-7}
Made = tuple[pd.DataFrame, list[pd.Timestamp], pd.Series]

OPTIONS = st.fixed_dictionaries(
    {
        "topk": st.integers(1, 6),
        "n_drop": st.integers(0, 4),
        "hold_thresh": st.integers(1, 3),
        "only_tradable": st.booleans(),
        "forbid_all_trade_at_limit": st.booleans(),
        "risk_degree": st.sampled_from([0.95, 1.0, 0.4]),
        "deal_price": st.sampled_from([("$close", "$close"), ("$open", "$open"), ("$open", "$close")]),
        "limit": st.sampled_from([None, 0.095, 0.04]),
        "caps": st.sampled_from(
            [
                {},
                {"all": ("current", 0.1)},
                {"all": ("cum", 0.15), "buy": ("current", 0.05)},
                {"sell": ("cum", 0.02)},
            ]
        ),
        "unit": st.sampled_from([100, 1, None]),
        "open_cost": st.sampled_from([0.0005, 0.01]),
        "close_cost": st.sampled_from([0.0015, 0.02]),
        "min_cost": st.sampled_from([5, 0, 300]),
        "impact_cost": st.sampled_from([0, 0.1]),
        "settle": st.booleans(),
        "parallel": st.booleans(),
        "compat": st.booleans(),
    }
)


def prices(seed: int, days: int = 24, names: int = 9) -> Made:
    """A table in a shuffled order, its days, and scores with gaps, ties and NaN."""
    rng = np.random.default_rng(seed)
    calendar = list(pd.bdate_range("2021-03-01", periods=days))
    codes = [f"S{i:02d}" for i in range(names)]
    index = pd.MultiIndex.from_product([calendar, codes], names=["datetime", "instrument"])
    change = rng.choice([0.01, -0.02, 0.03, 0.0951, -0.0951, 0.05], (days, names)) * rng.choice(
        [1, 0.5], (days, names)
    )
    close = 10 * np.exp(np.cumsum(change, axis=0)) * rng.uniform(0.5, 3, names)
    frame = pd.DataFrame(
        {
            "$open": (close * rng.uniform(0.98, 1.02, close.shape)).ravel(),
            "$close": close.ravel(),
            "$volume": rng.integers(0, 60_000, close.size),
            "$factor": np.repeat(rng.uniform(0.2, 2, (1, names)), days, axis=0).ravel(),
            "$change": change.ravel(),
        },
        index=index,
        dtype=np.float32,
    )
    frame.loc[rng.random(len(frame)) < 0.08, :] = np.nan
    frame.loc[rng.random(len(frame)) < 0.04, "$open"] = rng.choice([0, np.nan])
    frame = frame[rng.random(len(frame)) < 0.96].reset_index().sample(frac=1, random_state=seed)
    scores = pd.Series(rng.integers(0, 12, len(index)).astype(float), index, name="score")
    scores[rng.random(len(scores)) < 0.05] = np.nan
    scores = scores[rng.random(len(scores)) < 0.95]
    silent = rng.choice(days, 2, replace=False)
    scores = scores[~scores.index.get_level_values(0).isin([calendar[i] for i in silent])]
    return frame, calendar, scores


def fast(made: Made, o: dict[str, Any], span: slice, cash: float) -> Any:
    frame, days, scores = made
    return backtest(
        days[span.start],
        days[span.stop - 1],
        TopkDropoutStrategy(
            signal=scores,
            topk=o["topk"],
            n_drop=o["n_drop"],
            hold_thresh=o["hold_thresh"],
            only_tradable=o["only_tradable"],
            forbid_all_trade_at_limit=o["forbid_all_trade_at_limit"],
            risk_degree=o["risk_degree"],
            qlib_compat=o["compat"],
        ),
        {
            "class": "SimulatorExecutor",
            "kwargs": {
                "settle_type": "cash" if o["settle"] else "None",
                "trade_type": "parallel" if o["parallel"] else "serial",
            },
        },
        account=cash,
        exchange_kwargs={
            "deal_price": o["deal_price"],
            "limit_threshold": float("inf") if o["limit"] is None else o["limit"],
            "volume_threshold": {
                side: (kind, f"{share}*$volume") for side, (kind, share) in o["caps"].items()
            },
            "trade_unit": o["unit"],
            **{key: o[key] for key in ("open_cost", "close_cost", "min_cost", "impact_cost")},
        },
        quotes=frame.astype({name: np.float64 for name in frame.columns if name.startswith("$")}),
    )


@SETTINGS
@given(
    seed=st.integers(0, 10_000),
    options=OPTIONS,
    start=st.integers(0, 4),
    cash=st.sampled_from([1e6, 2e4, 900.0]),
)
def test_every_number_is_that_of_the_slow_rules(seed: int, options: Any, start: int, cash: float) -> None:
    frame, days, scores = made = prices(seed)
    span = slice(start, len(days) - 1)
    caps = {
        side: [rule for name, rule in options["caps"].items() if name in ("all", side)]
        for side in ("buy", "sell")
    }
    report, holdings, orders = Reference(frame, days, scores, **{**options, "caps": caps}).run(
        span.start, span.stop, cash
    )
    portfolio, indicators = fast(made, options, span, cash)
    actual, positions = portfolio["1day"]
    expected = pd.DataFrame(report)
    for column in expected:
        np.testing.assert_allclose(actual[column], expected[column], err_msg=column, **TOLERANCE)
    held = positions_frame(positions)
    assert list(zip(held["datetime"], held["instrument"], held["count_day"], strict=True)) == [
        (day, stock, count) for day, stock, *_, count in holdings
    ]
    for place, column in enumerate(("amount", "price", "weight"), 2):
        np.testing.assert_allclose(held[column], [row[place] for row in holdings], **TOLERANCE)
    dealt = indicators["1day"][1].orders
    assert list(zip(dealt["datetime"], dealt["instrument"], dealt["trade_dir"], strict=True)) == [
        (day, stock, int(side == "buy")) for day, stock, side, *_ in orders
    ]
    sign = np.where(dealt["trade_dir"] == 1, 1.0, -1.0)
    for column, place, signed in (
        ("amount", 3, True),
        ("deal_amount", 4, True),
        ("trade_price", 5, False),
        ("trade_value", 6, True),
        ("trade_cost", 7, False),
    ):
        values = dealt[column] * sign if signed else dealt[column]
        np.testing.assert_allclose(values, [row[place] for row in orders], err_msg=column, **TOLERANCE)


@FEWER
@given(seed=st.integers(0, 10_000), options=OPTIONS)
def test_money_and_shares_are_neither_made_nor_lost(seed: int, options: Any) -> None:
    made = prices(seed)
    cash = 2e5
    portfolio, indicators = fast(made, options, slice(1, 23), cash)
    report, positions = portfolio["1day"]
    orders = indicators["1day"][1].orders
    spent = (orders["trade_value"] + orders["trade_cost"]).groupby(orders["datetime"]).sum()
    spent = spent.reindex(report.index, fill_value=0.0).cumsum()
    held = pd.Series([day.cash + (day.cash_delay or 0.0) for day in positions.values()], index=report.index)
    np.testing.assert_allclose(held, cash - spent, rtol=1e-9, atol=1e-6)
    # Two ways to overdraw are in the rules. Rounding to lots counts a tenth of a share as a whole one; and market impact
    # can make a sale cost more than it brings, which with delayed settlement is paid on the next day.
    dealt = orders[orders["trade_value"] != 0]
    dearest = (dealt["trade_cost"] / dealt["trade_value"].abs()).max() if len(dealt) else 0.0
    share = 0.0 if options["unit"] is None else 0.1 * (made[0]["$close"] / made[0]["$factor"]).max() * 1.03
    owed = -(-dealt["trade_value"] - dealt["trade_cost"])[dealt["trade_dir"] == 0].clip(upper=0.0).sum()
    overdraft = share * (1 + dearest) * options["topk"] + (owed if options["settle"] else 0.0)
    assert (report["cash"] > -1e-6 - overdraft).all()
    np.testing.assert_allclose(report["account"], held + report["value"], rtol=1e-12)
    traded = orders.pivot_table(
        index="datetime", columns="instrument", values="deal_amount", aggfunc="sum", observed=True
    )
    owned = positions_frame(positions).pivot_table(index="datetime", columns="instrument", values="amount")
    sums = traded.reindex(report.index).fillna(0.0).cumsum() if len(traded) else traded
    for name in owned:
        np.testing.assert_allclose(
            owned[name].reindex(report.index).fillna(0.0), sums[name], rtol=1e-6, atol=1e-3
        )
    assert (orders["deal_amount"].abs() <= orders["amount"].abs() * (1 + 1e-5) + 1 / 0.2).all()


@FEWER
@given(seed=st.integers(0, 10_000), options=OPTIONS)
def test_the_order_of_rows_does_not_matter(seed: int, options: Any) -> None:
    frame, days, scores = prices(seed)
    one = fast((frame, days, scores), options, slice(1, 23), 1e5)
    mixed = frame.sample(frac=1, random_state=1)
    shuffled = scores.sample(frac=1, random_state=2).swaplevel()
    two = fast((mixed, days, shuffled), options, slice(1, 23), 1e5)
    pd.testing.assert_frame_equal(one[0]["1day"][0], two[0]["1day"][0], check_exact=True)
    pd.testing.assert_frame_equal(one[1]["1day"][1].orders, two[1]["1day"][1].orders, check_exact=True)


@FEWER
@given(seed=st.integers(0, 10_000), options=OPTIONS)
def test_the_future_does_not_matter(seed: int, options: Any) -> None:
    made = prices(seed)
    long, short = fast(made, options, slice(1, 23), 1e5), fast(made, options, slice(1, 12), 1e5)
    pd.testing.assert_frame_equal(
        long[0]["1day"][0].iloc[:11], short[0]["1day"][0], check_exact=True, check_freq=False
    )
