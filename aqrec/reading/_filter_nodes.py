"""What a parsed filter is made of, and how it judges a run.

Nodes are plain data that `predicate` turns into functions; a new kind of node is a class and a case there.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec

from aqrec.format._records import MetricSummary
from aqrec.reading._filter_patterns import like_pattern, regex_test

if TYPE_CHECKING:
    from aqrec.format._document import RunDocument

__all__ = [
    "COMPARE",
    "MISSING",
    "Access",
    "Comparison",
    "Conjunction",
    "Disjunction",
    "Entity",
    "Key",
    "Latest",
    "Membership",
    "Negation",
    "Node",
    "NullCheck",
    "Range",
    "Run",
    "UriOf",
    "Value",
    "check",
    "keys",
    "predicate",
    "reader",
    "text_form",
]

Entity = Literal["metrics", "params", "tags", "attributes", "datasets"]
Access = Literal["last", "min", "max", "count", "step"]
Latest = Mapping[str, MetricSummary]
UriOf = Callable[[str], str]
"""run id -> URI of the run's artifacts"""
Value = str | int | float | bool

MISSING: Final = object()
"""What a reader returns if the run has no such key."""


class Run(NamedTuple):
    """What is judged: the document, its metrics over all writers, where its artifacts are, and now in ms since epoch."""

    doc: RunDocument
    latest: Latest
    artifact_uri: UriOf
    now: int = 0


class Key(msgspec.Struct, frozen=True):
    """What a clause is about; the name of an attribute is its canonical one.

    `access` says which figure of a metric is meant.
    """

    entity: Entity
    name: str
    access: Access = "last"


class Comparison(msgspec.Struct, frozen=True):
    """``key operator value``, the operator in capitals; patterns may be negated: ``NOT LIKE``."""

    key: Key
    operator: str
    value: Value


class Membership(msgspec.Struct, frozen=True):
    """``key [NOT] IN (values)``: equal to one of them, or different from all."""

    key: Key
    values: tuple[Value, ...]
    negated: bool = False


class Range(msgspec.Struct, frozen=True):
    """``key [NOT] BETWEEN low AND high``, both included; negated: below or above."""

    key: Key
    low: Value
    high: Value
    negated: bool = False


class NullCheck(msgspec.Struct, frozen=True):
    """``key IS [NOT] NULL``."""

    key: Key
    negated: bool = False


class Conjunction(msgspec.Struct, frozen=True):
    """Parts joined by AND; true if there are none."""

    parts: tuple[Node, ...] = ()


class Disjunction(msgspec.Struct, frozen=True):
    """Parts joined by OR."""

    parts: tuple[Node, ...]


class Negation(msgspec.Struct, frozen=True):
    """``NOT part``: whatever does not satisfy it, a run without the key, too."""

    part: Node


Clause = Comparison | Membership | Range
Node = Clause | NullCheck | Conjunction | Disjunction | Negation


def keys(node: Node) -> Iterator[Key]:
    """Yield the keys that `node` looks at."""
    if isinstance(node, Conjunction | Disjunction):
        for part in node.parts:
            yield from keys(part)
    elif isinstance(node, Negation):
        yield from keys(node.part)
    else:
        yield node.key


COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


def predicate(node: Node) -> Callable[[Run], bool]:
    """Return the function that tells whether a run satisfies `node`.

    A run without the key satisfies no clause but ``IS NULL``.
    """
    if isinstance(node, Conjunction | Disjunction):
        parts = [predicate(part) for part in node.parts]
        if len(parts) == 1:
            return parts[0]
        if isinstance(node, Disjunction):
            return lambda run: any(part(run) for part in parts)
        return lambda run: all(part(run) for part in parts)
    if isinstance(node, Negation):
        denied = predicate(node.part)
        return lambda run: not denied(run)
    read = reader(node.key)
    if isinstance(node, NullCheck):
        negated = node.negated
        return lambda run: (read(run) is MISSING) is not negated
    judges = check(node)

    def judge(run: Run) -> bool:
        value = read(run)
        return value is not MISSING and judges(value)

    return judge


