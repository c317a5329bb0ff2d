"""What happened: days, holdings and orders, and the tables made of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ._exchange import Exchange
from ._orders import Fill, Order
from ._patience import giving_way
from ._step import Book

__all__ = ["History", "Indicator", "Position", "positions_frame"]

Floats = npt.NDArray[np.float64]

_ORDER_COLUMNS = ("amount", "deal_amount", "trade_price", "trade_value", "trade_cost")


class Position:
    """Cash and holdings at the end of a day.

    Attributes
    ----------
    cash
        Money, without what a sale of the day will bring tomorrow.
    cash_delay
        That; None unless the executor settles so.
    now_account_value
        All of it and the holdings.
    stocks
        Names, ascending. The arrays `amount` (adjusted shares), `price`, `weight` (share of the account) and `count_day` have a
        place for each.
    """

    __module__ = "aqrec.backtest"  # the name that pickles keep

    __slots__ = (
        "amount",
        "cash",
        "cash_delay",
        "count_day",
        "now_account_value",
        "price",
        "stocks",
        "weight",
    )

    def __init__(
        self,
        stocks: tuple[str, ...],
        amount: Floats,
        price: Floats,
        count_day: npt.NDArray[np.int64],
        *,
        cash: float,
        cash_delay: float | None,
        now_account_value: float,
    ) -> None:
        self.stocks = stocks
        self.amount = amount
        self.price = price
        self.weight: Floats = amount * price / now_account_value
        self.count_day = count_day
        self.cash = cash
        self.cash_delay = cash_delay
        self.now_account_value = now_account_value

    def __repr__(self) -> str:
        return f"<Position {len(self.stocks)} stocks, cash {self.cash:,.2f}, worth {self.now_account_value:,.2f}>"

    @property
    def position(self) -> dict[str, Any]:
        """Everything as a dict of Qlib's form, made anew."""
        holdings = zip(
            self.stocks,
            self.amount.tolist(),
            self.price.tolist(),
            self.weight.tolist(),
            self.count_day.tolist(),
            strict=True,
        )
        made: dict[str, Any] = {
            name: {"amount": amount, "price": price, "weight": weight, "count_day": days}
            for name, amount, price, weight, days in holdings
        }
        made["cash"] = self.cash
        if self.cash_delay is not None:
            made["cash_delay"] = self.cash_delay
        made["now_account_value"] = self.now_account_value
        return made

    def get_stock_list(self) -> list[str]:
        """Return the names of the holdings."""
        return list(self.stocks)

    def get_cash(self, include_settle: bool = False) -> float:
        """Return the cash, with `include_settle` that of tomorrow."""
        return self.cash + (self.cash_delay or 0.0) if include_settle else self.cash

    def get_stock_amount(self, code: str) -> float:
        """Return the adjusted shares of a stock; 0 if it is not held."""
        return self._of(self.amount, code)

    def get_stock_price(self, code: str) -> float:
        """Return the price at which a holding counts."""
        return self._of(self.price, code)

    def get_stock_weight_dict(self, only_stock: bool = False) -> dict[str, float]:
        """Return the holdings' shares of the account, with `only_stock` of the holdings' worth."""
        values = self.amount * self.price
        whole = values.sum() if only_stock else self.now_account_value
        return dict(zip(self.stocks, (values / whole).tolist(), strict=True))

    def calculate_stock_value(self) -> float:
        """Return what the holdings are worth."""
        return float((self.amount * self.price).sum())

    def calculate_value(self) -> float:
        """Return what everything is worth."""
        return self.now_account_value

    def _of(self, values: Floats, code: str) -> float:
        return float(values[self.stocks.index(code)]) if code in self.stocks else 0.0


class Indicator:
    """How well the orders of each day were dealt.

    Attributes
    ----------
    orders
        One row for each order, in the order of dealing: columns ``datetime``, ``instrument``, ``amount`` and ``deal_amount``
        (adjusted shares, negative for a sale), ``trade_price`` (NaN if rejected), ``trade_value`` (signed), ``trade_cost``,
        ``trade_dir`` (1 purchase, 0 sale), ``ffr`` (dealt share), ``pa`` (0: a day's price is its own measure).
    """

    __module__ = "aqrec.backtest"  # the name that pickles keep

    def __init__(self, orders: pd.DataFrame, days: pd.DataFrame) -> None:
        self.orders = orders
        self._days = days

    def __repr__(self) -> str:
        return f"<Indicator {len(self.orders)} orders on {len(self._days)} days>"

    def generate_trade_indicators_dataframe(self) -> pd.DataFrame:
        """Return the daily table, as `backtest` returns it."""
        return self._days


