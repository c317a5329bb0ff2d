"""An answer as a pandas DataFrame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from aqrec.format._snapshot import decode_cell
from aqrec.reading._answer import Answer, Cells, Figures
from aqrec.reading._columns import codes, numbers, present
from aqrec.reading._fields import Field

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["to_frame", "typed"]

_NOT_A_TIME: Final = -(2**63)
_INT64: Final = range(-(2**63), 2**63)
_EXACT: Final = range(-(2**53), 2**53 + 1)
_TIMES: Final = ("start_time", "end_time", "created")


def to_frame(found: Answer, fields: Sequence[Field]) -> pd.DataFrame:
    """Return the runs of an answer as a table, one row a run.

    Returns
    -------
    pandas.DataFrame
        With a `RangeIndex` and the columns that `fields` name, in their order; each group sorted by key:

        - ``metrics.KEY``, float64: the value of the latest point; NaN too if the run has none.
        - ``params.KEY``, by the values of all runs, where an absent param and None count as missing: boolean
          if all are booleans; int64 if all are integers of 64 bits, Int64 if some are missing; float64 if all
          are numbers that a float64 holds exactly; otherwise object, with the values as they were logged.
        - ``tags.KEY``, object: the values as they were set.
        - times: datetime64[ms, UTC], NaT if the run has not got there; ``duration``: float64, seconds; other
          attributes: object.

        In object columns an absent value is None.
    """
    import pandas as pd  # noqa: PLC0415 - heavy

    columns: dict[str, Any] = {}
    for field in fields:
        if field.group == "metrics":
            for name, figures in found.metrics():
                columns[f"metrics.{name}"] = _floats(figures, found.count)
        elif field.group is not None:
            for name, cells in found.cells(field.group):
                columns[f"{field.group}.{name}"] = _of_cells(field.group, cells, found.count)
        elif field.key is not None:
            columns[field.name] = _column(found, field)
    return pd.DataFrame(columns, index=pd.RangeIndex(found.count), copy=False)


def _column(found: Answer, field: Field) -> Any:
    key = field.key
    assert key is not None
    if key.entity in {"params", "tags"}:
        ((_, cells),) = found.cells(key.entity, key.name)
        return _of_cells(key.entity, cells, found.count)
    if key.name == "user_id" and key.entity == "attributes":
        ((_, cells),) = found.cells("tags", "mlflow.user")
        return _of_cells("tags", cells, found.count)
    if key.entity == "attributes" and key.name in _TIMES:
        return _times(found.figures(key), found.count)
    if key.entity == "metrics" or key.name == "duration":
        return _floats(found.figures(key), found.count)
    return _objects(found.list_texts(key.name))


def _of_cells(entity: str, cells: list[Cells], count: int) -> Any:
    return _params(cells, count) if entity == "params" else _objects(*_values(cells), count)


def _params(pieces: list[Cells], count: int) -> Any:
    """Return a column of params by the columns of their numbers, where these tell all."""
    import numpy as np  # noqa: PLC0415 - heavy

    kinds = {kind for piece in pieces for kind in codes(piece.kinds)[1]} - {"null"}
    if kinds == {"bool"}:
        there = np.concatenate([present(piece.texts) for piece in pieces])
        truth = np.concatenate([_truths(piece.texts) for piece in pieces])
        return _booleans(_places(pieces)[there], truth[there], count)
    if kinds and kinds <= {"int", "float"}:
        there = np.concatenate([present(piece.texts) for piece in pieces])
        values = np.concatenate([numbers(piece.numbers, _EXACT.stop) for piece in pieces])[there]
        places = _places(pieces)[there]
        # Larger integers are not what the float64 beside them says.
        if kinds == {"float"} or bool(np.all(~(np.abs(values) >= _EXACT.stop - 1))):
            if kinds == {"int"}:
                return _integers(places, values.astype(np.int64), count)
            return _filled(places, values, count)
    values_, places_ = _values(pieces)
    return typed(values_, places_, count)


def _truths(texts: Any) -> NDArray[np.bool_]:
    import numpy as np  # noqa: PLC0415 - heavy

    column, names = codes(texts)
    return np.array([*(name == "True" for name in names), False], dtype=np.bool_)[column]


def _values(pieces: list[Cells]) -> tuple[list[Any], Any]:
    """Return the values of a key and their places."""
    values: list[Any] = []
    for piece in pieces:
        kinds, kind_names = codes(piece.kinds)
        texts, text_names = codes(piece.texts)
        if kind_names == ["str"]:
            values.extend(map(text_names.__getitem__, texts.tolist()))
            continue
        for kind, text in zip(kinds.tolist(), texts.tolist(), strict=True):
            values.append(decode_cell(kind_names[kind], None if text < 0 else text_names[text]))
    return values, _places(pieces)


def _places(pieces: list[Cells]) -> Any:
    import numpy as np  # noqa: PLC0415 - heavy

    return np.concatenate([piece.places for piece in pieces] or [np.empty(0, np.int64)])


def typed(values: Sequence[Any], places: Any, count: int) -> Any:
    """Return a column of params, of the type that their values have in common; see `to_frame`."""
    import numpy as np  # noqa: PLC0415 - heavy

    kinds = set(map(type, values))
    given, at = values, places
    if type(None) in kinds:
        kinds.discard(type(None))
        there = np.fromiter((value is not None for value in values), np.bool_, len(values))
        given, at = [value for value in values if value is not None], np.asarray(places, np.int64)[there]
    if kinds == {bool}:
        return _booleans(at, given, count)
    if kinds == {int} and all(value in _INT64 for value in given):
        return _integers(at, given, count)
    if kinds == {float} or (
        kinds == {int, float} and all(type(value) is float or value in _EXACT for value in given)
    ):
        return _filled(at, given, count)
    return _objects(values, places, count)


def _booleans(places: Any, values: Any, count: int) -> Any:
    import pandas as pd  # noqa: PLC0415 - heavy

    return pd.arrays.BooleanArray(*_masked(places, values, count, "bool"))


def _integers(places: Any, values: Any, count: int) -> Any:
    import pandas as pd  # noqa: PLC0415 - heavy

    found, absent = _masked(places, values, count, "int64")
    return pd.arrays.IntegerArray(found, absent) if len(values) < count else found


def _masked(places: Any, values: Any, count: int, dtype: str) -> tuple[Any, Any]:
    import numpy as np  # noqa: PLC0415 - heavy

    found, absent = np.zeros(count, dtype=dtype), np.ones(count, dtype=np.bool_)
    found[places] = values
    absent[places] = False
    return found, absent


def _filled(places: Any, values: Any, count: int) -> NDArray[np.float64]:
    import numpy as np  # noqa: PLC0415 - heavy

    column = np.full(count, np.nan)
    column[places] = values
    return column


def _floats(pieces: list[Figures], count: int) -> NDArray[np.float64]:
    import numpy as np  # noqa: PLC0415 - heavy

    column = np.full(count, np.nan)
    for piece in pieces:
        column[piece.places] = piece.values
    return column


def _times(pieces: list[Figures], count: int) -> Any:
    import numpy as np  # noqa: PLC0415 - heavy
    import pandas as pd  # noqa: PLC0415 - heavy

    stamps = np.full(count, _NOT_A_TIME, dtype=np.int64)
    for piece in pieces:
        stamps[piece.places] = piece.values
    return pd.DatetimeIndex(stamps.view("datetime64[ms]"), tz="UTC")


def _objects(values: Sequence[Any], places: Any = None, count: int = 0) -> pd.Series[Any]:
    """Return a column of objects, in order or at `places` of `count`."""
    import numpy as np  # noqa: PLC0415 - heavy
    import pandas as pd  # noqa: PLC0415 - heavy

    # np.array would make lists of equal length a second dimension; pandas 3 would make plain text str.
    cells = np.fromiter(values, dtype=object, count=len(values))
    if places is not None:
        there, cells = cells, np.full(count, None, dtype=object)
        cells[places] = there
    return pd.Series(cells, dtype=object)