def check(node: Clause) -> Callable[[Any], bool]:
    """Return the function that tells whether a value that is there satisfies `node`."""
    if isinstance(node, Membership):
        return _member(node)
    if isinstance(node, Range):
        return _between(node)
    wanted, pattern = node.value, node.operator.removeprefix("NOT ")
    if pattern in COMPARE:
        return _compared(pattern, wanted)
    assert isinstance(wanted, str)
    if pattern == "RLIKE":
        test: Callable[[str], object] = regex_test(wanted)
    else:
        test = like_pattern(wanted, ignore_case=pattern == "ILIKE").fullmatch
    negated = pattern != node.operator
    return lambda value: bool(test(text_form(value))) is not negated


def _compared(sign: str, wanted: Value) -> Callable[[Any], bool]:
    compare = COMPARE[sign]
    if isinstance(wanted, str):
        return lambda value: compare(text_form(value), wanted)
    # A value of another type than the wanted one is different from it, and neither greater nor less.
    kinds = (bool,) if isinstance(wanted, bool) else (int, float)
    otherwise = sign == "!="
    return lambda value: compare(value, wanted) if type(value) in kinds else otherwise


def _member(node: Membership) -> Callable[[Any], bool]:
    texts = {value for value in node.values if isinstance(value, str)}
    truths = {value for value in node.values if isinstance(value, bool)}
    numbers = {
        value for value in node.values if isinstance(value, int | float) and not isinstance(value, bool)
    }
    negated = node.negated

    def judge(value: Any) -> bool:
        kind = type(value)
        found = (
            (bool(texts) and text_form(value) in texts)
            or (kind in {int, float} and value in numbers)
            or (kind is bool and value in truths)
        )
        return found is not negated

    return judge


def _between(node: Range) -> Callable[[Any], bool]:
    above, below = _compared(">=", node.low), _compared("<=", node.high)
    if node.negated:
        under, over = _compared("<", node.low), _compared(">", node.high)
        return lambda value: under(value) or over(value)
    return lambda value: above(value) and below(value)


def text_form(value: object) -> str:
    """Return the text that stands for a param or tag: its `str`."""
    if isinstance(value, str):
        return value
    try:
        return str(value)
    except ValueError:  # an integer of more digits than Python writes out
        return "…"


def reader(key: Key) -> Callable[[Run], Any]:
    """Return the function that reads `key` of a run: a value, or `MISSING`."""
    name = key.name
    if key.entity == "metrics":
        figure = _FIGURES[key.access]
        return lambda run: MISSING if (found := run.latest.get(name)) is None else figure(found)
    if key.entity == "params":
        return lambda run: run.doc.params.get(name, MISSING)
    if key.entity == "tags":
        return lambda run: run.doc.tags.get(name, MISSING)
    if key.entity == "attributes":
        return _ATTRIBUTES[name]
    return lambda _: MISSING  # runs have no datasets


def _or_missing(value: Any) -> Any:
    return MISSING if value is None else value


def _duration(run: Run) -> Any:
    """Return seconds: of a run that goes on, those until now."""
    doc = run.doc
    if doc.start_time is None:
        return MISSING
    end = doc.end_time if doc.end_time is not None else run.now
    return max(end - doc.start_time, 0) / 1000


_FIGURES: Final[dict[Access, Callable[[MetricSummary], Any]]] = {
    "last": lambda found: found.value,
    "min": lambda found: found.minimum,
    "max": lambda found: found.maximum,
    "count": lambda found: found.count,
    "step": lambda found: _or_missing(found.step),
}
_ATTRIBUTES: Final[dict[str, Callable[[Run], Any]]] = {
    "run_id": lambda run: run.doc.run_id,
    "run_name": lambda run: run.doc.name,
    "status": lambda run: run.doc.status,
    "user_id": lambda run: run.doc.tags.get("mlflow.user", MISSING),
    "artifact_uri": lambda run: run.artifact_uri(run.doc.run_id),
    "start_time": lambda run: _or_missing(run.doc.start_time),
    "end_time": lambda run: _or_missing(run.doc.end_time),
    "created": lambda run: run.doc.created if run.doc.start_time is None else run.doc.start_time,
    "duration": _duration,
    "parent": lambda run: _or_missing(run.doc.parent),
}
