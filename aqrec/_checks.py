"""What an argument has to be, said once: the check and the words of its error come from the same rule."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from numbers import Integral, Real
from typing import Any, NamedTuple

from aqrec.errors import InvalidInputError

__all__ = [
    "Rule",
    "check_arguments",
    "check_keys",
    "check_texts",
    "flag",
    "generator",
    "number",
    "one_of",
    "or_none",
    "shown",
    "whole",
]

_MOST_SHOWN = 200


class Rule(NamedTuple):
    """What a value has to be.

    Attributes
    ----------
    words
        Complete the sentence "NAME must be …".
    holds
        Whether a value is so.
    """

    words: str
    holds: Callable[[Any], bool]


def check_arguments(rules: Mapping[str, Rule], given: Mapping[str, Any], where: str = "") -> None:
    """Compare arguments with their rules, and refuse all that break theirs in one error.

    Parameters
    ----------
    rules
        By the name of the argument. One that is not given is not looked at.
    given
        Arguments by name, such as ``locals()``. Those without a rule are not looked at.
    where
        Put in front of the error.

    Raises
    ------
    InvalidInputError
        Some break their rule.
    """
    broken = [
        f"{name} must be {rule.words}, not {shown(given[name])}"
        for name, rule in rules.items()
        if name in given and not rule.holds(given[name])
    ]
    if broken:
        raise InvalidInputError(where + "; ".join(broken))


def check_keys(what: str, given: Any, known: Iterable[str]) -> None:
    """Refuse what is no mapping or has a key that nobody reads."""
    names = sorted(known)
    if not isinstance(given, Mapping):
        raise InvalidInputError(f"{what} must be a dict with the keys {', '.join(names)}, not {shown(given)}")
    unknown = [key for key in given if key not in names]
    if unknown:
        raise InvalidInputError(
            f"{what} has the unknown {', '.join(map(repr, unknown))}; its keys are {', '.join(names)}"
        )


def check_texts(name: str, given: Any) -> None:
    """Refuse what is no list of texts; one text alone, which is a list of its letters, too. None is allowed."""
    if isinstance(given, str | bytes):
        raise InvalidInputError(f"{name}={shown(given)} is one text; give a list: {name}=[{shown(given)}]")
    if given is None or (isinstance(given, Collection) and all(isinstance(text, str) for text in given)):
        return
    raise InvalidInputError(f"{name}={shown(given)}: give a list of texts")


def shown(value: Any) -> str:
    """Return a value as an error quotes it: whole tables do not fit."""
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN and "\n" not in text else f"a {type(value).__name__}"


def _is(value: Any, kind: type[Any]) -> bool:
    return issubclass(type(value), kind) and not isinstance(value, bool)


def _is_flag(value: Any) -> bool:
    # numpy's bool is another class, and this module does not import numpy.
    kind = type(value)
    return kind is bool or (kind.__module__ == "numpy" and kind.__name__ in ("bool", "bool_"))


flag = Rule("True or False", _is_flag)


def number(least: float = -math.inf, most: float = math.inf, *, above: float = -math.inf) -> Rule:
    """Return the rule of a finite real number, numpy's included, from `least` to `most` and greater than `above`."""
    words = "a finite number"
    if above > -math.inf:
        words += f" above {above:g}"
    elif least > -math.inf and most < math.inf:
        words += f" from {least:g} to {most:g}"
    elif least > -math.inf:
        words += f" from {least:g} on"

    def holds(value: Any) -> bool:
        return _is(value, Real) and math.isfinite(value) and least <= value <= most and value > above

    return Rule(words, holds)


def whole(least: int | None = None) -> Rule:
    """Return the rule of a whole number, numpy's included, from `least` on."""
    words = "a whole number" if least is None else f"a whole number from {least} on"
    return Rule(words, lambda value: _is(value, Integral) and (least is None or value >= least))


def one_of(*choices: Any) -> Rule:
    """Return the rule of one of some values."""
    *others, last = map(repr, choices)
    return Rule(
        f"{', '.join(others)} or {last}" if others else last,
        lambda value: any(isinstance(value, type(choice)) and value == choice for choice in choices),
    )


def or_none(rule: Rule) -> Rule:
    """Return the rule that allows None as well."""
    return Rule(f"{rule.words}, or None", lambda value: value is None or rule.holds(value))


generator = Rule(
    "a seed, which is a whole number from 0 on, or a Generator or RandomState of numpy.random",
    lambda value: (
        whole(0).holds(value) or all(callable(getattr(value, name, None)) for name in ("choice", "shuffle"))
    ),
)
