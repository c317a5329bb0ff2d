"""Folding: event logs become rows of snapshots, small snapshots become larger ones, and what is superseded is deleted.

Anybody may fold at any time. Nobody waits for it, nothing is wrong without it, and no lock is taken: a fold that is overtaken
by another one deletes nothing of what others may need. The steps, and why each is safe:

1. Read the catalog: the head of the highest number *n*, its snapshots, the events that are left.
2. Put a new snapshot. Nobody knows of it yet.
3. Create head *n + 1*. Of all who try one wins; whoever is told that the key is taken reads the nonce, since the first attempt
   may have been its own and only the answer was lost.
4. List the heads again. One who slept since step 1 may have created a number that was already deleted: unless *n + 1* is the
   highest now, it means nothing, and the fold ends here.
5. Delete the folded logs. Readers list events before heads: who misses a log will see a head that has it.
6. Delete heads and snapshots that have been out of use for a grace period. All times are those of the store's clock, and "now" is
   when head *n + 1* was written: a snapshot of a fold that is under way is younger than that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import msgspec

from aqrec.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidInputError,
    ObjectNotFoundError,
    StorageError,
)
from aqrec.format import _layout as layout
from aqrec.format._head import Head, SnapshotRef, decode_head, encode_head
from aqrec.format._ids import new_id, now_ms
from aqrec.format._records import FORMAT_VERSION, STATUS_R
from aqrec.format._snapshot import LEVEL, Snapshot, SnapshotRows, SnapshotSummary, write_snapshot
from aqrec.reading import Catalog, EventLog, standing
from aqrec.stores import Store
from aqrec.upkeep._clock import store_time
from aqrec.upkeep._merging import merge_histories, read_notes, sweep

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Compaction", "compact", "create_head", "fold"]

MOST_LOGS: Final = 256
"""Logs that one fold takes at most"""
MOST_ROWS: Final = 100_000
"""Rows of older snapshots that one fold writes again at most, unless it is to join all"""
SNAPSHOT_ROWS: Final = 250_000
"""Snapshots that `compact` makes are not larger"""
GRACE: Final = 600.0
"""Seconds that superseded objects stay for those who are reading them"""
HEARD: Final = 86_400_000
"""Milliseconds for which it is remembered when a run was heard of; a living one is heard of every few minutes"""
_RATIO: Final = 3
"""A snapshot is joined with new rows unless it is more than so many times larger: few snapshots, and each row is written again
O(log n) times"""
_DOCUMENTS_PER_TURN: Final = 100
_MOST_FOLDS: Final = 10_000
_ATTEMPTS: Final = 10


class Compaction(msgspec.Struct, frozen=True, kw_only=True):
    """What folding has done.

    Attributes
    ----------
    folded
        Event logs whose events are in snapshots now.
    deleted
        Objects that were deleted: folded logs, and superseded heads and snapshots.
    snapshots
        Snapshots that are current now.
    rows
        Rows of these; a run may have an older row in another snapshot.
    merged, written
        How many files of sealed histories became how many.
    runs
        Runs whose histories are in these.
    """

    folded: int = 0
    deleted: int = 0
    snapshots: int = 0
    rows: int = 0
    merged: int = 0
    written: int = 0
    runs: int = 0


class _Batch(msgspec.Struct, frozen=True):
    """Event logs that are folded together, as they were when the fold began: they may grow, and be read on, meanwhile."""

    keys: list[str]
    staying: dict[str, int]
    """Bytes that are folded of those logs that are not deleted afterwards"""
    runs: list[str]
    experiments: set[str]
    unfamiliar: list[bytes]
    heard: list[tuple[str, int]]
    """Runs, and when they were heard of, ms since epoch by the store's clock"""
    beating: set[str]
    """Runs that heartbeats speak of"""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write: the logs only tell of heartbeats, or have been folded before."""
        return not (self.runs or self.experiments or self.unfamiliar)

    @property
    def ended(self) -> list[str]:
        """Keys of the logs that are to be deleted."""
        return [key for key in self.keys if key not in self.staying]


def _gather(logs: Mapping[str, EventLog], written: Mapping[str, int]) -> _Batch:
    return _Batch(
        keys=list(logs),
        staying={key: log.offset for key, log in logs.items() if log.damaged or not log.complete},
        runs=sorted({run_id for log in logs.values() for run_id in log.runs}),
        experiments={known for log in logs.values() for known in log.experiments},
        unfamiliar=[event for log in logs.values() for event in log.unfamiliar],
        heard=[item for key, log in logs.items() for item in log.heard(written.get(key, 0))],
        beating={run_id for log in logs.values() for run_id in log.beats},
    )


async def fold(
    catalog: Catalog, *, most: int = MOST_LOGS, grace: float = GRACE, join_all: bool = False
) -> Compaction | None:
    """Fold some event logs, the oldest first; return what was done, or None if another one was faster.

    Also None where a later version has written what this one would lose.

    Parameters
    ----------
    catalog
        The store's; it is refreshed first.
    most
        Logs to fold at most.
    grace
        Seconds before superseded objects are deleted.
    join_all
        Whether all snapshots are joined, instead of those that are small enough to be worth it.

    Waits for about eight requests and those that read what is folded. Cancelling leaves the store as good as it was, perhaps
    with objects that nobody needs, which a later fold deletes.
    """
    await catalog.refresh()
    await catalog.catch_up()
    # No await from here until all is taken that may change.
    head, snapshots, documents = catalog.head, catalog.runs.snapshots, catalog.runs.documents
    numbers, listed = catalog.numbers, catalog.listed
    if not catalog.whole or head.format > FORMAT_VERSION:
        return None
    if any(snapshot.summary.level > LEVEL for snapshot in snapshots):
        return None
    batch = _gather(dict(list(catalog.pending.items())[:most]), catalog.written)
    joined = _to_join(snapshots, len(batch.runs), join_all=join_all)
    unchecked = join_all and any(ref.footer is None for ref in head.snapshots)
    if not batch.keys and len(joined) < 2 and not (joined and unchecked):
        return Compaction(snapshots=len(snapshots), rows=sum(snapshot.rows for snapshot in snapshots))
    rows = SnapshotRows()
    experiments = set(batch.experiments)
    for number, run_id in enumerate(batch.runs, 1):
        doc = documents[run_id]
        experiments.add(doc.experiment_id)
        rows.add(doc)
        if number % _DOCUMENTS_PER_TURN == 0:
            await asyncio.sleep(0)
    refs: list[SnapshotRef] = []
    if joined or not batch.empty:
        summary = _summary(catalog, joined, experiments, batch.unfamiliar)
        refs = [await _write(catalog.store, snapshots, joined, rows, batch.runs, summary)]
    gone = {snapshot.key for snapshot in joined}
    new = Head(
        number=head.number + 1,
        nonce=new_id(),
        created=now_ms(),
        snapshots=[ref for ref in head.snapshots if ref.key not in gone] + refs,
        logs={key: size for key, size in head.logs.items() if key in listed and key not in batch.keys}
        | batch.staying,
        retired={key: number for key, number in head.retired.items() if number in numbers}
        | dict.fromkeys(gone, head.number + 1),
        heard=_heard(catalog, batch),
    )
    if not await create_head(catalog.store, new):
        await catalog.store.delete([ref.key for ref in refs])  # the head that names them will never count
        return None
    deleted = await _clean(catalog.store, new, batch.ended, grace)
    if deleted is None:
        return None
    return Compaction(
        folded=len(batch.keys),
        deleted=deleted,
        snapshots=len(new.snapshots),
        rows=sum(ref.rows for ref in new.snapshots),
    )


def _heard(catalog: Catalog, batch: _Batch) -> dict[str, int]:
    """Return when runs that are going on were last heard of, once the batch's logs are gone."""
    heard = dict(catalog.head.heard)
    for run_id, time in batch.heard:
        heard[run_id] = max(time, heard.get(run_id, 0))
    since = max(heard.values(), default=0) - HEARD

    def over(run_id: str) -> bool:
        doc = catalog.runs.documents.get(run_id)
        return doc is not None and doc.status != STATUS_R and run_id not in batch.beating

    return {run_id: time for run_id, time in sorted(heard.items()) if time >= since and not over(run_id)}


