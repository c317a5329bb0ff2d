"""What `PortAnaRecord` and `MultiPassPortAnaRecord` are told, checked before anything runs; the same for both faces."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, cast

import msgspec

from aqrec.errors import InvalidInputError

__all__ = [
    "ANALYSED_TWICE",
    "BACKTEST_KEYS",
    "PICTURES",
    "BacktestPlan",
    "backtest_plan",
    "check_passes",
    "check_prices",
    "is_qlibs",
    "metrics_of_pass",
    "multi_pass_files",
    "portfolio_files",
]

PICTURES = ("cumulative_return", "drawdown", "turnover")
"""Names of the figures of `aqrec.plots.plot_portfolio`"""

IndicatorMethod = Literal["mean", "amount_weighted", "value_weighted"]

ANALYSED_TWICE = ("annualized_return", "information_ratio")
"""Measures that `MultiPassPortAnaRecord` sums up over its passes"""

_DEFAULT: dict[str, Any] = {
    "strategy": {
        "class": "TopkDropoutStrategy",
        "module_path": "qlib.contrib.strategy",
        "kwargs": {"signal": "<PRED>", "topk": 50, "n_drop": 5},
    },
    "backtest": {
        "start_time": None,
        "end_time": None,
        "account": 100_000_000,
        "benchmark": "SH000300",
        "exchange_kwargs": {
            "limit_threshold": 0.095,
            "deal_price": "close",
            "open_cost": 0.0005,
            "close_cost": 0.0015,
            "min_cost": 5,
        },
    },
}
_EXECUTOR: dict[str, Any] = {
    "class": "SimulatorExecutor",
    "module_path": "qlib.backtest.executor",
    "kwargs": {"time_per_step": "day", "generate_portfolio_metrics": True},
}
_OURS = {"SimulatorExecutor", "TopkDropoutStrategy"}
BACKTEST_KEYS = {"account", "benchmark", "end_time", "exchange_kwargs", "pos_type", "start_time"}
_FREQUENCY = re.compile(r"(\d*)(month|mon|week|w|day|d|minute|min)", re.IGNORECASE)
_UNITS = {"month": "month", "mon": "month", "week": "week", "w": "week", "day": "day", "d": "day"}


_DAY = "1day"
_OF_DAYS = ("day", "week", "month")


class BacktestPlan(msgspec.Struct, frozen=True):
    """One backtest and its analyses; travels to workers as it is."""

    strategy: Any
    executor: Any
    backtest: dict[str, Any]
    quotes: Any
    region: Literal["cn", "us", "tw"]
    qlib_compat: bool
    reported: tuple[str, ...]
    """Frequencies of the executors that report"""
    levels: tuple[str, ...]
    """Those of all executors, each of which has indicators"""
    risk: tuple[str, ...]
    indicators: tuple[str, ...]
    """Those to analyse; what no executor reports is made of the days"""
    method: IndicatorMethod
    plots: bool = False


def backtest_plan(
    config: Mapping[str, Any] | None,
    risk_analysis_freq: str | Iterable[str] | None,
    indicator_analysis_freq: str | Iterable[str] | None,
    indicator_analysis_method: str | None,
    *,
    quotes: Any,
    region: Literal["cn", "us", "tw"],
    qlib_compat: bool,
    plots: bool = False,
) -> BacktestPlan:
    """Check and copy what a template is told; objects that are no dicts, lists or tuples are shared.

    Raises
    ------
    InvalidInputError
        A key is missing or unknown, or a frequency or the method means nothing.
    """
    given = _copy(_DEFAULT if config is None else config)
    if not isinstance(given, dict):
        raise InvalidInputError(
            f"config is {config!r}; give a dict with the keys strategy, backtest and executor"
        )
    _check_keys(given, {"strategy", "backtest"}, {"executor"}, "config")
    backtest: Any = given["backtest"]
    if not isinstance(backtest, dict):
        raise InvalidInputError(f"config['backtest'] is {backtest!r}; give a dict")
    _check_keys(backtest, set(), BACKTEST_KEYS, "config['backtest']")
    executor = given.get("executor") or _copy(_EXECUTOR)
    reported, levels = _frequencies(executor)
    if not reported:
        raise InvalidInputError(
            "config['executor'] reports nothing, so there is nothing to analyse: set generate_portfolio_metrics to true in "
            "its kwargs"
        )
    if indicator_analysis_method not in {None, "mean", "amount_weighted", "value_weighted"}:
        raise InvalidInputError(
            f"indicator_analysis_method is {indicator_analysis_method!r}; choose 'mean', 'amount_weighted' or "
            "'value_weighted'"
        )
    return BacktestPlan(
        strategy=given["strategy"],
        executor=executor,
        backtest=backtest,
        quotes=quotes,
        region=region,
        qlib_compat=qlib_compat,
        reported=reported,
        levels=levels,
        risk=_chosen("risk_analysis_freq", risk_analysis_freq, reported),
        indicators=_chosen("indicator_analysis_freq", indicator_analysis_freq, reported),
        method=cast("IndicatorMethod", indicator_analysis_method or "mean"),
        plots=plots,
    )


def portfolio_files(plan: BacktestPlan) -> list[str]:
    """Return the names of the files of `PortAnaRecord`."""
    reports = ("report_normal_{}.pkl", "positions_normal_{}.pkl")
    indicators = ("indicators_normal_{}.pkl", "indicators_normal_{}_obj.pkl")
    return [
        *(kind.format(freq) for freq in plan.reported for kind in reports),
        *(kind.format(freq) for freq in plan.levels for kind in indicators),
        *(reports[0].format(freq) for freq in plan.risk if freq not in plan.reported),
        *(indicators[0].format(freq) for freq in plan.indicators if freq not in plan.levels),
        *(f"port_analysis_{freq}.pkl" for freq in plan.risk),
        *(f"indicator_analysis_{freq}.pkl" for freq in plan.indicators),
        *(name for freq in plan.reported if plan.plots for name in picture_files(freq)),
    ]


def picture_files(freq: str) -> list[str]:
    """Return the names of the pictures of a report, and of the page that shows them."""
    return [f"{name}_{freq}.png" for name in PICTURES] + [f"report_{freq}.html"]


def multi_pass_files(plan: BacktestPlan) -> list[str]:
    """Return the names of the files of `MultiPassPortAnaRecord`."""
    return [f"multi_pass_port_analysis_{freq}.pkl" for freq in plan.risk]


def metrics_of_pass(plan: BacktestPlan, figures: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics of one pass by the names that they are logged under."""
    return {name if plan.qlib_compat else f"pass.{name}": value for name, value in figures.items()}


