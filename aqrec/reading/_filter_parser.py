"""The grammar of filters and orders.

::

    filter  := ( AND | clause )*              every clause must hold; a missing or spare AND is forgiven
    clause  := key operator value
             | key [NOT] IN ( text {, text} [,] )
             | key IS [NOT] NULL
    key     := [entity .] name                without an entity: an attribute
    name    := letters, digits, _ and dots | `any` | "any" | 'any'
    order   := key [ASC | DESC]

OR, NOT and brackets would be methods between `_Parser.conjunction` and `_Parser._clause`, each with its node.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from aqrec.reading._filter_nodes import Comparison, Conjunction, Entity, Key, Membership, Node, NullCheck
from aqrec.reading._filter_tokens import Token, mistake, shortened, tokenize

if TYPE_CHECKING:
    from aqrec.errors import InvalidInputError

__all__ = ["parse_condition", "parse_ordering"]

_ENTITIES: Final[dict[str, Entity]] = {
    "metric": "metrics",
    "metrics": "metrics",
    "param": "params",
    "params": "params",
    "parameter": "params",
    "parameters": "params",
    "tag": "tags",
    "tags": "tags",
    "attribute": "attributes",
    "attributes": "attributes",
    "attr": "attributes",
    "run": "attributes",
    "dataset": "datasets",
    "datasets": "datasets",
}
_TEXT_ATTRIBUTES: Final = ("run_id", "run_name", "status", "user_id", "artifact_uri")
_NUMBER_ATTRIBUTES: Final = ("start_time", "end_time", "created")
_ATTRIBUTES: Final = {name: name for name in (*_TEXT_ATTRIBUTES, *_NUMBER_ATTRIBUTES)} | {
    "Created": "created"
}
_NAME_ALIASES: Final[dict[str, str]] = dict.fromkeys(("run name", "Run name", "Run Name"), "run_name")
_DATASET_KEYS: Final = ("name", "digest", "context")
# MLflow rejects these as parts of an unquoted name, so a filter that uses them would not be portable.
_RESERVED: Final = frozenset({"as", "case", "from", "in", "using", "values"})

_EQUALITY: Final = ("=", "!=")
_NUMBER_OPERATORS: Final = (*_EQUALITY, ">", ">=", "<", "<=")
_PATTERNS: Final = ("LIKE", "ILIKE")
_TEXT_OPERATORS: Final = (*_EQUALITY, *_PATTERNS)


class _Rules(NamedTuple):
    """What a key may be compared with, and how."""

    text: bool = False
    number: bool = False
    members: bool = False
    null: bool = False

    @property
    def comparisons(self) -> tuple[str, ...]:
        return (_NUMBER_OPERATORS if self.number else _EQUALITY) + (_PATTERNS if self.text else ())

    @property
    def operators(self) -> tuple[str, ...]:
        members = ("IN", "NOT IN") if self.members else ()
        return self.comparisons + members + (("IS NULL", "IS NOT NULL") if self.null else ())


_RULES: Final[dict[Entity, _Rules]] = {
    "metrics": _Rules(number=True),
    "params": _Rules(text=True, number=True, null=True),
    "tags": _Rules(text=True, null=True),
    "datasets": _Rules(text=True, members=True),
}

_EXPECTED_KEY: Final = (
    "expected metrics.NAME, params.NAME, tags.NAME (in lower case), or one of the attributes "
    f"{', '.join((*_TEXT_ATTRIBUTES, *_NUMBER_ATTRIBUTES))}"
)
_EXPECTED_TEXT: Final = "expected text in quotes: 'like this' or \"like this\""
_EXPECTED_NUMBER: Final = (
    "expected a number without quotes, such as 1, -1.5 or 1e-3 (infinity and NaN cannot be written)"
)
_WHOLE: Final = re.compile(r"-?\d+")
_A_NUMBER: Final = re.compile(r"\d+(?:[eE]\d+)?")
_MOST_DIGITS: Final = 4000  # Python refuses to read integers of more than 4300 digits
_ESCAPED: Final = re.compile(r"""\\([\\'"])""")


def parse_condition(source: str, text: str) -> Node:
    """Return the node of a whole filter; raise `InvalidInputError` that names the argument `source`."""
    return _Parser(source, text).conjunction()


def parse_ordering(source: str, text: str) -> tuple[Key, bool]:
    """Return the key of an order and whether it is descending; raise `InvalidInputError` naming `source`."""
    return _Parser(source, text).ordering()


class _Parser:
    def __init__(self, source: str, text: str) -> None:
        self._source, self._text = source, text
        self._tokens = tokenize(source, text)
        self._at = 0

    # -- tokens --

    @property
    def _token(self) -> Token:
        return self._tokens[self._at]

    def _next(self) -> Token:
        token = self._token
        if token.kind != "end":
            self._at += 1
        return token

    def _take(self, *words: str) -> Token | None:
        return self._next() if self._token.is_word(*words) else None

    def _take_mark(self, mark: str) -> bool:
        if self._token.kind == "mark" and self._token.text == mark:
            self._at += 1
            return True
        return False

    def _mistake(self, token: Token, expected: str, problem: str = "") -> InvalidInputError:
        if not problem:
            problem = "it ends too early" if token.kind == "end" else f"{shortened(token.text)} is wrong here"
        return mistake(self._source, self._text, (token.start, token.end), problem, expected)

    # -- grammar --

    def conjunction(self) -> Conjunction:
        parts: list[Node] = []
        while self._token.kind != "end":
            if self._take("AND"):
                continue
            if self._token.is_word("OR", "NOT") or self._token.text == "(":
                raise self._mistake(
                    self._token, "expected a clause; there is nothing but AND to join clauses"
                )
            parts.append(self._clause())
        return Conjunction(tuple(parts))

    def ordering(self) -> tuple[Key, bool]:
        start = self._token
        key = self._key(aliases=False)
        if key.entity == "datasets":
            raise self._mistake(start, _EXPECTED_KEY, "runs cannot be ordered by a dataset")
        direction = self._take("ASC", "DESC")
        if self._token.kind != "end":
            raise self._mistake(
                self._token,
                "expected one key, then ASC or DESC or nothing; give further keys as further items",
            )
        return key, direction is not None and direction.is_word("DESC")

    def _clause(self) -> Node:
        key = self._key()
        token = self._token
        rules = _rules(key)
        if rules.null and self._take("IS"):
            return NullCheck(key, negated=self._null())
        if rules.members and token.is_word("IN", "NOT"):
            negated = self._take("NOT") is not None
            if not self._take("IN"):
                raise self._mistake(self._token, "expected IN after NOT")
            return Membership(key, self._list(), negated)
        operator = self._next().text.upper() if token.kind in ("operator", "word") else ""
        if operator not in rules.comparisons:
            known = ", ".join(rules.operators)
            raise self._mistake(token, f"expected an operator that {_describe(key)} knows: {known}")
        return Comparison(key, operator, self._value(key, token, operator))

    def _null(self) -> bool:
        """Read ``[NOT] NULL`` and return whether NOT was there."""
        negation, token = self._take("NOT"), self._token
        # One space: MLflow accepts no other, and what is accepted here shall work there.
        apart = negation is not None and self._text[negation.end : token.start] != " "
        if not self._take("NULL") or apart:
            raise self._mistake(
                token, "expected IS NULL or IS NOT NULL (NOT and NULL with one space between)"
            )
        return negation is not None

    def _list(self) -> frozenset[str]:
        expected = "expected texts in round brackets: ('a', 'b')"
        items: set[str] = set()
        if not self._take_mark("("):
            raise self._mistake(self._token, expected)
        while not items or not self._take_mark(")"):
            if self._token.kind != "text":
                raise self._mistake(self._token, expected)
            items.add(self._list_item())
            if not self._take_mark(",") and self._token.text != ")":
                raise self._mistake(self._token, expected)
        return frozenset(items)

    def _list_item(self) -> str:
        """Read one item. In lists, texts side by side are one, and a backslash escapes a quote."""
        item = ""
        while self._token.kind == "text":
            quoted = self._next().text
            item += _ESCAPED.sub(r"\1", quoted[1:-1].replace(quoted[0] * 2, ""))
        return item

    def _value(self, key: Key, symbol: Token, operator: str) -> str | int | float | bool:
        token, rules = self._next(), _rules(key)
        if token.kind == "text" and rules.text:
            if operator in _TEXT_OPERATORS:
                return token.text[1:-1]
            raise self._mistake(
                symbol,
                f"expected {', '.join(_TEXT_OPERATORS)} before text; a number is written without quotes",
            )
        if token.kind == "number" and rules.number and operator in _NUMBER_OPERATORS:
            return float(token.text) if key.entity == "metrics" else _number(token.text)
        if rules.text and rules.number and operator in _EQUALITY and token.is_word("TRUE", "FALSE"):
            return token.is_word("TRUE")
        if not rules.text:
            raise self._mistake(token, _EXPECTED_NUMBER)
        if not rules.number or operator in _PATTERNS:
            raise self._mistake(token, _EXPECTED_TEXT)
        raise self._mistake(token, f"{_EXPECTED_TEXT}, a number, or (after = and !=) true or false")

    # -- keys --

    def _key(self, *, aliases: bool = True) -> Key:
        token = self._next()
        if token.kind == "word":
            return self._attribute(token, token.text, aliases=aliases)
        if token.kind == "name" or (token.kind == "text" and token.text[0] == '"'):
            return self._attribute(token, token.text[1:-1], aliases=aliases)
        if token.kind != "key":
            raise self._mistake(token, _EXPECTED_KEY)
        entity = _ENTITIES.get(_unquoted(token.entity))
        if entity is None:
            raise self._mistake(token, _EXPECTED_KEY, f"{shortened(token.entity)} is no kind of key")
        name = self._checked_name(token)
        if entity == "attributes":
            return self._attribute(token, name, aliases=aliases)
        if entity == "datasets" and name not in _DATASET_KEYS:
            raise self._mistake(
                token, f"expected one of {', '.join(_DATASET_KEYS)}", f"a dataset has no {shortened(name)!r}"
            )
        return Key(entity, name)

    def _attribute(self, token: Token, name: str, *, aliases: bool) -> Key:
        known = _ATTRIBUTES.get(name) or (_NAME_ALIASES.get(name) if aliases else None)
        if known is None:
            raise self._mistake(token, _EXPECTED_KEY, f"there is no attribute {shortened(name)!r}")
        return Key("attributes", known)

    def _checked_name(self, token: Token) -> str:
        name = _unquoted(token.rest)
        if name == token.rest:
            for part in name.split("."):
                if part.lower() in _RESERVED or _A_NUMBER.fullmatch(part):
                    raise self._mistake(
                        token,
                        f"expected {token.entity}.`{shortened(name)}`",
                        f"a name with the part {shortened(part)} must be quoted",
                    )
        return name


def _unquoted(text: str) -> str:
    return text[1:-1] if text[:1] in ("'", '"', "`") else text


def _number(text: str) -> int | float:
    return int(text) if _WHOLE.fullmatch(text) and len(text) <= _MOST_DIGITS else float(text)


def _describe(key: Key) -> str:
    return key.name if key.entity == "attributes" else f"{key.entity}.NAME"


def _rules(key: Key) -> _Rules:
    if key.entity != "attributes":
        return _RULES[key.entity]
    return _Rules(
        text=key.name in _TEXT_ATTRIBUTES, number=key.name in _NUMBER_ATTRIBUTES, members=key.name == "run_id"
    )