def _to_join(snapshots: Sequence[Snapshot], new_rows: int, *, join_all: bool) -> list[Snapshot]:
    total = new_rows
    joined: list[Snapshot] = []
    for snapshot in sorted(snapshots, key=lambda snapshot: snapshot.rows):
        total += snapshot.rows
        if total > (SNAPSHOT_ROWS if join_all else MOST_ROWS):
            break
        if not join_all and snapshot.rows > _RATIO * (total - snapshot.rows):
            break
        joined.append(snapshot)
    return joined


def _summary(
    catalog: Catalog, joined: Sequence[Snapshot], experiments: set[str], unfamiliar: Iterable[bytes]
) -> SnapshotSummary:
    names = experiments | {
        known.experiment_id for snapshot in joined for known in snapshot.summary.experiments
    }
    summary = SnapshotSummary(
        level=LEVEL,
        clock=catalog.observed,
        experiments=[
            msgspec.structs.replace(catalog.experiments[name])
            for name in sorted(names)
            if name in catalog.experiments
        ],
    )
    summary.keep([*unfamiliar, *(event for snapshot in joined for event in snapshot.summary.events())])
    return summary


async def _write(
    store: Store,
    snapshots: Sequence[Snapshot],
    joined: Sequence[Snapshot],
    rows: SnapshotRows,
    run_ids: Iterable[str],
    summary: SnapshotSummary,
) -> SnapshotRef:
    key = layout.snapshot_key(new_id())

    def tables() -> list[Any]:
        keep: dict[str, NDArray[np.int64]] = {
            snapshot.key: indices for snapshot, indices in standing(snapshots, set(run_ids))
        }
        return [rows.table(), *(snapshot.columns().take(keep[snapshot.key]) for snapshot in joined)]

    count, footer = await store.put_stream(key, lambda file: write_snapshot(file, tables(), summary))
    return SnapshotRef(key=key, rows=count, footer=footer)


