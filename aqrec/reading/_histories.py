"""Histories of several metrics and runs as one table, thinned out if asked; pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from aqrec.format._parquet import HistoryPart

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["LEAST_POINTS", "long_frame", "thinned", "wide_frame"]

LEAST_POINTS: Final = 4
Piece = tuple[str, str, HistoryPart]
"""run id, key, points in order, with `steps` and `absent`"""


def thinned(points: HistoryPart, most: int | None) -> HistoryPart:
    """Return at most so many (`LEAST_POINTS` or more; None: all) of the points.

    These are the first, the last, and the least and the greatest of equal stretches between them, so that a plot shows every
    peak. NaN is neither, and stays where a stretch has nothing else.
    """
    import numpy as np  # noqa: PLC0415 - heavy

    count = len(points.values)
    if most is None or count <= most:
        return points
    stretches = (most - 2) // 2
    width = -(-count // stretches)
    unordered = np.isnan(points.values)
    picked = [np.array([0, count - 1])]
    for missing, pick in ((np.inf, np.argmin), (-np.inf, np.argmax)):
        padded = np.full(stretches * width, missing)
        padded[:count] = points.values
        padded[:count][unordered] = missing
        places = pick(padded.reshape(stretches, width), axis=1) + np.arange(stretches) * width
        picked.append(places[places < count])
    return points.at(np.unique(np.concatenate(picked)))


def long_frame(pieces: Sequence[Piece]) -> pd.DataFrame:
    """Return one row a point: run_id, key (categories), step (Int64), timestamp (datetime64[ms, UTC]), value (float64)."""
    import pandas as pd  # noqa: PLC0415 - heavy

    points = _together(pieces)
    return pd.DataFrame(
        {
            "run_id": _categories([run_id for run_id, _, _ in pieces], pieces),
            "key": _categories([key for _, key, _ in pieces], pieces),
            "step": pd.arrays.IntegerArray(points.steps, points.absent),
            "timestamp": _times(points.stamps),
            "value": points.values,
        },
        copy=False,
    )


def wide_frame(pieces: Sequence[Piece]) -> pd.DataFrame:
    """Return one row a run and step (a run and time, where a point has no step), and a column of float64 for each key.

    Columns: run_id (categories), step (Int64), timestamp (the latest of the row), then ``metrics.KEY`` in the order of `pieces`.
    What was not logged there is NaN; of several values of a step the latest stands.
    """
    import numpy as np  # noqa: PLC0415 - heavy
    import pandas as pd  # noqa: PLC0415 - heavy

    points = _together(pieces)
    lengths = [len(piece.values) for _, _, piece in pieces]
    runs = list(dict.fromkeys(run_id for run_id, _, _ in pieces))
    place = {run_id: at for at, run_id in enumerate(runs)}
    run = np.repeat(np.array([place[run_id] for run_id, _, _ in pieces], np.int64), lengths)
    apart = np.where(points.absent, points.stamps, 0)
    order = np.lexsort((apart, points.steps, ~points.absent, run))
    fresh = np.zeros(len(order), np.bool_)
    fresh[:1] = True
    for column in (run, points.absent, points.steps, apart):
        ordered = column[order]
        fresh[1:] |= ordered[1:] != ordered[:-1]
    row_of = np.empty(len(order), np.int64)
    row_of[order] = np.cumsum(fresh) - 1
    first = order[fresh]
    latest = np.full(len(first), np.iinfo(np.int64).min)
    np.maximum.at(latest, row_of, points.stamps)
    columns: dict[str, Any] = {
        "run_id": pd.Categorical.from_codes(run[first], categories=pd.Index(runs, dtype="object")),
        "step": pd.arrays.IntegerArray(points.steps[first], points.absent[first]),
        "timestamp": _times(latest),
    }
    at = 0
    for (_, key, _), length in zip(pieces, lengths, strict=True):
        cells = columns.setdefault(f"metrics.{key}", np.full(len(first), np.nan))
        here = slice(at, at + length)
        cells[row_of[here]] = points.values[here]  # in order of time: the latest of a step comes last
        at = here.stop
    return pd.DataFrame(columns, copy=False)


def _together(pieces: Sequence[Piece]) -> HistoryPart:
    import numpy as np  # noqa: PLC0415 - heavy

    parts = [points for _, _, points in pieces]
    if len(parts) == 1:
        return parts[0]
    return HistoryPart(
        steps=np.concatenate([np.empty(0, np.int64), *(part.steps for part in parts)]),
        absent=np.concatenate([np.empty(0, np.bool_), *(part.absent for part in parts)]),
        stamps=np.concatenate([np.empty(0, np.int64), *(part.stamps for part in parts)]),
        values=np.concatenate([np.empty(0, np.float64), *(part.values for part in parts)]),
    )


def _categories(names: list[str], pieces: Sequence[Piece]) -> Any:
    import numpy as np  # noqa: PLC0415 - heavy
    import pandas as pd  # noqa: PLC0415 - heavy

    known = list(dict.fromkeys(names))
    place = {name: at for at, name in enumerate(known)}
    kind = np.min_scalar_type(-max(len(known), 1))
    each = np.array([place[name] for name in names], kind)
    codes = np.repeat(each, [len(points.values) for _, _, points in pieces])
    return pd.Categorical.from_codes(codes, categories=pd.Index(known, dtype="object"))


def _times(stamps: NDArray[Any]) -> Any:
    import pandas as pd  # noqa: PLC0415 - heavy

    return pd.array(stamps, dtype=pd.DatetimeTZDtype("ms", "UTC"), copy=False)
