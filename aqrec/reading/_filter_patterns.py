"""LIKE and RLIKE: patterns that no text can make slow."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

__all__ = ["like_pattern", "regex_test", "unfit_regex"]

_REMEMBERED: Final = 10_000


def like_pattern(pattern: str, *, ignore_case: bool = False) -> re.Pattern[str]:
    """Return a regular expression for `fullmatch`, where ``%`` was any run of characters and ``_`` one.

    Each piece between two ``%`` is taken where it first occurs and never sought again, so that no pattern can
    make matching explode.
    """
    first, *others = (
        "".join("." if char == "_" else re.escape(char) for char in piece) for piece in pattern.split("%")
    )
    expression = first
    if others:
        middle = "".join(f"(?>.*?{piece})" for piece in others[:-1] if piece)
        expression += f"{middle}.*{others[-1]}"
    return re.compile(expression, re.DOTALL | (re.IGNORECASE if ignore_case else 0))


def regex_test(pattern: str) -> Callable[[str], bool]:
    """Return the function that tells whether a text holds what a regular expression describes.

    RE2 by way of Arrow, not `re`: its time is linear in the text, whatever the pattern.
    """
    known: dict[str, bool] = {}

    def test(text: str) -> bool:
        found = known.get(text)
        if found is None:
            found = _search(pattern, text)
            if len(known) < _REMEMBERED:
                known[text] = found
        return found

    return test


def unfit_regex(pattern: str) -> str | None:
    """Return what is wrong with a regular expression, or None."""
    import pyarrow as pa  # noqa: PLC0415 - heavy

    try:
        _search(pattern, "")
    except pa.ArrowInvalid as error:
        return str(error).removeprefix("Invalid regular expression: ")
    except UnicodeEncodeError:
        return "it has no UTF-8 form"
    return None


def _search(pattern: str, text: str) -> bool:
    import pyarrow as pa  # noqa: PLC0415 - heavy

    compute: Any = import_module("pyarrow.compute")
    return bool(compute.match_substring_regex(pa.scalar(text, pa.string()), pattern=pattern).as_py())
