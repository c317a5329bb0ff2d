"""Strategies and executors in Qlib's form: a dict of class, module_path and kwargs."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from aqrec.errors import InvalidInputError, InvalidValueError

from ._executor import SimulatorExecutor
from ._topk import TopkDropoutStrategy

__all__ = ["is_qlibs_own", "made", "with_signal"]

_OURS = {"TopkDropoutStrategy": TopkDropoutStrategy, "SimulatorExecutor": SimulatorExecutor}
PLACEHOLDER = "<PRED>"


def made(config: Any, what: str, pred: Any) -> Any:
    """Return the object that a config stands for; an object stands for itself."""
    if not isinstance(config, Mapping):
        return config
    unknown = set(config) - {"class", "module_path", "kwargs"}
    if unknown or "class" not in config:
        raise InvalidInputError(
            f"a {what} config has the keys class, module_path and kwargs, not {', '.join(map(str, config))}"
        )
    keywords = {key: with_signal(value, pred) for key, value in (config.get("kwargs") or {}).items()}
    maker = _class(config["class"], config.get("module_path"), what)
    try:
        return maker(**keywords)
    except TypeError as error:
        if isinstance(error, InvalidValueError):
            raise
        raise InvalidInputError(f"the {what} {maker.__name__} cannot be made: {error}") from error


def _class(name: Any, module: str | None, what: str) -> type[Any]:
    if isinstance(name, type):
        return name
    if not module and isinstance(name, str) and "." in name:
        module, name = name.rsplit(".", 1)
    if is_qlibs_own(module) or not module:
        if name in _OURS:
            return _OURS[name]
        raise InvalidInputError(
            f"the {what} {name!r} of {module or 'no module'} is not among those of aqrec: {', '.join(_OURS)}"
        )
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InvalidInputError(f"the {what} {module}.{name} cannot be imported: {error}") from error
    if not isinstance(found, type):
        raise InvalidInputError(f"the {what} {module}.{name} is not a class")
    return found


def is_qlibs_own(module: str | None) -> bool:
    """Tell whether a module is one of Qlib."""
    return module is not None and module.split(".")[0] == "qlib"


def with_signal(value: Any, pred: Any) -> Any:
    """Return a value with the placeholder ``<PRED>`` replaced."""
    if isinstance(value, str) and value == PLACEHOLDER:
        if pred is None:
            raise InvalidInputError(f"the config has the placeholder {PLACEHOLDER}, but pred is not given")
        return pred
    return value
