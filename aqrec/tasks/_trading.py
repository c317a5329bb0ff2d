"""The config of a `PortAnaRecord`, compared with what strategy, executor, exchange and backtest take, before a model is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aqrec.errors import InvalidInputError
from aqrec.tasks._documents import Path, Problems
from aqrec.templates._backtest_plan import (
    BACKTEST_KEYS,
    BacktestPlan,
    backtest_plan,
    check_passes,
    is_qlibs,
)

__all__ = ["TradingCheck", "is_trading"]

_ANALYSES = ("risk_analysis_freq", "indicator_analysis_freq", "indicator_analysis_method")
_INSTANCE = ("class", "kwargs", "module_path")


def is_trading(factory: object) -> bool:
    """Whether a record runs a backtest as `PortAnaRecord` does."""
    return isinstance(factory, type) and isinstance(getattr(factory, "plan", None), BacktestPlan)


class TradingCheck:
    """One record's arguments.

    Parameters
    ----------
    problems
        Gets what is wrong.
    known
        Notes which keys of a section are none of some.
    arguments
        Notes which arguments a class has no parameters for, which ones it lacks, and which ones are of wrong types.
    """

    def __init__(
        self,
        problems: Problems,
        known: Callable[[Path, Mapping[Any, Any], tuple[str, ...]], None],
        arguments: Callable[[Path, Any, Mapping[str, Any], tuple[str, ...]], None],
    ) -> None:
        self._problems = problems
        self._known = known
        self._arguments = arguments

    def record(self, path: Path, kwargs: Mapping[str, Any]) -> None:
        """Check the arguments of a record, whose place is `path`."""
        before = self._problems.count
        config = kwargs.get("config")
        inside = (*path, "kwargs", "config")
        if isinstance(config, Mapping):
            self._config(inside, config)
        elif config is not None:
            self._problems.add(inside, "expected a mapping with the keys strategy, backtest and executor")
        if self._problems.count > before:
            return
        # What is left concerns several of them.
        try:
            plan = backtest_plan(
                config,
                *(kwargs.get(name) for name in _ANALYSES),
                quotes=None,
                region="cn",
                qlib_compat=False,
            )
            if "pass_num" in kwargs:
                check_passes(plan, kwargs["pass_num"])
        except InvalidInputError as error:
            named = [name for name in (*_ANALYSES, "pass_num") if str(error).startswith(name)]
            self._problems.add((*path, "kwargs", *(named or ("config",))), str(error))

    def _config(self, path: Path, config: Mapping[str, Any]) -> None:
        self._known(path, config, ("backtest", "executor", "strategy"))
        for key in ("backtest", "strategy"):
            if key not in config:
                self._problems.add(path, f"the key {key} is missing", key=True)
        for key, usual in (("strategy", "TopkDropoutStrategy"), ("executor", "SimulatorExecutor")):
            if isinstance(config.get(key), Mapping):
                self._instance((*path, key), config[key], usual)
        backtest = config.get("backtest")
        if isinstance(backtest, Mapping):
            self._backtest((*path, "backtest"), backtest)
            foreign = is_qlibs(config.get("strategy")) or is_qlibs(config.get("executor"))
            rules = backtest.get("exchange_kwargs")
            if isinstance(rules, Mapping) and not foreign:
                self._exchange((*path, "backtest", "exchange_kwargs"), rules)
        elif "backtest" in config:
            self._problems.add((*path, "backtest"), "expected a mapping of the arguments of a backtest")

    def _instance(self, path: Path, config: Mapping[str, Any], usual: str) -> None:
        """Check a strategy or an executor, if it is aqrec's; the check of nested configs sees to others."""
        name, kwargs = config.get("class"), config.get("kwargs")
        if name is None:
            self._problems.add(path, "the key class is missing", key=True)
        if not isinstance(name, str) or is_qlibs(config):
            return
        where, _, last = name.rpartition(".")
        where = config.get("module_path") or where
        if where and where.partition(".")[0] != "qlib":
            return
        if not where and last != usual:
            self._problems.add(
                (*path, "class"), f"aqrec has no {last!r}; it has {usual}; your own needs its module_path"
            )
            return
        self._known(path, config, _INSTANCE)
        if kwargs is not None and not isinstance(kwargs, Mapping):
            self._problems.add((*path, "kwargs"), "expected a mapping of arguments")
            return
        from aqrec import backtest  # noqa: PLC0415 - loads pandas

        given = {} if kwargs is None else kwargs
        before = self._problems.count
        self._arguments(path, getattr(backtest, usual), given, ())
        if self._problems.count == before:
            base = (
                {"signal": None, "topk": 1, "n_drop": 0, "rng": 0} if usual == "TopkDropoutStrategy" else {}
            )
            self._values((*path, "kwargs"), getattr(backtest, usual), given, base)

    def _values(
        self, path: Path, maker: Callable[..., Any], given: Mapping[str, Any], base: Mapping[str, Any]
    ) -> None:
        """Try each argument beside others that are good, then all of them together."""
        before = self._problems.count
        for key, value in given.items():
            self._try((*path, key), maker, {**base, key: value})
        if self._problems.count == before:
            self._try(path, maker, {**{key: base[key] for key in base if key == "signal"}, **given})

    def _try(self, path: Path, maker: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
        try:
            maker(**arguments)
        except (InvalidInputError, TypeError, ValueError) as error:
            self._problems.add(path, str(error))

    def _backtest(self, path: Path, config: Mapping[str, Any]) -> None:
        from aqrec.backtest._benchmark import benchmark_names  # noqa: PLC0415 - loads pandas
        from aqrec.backtest._run import holdings_of  # noqa: PLC0415
        from aqrec.quotes._days import as_day  # noqa: PLC0415

        self._known(path, config, tuple(sorted(BACKTEST_KEYS)))
        span: list[Any] = []
        for key in ("start_time", "end_time"):
            if config.get(key) is not None:
                before = self._problems.count
                self._try((*path, key), lambda moment, key=key: as_day(moment, key), {"moment": config[key]})
                span += [config[key]] if self._problems.count == before else []
        if len(span) == 2 and as_day(span[0]) > as_day(span[1]):
            self._problems.add((*path, "end_time"), f"is before start_time, {span[0]}")
        if "account" in config:
            self._try((*path, "account"), holdings_of, {"account": config["account"]})
        if config.get("benchmark") is not None:
            self._try((*path, "benchmark"), benchmark_names, {"benchmark": config["benchmark"]})
        if config.get("pos_type", "Position") != "Position":
            self._problems.add((*path, "pos_type"), "must be 'Position'")
        rules = config.get("exchange_kwargs")
        if rules is not None and not isinstance(rules, Mapping):
            self._problems.add(
                (*path, "exchange_kwargs"), "expected a mapping of the arguments of an Exchange"
            )

    def _exchange(self, path: Path, rules: Mapping[str, Any]) -> None:
        import numpy as np  # noqa: PLC0415

        from aqrec.backtest._exchange import Exchange, fields_needed  # noqa: PLC0415 - loads pandas
        from aqrec.backtest._run import EXCHANGE_KEYS  # noqa: PLC0415
        from aqrec.quotes import Market  # noqa: PLC0415

        self._known(path, rules, tuple(sorted(EXCHANGE_KEYS)))
        if "exchange" in rules:
            return

        def made(**arguments: Any) -> None:
            # A market of one name and as many fields as are asked for: its prices do not matter.
            fields = {"$close", *fields_needed(arguments)}
            Exchange(Market(["2024-01-02"], ["A"], dict.fromkeys(fields, np.ones((1, 1)))), **arguments)

        for key in _judged(rules, EXCHANGE_KEYS):
            self._try((*path, key), made, {key: rules[key]})


def _judged(rules: Mapping[str, Any], known: Iterable[str]) -> list[str]:
    """Return the keys whose values do not depend on the quotes."""
    return [key for key in rules if key in known and key not in {"codes", "freq", "subscribe_fields"}]
