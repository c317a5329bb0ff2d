"""Whether a plain value can be what a parameter is annotated with."""

from __future__ import annotations

import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from types import SimpleNamespace
from typing import Any, Literal, Union, get_args, get_origin

from aqrec.templates._plan import OnMissing

__all__ = ["expectation"]

_FILLED = re.compile(r"<[^<>]+>")
_WORDS: dict[Any, str] = {
    bool: "true or false",
    dict: "a mapping",
    float: "a number",
    int: "a whole number",
    str: "text",
    Iterable: "a list",
    Mapping: "a mapping",
    None: "nothing",
    Sequence: "a list",
    list: "a list",
    tuple: "a list",
    type(None): "nothing",
}
_SCALARS = (bool, int, float, str)
# What modules import for their annotations only.
_NAMES = {"Iterable": Iterable, "Mapping": Mapping, "OnMissing": OnMissing, "Sequence": Sequence}


def expectation(factory: Callable[..., Any], name: str, value: Any) -> str | None:
    """Return what the parameter of a class or function takes, in words, if the value is something else.

    aqrec's own annotations are taken at their word. Those of others are often loose: of them only text where a number
    is meant, or a number where text is, counts, and not if it is what the default is like.
    """
    if isinstance(value, str) and _FILLED.match(value):
        return None  # a placeholder, which something else will stand for
    function: Any = getattr(factory, "__init__") if isinstance(factory, type) else factory  # noqa: B009 - mypy
    hint = _hint(function, name)
    if hint is inspect.Parameter.empty or _fits(value, hint):
        return None
    module = str(getattr(function, "__module__", ""))
    if module.partition(".")[0] != "aqrec" and not _clearly_wrong(function, name, value, hint):
        return None
    return _words(hint)


def _hint(function: Any, name: str) -> Any:
    try:
        annotation = inspect.signature(function).parameters[name].annotation
        module = sys.modules.get(function.__module__)
        holder = SimpleNamespace(__annotations__={name: annotation})
        return typing.get_type_hints(holder, {**_NAMES, **vars(module or typing)})[name]
    except Exception:  # noqa: BLE001 - an annotation may be any code; of what cannot be told nothing is expected
        return inspect.Parameter.empty


def _fits(value: Any, hint: Any) -> bool:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in get_args(hint))
    if hint is bool:
        return isinstance(value, bool)
    if hint is int:
        return isinstance(value, Integral) and value is not True and value is not False
    if hint is float:
        return isinstance(value, Real) and value is not True and value is not False
    if hint is str:
        return isinstance(value, str)
    if hint in (None, type(None)):
        return value is None
    kind = origin or hint
    if kind in (Mapping, dict):
        return isinstance(value, Mapping)
    if kind in (Iterable, Sequence, list, tuple):
        return isinstance(value, Iterable) and not isinstance(value, str | Mapping)
    return True


def _clearly_wrong(function: Any, name: str, value: Any, hint: Any) -> bool:
    parts = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if not isinstance(value, _SCALARS) or not all(part in (*_SCALARS, type(None)) for part in parts):
        return False
    default = inspect.signature(function).parameters[name].default
    return isinstance(value, str) != (str in parts) and type(default) is not type(value)


def _words(hint: Any) -> str:
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_words(part) for part in get_args(hint)))
    if get_origin(hint) is Literal:
        return " or ".join(repr(choice) for choice in get_args(hint))
    return _WORDS.get(get_origin(hint) or hint, str(getattr(hint, "__name__", hint)))
