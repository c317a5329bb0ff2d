"""What a strategy asks for, and what became of it."""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

import msgspec

__all__ = ["Fill", "Order"]

Direction = Literal[0, 1]


class Order(msgspec.Struct, frozen=True):
    """A wish to buy or sell.

    Attributes
    ----------
    instrument
        Its name in the quotes.
    amount
        Adjusted shares (raw shares / factor), not negative.
    direction
        `Order.BUY` or `Order.SELL`.
    """

    BUY: ClassVar[Direction] = 1
    SELL: ClassVar[Direction] = 0

    instrument: str
    amount: float
    direction: Direction


class Fill(NamedTuple):
    """What the exchange made of an order.

    Attributes
    ----------
    amount
        Dealt adjusted shares.
    value
        Their value, without cost.
    cost
        Of the deal; 0 where the value is.
    price
        NaN if the order was rejected.
    """

    amount: float
    value: float
    cost: float
    price: float