def check_passes(plan: BacktestPlan, pass_num: int) -> None:
    """Refuse what cannot be run again and again with another signal."""
    if isinstance(pass_num, bool) or not isinstance(pass_num, int) or pass_num < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidInputError(f"pass_num is {pass_num!r}; give a whole number from 1 on")
    strategy: Any = plan.strategy
    keywords = strategy.get("kwargs") if isinstance(strategy, Mapping) else None
    if not isinstance(keywords, Mapping) or "signal" not in keywords:
        raise InvalidInputError(
            "MultiPassPortAnaRecord needs config['strategy'] as a dict whose kwargs have a signal, which each pass "
            f"replaces; it is {strategy!r}"
        )


def check_prices(template: str, plan: BacktestPlan) -> None:
    """Refuse a plan that has no prices to trade at."""
    exchange = plan.backtest.get("exchange_kwargs")
    shared = isinstance(exchange, Mapping) and "exchange" in exchange
    if plan.quotes is None and not shared and not (is_qlibs(plan.strategy) or is_qlibs(plan.executor)):
        raise InvalidInputError(
            f"{template} has no prices to trade at: give quotes=…, a table with the columns instrument, datetime and $close, "
            "or the path or URL of one or of a data folder of Qlib"
        )


def _frequencies(executor: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the frequencies at which an executor and those inside it report, and those of all of them."""
    reported: list[str] = []
    levels: list[str] = []
    # aqrec's own reports unless told otherwise, Qlib's do not.
    reports = not is_qlibs(executor)
    while isinstance(executor, Mapping):
        keywords = cast("Mapping[str, Any]", executor.get("kwargs") or {})
        levels.append(_normal("config['executor']: time_per_step", keywords.get("time_per_step", "day")))
        if keywords.get("generate_portfolio_metrics", reports):
            reported.append(levels[-1])
        executor, reports = keywords.get("inner_executor"), False
    return (tuple(reported), tuple(levels)) if levels else (("1day",), ("1day",))


def is_qlibs(config: Any) -> bool:
    """Whether a strategy or an executor is one that only Qlib has."""
    if not isinstance(config, Mapping) or not isinstance(config.get("class"), str):
        return False
    module, _, name = str(config["class"]).rpartition(".")
    where = config.get("module_path") or module
    return str(where).split(".", 1)[0] == "qlib" and name not in _OURS


def _chosen(name: str, given: str | Iterable[str] | None, reported: tuple[str, ...]) -> tuple[str, ...]:
    if given is None:
        return reported[:1]
    chosen = tuple(_normal(name, freq) for freq in ([given] if isinstance(given, str) else given))
    for freq in chosen:
        if freq not in reported and not (_DAY in reported and freq.lstrip("0123456789") in _OF_DAYS):
            raise InvalidInputError(
                f"{name} names {freq!r}, but the executor reports only {', '.join(reported) or 'nothing'}; leave it out, "
                "or set generate_portfolio_metrics for an executor of that time_per_step. Days, weeks and months can be "
                "made of reported days"
            )
    return chosen


def _normal(name: str, freq: Any) -> str:
    match = _FREQUENCY.fullmatch(freq) if isinstance(freq, str) else None
    if match is None:
        raise InvalidInputError(f"{name}: {freq!r} is no frequency such as 'day', '1day' or '30min'")
    return f"{int(match[1] or 1)}{_UNITS.get(match[2].lower(), 'min')}"


def _check_keys(given: Mapping[str, Any], needed: set[str], allowed: set[str], what: str) -> None:
    missing, unknown = needed - set(given), set(map(str, given)) - needed - allowed
    if missing or unknown:
        problems = [
            *([f"lacks {', '.join(sorted(missing))}"] if missing else []),
            *([f"has the unknown {', '.join(sorted(unknown))}"] if unknown else []),
        ]
        raise InvalidInputError(
            f"{what} {' and '.join(problems)}; its keys are {', '.join(sorted(needed | allowed))}"
        )


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        copied = [_copy(item) for item in cast("list[Any]", value)]
        return copied if isinstance(value, list) else tuple(copied)
    return value
