"""Record configs: Qlib's template names stand for aqrec's own templates."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from aqrec.tasks._instances import Named, accepted, factory_of, look_up, named, parameters

__all__ = ["TEMPLATE_MODULES", "in_templates", "record_arguments", "record_factory"]

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
    factory: Callable[..., Any], given: Mapping[str, Any], model: Any, dataset: Any
) -> dict[str, Any]:
    """Return the arguments of a record without its recorder: model and dataset where it takes them."""
    spare = {key: value for key, value in (("model", model), ("dataset", dataset)) if key not in given}
    return {**given, **accepted(factory, spare)}


def is_async(factory: Callable[..., Any]) -> bool:
    """Whether a record class is written for the async face."""
    return inspect.iscoroutinefunction(getattr(factory, "generate", None))
