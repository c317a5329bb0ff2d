"""Filters on columns: what `Filter.matches` says of a document, said of all rows of a table at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from aqrec.format._snapshot import decode_cell
from aqrec.reading._columns import codes, indices, numbers, present
from aqrec.reading._filter_nodes import (
    COMPARE,
    MISSING,
    Access,
    Clause,
    Comparison,
    Conjunction,
    Disjunction,
    Key,
    Negation,
    Node,
    NullCheck,
    Range,
    UriOf,
    check,
)
from aqrec.reading._parts import Part

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["figures_of", "mask", "values_of"]

_EXACT: Final = 2**53
"""Smaller integers are what the float64 beside them says"""
_NOT_EXACT: Final = 2.0**60
_TEXTS: Final = {"run_id": "run_id", "run_name": "name", "status": "status", "parent": "parent"}
_FIGURES: Final[dict[Access, str]] = {
    "last": "metrics",
    "min": "metrics.minimum",
    "max": "metrics.maximum",
    "count": "metrics.count",
    "step": "metrics.step",
}
"""Columns by what is asked of a metric"""
_TIMES: Final = ("start_time", "end_time", "created")
_NO_TIME: Final = -(2**63)


def mask(part: Part, node: Node, uri: UriOf, now: int) -> NDArray[np.bool_] | None:
    """Return which rows of a part's table satisfy a filter; None if its columns cannot tell.

    `now`, in ms since epoch, ends the duration of runs that go on.
    """
    import numpy as np  # noqa: PLC0415 - heavy

    count = len(part.column("run_id"))
    if isinstance(node, Conjunction | Disjunction):
        every = isinstance(node, Conjunction)
        found = np.full(count, every)
        for one in node.parts:
            more = mask(part, one, uri, now)
            if more is None:
                return None
            found = found & more if every else found | more
        return found
    if isinstance(node, Negation):
        denied = mask(part, node.part, uri, now)
        return None if denied is None else ~denied
    fits = np.zeros(count, np.bool_)
    if isinstance(node, NullCheck):
        fits[_rows_with(part, node.key)] = True
        return fits if node.negated else ~fits
    entity, name = node.key.entity, node.key.name
    if entity == "metrics":
        rows, values = _figures(part, node.key)
        fits[rows] = _judge_numbers(values, node)
    elif entity in {"params", "tags"}:
        _judge_cells(part, entity, name, node, fits)
    elif entity == "attributes":
        return _judge_attribute(part, name, node, uri, now, fits)
    return fits


def _figures(part: Part, key: Key) -> tuple[NDArray[np.int32], NDArray[Any]]:
    """Return the rows that have a figure of a metric, and the figures."""
    column = part.map(_FIGURES[key.access])
    entries = column.entries(key.name)
    figures = column.field(_FIGURES[key.access].partition(".")[2] or "value").take(indices(entries))
    if figures.null_count:  # points without a step
        there = present(figures)
        return column.row[entries[there]], numbers(figures)[there]
    return column.row[entries], numbers(figures)


def _rows_with(part: Part, key: Key) -> NDArray[Any]:
    import numpy as np  # noqa: PLC0415 - heavy

    if key.entity == "metrics":
        return _figures(part, key)[0]
    if key.entity in {"params", "tags"}:
        column = part.map(key.entity)
        return column.row[column.entries(key.name)]
    if key.entity == "attributes":
        if key.name == "user_id":
            return _rows_with(part, Key("tags", "mlflow.user"))
        if key.name == "parent":
            return np.flatnonzero(part.texts("parent")[0] >= 0)
        if key.name in {"start_time", "end_time", "duration"}:
            column_name = "start_time" if key.name == "duration" else key.name
            return np.flatnonzero(part.times(column_name) != _NO_TIME)
        return np.arange(len(part.column("run_id")))
    return np.array([], np.int64)


def _numeric(node: Clause) -> bool:
    """Whether the clause compares with numbers only."""
    if isinstance(node, Range):
        return {type(node.low), type(node.high)} <= {int, float}
    return isinstance(node, Comparison) and type(node.value) in {int, float}


def _judge_numbers(values: NDArray[Any], node: Clause) -> NDArray[np.bool_]:
    import numpy as np  # noqa: PLC0415 - heavy

    if isinstance(node, Range) and _numeric(node):
        low, high = ("<", ">") if node.negated else (">=", "<=")
        above = _judge_numbers(values, Comparison(node.key, low, node.low))
        below = _judge_numbers(values, Comparison(node.key, high, node.high))
        return above | below if node.negated else above & below
    if isinstance(node, Comparison) and type(node.value) in {int, float} and node.operator in COMPARE:
        wanted = node.value
        assert not isinstance(wanted, str)
        if isinstance(wanted, float) or abs(wanted) <= _EXACT:
            return np.asarray(COMPARE[node.operator](values, wanted), dtype=np.bool_)
    judge = check(node)
    return np.fromiter(map(judge, values.tolist()), np.bool_, len(values))


def _judge_cells(part: Part, entity: str, name: str, node: Clause, fits: NDArray[np.bool_]) -> None:
    """Judge each different value once."""
    import numpy as np  # noqa: PLC0415 - heavy

    column = part.map(entity)
    entries = column.entries(name)
    if not len(entries):
        return
    if _numeric(node):
        values = numbers(column.field("number").take(indices(entries)), _NOT_EXACT)
        exact = ~(np.abs(values) >= _EXACT)
        fits[column.row[entries[exact]]] = _judge_numbers(values[exact], node)
        entries = entries[~exact]
    at = indices(entries)
    kinds, kind_names = codes(column.field("type").take(at))
    texts, text_names = codes(column.field("text").take(at))
    text_names.append(None)
    width = len(text_names)
    pairs, which = np.unique(kinds.astype(np.int64) * width + texts % width, return_inverse=True)
    judge = check(node)
    verdicts = [
        judge(decode_cell(kind_names[pair // width], text_names[pair % width])) for pair in pairs.tolist()
    ]
    fits[column.row[entries]] = np.array(verdicts, np.bool_)[which]


def _judge_attribute(
    part: Part, name: str, node: Clause, uri: UriOf, now: int, fits: NDArray[np.bool_]
) -> NDArray[np.bool_] | None:
    import numpy as np  # noqa: PLC0415 - heavy

    if name == "user_id":
        _judge_cells(part, "tags", "mlflow.user", node, fits)
        return fits
    if name in _TIMES:
        times = _started_or_created(part) if name == "created" else part.times(name)
        present = times != _NO_TIME
        fits[present] = _judge_numbers(times[present], node)
        return fits
    if name == "duration":
        seconds, present = _durations(part, now)
        fits[present] = _judge_numbers(seconds[present], node)
        return fits
    judge = check(node)
    if name == "artifact_uri":
        ids = part.column("run_id").to_pylist()
        return np.fromiter((judge(uri(run_id)) for run_id in ids), np.bool_, len(ids))
    if name in _TEXTS:
        column, texts = part.texts(_TEXTS[name])
        verdicts = [text is not None and judge(text) for text in texts]
        return np.array(verdicts, np.bool_)[column]
    return None


def _started_or_created(part: Part) -> NDArray[np.int64]:
    import numpy as np  # noqa: PLC0415 - heavy

    started = part.times("start_time")
    return np.where(started == _NO_TIME, part.times("created"), started)


def _durations(part: Part, now: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return seconds, and which rows have them."""
    import numpy as np  # noqa: PLC0415 - heavy

    start, end = part.times("start_time"), part.times("end_time")
    present = start != _NO_TIME
    until = np.where(end == _NO_TIME, now, end)
    return np.where(present, np.maximum(until - np.where(present, start, 0), 0) / 1000, 0.0), present


