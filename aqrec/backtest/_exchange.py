"""What can be traded on a day, at which price and cost, and how much of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from aqrec._checks import Rule, check_arguments, number, one_of, shown, whole
from aqrec.errors import InvalidInputError
from aqrec.quotes import Market
from aqrec.quotes._days import as_day
from aqrec.quotes._expression import evaluate, fields_of

from ._names import check_names
from ._orders import Fill, Order
from ._regions import REGIONS, Region

__all__ = ["Exchange", "fields_needed"]

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

_LIMIT = Rule(
    "a number from 0 on (inf: no limits), a pair of expressions (buy, sell), or None",
    lambda value: number(0).holds(value) or (isinstance(value, float) and value == math.inf),
)
_KINDS = ("current", "cum")
_UNIT = whole(1)
_RULES = {
    "quotes": Rule("a Market", lambda value: isinstance(value, Market)),
    "region": one_of(*REGIONS),
    **dict.fromkeys(("open_cost", "close_cost", "min_cost", "impact_cost"), number(0)),
    "trade_unit": Rule(
        f"{_UNIT.words}, None, or 'default'",
        lambda value: value is None or (isinstance(value, str) and value == "default") or _UNIT.holds(value),
    ),
}
_REJECTED = Fill(0.0, 0.0, 0.0, math.nan)


class Exchange:
    """The rules of trading over a span of days, worked out beforehand for every day and instrument.

    Parameters
    ----------
    quotes
        Prices. ``$close`` is needed, above 0 where it is known; ``$open`` or whatever `deal_price` and the expressions name,
        too. If any instrument that can be traded has a close and no ``$factor`` on some day, there are no lots
        (`Market.references` do not count; they have no lots themselves). Without ``$volume`` there is no market
        impact by size, and without ``$change`` it is the change of the close since the last day that has one.
    start_time, end_time
        First and last day, both included: a date, Timestamp or datetime64, text such as "2024-01-31", or the number 20240131.
        Default: all days of the quotes.
    codes
        Instruments that can be traded, on all days. "all": every one of the quotes, on the days where it is listed
        (`Market.listed`). A warning tells of those that the quotes do not have.
    deal_price
        A field (``"open"``, with or without its ``$``), or a pair of fields (buy, sell). Where it is missing or
        not above 1e-8, deals are done at the close. None: the region's default.
    limit_threshold
        A number t from 0 on: an instrument whose ``$change`` is at least t cannot be bought, at most -t not sold (compared
        in float32). A pair of expressions (buy, sell): limited where they are neither 0 nor False. None: the region's
        default; `math.inf`: no limits.
    volume_threshold
        Largest amount of an instrument that can be traded on a day: ``("current", expression)`` for each order,
        ``("cum", expression)`` for all orders of the day together; or a mapping of "all", "buy" and "sell" to such pairs.
        Where the expression is NaN, nothing.
    open_cost, close_cost
        Cost of buying and selling, as a share of the value.
    min_cost
        Least cost of a deal, in money.
    impact_cost
        Added to the cost's share, times the squared share of the order in the day's value; all of it where the
        volume is not known.
    trade_unit
        Raw shares in a lot; None: no lots. Default: the region's.
    region
        "cn", "us" or "tw": where the defaults come from.

    Raises
    ------
    InvalidInputError
        An argument or a combination of them has no meaning; the quotes have none of `codes`, or, where something
        can be traded, prices, factors or volumes that cannot be: a close or factor that is not above 0, an infinite or
        negative value.

    Warns
    -----
    UnknownInstrumentsWarning
        The quotes do not have some of `codes`.
    """

    def __init__(
        self,
        quotes: Market,
        *,
        start_time: Any = None,
        end_time: Any = None,
        codes: Literal["all"] | Iterable[str] = "all",
        deal_price: str | tuple[str, str] | None = None,
        limit_threshold: float | tuple[str, str] | None = None,
        volume_threshold: tuple[str, str] | Mapping[str, tuple[str, str]] | None = None,
        open_cost: float = 0.0015,
        close_cost: float = 0.0025,
        min_cost: float = 5.0,
        impact_cost: float = 0.0,
        trade_unit: int | Literal["default"] | None = "default",
        region: Region = "cn",
    ) -> None:
        check_arguments(_RULES, locals())
        defaults = REGIONS[region]
        self.market = quotes
        days = quotes.days
        first = 0 if start_time is None else int(np.searchsorted(days, as_day(start_time, "start_time")))
        last = (
            len(days)
            if end_time is None
            else int(np.searchsorted(days, as_day(end_time, "end_time"), side="right"))
        )
        self.span = slice(first, last)
        self.days = days[self.span]
        self.open_cost = float(open_cost)
        self.close_cost = float(close_cost)
        self.min_cost = float(min_cost)
        self.impact_cost = float(impact_cost)

        self.close: Floats = self._values("$close").copy()
        self._suspend_all_but(codes)
        suspended = np.isnan(self.close)
        self._check("$close", self.close, (self.close <= 0) | np.isinf(self.close), "a close is above 0")
        buy, sell = _prices(defaults.deal_price if deal_price is None else deal_price)
        buy_price = self._deal_price(buy, suspended)
        self._price = (buy_price if buy == sell else self._deal_price(sell, suspended), buy_price)
        self._volume = self._values("$volume") if "$volume" in quotes.fields else None
        if self._volume is not None:
            wrong = ((self._volume < 0) | np.isinf(self._volume)) & ~suspended
            self._check("$volume", self._volume, wrong, "a volume is finite and not negative")

        limit_buy, limit_sell = self._limits(
            defaults.limit_threshold if limit_threshold is None else limit_threshold
        )
        can_sell, can_buy = ~(limit_sell | suspended), ~(limit_buy | suspended)
        self._tradable = (can_sell, can_buy)
        self._tradable_both: Flags = can_sell & can_buy

        unit = defaults.trade_unit if trade_unit == "default" else trade_unit
        factor = self._values("$factor") if "$factor" in quotes.fields else np.full_like(self.close, np.nan)
        self._check("$factor", factor, ((factor <= 0) | np.isinf(factor)) & ~suspended, "a factor is above 0")
        self._factor = factor
        unknown = np.isnan(factor) & ~suspended
        unknown[:, [quotes.columns[name] for name in quotes.references]] = False
        self.trade_w_adj_price = bool(unknown.any())
        self.trade_unit = None if self.trade_w_adj_price or unit is None else int(unit)
        self._caps = self._volume_caps(volume_threshold)

    def _suspend_all_but(self, codes: Any) -> None:
        """Let nothing be known of what cannot be traded."""
        if isinstance(codes, str) and codes == "all":
            if self.market.listed is not None:
                self.close[~self.market.listed[self.span]] = np.nan
            return
        try:
            named = set[Any]() if isinstance(codes, str) else set(codes)
        except TypeError:
            named = set()
        if not named:
            raise InvalidInputError(f"codes must be 'all' or names of instruments, not {shown(codes)}")
        check_names("codes", named, self.market.columns)
        others = [column for name, column in self.market.columns.items() if name not in named]
        self.close[:, others] = np.nan

    def _check(self, field: str, values: Floats, wrong: Flags, words: str) -> None:
        if wrong.any():
            bar, column = np.argwhere(wrong)[0]
            raise InvalidInputError(
                f"{field} of {self.market.instruments[column]!r} on {self.days[bar]:.10} is {values[bar, column]:g}, but {words}; "
                "mend it, or let it be NaN, which means that nothing is known"
            )

    def _values(self, field: str) -> Floats:
        return self.market.field(field)[self.span].astype(np.float64, copy=False)

    def _deal_price(self, field: str, suspended: Flags) -> Floats:
        if field == "$close":
            return self.close
        price = self._values(field)
        self._check(field, price, np.isinf(price) & ~suspended, "a price is finite")
        return np.where(price > 1e-8, price, self.close)

    def _change(self) -> npt.NDArray[np.float32]:
        market = self.market
        if "$change" in market.fields:
            return market.fields["$change"][self.span].astype(np.float32, copy=False)
        close = market.field("$close").astype(np.float32, copy=False)
        return _change_of(close)[self.span]

    def _limits(self, threshold: Any) -> tuple[Flags, Flags]:
        """Return where buying and selling is forbidden."""
        if threshold is None:
            none = np.zeros(self.close.shape, dtype=bool)
            return none, none
        match threshold:
            case (str() as buy, str() as sell):
                flags = [evaluate(self.market, text)[self.span] != 0 for text in (buy, sell)]
                return flags[0], flags[1]
            case _ if _LIMIT.holds(threshold):
                change, limit = self._change(), np.float32(threshold)
                return change >= limit, change <= -limit
            case _:
                pass
        raise InvalidInputError(f"limit_threshold must be {_LIMIT.words}, not {shown(threshold)}")

    def _volume_caps(self, threshold: Any) -> tuple[list[tuple[bool, Floats]], list[tuple[bool, Floats]]]:
        """Return the caps of selling and of buying: whether they count the whole day, and the amounts."""
        sides: tuple[list[tuple[bool, Floats]], list[tuple[bool, Floats]]] = ([], [])
        if threshold is None:
            return sides
        for side, rule in (threshold if isinstance(threshold, Mapping) else {"all": threshold}).items():
            match rule:
                case (str() as kind, str() as expression) if kind in _KINDS and side in (
                    "all",
                    "buy",
                    "sell",
                ):
                    amounts = evaluate(self.market, expression)[self.span].astype(np.float64)
                    for direction, name in ((Order.SELL, "sell"), (Order.BUY, "buy")):
                        if side in ("all", name):
                            sides[direction].append((kind == "cum", amounts))
                case _:
                    raise InvalidInputError(
                        "volume_threshold must be a pair ('current' or 'cum', expression), or map 'all', 'buy' or "
                        f"'sell' to such pairs; not {side!r}: {rule!r}"
                    )
        return sides

    def tradable(self, bar: int, direction: int | None = None) -> Flags:
        """Return which instruments can be traded on a day: in this direction, or in both when it is None."""
        flags: Flags = (self._tradable_both if direction is None else self._tradable[direction])[bar]
        return flags

    def prices(self, bar: int, direction: int) -> Floats:
        """Return the prices of deals on a day; NaN where suspended."""
        prices: Floats = self._price[direction][bar]
        return prices

    def round_amount(self, bar: int, column: int, amount: float) -> float:
        """Return an amount rounded down to whole lots."""
        unit = self.trade_unit
        if unit is None:
            return amount
        factor = self._factor.item(bar, column)
        if factor != factor:  # noqa: PLR0124 (NaN: a reference without lots)
            return amount
        # A lot short by no more than rounding, a tenth of a share, is whole.
        return (amount * factor + 0.1) // unit * unit / factor

    def deal(
        self,
        bar: int,
        column: int,
        amount: float,
        direction: int,
        *,
        cash: float,
        held: float,
        dealt: float = 0.0,
    ) -> Fill:
        """Return what becomes of an order, given cash, the amount held, and the amount dealt already today."""
        if not self._tradable[direction].item(bar, column):
            return _REJECTED
        price = self._price[direction].item(bar, column)
        for whole_day, caps in self._caps[direction]:
            cap = caps.item(bar, column) - dealt if whole_day else caps.item(bar, column)
            # An unknown cap is one of 0.
            amount = min(cap, amount) if cap > 0 else 0.0
        ratio = (self.open_cost if direction else self.close_cost) + self._impact(
            bar, column, price, amount * price
        )
        if direction == Order.SELL:
            if abs(amount - held) > 1e-8 + 1e-5 * abs(held):
                amount = self.round_amount(bar, column, min(held, amount))
            if cash + amount * price < max(amount * price * ratio, self.min_cost):
                amount = 0.0
        else:
            value = amount * price
            cost = max(value * ratio, self.min_cost)
            if cash < cost:
                amount = 0.0
            elif cash < value + cost:
                amount = self.round_amount(bar, column, min(self._affordable(cash, price, ratio), amount))
            else:
                amount = self.round_amount(bar, column, amount)
        value = amount * price
        if value <= 1e-5:
            return Fill(amount, value, 0.0, price)
        return Fill(amount, value, max(value * ratio, self.min_cost), price)

    def _impact(self, bar: int, column: int, price: float, value: float) -> float:
        if not self.impact_cost:
            return 0.0
        market = math.nan if self._volume is None else self._volume.item(bar, column) * price
        if not market or math.isnan(market):
            return self.impact_cost
        return self.impact_cost * (value / market) ** 2

    def _affordable(self, cash: float, price: float, ratio: float) -> float:
        if cash < self.min_cost:
            return 0.0
        if ratio > 0 and cash >= self.min_cost / ratio + self.min_cost:
            return cash / (1 + ratio) / price
        return (cash - self.min_cost) / price


def _change_of(close: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the change of the close since the last known one."""
    known = np.where(np.isnan(close), -1, np.arange(len(close))[:, None])
    latest = np.maximum.accumulate(known, axis=0)
    before = np.vstack([np.full((1, close.shape[1]), -1), latest[:-1]])
    last = np.take_along_axis(close, np.maximum(before, 0), axis=0)
    with np.errstate(all="ignore"):
        return np.where(before < 0, np.float32(np.nan), close / last - np.float32(1))


def fields_needed(keywords: Mapping[str, Any]) -> list[str]:
    """Return the fields, with their ``$``, that these arguments of an `Exchange` name."""
    deal_price = keywords.get("deal_price")
    named = set() if deal_price is None else {*_prices(deal_price)}
    texts: list[Any] = [keywords.get("limit_threshold"), keywords.get("volume_threshold")]
    while texts:
        match texts.pop():
            case str() as text if text not in _KINDS:
                named |= fields_of(text)
            case Mapping() as rules:
                texts += rules.values()
            case list() | tuple() as parts:
                texts += parts
            case _:
                pass
    return sorted(named)


def _prices(deal_price: Any) -> tuple[str, str]:
    match deal_price:
        case str():
            pair = (deal_price, deal_price)
        case (str() as buy, str() as sell):
            pair = (buy, sell)
        case _:
            raise InvalidInputError(f"deal_price must be a field or a pair of fields, not {deal_price!r}")
    buy, sell = (name if name.startswith("$") else f"${name}" for name in pair)
    return buy, sell
