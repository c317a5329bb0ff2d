"""What a parsed filter is made of, and how it judges a run.

Nodes are plain data that `predicate` turns into functions; a new kind of node is a class and a case there.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec

from aqrec.format._records import MetricSummary

if TYPE_CHECKING:
    from aqrec.format._document import RunDocument

__all__ = [
    "COMPARE",
    "MISSING",
    "Comparison",
    "Conjunction",
    "Entity",
    "Key",
    "Latest",
    "Membership",
    "Node",
    "NullCheck",
    "Run",
    "UriOf",
    "check",
    "keys",
    "like_pattern",
    "predicate",
    "reader",
    "text_form",
]

Entity = Literal["metrics", "params", "tags", "attributes", "datasets"]
Latest = Mapping[str, MetricSummary]
UriOf = Callable[[str], str]
"""run id -> URI of the run's artifacts"""

MISSING: Final = object()
"""What a reader returns if the run has no such key."""


class Run(NamedTuple):
    """What is judged: the document, its metrics over all writers, and where its artifacts are."""

    doc: RunDocument
    latest: Latest
    artifact_uri: UriOf


class Key(msgspec.Struct, frozen=True):
    """What a clause is about; the name of an attribute is its canonical one."""

    entity: Entity
    name: str


class Comparison(msgspec.Struct, frozen=True):
    """``key operator value``, the operator in capitals."""

    key: Key
    operator: str
    value: str | int | float | bool


class Membership(msgspec.Struct, frozen=True):
    """``key [NOT] IN (values)``."""

    key: Key
    values: frozenset[str]
    negated: bool = False


class NullCheck(msgspec.Struct, frozen=True):
    """``key IS [NOT] NULL``."""

    key: Key
    negated: bool = False


class Conjunction(msgspec.Struct, frozen=True):
    """Parts joined by AND; true if there are none."""

    parts: tuple[Node, ...] = ()


Node = Comparison | Membership | NullCheck | Conjunction


def keys(node: Node) -> Iterator[Key]:
    """Yield the keys that `node` looks at."""
    if isinstance(node, Conjunction):
        for part in node.parts:
            yield from keys(part)
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

    A run without the key satisfies nothing but ``IS NULL``.
    """
    if isinstance(node, Conjunction):
        parts = [predicate(part) for part in node.parts]
        if len(parts) == 1:
            return parts[0]
        return lambda run: all(part(run) for part in parts)
    read = reader(node.key)
    if isinstance(node, NullCheck):
        negated = node.negated
        return lambda run: (read(run) is MISSING) is not negated
    judges = check(node)

    def judge(run: Run) -> bool:
        value = read(run)
        return value is not MISSING and judges(value)

    return judge


def check(node: Comparison | Membership) -> Callable[[Any], bool]:
    """Return the function that tells whether a value that is there satisfies `node`."""
    if isinstance(node, Membership):
        values, negated = node.values, node.negated
        return lambda value: (text_form(value) in values) is not negated
    wanted = node.value
    if node.operator in ("LIKE", "ILIKE"):
        assert isinstance(wanted, str)
        matches = like_pattern(wanted, ignore_case=node.operator == "ILIKE").fullmatch
        return lambda value: matches(text_form(value)) is not None
    compare = COMPARE[node.operator]
    if isinstance(wanted, str):
        return lambda value: compare(text_form(value), wanted)
    # A value of another type than the wanted one is different from it, and neither greater nor less.
    kinds = (bool,) if isinstance(wanted, bool) else (int, float)
    otherwise = node.operator == "!="
    return lambda value: compare(value, wanted) if type(value) in kinds else otherwise


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
        return lambda run: MISSING if (found := run.latest.get(name)) is None else found.value
    if key.entity == "params":
        return lambda run: run.doc.params.get(name, MISSING)
    if key.entity == "tags":
        return lambda run: run.doc.tags.get(name, MISSING)
    if key.entity == "attributes":
        return _ATTRIBUTES[name]
    return lambda _: MISSING  # runs have no datasets


def _or_missing(value: int | None) -> Any:
    return MISSING if value is None else value


_ATTRIBUTES: Final[dict[str, Callable[[Run], Any]]] = {
    "run_id": lambda run: run.doc.run_id,
    "run_name": lambda run: run.doc.name,
    "status": lambda run: run.doc.status,
    "user_id": lambda run: run.doc.tags.get("mlflow.user", MISSING),
    "artifact_uri": lambda run: run.artifact_uri(run.doc.run_id),
    "start_time": lambda run: _or_missing(run.doc.start_time),
    "end_time": lambda run: _or_missing(run.doc.end_time),
    "created": lambda run: run.doc.created if run.doc.start_time is None else run.doc.start_time,
}
