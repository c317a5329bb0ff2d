"""Strategies and executors in Qlib's form: a dict of class, module_path and kwargs."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, cast

from aqrec._checks import Rule, check_arguments, check_keys, or_none
from aqrec.errors import InvalidInputError, InvalidValueError

from ._executor import SimulatorExecutor
from ._topk import TopkDropoutStrategy

__all__ = ["filled", "made", "needs_qlib"]

_OURS: dict[str, type[Any]] = {
    "SimulatorExecutor": SimulatorExecutor,
    "TopkDropoutStrategy": TopkDropoutStrategy,
}
_PLACEHOLDER = "<PRED>"
_RULES = {
    "class": Rule("a class or its name", lambda value: isinstance(value, str | type)),
    "module_path": or_none(Rule("the name of a module", lambda value: isinstance(value, str))),
    "kwargs": or_none(Rule("a dict of arguments", lambda value: isinstance(value, Mapping))),
}


def filled(value: Any, pred: Any) -> Any:
    """Return a config with each ``<PRED>`` replaced, also inside of lists and dicts."""
    if isinstance(value, str) and value == _PLACEHOLDER:
        if pred is None:
            raise InvalidInputError(f"the config has the placeholder {_PLACEHOLDER}, but pred is not given")
        return pred
    if isinstance(value, Mapping):
        return {key: filled(item, pred) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [filled(item, pred) for item in cast("list[Any]", value)]
        return items if isinstance(value, list) else tuple(items)
    return value


def needs_qlib(config: Any) -> str | None:
    """Return the class of Qlib that a config names and aqrec does not have, or None."""
    if not isinstance(config, Mapping):
        return None
    module, name = _named(config)
    if isinstance(name, str) and module and module.split(".")[0] == "qlib" and name not in _OURS:
        return f"{module}.{name}"
    return None


def made(config: Any, what: str, pred: Any, *, qlib_compat: bool) -> Any:
    """Return the object that a config stands for; an object stands for itself."""
    if not isinstance(config, Mapping):
        return config
    where = f"the config of the {what}"
    check_keys(where, config, _RULES)
    check_arguments(_RULES, {"class": None, **config}, f"{where}: ")
    maker = _class(config, what)
    keywords = dict(filled(config.get("kwargs") or {}, pred))
    if maker is TopkDropoutStrategy:
        keywords.setdefault("qlib_compat", qlib_compat)
    try:
        return maker(**keywords)
    except TypeError as error:
        if isinstance(error, InvalidValueError):
            raise
        raise InvalidInputError(f"the {what} {maker.__name__} cannot be made: {error}") from error


def _named(config: Mapping[str, Any]) -> tuple[str | None, Any]:
    module, name = config.get("module_path"), config.get("class")
    if not module and isinstance(name, str) and "." in name:
        module, name = name.rsplit(".", 1)
    return module if isinstance(module, str) else None, name


def _class(config: Mapping[str, Any], what: str) -> type[Any]:
    module, name = _named(config)
    if isinstance(name, type):
        return name
    if not module or module.split(".")[0] == "qlib":
        if name in _OURS:
            return _OURS[name]
        raise InvalidInputError(
            f"aqrec has no {what} {name!r}; it has {', '.join(_OURS)}; your own needs a module_path"
        )
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InvalidInputError(f"the {what} {module}.{name} cannot be imported: {error}") from error
    if not isinstance(found, type):
        raise InvalidInputError(f"the {what} {module}.{name} is not a class")
    return found
