"""The one call that runs a strategy over the past."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from aqrec._checks import check_arguments, check_keys, flag, one_of, shown
from aqrec.errors import InvalidInputError
from aqrec.quotes import Market, read_quotes
from aqrec.quotes._days import as_day
from aqrec.quotes._read import FIELDS

from ._benchmark import bench_returns, benchmark_names
from ._config import filled, made, needs_qlib
from ._exchange import Exchange, fields_needed
from ._executor import SimulatorExecutor
from ._names import check_names
from ._on_qlib import run_on_qlib
from ._regions import REGIONS, Region
from ._results import Indicator, Position
from ._signal import Signal, signal_days, signal_instruments, signal_series
from ._step import Book, signal_of

__all__ = ["EXCHANGE_KEYS", "backtest", "holdings_of", "market_of"]

PortfolioMetrics = dict[str, tuple[pd.DataFrame, dict[pd.Timestamp, Position]]]
Indicators = dict[str, tuple[pd.DataFrame, Indicator]]

Quotes = Market | pd.DataFrame | str | os.PathLike[str]

_FREQUENCY = "1day"
_RULES = {"region": one_of(*REGIONS), "qlib_compat": flag}
_OWN_KEYS = {"exchange", "freq", "subscribe_fields"}
EXCHANGE_KEYS = frozenset(inspect.signature(Exchange).parameters) - {"quotes", "region"} | _OWN_KEYS


def backtest(
    start_time: Any = None,
    end_time: Any = None,
    strategy: Any = None,
    executor: Any = None,
    benchmark: str | Sequence[str] | pd.Series[Any] | None = None,
    account: float | Mapping[str, Any] = 1e9,
    exchange_kwargs: Mapping[str, Any] | None = None,
    pos_type: str = "Position",
    *,
    quotes: Quotes | None = None,
    pred: pd.Series[Any] | pd.DataFrame | None = None,
    region: Region = "cn",
    qlib_compat: bool = False,
) -> tuple[PortfolioMetrics, Indicators]:
    """Run a strategy over past prices, day by day.

    Parameters
    ----------
    start_time, end_time
        First and last day, both included. Default: the first day of the strategy's signal, and the trading day after its
        last one, if there is one.
    strategy
        An object with ``generate_orders`` (see `Strategy`), such as `TopkDropoutStrategy`; or a dict of ``class``,
        ``module_path`` and ``kwargs``, in which ``<PRED>`` stands for `pred`. ``TopkDropoutStrategy`` and
        ``SimulatorExecutor`` of Qlib's modules mean those here. With any other class of ``qlib`` the whole call goes to
        Qlib, which must be installed and initialised and returns its own objects; `quotes`, `region` and
        `qlib_compat` do not go with it.
    executor
        A `SimulatorExecutor`, a dict of the same form, or None for the defaults.
    benchmark
        An instrument of the quotes; several, whose returns are averaged; a Series of returns by day; or None: column
        ``bench`` is 0.
    account
        Money to begin with, or ``{"cash": money, NAME: {"amount": adjusted shares, "price": price}}``. A
        holding given by its amount alone counts at its last close before the first day.
    exchange_kwargs
        Arguments of `Exchange`, whose days are those of the backtest unless they are given here. Or ``{"exchange": exchange}``:
        one that several backtests share, which saves its making.
    pos_type
        "Position": the only one.
    quotes
        Prices: a `Market`; a long table as for `Market.from_frame`; or the path or URL of a table or of a data folder of
        Qlib, which is read as by `aqrec.quotes.read_quotes`. A shared exchange has its own: then they are not looked at.
    pred
        What ``<PRED>`` stands for in the configs.
    region
        "cn", "us" or "tw": defaults of the exchange.
    qlib_compat
        Also reproduce what is a defect in Qlib, where a number depends on it; see `TopkDropoutStrategy`, which takes it
        from here when it is made from a dict. The return of the first day then contains all that the first holdings are worth, and `benchmark` None means SH000300.

    Returns
    -------
    portfolio_metric_dict
        ``{"1day": (report, positions)}``. The report is indexed by ``datetime``, one row a day: ``account`` (worth at its
        end), ``return`` (before costs), ``total_turnover`` and ``total_cost`` (running sums, in money), ``turnover`` and ``cost``
        (of the day, as a share of yesterday's account), ``value`` (of the holdings), ``cash``, ``bench``. Positions are a
        dict of `Position` by day.
    indicator_dict
        ``{"1day": (indicators, indicator)}``: a row a day with ``ffr`` (mean dealt share of its orders), ``pa``, ``pos``,
        ``deal_amount``, ``value``, ``count``, and the `Indicator` with the orders.

    Raises
    ------
    InvalidInputError
        Something that was given has no meaning, or there is no trading day between start and end.

    Notes
    -----
    The scores of a day are traded on the next. Everything is computed in float64, in this order each day: the strategy
    decides; its orders are dealt one by one; holdings are valued at the close, suspended ones at their last price.
    Equal inputs give equal outputs, whatever the order of rows and instruments.
    """
    if strategy is None:
        raise InvalidInputError("backtest needs a strategy")
    foreign = needs_qlib(strategy) or needs_qlib(executor)
    if foreign:
        result: tuple[PortfolioMetrics, Indicators] = run_on_qlib(
            foreign,
            quotes,
            filled(executor, pred),
            account,
            start_time=start_time,
            end_time=end_time,
            strategy=filled(strategy, pred),
            benchmark=benchmark,
            exchange_kwargs=dict(exchange_kwargs or {}),
            pos_type=pos_type,
        )
        return result
    check_arguments({**_RULES, "pos_type": one_of("Position")}, locals())
    benchmark_names(benchmark)
    rules = {} if exchange_kwargs is None else exchange_kwargs
    check_keys("exchange_kwargs", rules, EXCHANGE_KEYS)
    planner = made(strategy, "strategy", pred, qlib_compat=qlib_compat)
    if not callable(getattr(planner, "generate_orders", None)):
        raise InvalidInputError(f"the strategy has no method generate_orders: {planner!r}")
    dealer = (
        SimulatorExecutor() if executor is None else made(executor, "executor", pred, qlib_compat=qlib_compat)
    )
    if not isinstance(dealer, SimulatorExecutor):
        raise InvalidInputError(f"the executor must be a SimulatorExecutor, not {type(dealer).__name__}")

    given = signal_of(planner)
    series = None if given is None else signal_series(given)
    holdings = holdings_of(account)
    scored = set[str]() if series is None else signal_instruments(series)
    named = {*holdings, *scored}
    shared = rules.get("exchange")
    market = market_of(quotes, rules, benchmark, named)
    if shared is None:
        check_names("the signal", scored, market.columns)
    first, last = _span(start_time, end_time, series, market)
    exchange = (
        _shared(shared, rules, named)
        if shared is not None
        else _exchange(rules, market.including(named), first, last, region)
    )
    days = slice(
        int(np.searchsorted(market.days, first)), int(np.searchsorted(market.days, last, side="right"))
    )
    _check_days(days, exchange, first, last)
    bars = range(days.start - exchange.span.start, days.stop - exchange.span.start)

    cash = float(account["cash"] if isinstance(account, Mapping) else account)
    book = Book(len(exchange.market.instruments), cash)
    _take(book, holdings, exchange.market, days.start)
    worth = cash if qlib_compat else cash + float((book.amount * book.price).sum())
    if not worth > 0:
        raise InvalidInputError(f"account must be worth something to begin with, not {shown(account)}")
    signal = None if series is None else Signal.on(series, exchange.market)
    if signal is not None:
        _check_scores(signal, market, days)
    bench = bench_returns("SH000300" if benchmark is None and qlib_compat else benchmark, market, days)
    history = dealer.run(exchange, planner, signal, book, bars)
    return (
        {_FREQUENCY: (history.report(worth, bench), history.positions())},
        {_FREQUENCY: history.indicators(dealer.weights)},
    )


def market_of(
    quotes: Quotes | None, exchange_kwargs: Mapping[str, Any], benchmark: Any, traded: Iterable[str]
) -> Market:
    """Return the market that a backtest is given, with all that it may need of it.

    What only the benchmark names, and neither the signal nor the account (`traded`), is a reference.
    """
    shared = exchange_kwargs.get("exchange")
    if isinstance(shared, Exchange):
        return shared.market
    indices = sorted(set(benchmark_names(benchmark)).difference(traded))
    if isinstance(quotes, Market):
        return quotes.comparing(indices)
    if isinstance(quotes, pd.DataFrame):
        return Market.from_frame(quotes).comparing(indices)
    if isinstance(quotes, str | os.PathLike):
        fields = dict.fromkeys([*FIELDS, *fields_needed(exchange_kwargs)])
        return read_quotes(quotes, fields=list(fields), also=benchmark_names(benchmark))
    raise InvalidInputError(
        f"backtest needs quotes: a Market, a DataFrame, a path or a URL, not {shown(quotes)}"
    )


def _check_scores(signal: Signal, market: Market, bars: slice) -> None:
    """Refuse a signal that no day of the backtest trades on."""
    before = slice(max(bars.start - 1, 0), max(bars.stop - 1, 0))
    if not signal.days[before].any():
        spans = np.flatnonzero(signal.days)
        has = (
            f"has some from {market.days[spans[0]]:.10} to {market.days[spans[-1]]:.10}"
            if len(spans)
            else "has none"
        )
        raise InvalidInputError(
            f"the signal has no scores for this backtest: it trades from {market.days[bars.start]:.10} to "
            f"{market.days[bars.stop - 1]:.10} on the scores of the days before, but the signal {has} that are trading days"
        )


def _shared(exchange: Any, keywords: Mapping[str, Any], named: set[str]) -> Exchange:
    if not isinstance(exchange, Exchange) or len(keywords) > 1:
        raise InvalidInputError("exchange_kwargs: 'exchange' must be an Exchange, and the only key")
    unknown = sorted(named.difference(exchange.market.columns))
    if unknown:
        raise InvalidInputError(
            f"the shared exchange does not know {', '.join(unknown[:5])}, which the signal or the account names; make it "
            "of quotes.including(names)"
        )
    return exchange


def _check_days(days: slice, exchange: Exchange, first: np.datetime64, last: np.datetime64) -> None:
    if days.start >= days.stop:
        raise InvalidInputError(f"the quotes have no trading day from {first:.10} to {last:.10}")
    if days.start < exchange.span.start or days.stop > exchange.span.stop:
        raise InvalidInputError(
            f"the exchange has the days {exchange.days[0]:.10} to {exchange.days[-1]:.10}, but the backtest is from "
            f"{first:.10} to {last:.10}"
            if len(exchange.days)
            else "the exchange has no days"
        )


def _span(
    start: Any, end: Any, series: pd.Series[Any] | None, market: Market
) -> tuple[np.datetime64, np.datetime64]:
    if series is None and (start is None or end is None):
        raise InvalidInputError("start_time and end_time are needed where the strategy has no signal")
    if start is None:
        assert series is not None
        start = signal_days(series)[0].normalize()
    if end is None:
        assert series is not None
        after = int(np.searchsorted(market.days, signal_days(series)[1].to_datetime64(), side="right"))
        end = market.days[min(after, len(market.days) - 1)] if len(market.days) else start
    return as_day(start, "start_time"), as_day(end, "end_time")


def _exchange(
    keywords: Mapping[str, Any],
    market: Market,
    first: np.datetime64,
    last: np.datetime64,
    region: Region,
) -> Exchange:
    keywords = dict(keywords)
    keywords.pop("subscribe_fields", None)
    if keywords.pop("freq", "day") not in ("day", "1day"):
        raise InvalidInputError("exchange_kwargs: freq must be 'day'")
    arguments: dict[str, Any] = {"start_time": first, "end_time": last, "region": region, **keywords}
    return Exchange(market, **arguments)


def holdings_of(account: Any) -> dict[str, tuple[float, float | None]]:
    """Return amounts and prices to begin with."""
    if not isinstance(account, Mapping):
        _number("account", account)
        return {}
    if "cash" not in account:
        raise InvalidInputError("account as a dict needs the key 'cash'")
    _number("account: 'cash'", account["cash"])
    made: dict[str, tuple[float, float | None]] = {}
    for name, holding in account.items():
        if name == "cash":
            continue
        parts: Mapping[str, Any] = holding if isinstance(holding, Mapping) else {"amount": holding}
        price = parts.get("price")
        made[str(name)] = (
            _number(f"account: the amount of {name!r}", parts.get("amount")),
            None if price is None else _number(f"account: the price of {name!r}", price),
        )
    return made


def _number(what: str, value: Any) -> float:
    number = math.nan if isinstance(value, bool) or not isinstance(value, Real) else float(value)
    if not 0 <= number < math.inf:
        raise InvalidInputError(f"{what} must be a number that is not negative, not {value!r}")
    return number


def _take(book: Book, holdings: Mapping[str, tuple[float, float | None]], market: Market, first: int) -> None:
    for name, (amount, price) in holdings.items():
        column = market.columns[name]
        book.held[column] = True
        book.amount[column] = amount
        book.price[column] = _last_close(market, name, first) if price is None else price


def _last_close(market: Market, name: str, first: int) -> float:
    before = market.field("$close")[:first, market.columns[name]]
    known = before[~np.isnan(before)]
    if not len(known):
        raise InvalidInputError(f"account: {name!r} has no close before the first day; give its price")
    return float(known[-1])
