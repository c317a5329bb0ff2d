"""The metric history of a run: sealed Parquet and journal frames, merged into one ordered DataFrame."""

from __future__ import annotations

import asyncio
import io
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import msgspec

from aqrec.errors import CorruptError, ObjectNotFoundError
from aqrec.format import _layout as layout
from aqrec.format._document import RunDocument, sealed_parts
from aqrec.format._frames import HEADER, POINTS, Damage, scan
from aqrec.format._parquet import ALL, After, HistoryPart, read_histories
from aqrec.format._points import columns, decode_points
from aqrec.format._records import LogHeader
from aqrec.reading._damage import report_damage
from aqrec.stores import Store

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["first_of", "frame_of", "read_metric_history", "read_points"]

logger = logging.getLogger("aqrec")

_ATTEMPTS = 20
_SMALL, _HEADER_BYTES, _AT_ONCE = 256 * 1024, 4096, 16
_Found = tuple[int, str, HistoryPart]
"""(number of the frame, key, its points)"""


async def read_metric_history(
    store: Store, document: Callable[[], Awaitable[RunDocument]], key: str
) -> pd.DataFrame:
    """Return the history of one metric: ``step`` (Int64), ``timestamp`` (datetime64[ms, UTC]), ``value`` (float64)."""
    (points,) = (await read_points(store, document, [key])).values()
    return await asyncio.get_running_loop().run_in_executor(None, frame_of, points)


async def read_points(
    store: Store,
    document: Callable[[], Awaitable[RunDocument]],
    keys: Sequence[str] | None,
    after: After = ALL,
    *,
    whole: bool = False,
) -> dict[str, HistoryPart]:
    """Return the points of some keys of a run (None: all), each ordered by step (absent first), then timestamp, then logging.

    `document` reads the run's document. It is asked again when a journal that it speaks of is gone, or lacks points: sealed or
    merged meanwhile. With `whole` a history that lacks points raises `ObjectNotFoundError`; else that is logged.
    """
    parts: dict[str, list[HistoryPart]] = {}
    complete = False
    missing = ""
    lacking: set[str] | None = None
    doc = await document()
    for _ in range(_ATTEMPTS):
        gone: ObjectNotFoundError | None = None
        try:
            parts, lacks, live = await _read_parts(store, doc, _keys_of(doc, keys), after)
        except ObjectNotFoundError as error:
            gone, lacks, live = error, None, True
        complete = lacks == set()
        if complete and not live:
            break
        # A segment goes only when its seal can be read: no new seal since, so none went while it was read.
        latest = await document()
        if latest.sealed == doc.sealed:
            # What a listing that took a while says of a journal that was merged meanwhile may lack points. The next does not.
            if complete or (gone is None and lacks == lacking):
                break
            if gone is not None:
                if str(gone) == missing:
                    raise gone
                # The seal may have been known before: then the segment is not listed any more, and not needed.
                missing = str(gone)
            lacking = lacks
        doc, complete = latest, False
    if not complete:
        if whole:
            raise ObjectNotFoundError(f"points of the run's metrics are missing in {store.url}")
        logger.error(
            "aqrec: points of metric %s are missing in %s: a journal ends before the catalog says",
            ", ".join(map(repr, _keys_of(doc, keys))),
            store.url,
        )
    wanted = _keys_of(doc, keys)

    def join() -> dict[str, HistoryPart]:
        return {key: _joined(parts.pop(key, [])) for key in wanted}

    return await asyncio.get_running_loop().run_in_executor(None, join)


def _keys_of(doc: RunDocument, keys: Sequence[str] | None) -> list[str]:
    return (
        list(keys) if keys is not None else sorted({key for known in doc.metrics.values() for key in known})
    )


