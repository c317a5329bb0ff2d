"""What a strategy sees on a day."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from ._exchange import Exchange
from ._orders import Fill, Order

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Book", "Step", "Strategy"]

Floats = npt.NDArray[np.float64]


class Book:
    """Cash and holdings, one place for each instrument."""

    def __init__(self, instruments: int, cash: float) -> None:
        self.cash = cash
        self.delayed = 0.0
        self.amount: Floats = np.zeros(instruments)
        self.price: Floats = np.zeros(instruments)
        self.days: npt.NDArray[np.int64] = np.zeros(instruments, dtype=np.int64)
        self.held: npt.NDArray[np.bool_] = np.zeros(instruments, dtype=bool)


class Step:
    """One day of a backtest, before its orders are dealt. Arrays have a place for each of `instruments`; do not change them.

    Attributes
    ----------
    number
        How many days of the backtest came before.
    instruments
        Names, ascending.
    scores
        Yesterday's signal, float64; NaN: none. None where the whole day has none, or the strategy has no signal.
    scored
        Which instruments have a row in yesterday's signal, be it NaN. None as for `scores`.
    """

    __slots__ = ("_bar", "_book", "_exchange", "instruments", "number", "scored", "scores")

    def __init__(
        self,
        exchange: Exchange,
        book: Book,
        bar: int,
        number: int,
        scores: Floats | None,
        scored: npt.NDArray[np.bool_] | None,
    ) -> None:
        self._exchange = exchange
        self._book = book
        self._bar = bar
        self.number = number
        self.instruments = exchange.market.instruments
        self.scores = scores
        self.scored = scored

    @property
    def day(self) -> pd.Timestamp:
        """The day."""
        return pd.Timestamp(self._exchange.days[self._bar])

    @property
    def cash(self) -> float:
        """Money that can be spent."""
        return self._book.cash

    @property
    def held(self) -> npt.NDArray[np.bool_]:
        """Which instruments are held."""
        return self._book.held

    @property
    def amounts(self) -> Floats:
        """Adjusted shares held; 0 where none."""
        return self._book.amount

    @property
    def holding_days(self) -> npt.NDArray[np.int64]:
        """At how many ends of days each holding was there."""
        return self._book.days

    @property
    def last_prices(self) -> Floats:
        """Price at which each holding counts: its last close, or that of the deal."""
        return self._book.price

    def tradable(self, direction: int | None = None) -> npt.NDArray[np.bool_]:
        """Return which instruments can be bought (`Order.BUY`), sold (`Order.SELL`) or both (None) today."""
        return self._exchange.tradable(self._bar, direction)

    def prices(self, direction: int) -> Floats:
        """Return today's prices of deals; NaN where suspended."""
        return self._exchange.prices(self._bar, direction)

    def round_amount(self, column: int, amount: float) -> float:
        """Return an amount of an instrument, rounded down to whole lots."""
        return self._exchange.round_amount(self._bar, column, amount)

    def trial(self, column: int, amount: float, direction: int, cash: float) -> Fill:
        """Return what an order would bring, were it the first of the day, given this cash and today's holdings."""
        held = self._book.amount.item(column)
        return self._exchange.deal(self._bar, column, amount, direction, cash=cash, held=held)


class Strategy(Protocol):
    """What decides on orders. Any object with this method is one.

    A strategy may also have an attribute ``signal``, a Series or DataFrame with a MultiIndex (datetime, instrument); then
    each `Step` has its scores of the day before.
    """

    def generate_orders(self, step: Step, /) -> Iterable[Order]:
        """Return the day's orders, in the order in which they are to be dealt.

        Parameters
        ----------
        step
            The day, the holdings and the market. It is not valid afterwards.
        """
        ...


def signal_of(strategy: Any) -> Any:
    """Return the signal of a strategy, or None."""
    return getattr(strategy, "signal", None)
