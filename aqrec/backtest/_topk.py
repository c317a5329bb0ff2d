"""Topk-Dropout: hold the best by score, and replace some of the worst each day."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from aqrec._checks import check_arguments, flag, generator, number, one_of, or_none, whole
from aqrec.errors import InvalidInputError

from ._orders import Order
from ._step import Step

__all__ = ["TopkDropoutStrategy"]

Columns = npt.NDArray[np.intp]

_RULES = {
    **dict.fromkeys(("topk", "n_drop", "hold_thresh"), whole(0)),
    "method_sell": one_of("bottom", "random"),
    "method_buy": one_of("top", "random"),
    **dict.fromkeys(("only_tradable", "forbid_all_trade_at_limit", "qlib_compat"), flag),
    "risk_degree": number(0, 1),
    "rng": or_none(generator),
}


class TopkDropoutStrategy:
    """Hold `topk` instruments; each day sell at most `n_drop` of the worst and buy as many of the best others.

    On each day that has a signal: candidates are the best instruments that are not held, as many as there is room for and
    `n_drop` more. Of the holdings and the candidates together, ordered by score, those holdings are sold that are among the
    last `n_drop`. Then the first candidates are bought, as many as were to be sold and as there is room for, each for the
    same share of `risk_degree` of the cash.

    Equal scores rank by name, ascending; a holding without a score comes last.

    Parameters
    ----------
    signal
        Series or DataFrame (its first column counts) of scores with a MultiIndex (datetime, instrument); or a pair of a
        model and a data set, whose ``model.predict(dataset)`` gives them. The scores of a day are traded on the next.
    topk
        How many instruments to hold.
    n_drop
        How many to replace each day.
    method_sell
        "bottom": as above. "random": any `n_drop` of the holdings, or all if there are fewer.
    method_buy
        "top": as above. "random": any of the first `topk` that are not held.
    hold_thresh
        A holding is not sold before it was there at so many ends of days.
    only_tradable
        Candidates and sales are chosen among the instruments that can be traded today.
    forbid_all_trade_at_limit
        An instrument at either limit is not traded at all. Otherwise it can be bought at the lower limit and sold at the
        upper one.
    risk_degree
        Share of the cash to spend, 0 to 1.
    rng
        Where the random methods draw from: a `numpy.random.Generator`, a `numpy.random.RandomState`, or a seed for a
        Generator, which then begins anew in each backtest. They draw as Qlib does: a RandomState draws what it would.
    qlib_compat
        Count as Qlib does where a list would have to have a negative or no length: with ``n_drop=0`` all holdings are sold
        ("bottom"), and with more than ``topk + n_drop`` holdings all candidates but the last few are bought.
        Otherwise none are.

    Raises
    ------
    InvalidInputError
        An argument has no meaning, or a random method has no `rng`.
    """

    def __init__(
        self,
        *,
        signal: Any,
        topk: int,
        n_drop: int,
        method_sell: Literal["bottom", "random"] = "bottom",
        method_buy: Literal["top", "random"] = "top",
        hold_thresh: int = 1,
        only_tradable: bool = False,
        forbid_all_trade_at_limit: bool = True,
        risk_degree: float = 0.95,
        rng: np.random.Generator | np.random.RandomState | int | None = None,
        qlib_compat: bool = False,
    ) -> None:
        check_arguments(_RULES, locals())
        if rng is None and "random" in (method_sell, method_buy):
            raise InvalidInputError("a random method needs rng: a seed or a numpy Generator")
        self.signal = signal
        self.topk = int(topk)
        self.n_drop = int(n_drop)
        self.method_sell = method_sell
        self.method_buy = method_buy
        self.hold_thresh = int(hold_thresh)
        self.only_tradable = bool(only_tradable)
        self.forbid_all_trade_at_limit = bool(forbid_all_trade_at_limit)
        self.risk_degree = float(risk_degree)
        self.rng: Any = rng
        self.qlib_compat = bool(qlib_compat)
        self._draws: Any = rng

    def generate_orders(self, step: Step) -> Sequence[Order]:
        """Return the sales, by name, and then the purchases, best first."""
        scores, scored = step.scores, step.scored
        if step.number == 0 and isinstance(self.rng, Integral):
            self._draws = np.random.default_rng(int(self.rng))
        if scores is None or scored is None:
            return []
        ranking = np.argsort(-scores, kind="stable")
        held = ranking[step.held[ranking]]
        wanted = self.topk - len(held)
        candidates = self._candidates(step, ranking, scored, wanted + self.n_drop)
        selling = self._selling(step, ranking, held, candidates)
        orders, cash = self._sales(step, np.sort(selling))
        buying = candidates[: self._length(len(selling) + wanted)]
        if len(buying):
            # Rounding can leave the cash a trifle below 0.
            money = cash if self.qlib_compat else max(cash, 0.0)
            orders += self._purchases(step, buying, money * self.risk_degree / len(buying))
        return orders

    def _length(self, count: int) -> int:
        return count if self.qlib_compat else max(count, 0)

    def _first(self, step: Step, columns: Columns, count: int) -> Columns:
        """Return the first `count` that may be chosen."""
        if not self.only_tradable:
            return columns[: self._length(count)]
        tradable = columns[step.tradable()[columns]]
        return tradable[: max(count, 1 if self.qlib_compat else 0)]

    def _last(self, step: Step, columns: Columns, count: int) -> Columns:
        """Return the last `count` that may be chosen."""
        if self.only_tradable:
            return self._first(step, columns[::-1], count)
        if count == 0:
            return columns if self.qlib_compat else columns[:0]
        return columns[-count:]

    def _candidates(self, step: Step, ranking: Columns, scored: npt.NDArray[np.bool_], count: int) -> Columns:
        if self.method_buy == "top":
            free = scored & ~step.held
            return self._first(step, ranking[free[ranking]], count)
        best = self._first(step, ranking[scored[ranking]], self.topk)
        others: Columns = best[~step.held[best]]
        if 0 <= count <= len(others):
            return self._draw(others, count)
        return others if count > 0 or self.qlib_compat else others[:0]

    def _selling(self, step: Step, ranking: Columns, held: Columns, candidates: Columns) -> Columns:
        """Return the holdings to be sold."""
        if self.method_sell == "random":
            choice = held[step.tradable()[held]] if self.only_tradable else held
            return choice if self.n_drop > len(choice) else self._draw(choice, self.n_drop)
        together = step.held.copy()
        together[candidates] = True
        worst = self._last(step, ranking[together[ranking]], self.n_drop)
        return worst[step.held[worst]]

    def _draw(self, columns: Columns, count: int) -> Columns:
        if not len(columns):
            return columns
        drawn: Columns = columns[self._draws.choice(len(columns), count, replace=False)]
        return drawn

    def _direction(self, direction: int) -> int | None:
        return None if self.forbid_all_trade_at_limit else direction

    def _sales(self, step: Step, selling: Columns) -> tuple[list[Order], float]:
        """Return the orders, and the cash there will be."""
        cash = step.cash
        orders: list[Order] = []
        tradable = step.tradable(self._direction(Order.SELL)) & step.tradable(Order.SELL)
        for column in selling.tolist():
            if not tradable[column] or step.holding_days[column] < self.hold_thresh:
                continue
            amount = step.amounts.item(column)
            orders.append(Order(step.instruments[column], amount, Order.SELL))
            fill = step.trial(column, amount, Order.SELL, cash)
            if fill.value > 1e-5:
                cash += fill.value - fill.cost
        return orders, cash

    def _purchases(self, step: Step, buying: Columns, money: float) -> list[Order]:
        tradable = step.tradable(self._direction(Order.BUY))
        prices = step.prices(Order.BUY)
        return [
            Order(
                step.instruments[column],
                step.round_amount(column, money / prices.item(column)),
                Order.BUY,
            )
            for column in buying.tolist()
            if tradable[column]
        ]
