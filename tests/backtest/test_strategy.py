"""Topk-Dropout day by day, on tables small enough to follow; and strategies of one's own."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from aqrec.analysis import risk_analysis
from aqrec.backtest import Order, Step, TopkDropoutStrategy, backtest
from aqrec.errors import InvalidInputError, UnknownInstrumentsWarning

from .golden import case, prediction, table
from .golden import market as golden_market
from .small import FREE, days, held, market, scores

FLAT = [[10.0] * 5] * 6
BEST_FIRST = {"A": 5.0, "B": 4.0, "C": 3.0, "D": 2.0, "E": 1.0}
WORST_FIRST = {name: -score for name, score in BEST_FIRST.items()}


def run(signal: Any, quotes: Any = None, account: Any = 1000.0, **keywords: Any) -> Any:
    quotes = market(FLAT) if quotes is None else quotes
    return backtest(
        days(6)[0],
        days(6)[len(quotes.days) - 1],
        TopkDropoutStrategy(signal=signal, **keywords),
        account=account,
        exchange_kwargs=FREE,
        quotes=quotes,
    )[0]


def test_the_best_are_bought_on_the_next_day_and_the_worst_are_replaced() -> None:
    signal = scores([BEST_FIRST, BEST_FIRST, WORST_FIRST, WORST_FIRST])
    assert held(run(signal, topk=2, n_drop=1)) == ["", "AB", "AB", "BE", "DE", "DE"]


def test_the_last_day_of_the_quotes_can_be_traded() -> None:
    signal = scores([{}] * 4 + [BEST_FIRST])
    assert held(run(signal, topk=2, n_drop=1))[-1] == "AB"


def test_equal_scores_rank_by_name() -> None:
    signal = scores([dict.fromkeys("EDCBA", 1.0)])
    assert held(run(signal, topk=3, n_drop=1))[1] == "ABC"


def test_without_dropping_nothing_is_sold_but_in_qlib_everything() -> None:
    signal = scores([BEST_FIRST, WORST_FIRST, WORST_FIRST])
    assert held(run(signal, topk=2, n_drop=0)) == ["", "AB", "AB", "AB", "AB", "AB"]
    assert held(run(signal, topk=2, n_drop=0, qlib_compat=True))[:4] == ["", "AB", "", "DE"]


@pytest.mark.parametrize("only_tradable", [False, True])
def test_with_too_many_holdings_none_are_bought_but_in_qlib_all_but_a_few(only_tradable: bool) -> None:
    account = {"cash": 100.0, **{name: {"amount": 1.0, "price": 10.0} for name in "ABC"}}
    quotes = market([[10.0] * 7] * 6)
    signal = scores([dict(zip("ABCDEFG", range(7, 0, -1), strict=True))] * 2)
    keywords = {"topk": 1, "n_drop": 1, "hold_thresh": 9, "only_tradable": only_tradable}
    mended = run(signal, quotes, account, **keywords)
    assert held(mended)[1] == "ABC"
    compat = run(signal, quotes, account, **keywords, qlib_compat=True)
    assert held(compat)[1] == ("ABC" if only_tradable else "ABCD")


def test_a_holding_is_kept_for_some_days_while_its_successor_is_bought() -> None:
    signal = scores([BEST_FIRST, WORST_FIRST, WORST_FIRST, WORST_FIRST])
    assert held(run(signal, topk=1, n_drop=1, hold_thresh=3)) == ["", "A", "AE", "AE", "E", "E"]


def test_a_suspended_choice_is_skipped_unless_only_the_tradable_are_looked_at() -> None:
    close = [row[:] for row in FLAT]
    close[1][0] = float("nan")
    signal = scores([BEST_FIRST])
    assert held(run(signal, market(close), topk=2, n_drop=1))[1] == "B"
    assert held(run(signal, market(close), topk=2, n_drop=1, only_tradable=True))[1] == "BC"


def test_a_holding_without_a_score_goes_first() -> None:
    signal = scores([BEST_FIRST, {"A": 5.0, "C": 1.0, "D": 1.0}])
    assert held(run(signal, topk=2, n_drop=1))[2] == "AC"


def test_scores_of_names_that_have_no_price_take_their_place_in_vain() -> None:
    signal = scores([{"Z": 9.0, **BEST_FIRST}])
    with pytest.warns(UnknownInstrumentsWarning, match="1 of the 6 instruments of the signal"):
        assert held(run(signal, topk=2, n_drop=1))[1] == "A"


def test_random_methods_repeat_with_their_seed_and_can_share_a_generator() -> None:
    signal = scores([BEST_FIRST] * 5)
    keywords: dict[str, Any] = {"topk": 3, "n_drop": 2, "method_buy": "random", "method_sell": "random"}
    strategy = TopkDropoutStrategy(signal=signal, rng=3, **keywords)
    arguments: dict[str, Any] = {"account": 1e3, "exchange_kwargs": FREE, "quotes": market(FLAT)}
    first, again = (backtest(None, None, strategy, **arguments)[0] for _ in range(2))
    assert held(first) == held(again)
    assert held(run(signal, rng=np.int64(3), **keywords)) == held(first)
    others = [held(run(signal, rng=seed, **keywords)) for seed in range(20)]
    assert len({tuple(other) for other in others}) > 2
    generator = np.random.default_rng(0)
    shared = [held(run(signal, rng=generator, **keywords)) for _ in range(20)]
    assert len({tuple(other) for other in shared}) > 2


def test_drawing_needs_a_generator() -> None:
    with pytest.raises(InvalidInputError, match="rng"):
        TopkDropoutStrategy(signal=scores([BEST_FIRST]), topk=2, n_drop=1, method_sell="random")


@pytest.mark.parametrize(
    ("keywords", "match"),
    [
        ({"topk": -1}, "topk"),
        ({"topk": 2.5}, "topk"),
        ({"n_drop": True}, "n_drop"),
        ({"hold_thresh": "2"}, "hold_thresh"),
        ({"method_buy": "bottom"}, "method_buy"),
        ({"method_sell": "top"}, "method_sell"),
        ({"risk_degree": 1.2}, "risk_degree"),
        ({"risk_degree": "0.95"}, "risk_degree must be a finite number from 0 to 1, not '0.95'"),
        ({"only_tradable": "false"}, "only_tradable must be True or False, not 'false'"),
        ({"forbid_all_trade_at_limit": 0}, "forbid_all_trade_at_limit"),
        ({"qlib_compat": None}, "qlib_compat"),
        ({"rng": False}, "rng must be a seed"),
        ({"rng": -1}, "rng must be a seed"),
        ({"rng": "3"}, "rng must be a seed"),
        ({"topk": 0.5, "n_drop": "1"}, "topk must be .*; n_drop must be"),
    ],
)
def test_what_has_no_meaning_is_refused(keywords: Any, match: str) -> None:
    with pytest.raises(InvalidInputError, match=match):
        TopkDropoutStrategy(**{"signal": scores([BEST_FIRST]), "topk": 2, "n_drop": 1, **keywords})


def test_the_signal_may_come_from_a_model_and_its_data_set() -> None:
    class Model:
        def predict(self, dataset: Any) -> pd.Series:
            return scores(dataset)

    assert held(run((Model(), [BEST_FIRST]), topk=1, n_drop=1))[1] == "A"


def test_the_last_score_of_a_day_counts() -> None:
    plain = scores([BEST_FIRST])
    late = scores([WORST_FIRST])
    late.index = late.index.set_levels(late.index.levels[0] + pd.Timedelta(hours=15), level=0)
    silent = pd.Series(np.nan, late.index).rename(lambda day: day + pd.Timedelta(hours=1), level=0)
    both = pd.concat([silent, late, plain]).rename_axis(["datetime", "instrument"])
    assert held(run(both, topk=1, n_drop=1))[1] == "E"


@pytest.mark.parametrize(
    ("signal", "match"),
    [
        ([1, 2, 3], "Series or DataFrame"),
        (pd.Series([1.0], name="score"), "indexed by"),
        (scores([BEST_FIRST]).astype(str), "numbers"),
        (scores([BEST_FIRST]).iloc[:0], "no rows"),
        (scores([BEST_FIRST]).to_frame()[[]], "no columns"),
    ],
)
def test_a_signal_that_is_none_is_refused(signal: Any, match: str) -> None:
    with pytest.raises(InvalidInputError, match=match):
        backtest(None, None, TopkDropoutStrategy(signal=signal, topk=1, n_drop=1), quotes=market(FLAT))


class EqualWeights:
    """Buys two names on the first day, and sells what has doubled."""

    def generate_orders(self, step: Step) -> Iterable[Order]:
        assert step.scores is None
        if step.number == 0:
            for column in (0, 2):
                amount = step.round_amount(column, 0.5 * step.cash / step.prices(Order.BUY)[column])
                yield Order(step.instruments[column], amount, Order.BUY)
        doubled = step.held & (step.prices(Order.SELL) >= 20.0) & step.tradable(Order.SELL)
        for column in np.flatnonzero(doubled):
            yield Order(step.instruments[column], step.amounts[column], Order.SELL)


def test_a_strategy_of_ones_own_is_any_object_with_generate_orders() -> None:
    quotes = market([[10.0, 10.0, 10.0], [12.0, 10.0, 20.0], [20.0, 10.0, 9.0]])
    portfolio, indicators = backtest(
        days(3)[0], days(3)[-1], EqualWeights(), account=1000.0, exchange_kwargs=FREE, quotes=quotes
    )
    assert held(portfolio) == ["AC", "A", ""]
    assert portfolio["1day"][0]["account"].tolist() == [1000.0, 1600.0, 2000.0]
    assert indicators["1day"][0]["count"].tolist() == [2, 1, 1]


@pytest.mark.parametrize(
    ("order", "match"),
    [
        (Order("Z", 1.0, Order.BUY), "'Z'"),
        (Order("A", -1.0, Order.BUY), "not negative"),
        (Order("A", float("nan"), Order.SELL), "finite"),
        (Order("A", 1.0, 2), "Order.BUY or Order.SELL"),  # type: ignore[arg-type]
    ],
)
def test_an_order_that_cannot_be_meant_is_refused(order: Order, match: str) -> None:
    class Wrong:
        def generate_orders(self, step: Step) -> list[Order]:
            return [order]

    with pytest.raises(InvalidInputError, match=match):
        backtest(days(6)[0], days(6)[1], Wrong(), quotes=market(FLAT), exchange_kwargs=FREE)


@pytest.mark.parametrize(
    ("made", "match"),
    [(None, "gave None on 2024-01-0"), ([("A", 1, 1)], r"gave \('A', 1, 1\) on"), (5, "or an empty list")],
)
def test_what_is_no_order_is_refused(made: Any, match: str) -> None:
    class Own:
        def generate_orders(self, step: Step) -> Any:
            return made

    with pytest.raises(InvalidInputError, match=match):
        backtest(days(6)[0], days(6)[2], Own(), account=1000.0, exchange_kwargs=FREE, quotes=market(FLAT))


def test_several_passes_over_a_shuffled_first_day_are_those_of_qlib() -> None:
    facts = case("g01_syn40_default")
    draws = np.random.RandomState(facts["multipass"]["np_seed"])
    groups: dict[str, list[pd.Series]] = {}
    for _ in range(facts["multipass"]["pass_num"]):
        pred = prediction("g01_syn40_default").copy()
        first = pred.index.get_level_values("datetime") == pred.index.get_level_values("datetime").min()
        values = pred.loc[first, "score"].to_numpy().copy()
        draws.shuffle(values)
        pred.loc[first, "score"] = values
        portfolio, _ = backtest(
            **facts["backtest"], strategy=facts["strategy"], quotes=golden_market("syn40"), pred=pred
        )
        report = portfolio["1day"][0]
        excess = report["return"] - report["bench"]
        for group, returns in (("without", excess), ("with", excess - report["cost"])):
            groups.setdefault(f"excess_return_{group}_cost", []).append(risk_analysis(returns)["risk"])
    expected = table("g01_syn40_default/multi_pass_port_analysis.parquet").set_index(["group", "measure"])
    for group, passes in groups.items():
        figures = pd.DataFrame(passes)
        for measure in ("annualized_return", "information_ratio"):
            row = expected.loc[(group, measure)]
            mean, std = figures[measure].mean(), figures[measure].std()
            np.testing.assert_allclose([mean, std, mean / std], row[["mean", "std", "mean_std"]], rtol=1e-9)


def test_overdrawn_by_rounding_nothing_is_bought() -> None:
    # A lot short by a tenth of a share counts as whole: the purchase costs 0.9 more than there is.
    quotes = market([[10.0, 1.0]] * 3, factor=[[1.0, 1.0]] * 3)
    signal = scores([{"A": 1.0}, {"B": 2.0, "A": 1.0}])
    for compat in (False, True):
        portfolio, indicators = backtest(
            *(quotes.days[1], quotes.days[2]),
            TopkDropoutStrategy(
                signal=signal, topk=2, n_drop=1, risk_degree=1.0, hold_thresh=5, qlib_compat=compat
            ),
            account=99.1,
            exchange_kwargs={**FREE, "trade_unit": 1},
            quotes=quotes,
        )
        assert portfolio["1day"][0]["cash"].tolist() == pytest.approx([-0.9] * 2)
        amounts = indicators["1day"][1].orders["amount"].tolist()
        assert amounts[:1] == [10.0]
        assert all((amount <= 0.0) for amount in amounts[1:])
        assert any(amount < 0.0 for amount in amounts) == compat
