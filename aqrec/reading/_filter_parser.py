"""The grammar of filters and orders.

::

    filter   := [ either ]
    either   := all { OR all }
    all      := unary { AND unary }           in filters of clauses alone, as in MLflow, a missing or spare AND is forgiven
    unary    := NOT unary | ( either ) | clause
    clause   := key operator value
              | key [NOT] pattern text        pattern: LIKE, ILIKE, RLIKE
              | key [NOT] IN ( value {, value} [,] )
              | key [NOT] BETWEEN value AND value
              | key IS [NOT] NULL
    key      := [entity .] name               without an entity: an attribute
              | access ( key )                access: last, min, max, count, step; of a metric
    name     := letters, digits, _ and dots | `any` | "any" | 'any'
    order    := key [ASC | DESC]
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from aqrec.reading._filter_nodes import (
    Access,
    Clause,
    Comparison,
    Conjunction,
    Disjunction,
    Entity,
    Key,
    Membership,
    Negation,
    Node,
    NullCheck,
    Range,
    Value,
)
from aqrec.reading._filter_patterns import unfit_regex
from aqrec.reading._filter_tokens import Token, mistake, shortened, tokenize
from aqrec.reading._filter_values import SPAN_FORMS, TIME_FORMS, read_moment, read_span

if TYPE_CHECKING:
    from aqrec.errors import InvalidInputError

__all__ = ["parse_condition", "parse_key", "parse_ordering"]

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
_TEXT_ATTRIBUTES: Final = ("run_id", "run_name", "status", "user_id", "artifact_uri", "parent")
_TIME_ATTRIBUTES: Final = ("start_time", "end_time", "created")
_NUMBER_ATTRIBUTES: Final = (*_TIME_ATTRIBUTES, "duration")
_ATTRIBUTES: Final = {name: name for name in (*_TEXT_ATTRIBUTES, *_NUMBER_ATTRIBUTES)} | {
    "Created": "created"
}
_NAME_ALIASES: Final[dict[str, str]] = dict.fromkeys(("run name", "Run name", "Run Name"), "run_name")
_ACCESSES: Final = ("last", "min", "max", "count", "step")
_DATASET_KEYS: Final = ("name", "digest", "context")
# MLflow rejects these as parts of an unquoted name, so a filter that uses them would not be portable.
_RESERVED: Final = frozenset({"as", "case", "from", "in", "using", "values"})
_DEEPEST: Final = 50

_EQUALITY: Final = ("=", "!=")
_NUMBER_OPERATORS: Final = (*_EQUALITY, ">", ">=", "<", "<=")
_PATTERNS: Final = ("LIKE", "ILIKE", "RLIKE")
_ANY: Final = ("IN", "NOT IN", "BETWEEN", "NOT BETWEEN", "IS NULL", "IS NOT NULL")


class _Rules(NamedTuple):
    """Which values a key may be compared with.

    `text`, bare `number`, ``true`` and ``false`` (`truth`), and text that is read as a time (`moment`) or a
    duration (`span`).
    """

    text: bool = False
    number: bool = False
    truth: bool = False
    moment: bool = False
    span: bool = False

    @property
    def comparisons(self) -> tuple[str, ...]:
        return _NUMBER_OPERATORS if self.number else _EQUALITY

    @property
    def operators(self) -> tuple[str, ...]:
        patterns = (*_PATTERNS, *(f"NOT {pattern}" for pattern in _PATTERNS)) if self.text else ()
        return self.comparisons + patterns + _ANY

    @property
    def values(self) -> str:
        """What is expected as a value."""
        if self.moment:
            return f"expected a time: {TIME_FORMS}"
        if self.span:
            return f"expected a duration: {SPAN_FORMS}"
        if not self.text:
            return _EXPECTED_NUMBER
        return f"{_EXPECTED_TEXT}, a number, or true or false" if self.number else _EXPECTED_TEXT


_RULES: Final[dict[Entity, _Rules]] = {
    "metrics": _Rules(number=True),
    "params": _Rules(text=True, number=True, truth=True),
    "tags": _Rules(text=True),
    "datasets": _Rules(text=True),
}

_EXPECTED_KEY: Final = (
    "expected metrics.NAME, params.NAME, tags.NAME (in lower case), min(metrics.NAME) or max, last, count, step of it, "
    f"or one of the attributes {', '.join((*_TEXT_ATTRIBUTES, *_NUMBER_ATTRIBUTES))}"
)
_EXPECTED_TEXT: Final = "expected text in quotes: 'like this' or \"like this\""
_EXPECTED_NUMBER: Final = (
    "expected a number without quotes, such as 1, -1.5 or 1e-3 (infinity and NaN cannot be written)"
)
_WHOLE: Final = re.compile(r"-?\d+")
_A_NUMBER: Final = re.compile(r"\d+(?:[eE]\d+)?")
_MOST_DIGITS: Final = 4000  # Python refuses to read integers of more than 4300 digits
_A_LIST: Final = "('a', 'b')"
_UPPER_ACCESSES: Final = tuple(access.upper() for access in _ACCESSES)
_ESCAPED: Final = re.compile(r"""\\([\\'"])""")


def parse_condition(source: str, text: str, now: int) -> Node:
    """Return the node of a whole filter; raise `InvalidInputError` that names the argument `source`.

    `now`, in ms since epoch, is what times such as "7 days ago" count from.
    """
    return _Parser(source, text, now).condition()


def parse_ordering(source: str, text: str) -> tuple[Key, bool]:
    """Return the key of an order and whether it is descending; raise `InvalidInputError` naming `source`."""
    return _Parser(source, text, 0).ordering()


def parse_key(source: str, text: str) -> Key:
    """Return the key that a text consists of; raise `InvalidInputError` that names `source`."""
    return _Parser(source, text, 0).single_key()


class _Parser:
    def __init__(self, source: str, text: str, now: int) -> None:
        self._source, self._text, self._now = source, text, now
        self._tokens = tokenize(source, text)
        self._at = 0
        self._slack: Token | None = None
        """Where an AND is missing or spare first"""
        self._strict = False
        """Whether OR, NOT or brackets were used, with which nothing is forgiven"""

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

    def condition(self) -> Node:
        node = self._either(0)
        if self._token.kind != "end":
            raise self._mistake(self._token, "expected AND, OR, or the end; there is no bracket to close")
        if self._strict and self._slack is not None:
            raise self._mistake(
                self._slack, "expected a clause on both sides of AND, and AND or OR between clauses"
            )
        return node

    def _either(self, depth: int) -> Node:
        parts = [self._all(depth)]
        while token := self._take("OR"):
            self._strict = True
            parts.append(self._all(depth))
            for part, place in ((parts[-2], token), (parts[-1], self._token)):
                if part == Conjunction():
                    raise self._mistake(place, "expected a clause on both sides of OR")
        return parts[0] if len(parts) == 1 else Disjunction(tuple(parts))

    def _all(self, depth: int) -> Node:
        """Read clauses up to an OR, a closing bracket or the end."""
        parts: list[Node] = []
        joined = True
        while not (self._token.kind == "end" or self._token.is_word("OR") or self._token.text == ")"):
            if token := self._take("AND"):
                if joined:
                    self._forgive(token)
                joined = True
                continue
            if not joined:
                self._forgive(self._token)
            parts.append(self._unary(depth))
            joined = False
        if joined and parts:
            self._forgive(self._token)
        return parts[0] if len(parts) == 1 else Conjunction(tuple(parts))

    def _forgive(self, token: Token) -> None:
        self._slack = self._slack or token

    def _unary(self, depth: int) -> Node:
        token = self._token
        if not (token.is_word("NOT") or token.text == "("):
            return self._clause()
        self._strict = True
        if depth >= _DEEPEST:
            raise self._mistake(token, f"expected at most {_DEEPEST} levels of NOT and brackets")
        self._next()
        if token.kind == "word":
            return Negation(self._unary(depth + 1))
        node = self._either(depth + 1)
        if not self._take_mark(")"):
            raise self._mistake(self._token, "expected ), which closes a bracket, or AND or OR")
        if node == Conjunction():
            raise self._mistake(token, "expected a clause in the brackets")
        return node

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

    def single_key(self) -> Key:
        key = self._key(aliases=False)
        if self._token.kind != "end":
            raise self._mistake(self._token, "expected one key; give further keys as further items")
        return key

    def _clause(self) -> Node:
        key = self._key()
        token = self._token
        if self._take("IS"):
            return NullCheck(key, negated=self._null(portable=key.entity in {"params", "tags"}))
        negated = self._take("NOT") is not None
        if self._take("IN"):
            return Membership(key, self._list(key), negated)
        if self._take("BETWEEN"):
            return self._range(key, negated)
        operator = self._next().text.upper() if self._token.kind in ("operator", "word") else ""
        rules = _rules(key)
        if operator in _PATTERNS and rules.text:
            return self._pattern(key, operator, negated)
        if negated or operator not in rules.comparisons:
            known = ", ".join(rules.operators)
            raise self._mistake(token, f"expected an operator that {_describe(key)} knows: {known}")
        value = self._value(key)
        if isinstance(value, str | bool) and operator not in _EQUALITY:
            raise self._mistake(
                token,
                f"expected {', '.join((*_EQUALITY, *_PATTERNS))} before text, = or != before true and false; "
                "a number is written without quotes",
            )
        return Comparison(key, operator, value)

    def _pattern(self, key: Key, operator: str, negated: bool) -> Clause:
        token = self._next()
        if token.kind != "text":
            raise self._mistake(token, _EXPECTED_TEXT)
        pattern = token.text[1:-1]
        if operator == "RLIKE":
            problem = unfit_regex(pattern)
            if problem is not None:
                raise self._mistake(
                    token, "expected one of RE2's form", f"no regular expression: {shortened(problem)}"
                )
        return Comparison(key, f"NOT {operator}" if negated else operator, pattern)

    def _range(self, key: Key, negated: bool) -> Clause:
        start = self._token
        low = self._value(key)
        if not self._take("AND"):
            raise self._mistake(self._token, "expected BETWEEN low AND high")
        high = self._value(key)
        if isinstance(low, bool) or isinstance(high, bool) or isinstance(low, str) != isinstance(high, str):
            raise self._mistake(start, "expected two numbers or two texts around AND")
        return Range(key, low, high, negated)

    def _null(self, *, portable: bool) -> bool:
        """Read ``[NOT] NULL`` and return whether NOT was there."""
        negation, token = self._take("NOT"), self._token
        # One space: of the keys it knows this for, MLflow accepts no other.
        apart = portable and negation is not None and self._text[negation.end : token.start] != " "
        if not self._take("NULL") or apart:
            raise self._mistake(
                token, "expected IS NULL or IS NOT NULL (NOT and NULL with one space between)"
            )
        return negation is not None

    def _list(self, key: Key) -> tuple[Value, ...]:
        expected = (
            f"expected values in round brackets, such as {'(1, 2)' if not _rules(key).text else _A_LIST}"
        )
        items: list[Value] = []
        if not self._take_mark("("):
            raise self._mistake(self._token, expected)
        while not items or not self._take_mark(")"):
            fits = self._token.kind in {"text", "number"} or self._token.is_word("TRUE", "FALSE")
            if not fits:
                raise self._mistake(self._token, expected)
            items.append(self._value(key, in_list=True))
            if not self._take_mark(",") and self._token.text != ")":
                raise self._mistake(self._token, expected)
        return tuple(dict.fromkeys(items)) if all(isinstance(item, str) for item in items) else tuple(items)

    def _value(self, key: Key, *, in_list: bool = False) -> Value:
        token, rules = self._next(), _rules(key)
        if token.kind == "text" and rules.text:
            return self._list_text(token) if in_list else token.text[1:-1]
        if token.kind == "text" and (rules.moment or rules.span):
            return self._moment(token) if rules.moment else self._span(token)
        if token.kind == "number" and rules.number:
            return float(token.text) if key.entity == "metrics" else _number(token.text)
        if rules.truth and token.is_word("TRUE", "FALSE"):
            return token.is_word("TRUE")
        raise self._mistake(token, rules.values)

    def _list_text(self, token: Token) -> str:
        """Return an item. In lists, texts side by side are one, and a backslash escapes a quote."""
        parts = [token.text]
        while self._token.kind == "text":
            parts.append(self._next().text)
        return "".join(_ESCAPED.sub(r"\1", part[1:-1].replace(part[0] * 2, "")) for part in parts)

    def _moment(self, token: Token) -> int:
        moment = read_moment(token.text[1:-1], self._now)
        if moment is None:
            raise self._mistake(token, f"expected {TIME_FORMS}", f"{shortened(token.text)} is no time")
        return moment

    def _span(self, token: Token) -> float:
        span = read_span(token.text[1:-1])
        if span is None:
            raise self._mistake(token, f"expected {SPAN_FORMS}", f"{shortened(token.text)} is no duration")
        return span / 1000

    # -- keys --

    def _key(self, *, aliases: bool = True, accesses: bool = True) -> Key:
        token = self._next()
        if token.kind == "word":
            if accesses and token.is_word(*_UPPER_ACCESSES) and self._take_mark("("):
                return self._accessed(token)
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

    def _accessed(self, access: Token) -> Key:
        start = self._token
        key = self._key(aliases=False, accesses=False)
        if key.entity != "metrics":
            raise self._mistake(start, f"expected a metric: {access.text}(metrics.NAME)")
        if not self._take_mark(")"):
            raise self._mistake(self._token, f"expected {access.text}(metrics.NAME)")
        return Key(key.entity, key.name, cast("Access", access.text.lower()))

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
        text=key.name in _TEXT_ATTRIBUTES,
        number=key.name in _NUMBER_ATTRIBUTES,
        moment=key.name in _TIME_ATTRIBUTES,
        span=key.name == "duration",
    )
