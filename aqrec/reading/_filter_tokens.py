"""From a filter or order text to tokens, and errors that point into that text."""

from __future__ import annotations

import re
import unicodedata
from typing import Final, Literal, NamedTuple, cast

from aqrec.errors import InvalidInputError

__all__ = ["Kind", "Token", "mistake", "shortened", "tokenize"]

Kind = Literal["number", "key", "word", "text", "name", "operator", "mark", "end"]

# A doubled quote does not end a quoted piece, nor does a quote after a backslash if another one follows
# later. Neither is an escape: the characters stay as they are written.
_SINGLE: Final = r"'(?:''|\\'|[^'])*'"
_DOUBLE: Final = r'"(?:""|\\"|[^"])*"'
_BACKTICK: Final = r"`(?:``|[^`])*`"

_TOKEN: Final = re.compile(
    rf"""
    (?P<number>-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
    |(?P<key>(?P<entity>[^\W\d]\w*|(?>{_BACKTICK}))\.(?P<rest>{_SINGLE}|{_DOUBLE}|{_BACKTICK}|[\w.]*))
    |(?P<word>[^\W\d]\w*) |(?P<text>{_SINGLE}|{_DOUBLE}) |(?P<name>{_BACKTICK}) |(?P<operator>[=!<>~]+)
    |(?P<mark>[(),])
    """,
    re.VERBOSE,
)
_SPACE: Final = re.compile(r"\s*")
_LIKE_NUMBER: Final = re.compile(r"[+-]?\.?\d[\w.+-]*")
_WIDEST: Final = 160


class Token(NamedTuple):
    """A piece of the text; `entity` and `rest` are the two sides of a key's first dot, as written."""

    kind: Kind
    text: str
    start: int
    end: int
    entity: str = ""
    rest: str = ""

    def is_word(self, *words: str) -> bool:
        """Whether this is one of `words` (given in capitals) in any case."""
        return self.kind == "word" and self.text.upper() in words


def tokenize(source: str, text: str) -> list[Token]:
    """Return the tokens of `text`, the last one of kind ``end``; `source` names the argument in errors."""
    tokens: list[Token] = []
    position = _skip_space(text, 0)
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _unreadable(source, text, position)
        kind = cast("Kind", match.lastgroup)  # the outermost: it closes last
        entity, rest = (match["entity"], match["rest"]) if kind == "key" else ("", "")
        tokens.append(Token(kind, match[0], position, match.end(), entity, rest))
        position = _skip_space(text, match.end())
    tokens.append(Token("end", "", len(text), len(text)))
    return tokens


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    assert match
    return match.end()


def _unreadable(source: str, text: str, start: int) -> InvalidInputError:
    char = text[start]
    if char in "'\"`":
        expected = "expected the same quote again; text that holds one kind of quote goes in the other kind"
        return mistake(source, text, (start, start + 1), "this quote is never closed", expected)
    if number := _LIKE_NUMBER.match(text, start):
        problem = f"{shortened(number[0])} is not a number"
        return mistake(source, text, number.span(), problem, "expected one such as 1, -1.5 or 1e-3")
    return mistake(
        source,
        text,
        (start, start + 1),
        f"{char!r} means nothing here",
        "a name that holds anything but letters, digits, '_' and dots goes in quotes: metrics.`val/loss`, "
        "params.`my-param`; there are no comments, and clauses are joined by AND",
    )


def shortened(text: str) -> str:
    """Return `text` fit for a line of an error."""
    return _printable(text if len(text) <= 40 else f"{text[:40]}…")


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)


def mistake(source: str, text: str, span: tuple[int, int], problem: str, expected: str) -> InvalidInputError:
    """Return an error that shows `text` with carets under `span`, the problem above, what was expected below.

    `source` is the name of the argument that the text was given for.
    """
    start, end = span
    low, high = 0, len(text)
    if len(text) > _WIDEST:
        low, high = max(0, start - _WIDEST // 2), min(len(text), start + _WIDEST // 2)
    shown = _printable(f"{'…' if low else ''}{text[low:high]}{'…' if high < len(text) else ''}")
    before = shown[: start - low + (low > 0)]
    # An ideographic space is as wide as the characters it stands under.
    pad = "".join("\u3000" if unicodedata.east_asian_width(char) in "WF" else " " for char in before)
    carets = "^" * (min(max(end, start + 1), high + 1) - start)
    return InvalidInputError(f"{source}: {problem}\n    {shown}\n    {pad}{carets}\n{expected}")
