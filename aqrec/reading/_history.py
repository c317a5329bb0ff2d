"""The metric history of a run: sealed Parquet and journal frames, merged into one ordered DataFrame."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from aqrec.errors import CorruptError, ObjectNotFoundError
from aqrec.format import _layout as layout
from aqrec.format._document import RunDocument
from aqrec.format._frames import HEADER, POINTS, Damage, scan
from aqrec.format._parquet import read_history
from aqrec.format._points import columns, decode_points
from aqrec.format._records import LogHeader
from aqrec.stores import Store

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_metric_history"]


class _Part(msgspec.Struct):
    """Points of one key, in the order of logging."""

    steps: Any
    stamps: Any
    values: Any


async def read_metric_history(store: Store, doc: RunDocument, key: str) -> pd.DataFrame:
    """Return the history of one metric: ``step`` (Int64), ``timestamp`` (datetime64[ms, UTC]), ``value`` (float64)."""
    for attempt in range(3):
        try:
            parts = await _read_parts(store, doc, key)
        except ObjectNotFoundError:
            if attempt == 2:
                raise
            continue  # sealed or re-sealed between the listing and the read
        break
    return await asyncio.get_running_loop().run_in_executor(None, _frame, parts)


async def _read_parts(store: Store, doc: RunDocument, key: str) -> list[_Part]:
    parts: list[_Part] = []
    sealed_through: dict[str, int] = {}
    for part in sorted(doc.sealed, key=lambda sealed: (sealed.writer, sealed.through)):
        mine = doc.metrics.get(part.writer, {})
        sealed_through[part.writer] = max(part.through, sealed_through.get(part.writer, -1))
        if key in mine:
            _, table = await store.get_stream(
                part.key, lambda file: read_history(file, key=key, run_id=doc.run_id)
            )
            parts.append(_from_table(table))
    for writer in sorted(doc.through):
        after = sealed_through.get(writer, -1)
        ended = doc.end_time is not None
        if ended and doc.through[writer] <= after:
            continue
        parts.extend(await _read_journal(store, writer, doc.run_id, key, after))
    return parts


def _from_table(table: Any) -> _Part:
    import numpy as np  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415

    step = table["step"].combine_chunks()
    if isinstance(step, pa.ChunkedArray):
        step = pa.concat_arrays(step.chunks) if step.num_chunks else pa.array([], pa.int64())
    return _Part(step, table["timestamp"].cast(pa.int64()).to_numpy(), np.asarray(table["value"].to_numpy()))


async def _read_journal(store: Store, writer: str, run_id: str, key: str, after: int) -> list[_Part]:
    keys = sorted([info.key async for info in store.list(layout.journal_folder(writer)) if info.key.endswith(".seg")])
    firsts: list[int] = []
    for segment in keys:
        firsts.append(await _first(store, segment))
    found: list[_Part] = []
    for number, segment in enumerate(keys):
        # Frames that a failed sync left in doubt were written again to the next segment.
        before = min(firsts[number + 1 :], default=2**63)
        size = (await store.head(segment)).size

        def read(file: BinaryIO, size: int = size, before: int = before) -> list[_Part]:
            return list(_scan(file, size, run_id, key, after, before))

        found.extend(await store.get_stream(segment, read))
    return found


async def _first(store: Store, segment: str) -> int:
    head = await store.get(segment, end=4096)
    for frame in scan(io.BytesIO(head), len(head)):
        if not isinstance(frame, Damage) and frame.kind == HEADER:
            return msgspec.msgpack.decode(frame.payload, type=LogHeader).first
        break
    return 2**63  # an unreadable header supersedes nothing


def _scan(file: BinaryIO, size: int, run_id: str, key: str, after: int, before: int) -> Iterable[_Part]:
    import numpy as np  # noqa: PLC0415

    for frame in scan(file, size):
        if isinstance(frame, Damage) or frame.kind != POINTS:
            continue
        try:
            points = decode_points(frame.payload)
        except CorruptError:
            continue
        if points.run_id != run_id or not after < points.seq < before or key not in points.keys:
            continue
        data = columns(points)
        column = points.keys.index(key)
        steps = None if data.steps is None else np.ascontiguousarray(data.steps)
        yield _Part(steps, np.ascontiguousarray(data.timestamps), np.ascontiguousarray(data.values[:, column]))


def _frame(parts: list[_Part]) -> pd.DataFrame:
    import numpy as np  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415

    steps: list[Any] = []
    masks: list[Any] = []
    for part in parts:
        if part.steps is None:
            steps.append(np.zeros(len(part.stamps), np.int64))
            masks.append(np.ones(len(part.stamps), bool))
        elif isinstance(part.steps, pa.Array):
            null = np.asarray(part.steps.is_null().to_numpy(zero_copy_only=False))
            steps.append(np.asarray(part.steps.fill_null(0).to_numpy(zero_copy_only=False)))
            masks.append(null)
        else:
            steps.append(part.steps)
            masks.append(np.zeros(len(part.steps), bool))
    step = np.concatenate(steps) if steps else np.zeros(0, np.int64)
    mask = np.concatenate(masks) if masks else np.zeros(0, bool)
    stamp = np.concatenate([part.stamps for part in parts]) if parts else np.zeros(0, np.int64)
    value = np.concatenate([part.values for part in parts]) if parts else np.zeros(0, np.float64)
    del steps, masks
    parts.clear()
    rank = np.where(mask, np.iinfo(np.int64).min, step) if mask.any() else step
    if len(rank) > 1 and not _ordered(rank, stamp):
        order = np.lexsort((stamp, rank))
        step, mask, stamp, value = step[order], mask[order], stamp[order], value[order]
    return pd.DataFrame(
        {
            "step": pd.arrays.IntegerArray(step, mask),
            "timestamp": pd.DatetimeIndex(stamp.view("datetime64[ms]")).tz_localize("UTC"),
            "value": value,
        },
        copy=False,
    )


def _ordered(rank: Any, stamp: Any) -> bool:
    import numpy as np  # noqa: PLC0415

    before, after = rank[:-1], rank[1:]
    return bool(np.all((before < after) | ((before == after) & (stamp[:-1] <= stamp[1:]))))