class History:
    """Everything that happens, in lists that cost little to append to."""

    def __init__(self, exchange: Exchange, bars: range, *, settles_later: bool) -> None:
        self._instruments = exchange.market.instruments
        self._days = exchange.days[bars.start : bars.stop]
        self._settles_later = settles_later
        self._orders: list[tuple[Any, ...]] = []
        self._holdings: list[tuple[Any, ...]] = []
        self._money: list[tuple[float, ...]] = []
        self._turnover = 0.0
        self._cost = 0.0

    def order(self, number: int, column: int, order: Order, fill: Fill) -> None:
        """Keep an order and its fill."""
        sign = 1.0 if order.direction else -1.0
        amount, value, cost, price = fill
        self._orders.append(
            (
                number,
                column,
                order.direction,
                sign * order.amount,
                sign * amount,
                price,
                sign * value,
                cost,
            )
        )
        if value > 1e-5:
            self._turnover += value
            self._cost += cost

    def end_of_day(self, book: Book) -> None:
        """Keep the book."""
        columns = book.held.nonzero()[0]
        amounts, prices = book.amount[columns], book.price[columns]
        self._holdings.append((columns, amounts, prices, book.days[columns]))
        value = float((amounts * prices).sum())
        self._money.append((value, book.cash, book.delayed, self._turnover, self._cost))

    def report(self, account: float, bench: npt.NDArray[np.floating[Any]]) -> pd.DataFrame:
        """Return the daily report, given the account's worth beforehand and the benchmark's returns."""
        value, cash, delayed, turnover, cost = np.array(self._money, dtype=np.float64).reshape(-1, 5).T
        worth = value + cash + delayed
        before = np.concatenate([[account], worth[:-1]])
        turnovers, costs = np.diff(turnover, prepend=0.0), np.diff(cost, prepend=0.0)
        columns = {
            "account": worth,
            "return": (worth - before + costs) / before,
            "total_turnover": turnover,
            "turnover": turnovers / before,
            "total_cost": cost,
            "cost": costs / before,
            "value": value,
            "cash": cash,
            "bench": bench,
        }
        return pd.DataFrame(columns, index=self._index())

    def positions(self) -> dict[pd.Timestamp, Position]:
        """Return the position at the end of each day."""
        names = self._instruments
        made = {}
        give_way = giving_way()
        for day, (columns, amounts, prices, days), money in zip(
            self._index(), self._holdings, self._money, strict=True
        ):
            give_way()
            value, cash, delayed = money[:3]
            made[day] = Position(
                tuple([names[column] for column in columns.tolist()]),
                amounts,
                prices,
                days,
                cash=cash,
                cash_delay=delayed if self._settles_later else None,
                now_account_value=value + cash + delayed,
            )
        return made

    def indicators(self, weights: tuple[str, ...]) -> tuple[pd.DataFrame, Indicator]:
        """Return the daily indicators and the orders they are about."""
        table = np.array(self._orders, dtype=np.float64).reshape(-1, 8)
        bars, columns, directions = (table[:, place].astype(np.intp) for place in range(3))
        amount, dealt, price, value, cost = table[:, 3:].T
        with np.errstate(all="ignore"):
            ffr = np.where(np.isnan(dealt), 0.0, dealt) / amount
        pa = np.zeros(len(table))
        days = len(self._money)
        # A second order for a stock on a day replaces the first, as the indicators know them by name.
        keys = bars * len(self._instruments) + columns
        last = len(keys) - 1 - np.unique(keys[::-1], return_index=True)[1]
        kept = np.sort(last)
        on = bars[kept]

        def total(values: Floats) -> Floats:
            sums: Floats = np.bincount(on, weights=values[kept], minlength=days).astype(np.float64)
            return sums

        def average(values: Floats, method: str) -> Floats:
            known = ~np.isnan(values)
            if method == "mean":
                above, below = total(np.where(known, values, 0.0)), total(known.astype(np.float64))
            else:
                weight = np.abs(dealt if method == "amount_weighted" else value)
                above, below = total(np.where(known, values * weight, 0.0)), total(weight)
            with np.errstate(all="ignore"):
                return above / below

        count = np.bincount(on, minlength=days)
        frame = pd.DataFrame(
            {
                "ffr": average(ffr, weights[0]),
                "pa": average(pa, weights[1]),
                "pos": np.where(count > 0, 0.0, math.nan),
                "deal_amount": total(np.abs(dealt)),
                "value": total(np.abs(value)),
                "count": count,
            },
            index=self._index(),
        )
        names = np.array(self._instruments, dtype=object)
        orders = pd.DataFrame(
            {
                "datetime": self._days[bars],
                "instrument": names[columns],
                **dict(zip(_ORDER_COLUMNS, (amount, dealt, price, value, cost), strict=True)),
                "trade_dir": directions.astype(np.int64),
                "ffr": ffr,
                "pa": pa,
            }
        )
        return frame, Indicator(orders, frame)

    def _index(self) -> pd.DatetimeIndex:
        return pd.DatetimeIndex(self._days, name="datetime")


def positions_frame(positions: Mapping[pd.Timestamp, Position]) -> pd.DataFrame:
    """Return holdings as a table.

    Parameters
    ----------
    positions
        As `backtest` returns them.

    Returns
    -------
    DataFrame
        One row for each day and holding: ``datetime``, ``instrument``, ``amount``, ``price``, ``weight``, ``count_day``.
    """
    held = list(positions.values())
    counts = [len(position.stocks) for position in held]
    columns = {
        name: np.concatenate([getattr(position, name) for position in held]) if held else np.zeros(0)
        for name in ("amount", "price", "weight", "count_day")
    }
    return pd.DataFrame(
        {
            "datetime": pd.DatetimeIndex(list(positions)).as_unit("ns").repeat(counts),
            "instrument": pd.Series([name for position in held for name in position.stocks], dtype=str),
            **columns,
        }
    )