async def _read_parts(
    store: Store, doc: RunDocument, keys: list[str], after: After
) -> tuple[dict[str, list[HistoryPart]], set[str], bool]:
    """Return the points, the listed keys of journals that lack some the document speaks of, and whether a journal was read."""
    parts: dict[str, list[HistoryPart]] = {}
    sealed_through: dict[str, int] = {}
    counts: Counter[tuple[str, str]] = Counter()

    def add(writer: str, found: dict[str, list[HistoryPart]]) -> None:
        for key, pieces in found.items():
            parts.setdefault(key, []).extend(pieces)
            counts[writer, key] += sum(len(part.values) for part in pieces)

    for sealed in sealed_parts(doc):
        sealed_through[sealed.writer] = max(sealed.through, sealed_through.get(sealed.writer, -1))
        known = doc.metrics.get(sealed.writer, {})
        here = [key for key in keys if key in known]
        if here:
            read = partial(read_histories, keys=here, run_id=doc.run_id, footer=sealed.footer, after=after)
            try:
                add(sealed.writer, await store.get_stream(sealed.key, read))
            except CorruptError as error:
                raise CorruptError(
                    f"{sealed.key} in {store.url}: {error}; aqrec verify --contents tells what else is damaged"
                ) from error
    lacking: set[str] = set()
    live = False
    for writer in sorted(doc.through):
        sealed_to = sealed_through.get(writer, -1)
        if doc.end_time is not None and doc.through[writer] <= sealed_to:
            continue
        live = True
        journal = await _read_journal(store, writer, doc.run_id, keys, sealed_to, after)
        add(writer, journal.parts)
        lacks = max(journal.through, sealed_to) < doc.through[writer]
        if after.everything and not journal.damaged:
            known = doc.metrics.get(writer, {})
            lacks = lacks or any(counts[writer, key] < known[key].count for key in keys if key in known)
        if lacks:
            lacking |= {layout.journal_folder(writer), *journal.listed}
    return parts, lacking, live


class _Journal(msgspec.Struct):
    """What one writer's journal holds of keys: points, the number of the run's last frame, which objects were listed."""

    parts: dict[str, list[HistoryPart]]
    through: int
    listed: list[str]
    damaged: bool


async def _read_journal(
    store: Store, writer: str, run_id: str, keys: list[str], sealed_to: int, after: After
) -> _Journal:
    """Return what the journal holds of some keys of a run, in frames beyond `sealed_to`."""
    infos = [info async for info in store.list(layout.journal_folder(writer)) if info.key.endswith(".seg")]
    segments = sorted(info.key for info in infos)
    small = await _small(store, [info.key for info in infos if info.size <= _SMALL])
    firsts = [
        first_of(small[segment] if segment in small else await store.get(segment, end=_HEADER_BYTES))
        for segment in segments
    ]
    found: list[_Found] = []
    through = -1
    damaged = False
    in_doubt: set[int] = set()
    for number, segment in enumerate(segments):
        # Frames that a failed sync left in doubt are written again to the next segment, and those of a merged segment stay in its
        # originals for a while: either copy will do.
        again = min(firsts[number + 1 :], default=2**63)

        def read(file: BinaryIO, size: int, again: int = again) -> tuple[int, list[Damage]]:
            return _scan(file, size, run_id, keys, sealed_to, again, in_doubt, found, after)

        data = small.get(segment)
        if data is not None:
            work = partial(read, io.BytesIO(data), len(data))
            last, damages = await asyncio.get_running_loop().run_in_executor(None, work)
        else:
            last, damages = await store.get_stream(
                segment, partial(read, size=(await store.head(segment)).size)
            )
        through = max(through, last)
        if damages:
            damaged = True
            report_damage(segment, store.url, damages)
    found.sort(key=lambda item: item[0])
    parts: dict[str, list[HistoryPart]] = {}
    for _, key, part in found:
        parts.setdefault(key, []).append(part)
    return _Journal(parts, through, segments, damaged)


