"""An answer as an Arrow table, made of the columns that are stored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from aqrec.reading._answer import Answer, Cells, Figures, Texts
from aqrec.reading._columns import codes, indices, numbers, one_array, present
from aqrec.reading._fields import Field

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["schema_of", "to_arrow"]

_EXACT: Final = 2**53
_TIMES: Final = ("start_time", "end_time", "created")
_AT_ONCE: Final = 16_384
"""Runs of which the columns are looked at together"""


def to_arrow(found: Answer, fields: Sequence[Field], schema: pa.Schema | None = None) -> pa.Table:
    """Return the runs of an answer as an Arrow table, one row a run.

    Parameters
    ----------
    found, fields
        Which runs, and which columns of them.
    schema
        What `schema_of` says of a larger answer that these runs are a part of: the table has its columns and types then.

    Returns
    -------
    pyarrow.Table
        The columns that `fields` name, in their order, each group sorted by key. What a run does not have is
        null (and NaN is NaN):

        - ``metrics.KEY``: double. Figures such as ``count(metrics.KEY)``: int64 where they are whole.
        - ``params.KEY``, by the values of all runs: bool; int64; double if all are numbers that it holds
          exactly; otherwise string, the text form: texts as they are, lists and dicts as JSON.
        - ``tags.KEY``: string, likewise.
        - times: timestamp[ms, UTC]; ``duration``: double, seconds; other attributes: string.
    """
    import pyarrow as pa  # noqa: PLC0415 - heavy

    def is_text(name: str) -> bool:
        return schema is not None and pa.types.is_string(schema.field(name).type)

    columns: dict[str, Any] = {}
    for field in fields:
        if field.group == "metrics":
            for name, figures in found.metrics():
                columns[f"metrics.{name}"] = _figures(figures, found.count, pa.float64())
        elif field.group is not None:
            for key, cells in found.cells(field.group):
                name = f"{field.group}.{key}"
                columns[name] = _of_cells(field.group, cells, found.count, is_text(name))
        elif field.key is not None:
            columns[field.name] = _column(found, field, is_text(field.name))
    if schema is None:
        return pa.Table.from_arrays(list(columns.values()), names=list(columns))
    arrays = [
        columns[each.name].cast(each.type) if each.name in columns else pa.nulls(found.count, each.type)
        for each in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def schema_of(found: Answer, fields: Sequence[Field]) -> pa.Schema:
    """Return the columns and types that `to_arrow` gives an answer, looking at a part of the runs at a time."""
    import pyarrow as pa  # noqa: PLC0415 - heavy

    params: defaultdict[str, _Kinds] = defaultdict(_Kinds)
    names: dict[str, set[str]] = {field.group: set() for field in fields if field.group is not None}
    single = [field.key.name for field in fields if field.key is not None and field.key.entity == "params"]
    for at in range(0, found.count, _AT_ONCE):
        part = found.slice(at, _AT_ONCE)
        for group, known in names.items():
            if group == "metrics":
                known.update(name for name, _ in part.metrics())
                continue
            for name, cells in part.cells(group):
                known.add(name)
                if group == "params":
                    params[name].add(cells)
        if "params" not in names:
            for name in single:
                ((_, cells),) = part.cells("params", name)
                params[name].add(cells)
    fixed = to_arrow(found.slice(0, 0), [field for field in fields if field.group is None]).schema
    types: dict[str, pa.DataType] = {}
    for field in fields:
        if field.group is not None:
            for name in sorted(names[field.group]):
                kind = pa.float64() if field.group == "metrics" else pa.string()
                types[f"{field.group}.{name}"] = params[name].type() if field.group == "params" else kind
        elif field.key is not None and field.key.entity == "params":
            types[field.name] = params[field.key.name].type()
        else:
            types[field.name] = fixed.field(field.name).type
    return pa.schema(list(types.items()))


class _Kinds:
    """What the values of a param are, over any number of runs."""

    def __init__(self) -> None:
        self._kinds: set[str] = set()
        self._exact = self._fits = True

    def add(self, pieces: list[Cells]) -> None:
        """Take in the values of more runs."""
        import numpy as np  # noqa: PLC0415 - heavy
        import pyarrow as pa  # noqa: PLC0415 - heavy

        for piece in pieces:
            self._kinds |= set(codes(piece.kinds)[1]) - {"null"}
            if not self._kinds <= {"int", "float"}:
                continue
            there = present(piece.texts)
            if bool(np.any(np.abs(numbers(piece.numbers, _EXACT)[there]) >= _EXACT)):
                self._exact = False
                if self._kinds == {"int"}:
                    try:
                        piece.texts.cast(pa.string()).cast(pa.int64())
                    except pa.ArrowInvalid:
                        self._fits = False

    def type(self) -> pa.DataType:
        """Return the type of the column; see `to_arrow`."""
        import pyarrow as pa  # noqa: PLC0415 - heavy

        if self._kinds == {"bool"}:
            return pa.bool_()
        if self._kinds == {"int"} and self._fits:
            return pa.int64()
        if self._kinds == {"float"} or (self._kinds == {"int", "float"} and self._exact):
            return pa.float64()
        return pa.string()


def _column(found: Answer, field: Field, is_text: bool) -> Any:
    import pyarrow as pa  # noqa: PLC0415 - heavy

    key = field.key
    assert key is not None
    if key.entity in {"params", "tags"}:
        ((_, cells),) = found.cells(key.entity, key.name)
        return _of_cells(key.entity, cells, found.count, is_text)
    if key.entity == "metrics":
        whole = key.access in {"count", "step"}
        return _figures(found.figures(key), found.count, pa.int64() if whole else pa.float64())
    if key.name in _TIMES:
        return _figures(found.figures(key), found.count, pa.timestamp("ms", tz="UTC"))
    if key.name == "duration":
        return _figures(found.figures(key), found.count, pa.float64())
    if key.name == "user_id":
        ((_, cells),) = found.cells("tags", "mlflow.user")
        return _texts(cells, found.count)
    return _texts(found.texts(key.name), found.count)


def _figures(pieces: list[Figures], count: int, kind: Any) -> Any:
    import numpy as np  # noqa: PLC0415 - heavy
    import pyarrow as pa  # noqa: PLC0415 - heavy

    values = np.zeros(count, np.float64 if pa.types.is_floating(kind) else np.int64)
    there = np.zeros(count, np.bool_)
    for piece in pieces:
        values[piece.places], there[piece.places] = piece.values, True
    return _array(values, there, kind)


def _array(values: NDArray[Any], there: NDArray[np.bool_], kind: Any) -> Any:
    import numpy as np  # noqa: PLC0415 - heavy
    import pyarrow as pa  # noqa: PLC0415 - heavy

    validity = None if there.all() else pa.py_buffer(np.packbits(there, bitorder="little"))
    data = np.packbits(values, bitorder="little") if values.dtype == np.bool_ else values
    return pa.Array.from_buffers(kind, len(values), [validity, pa.py_buffer(data)])


def _of_cells(entity: str, cells: list[Cells], count: int, is_text: bool) -> Any:
    return _params(cells, count) if entity == "params" and not is_text else _texts(cells, count)


def _params(pieces: list[Cells], count: int) -> Any:
    import numpy as np  # noqa: PLC0415 - heavy
    import pyarrow as pa  # noqa: PLC0415 - heavy

    kinds = {kind for piece in pieces for kind in codes(piece.kinds)[1]} - {"null"}
    if kinds == {"bool"}:
        found, there = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
        for piece in pieces:
            column, names = codes(piece.texts)
            found[piece.places] = np.array([*(name == "True" for name in names), False], np.bool_)[column]
            there[piece.places] = present(piece.texts)
        return _array(found, there, pa.bool_())
    if kinds and kinds <= {"int", "float"}:
        values, there = np.zeros(count, np.float64), np.zeros(count, np.bool_)
        exact = True
        for piece in pieces:
            told = numbers(piece.numbers, _EXACT)
            here = present(piece.texts)
            exact = exact and not bool(np.any(np.abs(told[here]) >= _EXACT))
            values[piece.places], there[piece.places] = told, here
        if kinds == {"float"} or exact:
            if kinds == {"int"}:
                return _array(np.where(there, values, 0).astype(np.int64), there, pa.int64())
            return _array(values, there, pa.float64())
        if kinds == {"int"}:
            texts = _texts(pieces, count)
            try:
                return texts.cast(pa.int64())
            except pa.ArrowInvalid:  # beyond 64 bits
                return texts
    return _texts(pieces, count)


def _texts(pieces: Sequence[Texts], count: int) -> Any:
    import numpy as np  # noqa: PLC0415 - heavy
    import pyarrow as pa  # noqa: PLC0415 - heavy

    at = np.full(count, -1, dtype=np.int64)
    before = 0
    for piece in pieces:
        at[piece.places] = np.arange(before, before + len(piece.places))
        before += len(piece.places)
    plain = [piece.texts.cast(pa.string()) for piece in pieces]
    return one_array(pa.chunked_array(plain, type=pa.string())).take(indices(at))
