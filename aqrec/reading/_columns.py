"""Rows of snapshots, chosen by their columns: no document is made of a run that nobody asked for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from aqrec.format._experiment import ExperimentDocument
from aqrec.format._snapshot import Snapshot

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["array_of_texts", "choose", "codes", "indices", "numbers", "one_array", "present"]

_SPARSE = 8
"""Of a dictionary that is so much longer than the column, most is not looked at"""


def one_array(column: Any) -> Any:
    """Return a column, chunked or not, as one Arrow array; dictionaries become one."""
    import pyarrow as pa  # noqa: PLC0415 - heavy

    if not isinstance(column, pa.ChunkedArray):
        return column
    if pa.types.is_dictionary(column.type):
        column = column.unify_dictionaries()
    array = column.combine_chunks()
    return pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array


# What follows makes NumPy arrays of Arrow's and the reverse by their buffers: Arrow's own ways import pandas, which takes a
# quarter of a second that a search can use for reading.


def present(array: Any) -> NDArray[np.bool_]:
    """Return which items of an Arrow array are not null."""
    import numpy as np  # noqa: PLC0415 - heavy

    validity = array.buffers()[0] if array.null_count else None
    if validity is None:
        return np.ones(len(array), np.bool_)
    return _bits(validity, array.offset, len(array))


def _bits(buffer: Any, offset: int, count: int) -> NDArray[np.bool_]:
    import numpy as np  # noqa: PLC0415 - heavy

    packed = np.frombuffer(buffer, np.uint8)
    return np.unpackbits(packed, count=offset + count, bitorder="little")[offset:].view(np.bool_)


def numbers(array: Any, missing: float = 0) -> NDArray[Any]:
    """Return an Arrow array of numbers, times or booleans, chunked or not, with `missing` for null; not to be changed."""
    import numpy as np  # noqa: PLC0415 - heavy
    import pyarrow as pa  # noqa: PLC0415 - heavy

    array = one_array(array)
    buffer = array.buffers()[1]
    if pa.types.is_boolean(array.type):
        found: NDArray[Any] = _bits(buffer, array.offset, len(array)) if len(array) else np.empty(0, np.bool_)
    else:
        kind = np.dtype("f8" if pa.types.is_floating(array.type) else f"i{array.type.bit_width // 8}")
        start = array.offset * kind.itemsize
        found = np.frombuffer(buffer, kind, len(array), start) if len(array) else np.empty(0, kind)
    return np.where(present(array), found, np.array(missing, found.dtype)) if array.null_count else found


def indices(places: NDArray[np.integer[Any]]) -> Any:
    """Return integers as an Arrow array; negative ones are null."""
    import numpy as np  # noqa: PLC0415 - heavy
    import pyarrow as pa  # noqa: PLC0415 - heavy

    whole = np.ascontiguousarray(places, dtype=np.int64)
    there = whole >= 0
    validity = None if there.all() else pa.py_buffer(np.packbits(there, bitorder="little"))
    return pa.Array.from_buffers(pa.int64(), len(whole), [validity, pa.py_buffer(whole)])


def array_of_texts(texts: Sequence[str]) -> Any:
    """Return texts as an Arrow array."""
    import numpy as np  # noqa: PLC0415 - heavy
    import pyarrow as pa  # noqa: PLC0415 - heavy

    encoded = [text.encode() for text in texts]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(text) for text in encoded], out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.large_string(), len(encoded), buffers).cast(pa.string())


def codes(column: Any) -> tuple[NDArray[np.int32], list[Any]]:
    """Return a text column as codes, -1 where it is null, and the texts that they stand for, each of which occurs."""
    import numpy as np  # noqa: PLC0415 - heavy
    import pyarrow as pa  # noqa: PLC0415 - heavy

    array = one_array(column)
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    found = numbers(array.indices, -1)
    texts = array.dictionary
    if len(texts) > _SPARSE * (len(found) + 1):
        used = np.unique(found)
        used = used[used >= 0]
        found = np.where(found < 0, -1, np.searchsorted(used, found)).astype(np.int32)
    else:
        used = np.flatnonzero(np.bincount(found[found >= 0], minlength=len(texts)))
        if len(used) < len(texts):
            place = np.full(len(texts) + 1, -1, dtype=np.int32)
            place[used] = np.arange(len(used), dtype=np.int32)
            found = place[found]
    if len(used) < len(texts):
        texts = texts.take(indices(used))
    return found, texts.to_pylist()


def choose(
    snapshot: Snapshot,
    rows: NDArray[np.int64],
    experiments: Mapping[str, ExperimentDocument],
    *,
    experiment_ids: Collection[str] | None = None,
    view: str = "all",
    until: int | None = None,
    **equal: str | None,
) -> NDArray[np.int64]:
    """Return those of `rows` that hold a known run of the experiments (None: all) in a view, made by the clock `until`.

    `equal` asks for values of text columns, such as ``status``; None asks for nothing.
    """
    import numpy as np  # noqa: PLC0415 - heavy

    wanted = {name: value for name, value in equal.items() if value is not None}
    table = snapshot.encoded("experiment_id", "clock", "deleted", *wanted)
    experiment, ids = codes(table["experiment_id"])
    fits = experiment >= 0
    if experiment_ids is not None:
        fits &= np.array([*(known in experiment_ids for known in ids), False])[experiment]
    if view != "all":
        bounds = [experiments[known].hidden_until if known in experiments else 0 for known in ids]
        clock = numbers(table["clock"])
        hidden = numbers(table["deleted"]) | (clock <= np.array([*bounds, 0])[experiment])
        fits &= hidden == (view == "deleted")
    if until is not None:
        fits &= numbers(table["clock"]) <= until
    for name, value in wanted.items():
        column, texts = codes(table[name])
        fits &= np.array([*(text == value for text in texts), False])[column]
    return rows[fits[rows]]
