"""A search's table made of documents, key by key: what the one made of columns must be."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from aqrec.format._document import RunDocument, latest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["to_frame"]

NOT_A_TIME: Final = -(2**63)
_INT64: Final = range(-(2**63), 2**63)
_EXACT: Final = range(-(2**53), 2**53 + 1)


def to_frame(docs: Sequence[RunDocument], artifact_uri: Callable[[str], str]) -> pd.DataFrame:
    """Return a table of runs, one row a run, in the given order.

    Parameters
    ----------
    docs
        The runs.
    artifact_uri
        Gives the URI of a run's artifacts for its id.

    Returns
    -------
    pandas.DataFrame
        Of shape (runs, 6 + keys), with a `RangeIndex`. First ``run_id``, ``experiment_id``, ``status``
        (object), ``start_time``, ``end_time`` (datetime64[ms, UTC]; NaT if the run has not got there) and
        ``artifact_uri`` (object). Then, each group sorted by key:

        - ``metrics.KEY``, float64: the value of the latest point; NaN too if the run has none.
        - ``params.KEY``, by the values of all runs, where an absent param and None count as missing: boolean
          if all are booleans; int64 if all are integers of 64 bits, Int64 if some are missing; float64 if all
          are numbers that a float64 holds exactly; otherwise object, with the values as they were logged.
        - ``tags.KEY``, object: the values as they were set.

        In object columns an absent value is None.
    """
    import pandas as pd

    columns: dict[str, Any] = {
        "run_id": objects([doc.run_id for doc in docs]),
        "experiment_id": objects([doc.experiment_id for doc in docs]),
        "status": objects([doc.status for doc in docs]),
        "start_time": _times([doc.start_time for doc in docs]),
        "end_time": _times([doc.end_time for doc in docs]),
        "artifact_uri": objects([artifact_uri(doc.run_id) for doc in docs]),
    }
    count = len(docs)
    for key, cells in _by_key({key: summary.value for key, summary in latest(doc).items()} for doc in docs):
        columns[f"metrics.{key}"] = floats(cells, count)
    for key, cells in _by_key(doc.params for doc in docs):
        columns[f"params.{key}"] = typed(cells, count)
    for key, cells in _by_key(doc.tags for doc in docs):
        columns[f"tags.{key}"] = objects(cells.values, cells.rows, count)
    return pd.DataFrame(columns, index=pd.RangeIndex(count), copy=False)


class Cells:
    """The values of one key and their rows; keys may be many and rare, so absent ones cost nothing."""

    __slots__ = ("rows", "values")

    def __init__(self, rows: Any = None, values: Any = None) -> None:
        self.rows: Any = [] if rows is None else rows
        self.values: Any = [] if values is None else values


def _by_key(mappings: Iterable[dict[str, Any]]) -> list[tuple[str, Cells]]:
    columns: defaultdict[str, Cells] = defaultdict(Cells)
    for row, mapping in enumerate(mappings):
        for key, value in mapping.items():
            cells = columns[key]
            cells.rows.append(row)
            cells.values.append(value)
    return sorted(columns.items())


def typed(cells: Cells, count: int) -> Any:
    """Return a column of params, of the type that their values have in common; see `to_frame`."""
    given = cells
    kinds = set(map(type, cells.values))
    if type(None) in kinds:
        kinds.discard(type(None))
        given = Cells()
        for row, value in zip(cells.rows, cells.values, strict=True):
            if value is not None:
                given.rows.append(row)
                given.values.append(value)
    if kinds == {bool}:
        return truths(given, count)
    if kinds == {int} and all(value in _INT64 for value in given.values):
        return integers(given, count)
    if kinds == {float} or (
        kinds == {int, float} and all(type(value) is float or value in _EXACT for value in given.values)
    ):
        return floats(given, count)
    return objects(cells.values, cells.rows, count)


def truths(cells: Cells, count: int) -> Any:
    """Return a column of booleans."""
    import pandas as pd

    return pd.arrays.BooleanArray(*_masked(cells, count, "bool"))


def integers(cells: Cells, count: int) -> Any:
    """Return a column of integers of 64 bits."""
    import pandas as pd

    values, absent = _masked(cells, count, "int64")
    return pd.arrays.IntegerArray(values, absent) if len(cells.values) < count else values


def _masked(cells: Cells, count: int, dtype: str) -> tuple[Any, Any]:
    import numpy as np

    values, absent = np.zeros(count, dtype=dtype), np.ones(count, dtype=np.bool_)
    values[cells.rows] = cells.values
    absent[cells.rows] = False
    return values, absent


def floats(cells: Cells, count: int) -> NDArray[np.float64]:
    """Return a column of float64."""
    import numpy as np

    column = np.full(count, np.nan)
    column[cells.rows] = cells.values
    return column


def objects(values: Sequence[Any], rows: Any = None, count: int = 0) -> pd.Series[Any]:
    """Return a column of objects, in order or at `rows` of `count`."""
    import numpy as np
    import pandas as pd

    # np.array would make lists of equal length a second dimension; pandas 3 would make plain text str.
    cells = np.fromiter(values, dtype=object, count=len(values))
    if rows is not None:
        present, cells = cells, np.full(count, None, dtype=object)
        cells[rows] = present
    return pd.Series(cells, dtype=object)


def _times(values: list[int | None]) -> Any:
    import numpy as np

    return times(np.array([NOT_A_TIME if value is None else value for value in values], dtype=np.int64))


def times(stamps: NDArray[np.int64]) -> Any:
    """Return ms since epoch as datetime64[ms, UTC]; NaT for `NOT_A_TIME`."""
    import pandas as pd

    return pd.DatetimeIndex(stamps.view("datetime64[ms]"), tz="UTC")
