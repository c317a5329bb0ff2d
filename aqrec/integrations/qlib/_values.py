"""What Qlib's code hands over, as values that are stored, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from aqrec.errors import InvalidValueError
from aqrec.format._values import Value, normalise

__all__ = ["plain", "shown", "without_secrets"]

_HIDDEN = "***"


def plain(what: str, values: Mapping[str, object]) -> dict[str, Value]:
    """Return values of params or tags as they are stored; an object becomes its text, as in MLflow."""
    return {key: _plain(f"{what} {key!r}", value) for key, value in values.items()}


def _plain(what: str, value: object) -> Value:
    try:
        return normalise(what, value)
    except InvalidValueError:
        return str(value)


def shown(values: Mapping[str, Any]) -> dict[str, str]:
    """Return stored values as texts."""
    return {key: value if isinstance(value, str) else str(value) for key, value in values.items()}


def without_secrets(config: object) -> object:
    """Return a workflow's configuration without the storage options of its ``exp_manager``; anything else as it is.

    ``qrun`` saves the whole of its file into the run.
    """
    path = ("qlib_init", "exp_manager", "kwargs", "storage_options")
    found: object = config
    for key in path:
        if not isinstance(found, dict) or key not in found:
            return config
        found = cast("dict[str, object]", found)[key]
    if not isinstance(found, Mapping):
        return config
    return _replaced(
        cast("dict[str, Any]", config), path, dict.fromkeys(cast("Mapping[str, object]", found), _HIDDEN)
    )


def _replaced(config: Mapping[str, Any], path: tuple[str, ...], value: object) -> dict[str, Any]:
    key, *rest = path
    return {**config, key: _replaced(config[key], tuple(rest), value) if rest else value}