async def _small(store: Store, keys: list[str]) -> dict[str, bytes]:
    """Return small objects whole, several read at once: a bucket charges for requests, not for bytes."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(key: str) -> bytes:
        async with slots:
            return await store.get(key)

    found = await asyncio.gather(*map(one, keys), return_exceptions=True)
    for result in found:
        if isinstance(result, BaseException):
            raise result
    return dict(zip(keys, cast("list[bytes]", found), strict=True))


def first_of(head: bytes) -> int:
    """Return the number that a segment's header says its frames begin with."""
    for frame in scan(io.BytesIO(head), len(head)):
        if not isinstance(frame, Damage) and frame.kind == HEADER:
            return msgspec.msgpack.decode(frame.payload, type=LogHeader).first
        break
    return 0  # a header that cannot be read may have said so


def _scan(
    file: BinaryIO,
    size: int,
    run_id: str,
    keys: list[str],
    sealed_to: int,
    again: int,
    in_doubt: set[int],
    found: list[_Found],
    after: After,
) -> tuple[int, list[Damage]]:
    """Add a segment's points to `found`; return the number of its last frame of the run, and what is damaged.

    Frames from number `again` on may come again in a later segment: they are noted in `in_doubt`.
    """
    import numpy as np  # noqa: PLC0415

    through = -1
    damages: list[Damage] = []
    for frame in scan(file, size):
        if isinstance(frame, Damage):
            if not frame.tail:  # a torn end is what a crash leaves
                damages.append(frame)
            continue
        if frame.kind != POINTS:
            continue
        try:
            points = decode_points(frame.payload)
        except CorruptError:
            damages.append(Damage(frame.offset, frame.end, tail=False))
            continue
        if points.run_id != run_id or points.seq <= sealed_to or points.seq in in_doubt:
            continue
        if points.seq >= again:
            in_doubt.add(points.seq)
        through = max(through, points.seq)
        here = [key for key in keys if key in points.keys]
        if here:
            data = columns(points)
            steps = None if data.steps is None else np.ascontiguousarray(data.steps)
            stamps = np.ascontiguousarray(data.timestamps)
            for key in here:
                values = np.ascontiguousarray(data.values[:, points.keys.index(key)])
                part = after.of(HistoryPart(steps, None, stamps, values))
                if part is not None:
                    found.append((points.seq, key, part))
    return through, damages


def _joined(parts: list[HistoryPart]) -> HistoryPart:
    """Return parts as one, in order; `steps` and `absent` are there."""
    import numpy as np  # noqa: PLC0415

    lengths = [len(part.values) for part in parts]
    count = sum(lengths)

    def column(name: str, kind: Any, missing: Callable[[HistoryPart], Any]) -> Any:
        whole = np.empty(count, kind)
        at = 0
        for part, length in zip(parts, lengths, strict=True):
            found = getattr(part, name)
            whole[at : at + length] = missing(part) if found is None else found
            setattr(part, name, None)  # freed as it is copied: the peak is the result and one column
            at += length
        return whole

    # `absent` before `steps`, which tells what it is where nothing is said.
    absent = column("absent", np.bool_, lambda part: part.steps is None)
    step = column("steps", np.int64, lambda _: 0)
    stamp = column("stamps", np.int64, lambda _: 0)
    value = column("values", np.float64, lambda _: 0)
    found = HistoryPart(step, absent, stamp, value)
    if count > 1 and (absent.any() or not _ordered(step, stamp)):
        return found.at(np.lexsort((stamp, step, ~absent)))
    return found


def frame_of(points: HistoryPart) -> pd.DataFrame:
    """Return points as a table of ``step``, ``timestamp`` and ``value``."""
    import pandas as pd  # noqa: PLC0415

    return pd.DataFrame(
        {
            "step": pd.arrays.IntegerArray(points.steps, points.absent),
            "timestamp": pd.array(points.stamps, dtype=pd.DatetimeTZDtype("ms", "UTC"), copy=False),
            "value": points.values,
        },
        copy=False,
    )


def _ordered(rank: Any, stamp: Any) -> bool:
    import numpy as np  # noqa: PLC0415

    before, after = rank[:-1], rank[1:]
    return bool(np.all((before < after) | ((before == after) & (stamp[:-1] <= stamp[1:]))))
