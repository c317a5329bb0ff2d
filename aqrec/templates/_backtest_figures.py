"""The numbers of `PortAnaRecord` and `MultiPassPortAnaRecord`, from a plan and a prediction alone."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pandas as pd

from aqrec.analysis import indicator_analysis, resample_indicators, resample_report, risk_analysis
from aqrec.backtest import Exchange, backtest
from aqrec.backtest._run import market_of
from aqrec.errors import InvalidInputError, InvalidValueError, MissingInputError
from aqrec.quotes import Market
from aqrec.quotes._days import as_day, without_zone
from aqrec.templates._backtest_plan import ANALYSED_TWICE

if TYPE_CHECKING:
    import numpy.typing as npt

    from aqrec.templates._backtest_plan import BacktestPlan

    Rows = npt.NDArray[np.intp]

__all__ = ["pass_figures", "portfolio_figures", "reports_to_draw", "shuffled_rows", "summary_of_passes"]

Rng = int | np.random.Generator | np.random.RandomState


def portfolio_figures(plan: BacktestPlan, pred: Any) -> tuple[dict[str, Any], dict[str, float]]:
    """Run the backtest; return the objects by file name, and the metrics."""
    return _analysed(plan, _run(plan, pred))


def shuffled_rows(plan: BacktestPlan, pred: Any, passes: int, rng: Rng | None) -> list[tuple[Rows, Rows]]:
    """Return for each pass which rows of the prediction get the score of which others.

    The rows are those of the first day of the prediction on or after the backtest's start, in the order of the index.
    None as generator: numpy's global one.
    """
    days = pd.DatetimeIndex(_frame(pred).index.get_level_values("datetime"))
    without_zone(days, "the days of the prediction")
    start = plan.backtest.get("start_time")
    later = days if start is None else days[days >= as_day(start, "start_time")]
    if later.empty:
        raise InvalidInputError(
            f"the prediction ends on {days.max().date()}, before the backtest's start on {start}"
        )
    rows: Rows = np.flatnonzero(days == later.min())
    generator: Any = np.random if rng is None else rng
    if isinstance(rng, int | np.integer):
        generator = np.random.default_rng(rng)
    drawn: list[tuple[Rows, Rows]] = []
    for _ in range(passes):
        order = rows.copy()
        generator.shuffle(order)
        drawn.append((rows, order))
    return drawn


def pass_figures(
    plan: BacktestPlan, pred: Any, orders: Sequence[tuple[Rows, Rows] | None]
) -> list[dict[str, float]]:
    """Return the metrics of each pass; quotes and exchange are prepared once for all of them."""
    frame = _frame(pred)
    if plan.quotes is not None:  # without any, the strategy is one that Qlib runs on its own
        plan = _with(plan, quotes=_market(plan))
    results: list[dict[str, float]] = []
    for order in orders:
        signal = frame
        if order is not None:
            rows, others = order
            scores = frame.iloc[:, 0].to_numpy(copy=True)
            scores[rows] = frame.iloc[:, 0].to_numpy()[others]
            signal = pd.DataFrame({frame.columns[0]: scores}, index=frame.index)
        strategy = {**plan.strategy, "kwargs": {**plan.strategy["kwargs"], "signal": signal}}
        outcome = _run(_with(plan, strategy=strategy), signal)
        results.append(_analysed(plan, outcome)[1])
        if not results[1:] and isinstance(plan.quotes, Market):
            plan = _sharing(plan, frame, outcome)
    return results


def summary_of_passes(
    plan: BacktestPlan, passes: Sequence[dict[str, float]]
) -> tuple[dict[str, Any], dict[str, float]]:
    """Return the tables of `MultiPassPortAnaRecord` by file name, and their values as metrics."""
    objects: dict[str, Any] = {}
    metrics: dict[str, float] = {}
    for freq in plan.risk:
        names = [
            (group, measure)
            for group in ("excess_return_with_cost", "excess_return_without_cost")
            for measure in ANALYSED_TWICE
        ]
        values = pd.DataFrame(
            [[figures[f"{freq}.{group}.{name}"] for group, name in names] for figures in passes]
        )
        mean, std = values.mean(), values.std(ddof=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            table = pd.DataFrame({"mean": mean, "std": std, "mean_std": mean.to_numpy() / std.to_numpy()})
        table.index = pd.MultiIndex.from_tuples(names)
        objects[f"multi_pass_port_analysis_{freq}.pkl"] = table
        for column in ("mean", "std", "mean_std"):
            cells = table[column].to_numpy(dtype=np.float64).tolist()
            metrics |= {f"{column}.{'.'.join(name)}": value for name, value in zip(names, cells, strict=True)}
    return objects, metrics


def _run(plan: BacktestPlan, pred: Any) -> Any:
    call: Any = functools.partial(backtest, **plan.backtest)
    return call(
        strategy=plan.strategy,
        executor=plan.executor,
        quotes=plan.quotes,
        pred=_frame(pred),
        region=plan.region,
        qlib_compat=plan.qlib_compat,
    )


def _analysed(plan: BacktestPlan, outcome: Any) -> tuple[dict[str, Any], dict[str, float]]:
    portfolio, indicators = outcome
    objects: dict[str, Any] = {}
    metrics: dict[str, float] = {}
    for freq, (report, positions) in portfolio.items():
        objects[f"report_normal_{freq}.pkl"] = report
        objects[f"positions_normal_{freq}.pkl"] = positions
    for freq, (daily, orders) in indicators.items():
        objects[f"indicators_normal_{freq}.pkl"] = daily
        objects[f"indicators_normal_{freq}_obj.pkl"] = orders
    for freq in plan.risk:
        report = portfolio[freq][0] if freq in portfolio else resample_report(portfolio["1day"][0], freq)
        objects[f"report_normal_{freq}.pkl"] = report
        excess = report["return"] - report["bench"]
        analysis = pd.concat(
            {
                "excess_return_without_cost": risk_analysis(excess, freq=freq),
                "excess_return_with_cost": risk_analysis(excess - report["cost"], freq=freq),
            }
        )
        objects[f"port_analysis_{freq}.pkl"] = analysis
        values = analysis["risk"].to_numpy(dtype=np.float64).tolist()
        metrics |= {
            f"{freq}.{'.'.join(row)}": value for row, value in zip(analysis.index, values, strict=True)
        }
    for freq in plan.indicators:
        made = freq not in indicators
        table = resample_indicators(indicators["1day"][0], freq, plan.method) if made else indicators[freq][0]
        objects[f"indicators_normal_{freq}.pkl"] = table
        summary = indicator_analysis(table, method=plan.method)
        objects[f"indicator_analysis_{freq}.pkl"] = summary
        values = summary["value"].to_numpy(dtype=np.float64).tolist()
        metrics |= {f"{freq}.{name}": value for name, value in zip(summary.index, values, strict=True)}
    return objects, metrics


def reports_to_draw(plan: BacktestPlan, objects: dict[str, Any]) -> dict[str, Any]:
    """Return what `portfolio_pictures` draws, of the objects that `portfolio_figures` has made."""
    return {
        freq: (objects[f"report_normal_{freq}.pkl"], objects.get(f"port_analysis_{freq}.pkl"))
        for freq in plan.reported
    }


def _frame(pred: Any) -> pd.DataFrame:
    frame = pred.to_frame("score") if isinstance(pred, pd.Series) else pred
    if not isinstance(frame, pd.DataFrame) or "datetime" not in frame.index.names:
        raise InvalidValueError("the prediction is no table indexed by (datetime, instrument)")
    if frame.empty:
        raise MissingInputError("the prediction is empty: there is nothing to trade")
    return frame


def _market(plan: BacktestPlan) -> Market:
    told = plan.backtest
    return market_of(plan.quotes, told.get("exchange_kwargs") or {}, told.get("benchmark"), _held(plan))


def _held(plan: BacktestPlan) -> set[str]:
    """Return the names of the holdings to begin with."""
    account = plan.backtest.get("account")
    return {str(name) for name in account if name != "cash"} if isinstance(account, dict) else set()


def _sharing(plan: BacktestPlan, frame: pd.DataFrame, outcome: Any) -> BacktestPlan:
    """Return the plan with one exchange for all passes, of the days that the first one has run."""
    days = next(iter(outcome[0].values()))[0].index
    names = {str(name) for name in frame.index.unique("instrument")}
    keywords: dict[str, Any] = {
        "start_time": days[0],
        "end_time": days[-1],
        "region": plan.region,
        **(plan.backtest.get("exchange_kwargs") or {}),
    }
    for ignored in ("subscribe_fields", "freq"):
        keywords.pop(ignored, None)
    exchange = keywords.get("exchange") or Exchange(plan.quotes.including(names | _held(plan)), **keywords)
    return _with(plan, backtest={**plan.backtest, "exchange_kwargs": {"exchange": exchange}})


def _with(plan: BacktestPlan, **changes: Any) -> BacktestPlan:
    return msgspec.structs.replace(plan, **changes)
