"""Record configs: Qlib's template names stand for aqrec's own templates."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from aqrec.tasks._instances import Named, accepted, factory_of, look_up, named, named_parameters, parameters

__all__ = [
    "TEMPLATE_MODULES",
    "in_templates",
    "is_async",
    "market_of_dataset",
    "market_of_qlib",
    "record_arguments",
    "record_factory",
    "records_of",
    "trades",
]

TEMPLATE_MODULES = frozenset(
    {
        "aqrec.sync.templates",
        "aqrec.templates",
        "qlib.contrib.workflow",
        "qlib.contrib.workflow.record_temp",
        "qlib.workflow.record_temp",
    }
)
"""Modules whose names are looked for among the templates of the face that runs the workflow"""


def in_templates(config: Any, templates: ModuleType) -> Named | None:
    """Return what a record config names among the templates, or None if it names something else."""
    if isinstance(config, Mapping) and not isinstance(config.get("class", config.get("func")), str):
        return None
    wanted = named(config, templates)
    if wanted.module is templates or wanted.module in TEMPLATE_MODULES:
        return wanted._replace(module=templates)
    return None


def record_factory(config: Any, templates: ModuleType) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return the class of a record and the arguments that its config gives."""
    wanted = in_templates(config, templates)
    if wanted is None:
        return factory_of(config, templates)
    factory = look_up(wanted)
    # Files written for older releases of Qlib give model and dataset to every record.
    spare = {"dataset", "model"} - set(parameters(factory) or ())
    return factory, {key: value for key, value in wanted.kwargs.items() if key not in spare}


def record_arguments(
    factory: Callable[..., Any],
    given: Mapping[str, Any],
    model: Any,
    dataset: Any,
    market: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the arguments of a record without its recorder.

    It gets the model, the data set and the prices of `market` if it takes them and its config does not give them.
    """
    priced_by = named_parameters(factory)
    around = {
        **accepted(factory, {"model": model, "dataset": dataset}),
        **{key: value for key, value in (market or {}).items() if key in priced_by},
    }
    return {**around, **given}


def trades(factory: Callable[..., Any], given: Mapping[str, Any]) -> bool:
    """Whether a record takes prices that its config does not give."""
    return "quotes" in named_parameters(factory) and "quotes" not in given


def market_of_qlib(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the prices that records trade on where Qlib is at work: its data folder and region.

    Parameters
    ----------
    settings
        The section ``qlib_init``; None: as Qlib was initialised in this process, if it was.
    """
    found: Any = settings
    if settings is None:
        config: Any = getattr(sys.modules.get("qlib.config"), "C", None)
        found = config if config is not None and config.registered else {}
    provider: Any = found.get("provider_uri")
    if isinstance(provider, Mapping):
        provider = provider.get("day", provider.get("__DEFAULT_FREQ"))
    if not isinstance(provider, str | os.PathLike):
        return {}
    return {"quotes": str(Path(provider).expanduser()), "region": found.get("region") or "cn"}


def market_of_dataset(dataset: Any) -> dict[str, Any]:
    """Return the prices that records trade on where the data set tells them: what its method ``quotes`` returns."""
    quotes = getattr(dataset, "quotes", None)
    return {"quotes": quotes()} if callable(quotes) else {}


def records_of(task: Mapping[str, Any]) -> list[Any]:
    """Return the configs of the records."""
    records = task.get("record") or []
    return list(records) if isinstance(records, list) else [records]


def is_async(factory: Callable[..., Any]) -> bool:
    """Whether a record class is written for the async face."""
    return inspect.iscoroutinefunction(getattr(factory, "generate", None))
