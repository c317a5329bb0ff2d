"""Storage options of the drivers: which there are, of which type, and what must be installed for them."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any, NamedTuple

from aqrec.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Knob", "need_extra", "take_options"]

_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class Knob(NamedTuple):
    """An option's type: bool, int, float, str or dict. Text is read as that type, as it comes from a URL."""

    kind: type


def take_options(url: str, options: Mapping[str, Any], known: Mapping[str, Knob]) -> dict[str, Any]:
    """Return the options that are given (None counts as not), each of its type.

    Raises
    ------
    InvalidInputError
        One is not known, or its value does not fit. No value is shown: it may be secret.
    """
    if unknown := sorted(set(options) - set(known)):
        raise InvalidInputError(
            f"{url} does not know the storage options {', '.join(unknown)}: it knows {', '.join(sorted(known))}"
        )
    return {
        name: _read(url, name, value, known[name].kind)
        for name, value in options.items()
        if value is not None
    }


def need_extra(extra: str, url: str, *modules: str) -> None:
    """Raise `InvalidInputError` with the command that installs what a driver needs, if it is not there."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise InvalidInputError(
                f"the driver for {url} needs {module}, which is not installed: pip install 'aqrec[{extra}]'"
            )


def _read(url: str, name: str, value: Any, kind: type) -> Any:
    fits = isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)
    if fits:
        return value
    try:
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if kind is str and isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        if isinstance(value, str):
            if kind is bool:
                return _TRUTH[value.lower()]
            if kind in {int, float}:
                return kind(value)
    except (KeyError, ValueError):
        pass
    raise InvalidInputError(f"the storage option {name!r} of {url} must be a {kind.__name__}")
