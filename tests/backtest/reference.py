"""The rules once more, slowly: dicts and lists, one stock at a time, no arrays. What the fast code is compared with."""

import math
from typing import Any

import numpy as np
import pandas as pd

NAN = float("nan")


def close_to(a: float, b: float) -> bool:
    return abs(a - b) <= 1e-8 + 1e-5 * abs(b)


class Reference:
    """A backtest of Topk-Dropout on a long table of quotes."""

    def __init__(self, quotes: pd.DataFrame, days: list[Any], scores: pd.Series, **options: Any) -> None:
        self.rows = {(row["instrument"], row["datetime"]): row for row in quotes.to_dict("records")}
        self.days = days
        self.scores = scores
        self.o: dict[str, Any] = {
            "topk": 3,
            "n_drop": 1,
            "hold_thresh": 1,
            "only_tradable": False,
            "forbid_all_trade_at_limit": True,
            "risk_degree": 0.95,
            "deal_price": ("$close", "$close"),
            "limit": None,
            "caps": {"buy": [], "sell": []},
            "unit": 100,
            "open_cost": 0.0015,
            "close_cost": 0.0025,
            "min_cost": 5,
            "impact_cost": 0,
            "settle": False,
            "parallel": False,
            "compat": False,
            **options,
        }

    # --- the exchange -------------------------------------------------------------------------------------

    def get(self, stock: str, day: Any, field: str) -> float:
        row = self.rows.get((stock, day))
        return NAN if row is None else float(row[field])

    def suspended(self, stock: str, day: Any) -> bool:
        return math.isnan(self.get(stock, day, "$close"))

    def limited(self, stock: str, day: Any, side: str) -> bool:
        limit = self.o["limit"]
        if limit is None:
            return False
        change, t = np.float32(self.get(stock, day, "$change")), np.float32(limit)
        return bool(change >= t) if side == "buy" else bool(change <= -t)

    def tradable(self, stock: str, day: Any, side: str | None) -> bool:
        if self.suspended(stock, day):
            return False
        sides = [side] if side else ["buy", "sell"]
        return not any(self.limited(stock, day, s) for s in sides)

    def price(self, stock: str, day: Any, side: str) -> float:
        p = self.get(stock, day, self.o["deal_price"][0 if side == "buy" else 1])
        return p if p > 1e-8 else self.get(stock, day, "$close")

    def rounded(self, stock: str, day: Any, amount: float) -> float:
        unit = self.o["unit"]
        if unit is None:
            return amount
        factor = self.get(stock, day, "$factor")
        return math.floor((amount * factor + 0.1) / unit) * unit / factor

    def deal(
        self, stock: str, day: Any, side: str, amount: float, cash: float, held: float, dealt: float
    ) -> tuple[float, float, float, float]:
        if not self.tradable(stock, day, side):
            return 0.0, 0.0, 0.0, NAN
        o, p = self.o, self.price(stock, day, side)
        for kind, share in o["caps"][side]:
            cap = share * self.get(stock, day, "$volume") - (dealt if kind == "cum" else 0)
            amount = max(0.0, min(amount, cap))
        market = self.get(stock, day, "$volume") * p
        impact = (
            o["impact_cost"] * (amount * p / market) ** 2
            if market and not math.isnan(market)
            else o["impact_cost"]
        )
        ratio = (o["open_cost"] if side == "buy" else o["close_cost"]) + impact
        least = o["min_cost"]
        if side == "sell":
            if not close_to(amount, held):
                amount = self.rounded(stock, day, min(held, amount))
            if cash + amount * p < max(amount * p * ratio, least):
                amount = 0.0
        else:
            value = amount * p
            if cash < max(value * ratio, least):
                amount = 0.0
            elif cash < value + max(value * ratio, least):
                if cash < least:
                    most = 0.0
                elif cash >= least / ratio + least:
                    most = cash / (1 + ratio) / p
                else:
                    most = (cash - least) / p
                amount = self.rounded(stock, day, min(most, amount))
            else:
                amount = self.rounded(stock, day, amount)
        value = amount * p
        return amount, value, 0.0 if value <= 1e-5 else max(value * ratio, least), p

    # --- the strategy -------------------------------------------------------------------------------------

    def plan(
        self, day: Any, scores: dict[str, float], book: dict[str, dict[str, float]], cash: float
    ) -> list[tuple[str, str, float]]:
        o = self.o

        def rank(stock: str) -> tuple[bool, float, str]:
            score = scores.get(stock, NAN)
            return (math.isnan(score), -score if not math.isnan(score) else 0.0, stock)

        def first(stocks: list[str], n: int) -> list[str]:
            if not o["only_tradable"]:
                return stocks[:n] if o["compat"] else stocks[: max(n, 0)]
            chosen: list[str] = []
            for stock in stocks:
                if not o["compat"] and len(chosen) >= n:
                    break
                if self.tradable(stock, day, None):
                    chosen.append(stock)
                    if len(chosen) >= n:
                        break
            return chosen

        def last(stocks: list[str], n: int) -> list[str]:
            if o["only_tradable"]:
                return first(stocks[::-1], n)
            if n == 0:
                return stocks if o["compat"] else []
            return stocks[-n:]

        held = sorted(book, key=rank)
        room = o["topk"] - len(held)
        today = first(sorted((s for s in scores if s not in book), key=rank), o["n_drop"] + room)
        together = sorted({*held, *today}, key=rank)
        sell = [stock for stock in last(together, o["n_drop"]) if stock in book]
        n = len(sell) + room
        buy = today[:n] if o["compat"] else today[: max(n, 0)]
        both = o["forbid_all_trade_at_limit"]
        orders = []
        for stock in sorted(sell):
            if not self.tradable(stock, day, None if both else "sell"):
                continue
            if book[stock]["days"] < o["hold_thresh"]:
                continue
            amount = book[stock]["amount"]
            orders.append(("sell", stock, amount))
            _, value, cost, _ = self.deal(stock, day, "sell", amount, cash, amount, 0)
            cash += value - cost
        for stock in buy:
            if self.tradable(stock, day, None if both else "buy"):
                money = (cash if o["compat"] else max(cash, 0.0)) * o["risk_degree"] / len(buy)
                amount = self.rounded(stock, day, money / self.price(stock, day, "buy"))
                orders.append(("buy", stock, amount))
        return orders

    # --- the books ----------------------------------------------------------------------------------------

    def run(self, start: int, stop: int, cash: float) -> tuple[list[dict[str, float]], list[Any], list[Any]]:
        """Return a row of the report, the holdings and the orders of each day."""
        book: dict[str, dict[str, float]] = {}
        report: list[dict[str, float]] = []
        holdings: list[Any] = []
        all_orders: list[Any] = []
        before, turnover, costs = cash, 0.0, 0.0
        for i in range(start, stop):
            day, delayed = self.days[i], 0.0
            turnover_before, costs_before = turnover, costs
            yesterday = (
                [] if i == 0 else self.scores[self.scores.index.get_level_values(0) == self.days[i - 1]]
            )
            scores = {} if i == 0 else {s: float(v) for (_, s), v in yesterday.items()}
            orders = self.plan(day, scores, book, cash) if scores else []
            if self.o["parallel"]:
                orders = [x for x in orders if x[0] == "buy"] + [x for x in orders if x[0] == "sell"]
            dealt: dict[str, float] = {}
            for side, stock, amount in orders:
                held = book.get(stock, {}).get("amount", 0.0)
                got, value, cost, price = self.deal(
                    stock, day, side, amount, cash, held, dealt.get(stock, 0.0)
                )
                dealt[stock] = dealt.get(stock, 0.0) + got
                all_orders.append((day, stock, side, amount, got, price, value, cost))
                if value <= 1e-5:
                    continue
                turnover, costs = turnover + value, costs + cost
                if side == "buy":
                    kept = book.setdefault(stock, {"amount": 0.0, "price": price, "days": 0})
                    kept["amount"] += value / price
                    cash -= value + cost
                else:
                    if close_to(held, value / price):
                        del book[stock]
                    else:
                        book[stock]["amount"] -= value / price
                    if self.o["settle"]:
                        delayed += value - cost
                    else:
                        cash += value - cost
            for stock, kept in book.items():
                if not self.suspended(stock, day):
                    kept["price"] = self.get(stock, day, "$close")
                kept["days"] += 1
            worth = sum(kept["amount"] * kept["price"] for kept in book.values())
            account = worth + cash + delayed
            report.append(
                {
                    "account": account,
                    "return": (account - before + costs - costs_before) / before,
                    "total_turnover": turnover,
                    "turnover": (turnover - turnover_before) / before,
                    "total_cost": costs,
                    "cost": (costs - costs_before) / before,
                    "value": worth,
                    "cash": cash,
                }
            )
            holdings += [
                (day, s, k["amount"], k["price"], k["amount"] * k["price"] / account, k["days"])
                for s, k in sorted(book.items())
            ]
            cash, before = cash + delayed, account
        return report, holdings, all_orders
