"""Dealing a day's orders, and keeping the books."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from aqrec._checks import check_arguments, check_keys, flag, one_of, or_none, shown
from aqrec.errors import InvalidValueError

from ._exchange import Exchange
from ._orders import Order
from ._patience import giving_way
from ._results import History
from ._signal import Signal
from ._step import Book, Step, Strategy

__all__ = ["SimulatorExecutor"]

_RULES = {
    "time_per_step": one_of("day", "1day"),
    **dict.fromkeys(("generate_portfolio_metrics", "verbose", "track_data"), flag),
    "trade_type": one_of("serial", "parallel"),
    "settle_type": or_none(one_of("None", "cash")),
}
_AVERAGES = ("ffr_config", "pa_config")
_INDICATOR_RULES = {
    "weight_method": one_of("mean", "amount_weighted", "value_weighted"),
    "base_price": one_of("twap", "vwap"),
    "show_indicator": flag,
}


class SimulatorExecutor:
    """Deals each day's orders at once and in full, as far as the exchange lets it.

    Parameters
    ----------
    time_per_step
        "day": the only one.
    generate_portfolio_metrics
        Accepted as in Qlib; the report is always made.
    trade_type
        "serial": orders are dealt as the strategy gave them. "parallel": purchases first, so that the day's sales do not pay
        for them.
    settle_type
        "None": the proceeds of a sale can be spent at once. "cash": from the next day on.
    indicator_config
        ``{"ffr_config": {"weight_method": …}, "pa_config": {"weight_method": …}}`` with "mean", "amount_weighted" or
        "value_weighted": how a day's indicators are averaged over its orders. Qlib's ``show_indicator``, and ``base_price``
        in ``pa_config``, are accepted and change nothing: a day's price is its own measure.

    Raises
    ------
    InvalidInputError
        An argument has no meaning here.
    """

    def __init__(
        self,
        *,
        time_per_step: str = "day",
        generate_portfolio_metrics: bool = True,
        trade_type: Literal["serial", "parallel"] = "serial",
        settle_type: Literal["None", "cash"] | None = None,
        indicator_config: Mapping[str, Any] | None = None,
        verbose: bool = False,
        track_data: bool = False,
    ) -> None:
        check_arguments(_RULES, locals())
        del generate_portfolio_metrics, verbose, track_data
        self.parallel = trade_type == "parallel"
        self.settles_later = settle_type == "cash"
        self.weights = _weights(indicator_config)

    def run(
        self, exchange: Exchange, strategy: Strategy, signal: Signal | None, book: Book, bars: range
    ) -> History:
        """Run the strategy over these days of the exchange, and change the book with it."""
        history = History(exchange, bars, settles_later=self.settles_later)
        # Overdrawn by rounding, Qlib orders negative amounts, of which nothing is dealt.
        least = -math.inf if getattr(strategy, "qlib_compat", False) else 0.0
        give_way = giving_way()
        for number, bar in enumerate(bars):
            give_way()
            yesterday = exchange.span.start + bar - 1
            if signal is not None and yesterday >= 0 and signal.days[yesterday]:
                step = Step(exchange, book, bar, number, signal.scores[yesterday], signal.scored[yesterday])
            else:
                step = Step(exchange, book, bar, number, None, None)
            orders = _listed(strategy.generate_orders(step), step)
            if orders:
                _check(orders, exchange, least)
                self._deal(exchange, number, bar, orders, book, history)
            _revalue(exchange, bar, book)
            history.end_of_day(book)
            book.cash += book.delayed
            book.delayed = 0.0
        return history

    def _deal(
        self, exchange: Exchange, number: int, bar: int, orders: Sequence[Order], book: Book, history: History
    ) -> None:
        if self.parallel:
            orders = sorted(orders, key=lambda order: -order.direction)
        columns = exchange.market.columns
        dealt: dict[int, float] = {}
        for order in orders:
            column = columns[order.instrument]
            held = book.amount.item(column)
            already = dealt.get(column, 0.0)
            direction = order.direction
            fill = exchange.deal(
                bar, column, order.amount, direction, cash=book.cash, held=held, dealt=already
            )
            if fill.value > 1e-5:
                amount = fill.value / fill.price
                if direction == Order.BUY:
                    _buy(book, column, amount, fill.price)
                    book.cash -= fill.value + fill.cost
                else:
                    _sell(book, column, held, amount)
                    if self.settles_later:
                        book.delayed += fill.value - fill.cost
                    else:
                        book.cash += fill.value - fill.cost
            dealt[column] = already + fill.amount
            history.order(number, column, order, fill)


def _weights(config: Any) -> tuple[str, ...]:
    """Return how the fulfilment rate and the price advantage are averaged."""
    given = {} if config is None else config
    check_keys("indicator_config", given, (*_AVERAGES, "show_indicator"))
    check_arguments(_INDICATOR_RULES, given, "indicator_config: ")
    methods: list[str] = []
    for name in _AVERAGES:
        part = given.get(name, {})
        check_keys(f"indicator_config: {name}", part, {"weight_method", "base_price"})
        check_arguments(_INDICATOR_RULES, part, f"indicator_config: {name}: ")
        methods.append(part.get("weight_method", "mean"))
    return tuple(methods)


def _listed(orders: Any, step: Step) -> list[Order]:
    """Return what a strategy ordered, if it is orders: it may be anybody's code."""
    found: list[Any] | None = list(orders) if isinstance(orders, Iterable) else None
    wrong = [orders] if found is None else [order for order in found if not isinstance(order, Order)]
    if found is None or wrong:
        raise InvalidValueError(
            f"generate_orders gave {shown(wrong[0])} on {step.day:%Y-%m-%d}; return or yield Order(instrument, amount, "
            "direction) objects, or an empty list"
        )
    return found


def _check(orders: Iterable[Order], exchange: Exchange, least: float) -> None:
    columns = exchange.market.columns
    for order in orders:
        if order.instrument not in columns:
            raise InvalidValueError(
                f"the strategy orders {order.instrument!r}, which is neither in the quotes nor in the signal"
            )
        if not least <= order.amount < math.inf or order.direction not in (Order.BUY, Order.SELL):
            raise InvalidValueError(
                f"{order!r}: an order needs a finite amount that is not negative, and Order.BUY or Order.SELL"
            )


def _buy(book: Book, column: int, amount: float, price: float) -> None:
    if book.held[column]:
        book.amount[column] += amount
    else:
        book.held[column] = True
        book.amount[column] = amount
        book.price[column] = price
        book.days[column] = 0


def _sell(book: Book, column: int, held: float, amount: float) -> None:
    if abs(held - amount) <= 1e-8 + 1e-5 * abs(amount):
        book.held[column] = False
        book.amount[column] = book.price[column] = 0.0
        book.days[column] = 0
    else:
        book.amount[column] = held - amount


def _revalue(exchange: Exchange, bar: int, book: Book) -> None:
    """Let holdings count at today's close; where suspended, at the last price."""
    columns = book.held.nonzero()[0]
    close = exchange.close[bar][columns]
    known = close == close  # noqa: PLR0124 (false for NaN alone)
    book.price[columns] = close if known.all() else _either(known, close, book.price[columns])
    book.days[columns] += 1


def _either(known: Any, close: Any, before: Any) -> Any:
    before[known] = close[known]
    return before
