"""Where the prices of a task's records lie, and whether they and the benchmark are there, before a model is trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path as FilePath
from types import ModuleType
from typing import Any

from aqrec.errors import AqrecError, InvalidInputError
from aqrec.quotes._files import is_remote
from aqrec.tasks._documents import Branch, Document, Path, Problems
from aqrec.tasks._records import (
    market_of_dataset,
    market_of_qlib,
    record_factory,
    records_of,
    trades,
)
from aqrec.templates._backtest_plan import BacktestPlan

__all__ = ["check_quotes", "market_of", "resolve_quotes"]


def resolve_quotes(document: Document) -> None:
    """Make the paths of records' quotes absolute: as base files, from the current folder, else from their file's.

    So the recorded workflow runs from any folder. What does not exist stays as it is.
    """
    records = _below(_below(document.tree, "task"), "record")
    content = records.content if records is not None else None
    for record in content if isinstance(content, list) else [records]:
        quotes = _below(_below(record, "kwargs"), "quotes")
        if quotes is None or not _is_relative(quotes.content):
            continue
        found = next((path for path in _candidates(quotes) if path.exists()), None)
        if found is not None:
            quotes.content = str(found)


def _below(branch: Branch | None, key: str) -> Branch | None:
    content = branch.content if branch is not None else None
    return content[key][1] if isinstance(content, dict) and key in content else None


def _is_relative(location: Any) -> bool:
    return (
        isinstance(location, str)
        and bool(location)
        and not location.startswith(("<", "~", "file:"))
        and not is_remote(location)
        and not FilePath(location).is_absolute()
    )


def _candidates(quotes: Branch) -> list[FilePath]:
    here = FilePath.cwd()
    folders = [here, FilePath(quotes.place.file).resolve().parent] if quotes.place else [here]
    return [folder / quotes.content for folder in dict.fromkeys(folders)]


def check_quotes(problems: Problems, path: Path, plan: BacktestPlan, told: Any, provider: Any) -> None:
    """Note that a record's quotes are not there or no quotes, or that they lack its benchmark.

    What lies elsewhere is not asked.

    Parameters
    ----------
    problems
        Gets what is wrong.
    path
        Where the record stands.
    plan
        What it will run.
    told
        Its argument ``quotes``.
    provider
        Qlib's data folder, on which it trades without.
    """
    from aqrec.backtest._benchmark import benchmark_names  # noqa: PLC0415 - loads pandas
    from aqrec.quotes._read import lacking  # noqa: PLC0415

    location = told if told is not None else provider
    if not isinstance(location, str) or location.startswith("<") or is_remote(location):
        return
    exchange = plan.backtest.get("exchange_kwargs")
    names: list[str] = []
    try:
        if not (isinstance(exchange, Mapping) and "exchange" in exchange):
            names = benchmark_names(plan.backtest.get("benchmark"))
        unknown = lacking(location, names)
    except AqrecError as error:
        # Whether Qlib's folder is there, Qlib tells.
        if told is not None:
            here = "" if FilePath(location).is_absolute() else f", looked for below {FilePath.cwd()}"
            file = problems.document.file
            beside = f" and {FilePath(file).resolve().parent}" if here and file else ""
            problems.add((*path, "kwargs", "quotes"), f"{error}{here}{beside}")
        return
    if unknown:
        problems.add(
            (*path, "kwargs", "config", "backtest", "benchmark"),
            f"the benchmark {', '.join(map(repr, unknown))} is not in the quotes, {location}",
        )


def market_of(
    task: Mapping[str, Any], templates: ModuleType, qlib_init: Mapping[str, Any] | None, dataset: Any
) -> dict[str, Any]:
    """Return the prices that the records of a task trade on which have none of their own; nothing if there is no such record.

    Raises
    ------
    InvalidInputError
        The data set's prices lack the benchmark of a record.
    """
    records = [record_factory(config, templates) for config in records_of(task)]
    trading = [(factory, given) for factory, given in records if trades(factory, given)]
    if not trading:
        return {}
    market = market_of_qlib(qlib_init) | market_of_dataset(dataset)
    for factory, given in trading:
        unknown = _unknown(market.get("quotes"), given.get("config"))
        if unknown:
            raise InvalidInputError(
                f"{factory.__name__}: the benchmark {', '.join(map(repr, unknown))} is not in the quotes of the data set; "
                "nothing was trained"
            )
    return market


def _unknown(quotes: Any, config: Any) -> list[str]:
    from aqrec.backtest._benchmark import benchmark_names  # noqa: PLC0415 - loads pandas
    from aqrec.quotes import Market  # noqa: PLC0415

    told = config.get("backtest") if isinstance(config, Mapping) else None
    if not isinstance(told, Mapping):
        return []
    if isinstance(quotes, Market):
        known: Any = quotes.columns
    elif "instrument" in getattr(quotes, "columns", ()):
        known = set(quotes["instrument"].unique())
    elif "instrument" in getattr(getattr(quotes, "index", None), "names", ()):
        known = set(quotes.index.unique("instrument"))
    else:
        return []
    return [name for name in benchmark_names(told.get("benchmark")) if name not in known]