def figures_of(
    part: Part, rows: NDArray[np.int64], key: Key, now: int
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return a metric's figure, or an attribute that is a number or a time, in some rows, and which of them have it."""
    import numpy as np  # noqa: PLC0415 - heavy

    if key.entity == "metrics":
        there, figures = _figures(part, key)
        count = len(part.column("run_id"))
        values, has = np.zeros(count, figures.dtype), np.zeros(count, np.bool_)
        values[there], has[there] = figures, True
        return values[rows], has[rows]
    if key.name == "duration":
        seconds, has = _durations(part, now)
        return seconds[rows], has[rows]
    times = (_started_or_created(part) if key.name == "created" else part.times(key.name))[rows]
    return times, times != _NO_TIME


def values_of(part: Part, rows: NDArray[np.int64], key: Key, uri: UriOf, now: int) -> list[Any]:
    """Return what `reader` reads of a key in some rows: a value or `MISSING` each."""
    entity, name = key.entity, key.name
    if entity == "attributes" and name == "user_id":
        entity, name = "tags", "mlflow.user"
    if entity == "attributes":
        return _attributes(part, rows, name, uri, now)
    if entity not in {"metrics", "params", "tags"}:
        return [MISSING] * len(rows)
    found: list[Any] = [MISSING] * len(part.column("run_id"))
    if entity == "metrics":
        there, figures = _figures(part, key)
        values: list[Any] = figures.tolist()
    else:
        column = part.map(entity)
        entries = column.entries(name)
        there, at = column.row[entries], indices(entries)
        texts = column.field("text").take(at).to_pylist()
        values = list(map(decode_cell, column.field("type").take(at).to_pylist(), texts))
    for row, value in zip(there.tolist(), values, strict=True):
        found[row] = value
    return [found[row] for row in rows.tolist()]


def _attributes(part: Part, rows: NDArray[np.int64], name: str, uri: UriOf, now: int) -> list[Any]:
    if name in _TIMES:
        times = _started_or_created(part) if name == "created" else part.times(name)
        return [MISSING if time == _NO_TIME else time for time in times[rows].tolist()]
    if name == "duration":
        seconds, present = _durations(part, now)
        pairs = zip(seconds[rows].tolist(), present[rows].tolist(), strict=True)
        return [value if there else MISSING for value, there in pairs]
    if name == "artifact_uri":
        return [uri(run_id) for run_id in part.column("run_id").take(indices(rows)).to_pylist()]
    texts: Callable[[], list[Any]] = part.column(_TEXTS[name]).take(indices(rows)).to_pylist
    return [MISSING if text is None else text for text in texts()]
