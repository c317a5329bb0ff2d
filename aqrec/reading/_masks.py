"""Filters on columns: what `Filter.matches` says of a document, said of all rows of a table at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from aqrec.format._snapshot import decode_cell
from aqrec.reading._columns import codes
from aqrec.reading._filter_nodes import (
    COMPARE,
    MISSING,
    Comparison,
    Conjunction,
    Key,
    Membership,
    Node,
    NullCheck,
    UriOf,
    check,
)
from aqrec.reading._parts import Part

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["mask", "values_of"]

_EXACT: Final = 2**53
"""Smaller integers are what the float64 beside them says"""
_NOT_EXACT: Final = 2.0**60
_TEXTS: Final = {"run_id": "run_id", "run_name": "name", "status": "status"}
_TIMES: Final = ("start_time", "end_time", "created")
_NO_TIME: Final = -(2**63)


def mask(part: Part, node: Node, uri: UriOf) -> NDArray[np.bool_] | None:
    """Return which rows of a part's table satisfy a filter; None if its columns cannot tell."""
    import numpy as np  # noqa: PLC0415 - heavy

    count = len(part.column("run_id"))
    if isinstance(node, Conjunction):
        found = np.ones(count, np.bool_)
        for one in node.parts:
            more = mask(part, one, uri)
            if more is None:
                return None
            found &= more
        return found
    fits = np.zeros(count, np.bool_)
    if isinstance(node, NullCheck):
        present = _rows_with(part, node.key)
        if present is None:
            return None
        fits[present] = True
        return fits if node.negated else ~fits
    entity, name = node.key.entity, node.key.name
    if entity == "metrics":
        column = part.map("metrics")
        entries = column.entries(name)
        values = column.field("value").take(_indices(entries)).to_numpy(zero_copy_only=False)
        fits[column.row[entries]] = _judge_numbers(values, node)
    elif entity in {"params", "tags"}:
        _judge_cells(part, entity, name, node, fits)
    elif entity == "attributes":
        return _judge_attribute(part, name, node, uri, fits)
    return fits


def _indices(entries: NDArray[np.int64]) -> Any:
    import pyarrow as pa  # noqa: PLC0415 - heavy

    return pa.array(entries)


def _rows_with(part: Part, key: Key) -> NDArray[Any] | None:
    import numpy as np  # noqa: PLC0415 - heavy

    if key.entity in {"metrics", "params", "tags"}:
        column = part.map(key.entity)
        return column.row[column.entries(key.name)]
    if key.entity == "attributes":
        if key.name == "user_id":
            return _rows_with(part, Key("tags", "mlflow.user"))
        if key.name in {"start_time", "end_time"}:
            return np.flatnonzero(part.times(key.name) != _NO_TIME)
        return np.arange(len(part.column("run_id")))
    return np.array([], np.int64)


def _judge_numbers(values: NDArray[Any], node: Comparison | Membership) -> NDArray[np.bool_]:
    import numpy as np  # noqa: PLC0415 - heavy

    if isinstance(node, Comparison) and type(node.value) in {int, float} and node.operator in COMPARE:
        wanted = node.value
        assert not isinstance(wanted, str)
        if isinstance(wanted, float) or abs(wanted) <= _EXACT:
            return np.asarray(COMPARE[node.operator](values, wanted), dtype=np.bool_)
    judge = check(node)
    return np.fromiter(map(judge, values.tolist()), np.bool_, len(values))


def _judge_cells(
    part: Part, entity: str, name: str, node: Comparison | Membership, fits: NDArray[np.bool_]
) -> None:
    """Judge each different value once."""
    import numpy as np  # noqa: PLC0415 - heavy
    import pyarrow as pa  # noqa: PLC0415 - heavy

    column = part.map(entity)
    entries = column.entries(name)
    if not len(entries):
        return
    if isinstance(node, Comparison) and type(node.value) in {int, float}:
        numbers = column.field("number").take(_indices(entries)).fill_null(_NOT_EXACT).to_numpy()
        exact = ~(np.abs(numbers) >= _EXACT)
        fits[column.row[entries[exact]]] = _judge_numbers(numbers[exact], node)
        entries = entries[~exact]
    at = _indices(entries)
    kinds, kind_names = codes(pa.chunked_array([column.field("type").take(at)]))
    texts, text_names = codes(pa.chunked_array([column.field("text").take(at)]))
    text_names.append(None)
    width = len(text_names)
    pairs, which = np.unique(kinds * width + texts % width, return_inverse=True)
    judge = check(node)
    verdicts = [
        judge(decode_cell(kind_names[pair // width], text_names[pair % width])) for pair in pairs.tolist()
    ]
    fits[column.row[entries]] = np.array(verdicts, np.bool_)[which]


def _judge_attribute(
    part: Part, name: str, node: Comparison | Membership, uri: UriOf, fits: NDArray[np.bool_]
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


def values_of(part: Part, rows: NDArray[np.int64], key: Key, uri: UriOf) -> list[Any]:
    """Return what `reader` reads of a key in some rows: a value or `MISSING` each."""
    entity, name = key.entity, key.name
    if entity == "attributes" and name == "user_id":
        entity, name = "tags", "mlflow.user"
    if entity == "attributes":
        return _attributes(part, rows, name, uri)
    if entity not in {"metrics", "params", "tags"}:
        return [MISSING] * len(rows)
    column = part.map(entity)
    entries = column.entries(name)
    found: list[Any] = [MISSING] * len(part.column("run_id"))
    at = _indices(entries)
    if entity == "metrics":
        values = column.field("value").take(at).to_pylist()
    else:
        texts = column.field("text").take(at).to_pylist()
        values = list(map(decode_cell, column.field("type").take(at).to_pylist(), texts))
    for row, value in zip(column.row[entries].tolist(), values, strict=True):
        found[row] = value
    return [found[row] for row in rows.tolist()]


def _attributes(part: Part, rows: NDArray[np.int64], name: str, uri: UriOf) -> list[Any]:
    if name in _TIMES:
        times = _started_or_created(part) if name == "created" else part.times(name)
        return [MISSING if time == _NO_TIME else time for time in times[rows].tolist()]
    if name == "artifact_uri":
        return [uri(run_id) for run_id in part.column("run_id").take(_indices(rows)).to_pylist()]
    texts: Callable[[], list[Any]] = part.column(_TEXTS[name]).take(_indices(rows)).to_pylist
    return texts()