async def create_head(store: Store, head: Head) -> bool:
    """Create a head; return whether it is ours."""
    key = layout.head_key(head.number)
    failure: StorageError | None = None
    try:
        await store.create(key, encode_head(head))
    except AlreadyExistsError:
        pass
    except StorageError as error:
        failure = error  # it may be there all the same
    else:
        return True
    try:
        return decode_head(await store.get(key), key).nonce == head.nonce
    except ObjectNotFoundError:
        if failure is not None:
            raise failure from None
        return False  # there was one, and it is superseded already


async def _clean(store: Store, head: Head, logs: Sequence[str], grace: float) -> int | None:
    """Delete what `head` has superseded; return how many objects, or None if the head does not count."""
    written = {
        number: info.modified
        async for info in store.list(layout.HEADS)
        if (number := layout.head_number(info.key)) is not None
    }
    if not _counts(head, written):
        return None
    before = written.get(head.number, 0) - int(grace * 1000)
    gone = list(logs)
    numbers = sorted(written)
    gone += [
        layout.head_key(number) for number, successor in pairwise(numbers) if written[successor] < before
    ]
    current = {ref.key for ref in head.snapshots}
    for key, number in head.retired.items():
        if written.get(number, -1) < before:
            gone.append(key)
    async for info in store.list(layout.SNAPSHOTS):
        if (
            layout.is_snapshot(info.key)
            and info.key not in current
            and info.key not in head.retired
            and info.modified < before
        ):
            gone.append(info.key)
    await store.delete(gone)
    return len(gone)


def _counts(head: Head, numbers: Iterable[int]) -> bool:
    """Whether a head that was created is the current one, and no fold that slept has made a number again."""
    return max(numbers, default=0) == head.number


async def compact(catalog: Catalog, *, grace: float = GRACE, own_histories: bool = False) -> Compaction:
    """Fold all event logs, merge small histories and join all snapshots, against any number of others who do so meanwhile.

    Raises
    ------
    aqrec.errors.ConflictError
        Others were faster again and again, or a later version of aqrec has written what this one would lose.
    """
    if not grace >= 0:
        raise InvalidInputError(f"grace={grace!r}: give seconds from 0 on")
    folded = deleted = 0
    for _ in range(_MOST_FOLDS):
        done = await _persist(catalog, grace=grace, join_all=False)
        folded, deleted = folded + done.folded, deleted + done.deleted
        if done.folded < MOST_LOGS:
            break
    merged = await merge_histories(catalog, own=own_histories)
    done = await _persist(catalog, grace=grace, join_all=True)
    deleted += await _sweep(catalog, grace)
    return msgspec.structs.replace(
        done,
        folded=folded + done.folded,
        deleted=deleted + done.deleted,
        merged=merged.sources,
        written=merged.written,
        runs=merged.runs,
    )


async def _sweep(catalog: Catalog, grace: float) -> int:
    """Delete what merged files have superseded for so long."""
    notes = await read_notes(catalog.store)
    if not notes:
        return 0
    await catalog.refresh()
    return await sweep(catalog, notes, await store_time(catalog.store) - int(grace * 1000))


async def _persist(catalog: Catalog, *, grace: float, join_all: bool) -> Compaction:
    for _ in range(_ATTEMPTS):
        done = await fold(catalog, grace=grace, join_all=join_all)
        if done is not None:
            return done
    raise ConflictError(
        f"the catalog of {catalog.store.url} could not be folded: others do it at the same time, a snapshot is damaged, or a "
        "later version of aqrec has written it. Try again, or with the latest version"
    )
