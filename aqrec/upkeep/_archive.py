"""Artifacts of ended runs move to another store, and back. They stay artifacts of their runs: references say where the bytes are.

The steps for some artifacts at a time, and why each is safe:

1. A note in the store says in which folders of the other one objects may lie without a reference. If the move dies, `gc` looks there.
2. The objects are copied under keys that no other move and no save uses, compared with their checksums on the way, and read back.
3. The new references are made durable, with the least clock that is later than that of the old ones: what was saved meanwhile stands
   against them. Whoever reads finds the copies from now on.
4. The documents are read again. The originals of an artifact go if the new reference is the one that stands, its run does not go on, and,
   after a move that took long, the copies are still there. Readers who miss an original read the document again.

A writer that knows a reference to another store never writes under the artifact's own name again, so that step 4 cannot delete what it
saves. One that does not know it, and replaces the artifact, leaves its own reference as the later one, which step 4 sees; if it dies before
it has put its bytes, readers take the copy (`format._document.archived_rivals`).

A move that was interrupted is taken up by the next one: what has its new reference has moved.
"""

from __future__ import annotations

import asyncio
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast
from weakref import WeakKeyDictionary

import msgspec

from aqrec.artifacts._hashing import HashingReader, HashingWriter, copy_file
from aqrec.errors import CorruptError, InvalidInputError, NotFoundError
from aqrec.format import _layout as layout
from aqrec.format._document import document_to_json
from aqrec.format._ids import new_id, now_ms
from aqrec.format._records import STATUS_R, ArtifactPart, ArtifactRef, ArtifactSaved
from aqrec.upkeep._work import Cost, Work

if TYPE_CHECKING:
    from concurrent.futures import Future

    from aqrec.artifacts import Digest
    from aqrec.engine import Engine
    from aqrec.format._document import RunDocument
    from aqrec.stores import Store
    from aqrec.upkeep._retention import Policy

__all__ = ["Archived", "ArchivedRun", "archive"]

_SMALL: Final = 4 << 20
"""Up to this size, bytes, an object is copied through memory"""
_AT_ONCE: Final = 4
_BATCH: Final = 64
_BATCH_BYTES: Final = 1 << 28
_LEAST_PACKED: Final = 4_096
_MOST_PACKED: Final = 1 << 30
_WORTH: Final = 0.9
"""Compressed bytes are kept up to this share of the others"""
_PACKING: Final = "zstd"
_ENDINGS: Final = (
    *(".7z", ".bz2", ".gz", ".xz", ".zip", ".zst"),
    *(".jpeg", ".jpg", ".mp4", ".npz", ".parquet", ".pdf", ".png"),
)
"""Of what is compressed already"""
_LONG: Final = 1_800_000
"""ms after which it is looked whether copies are still there; what `gc` deletes is older"""


_streams: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


def _streaming() -> asyncio.Semaphore:
    """Return what lets one object at a time be copied as a stream on the running loop: it keeps two of its few worker threads."""
    loop = asyncio.get_running_loop()
    found = _streams.get(loop)
    if found is None:
        found = _streams[loop] = asyncio.Semaphore(1)
    return found


class ArchivedRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run whose artifacts were moved, or would be.

    Attributes
    ----------
    run_id, name, experiment_name
        Which run.
    artifacts, bytes
        How many artifacts move, and their size.
    """

    run_id: str
    name: str
    experiment_name: str
    artifacts: int
    bytes: int


class Archived(msgspec.Struct, frozen=True, kw_only=True):
    """What `archive` has done.

    Attributes
    ----------
    runs
        Runs of which artifacts were moved, or would be with ``dry_run=False``.
    moved
        How many artifacts have moved.
    kept
        How many artifacts stay where they are, by reason.
    dry_run
        Whether nothing was changed.
    cost
        Requests and bytes it took, in all stores together.
    """

    runs: list[ArchivedRun] = []
    moved: int = 0
    kept: dict[str, int] = {}
    dry_run: bool = True
    cost: Cost = Cost()

    @property
    def bytes(self) -> int:
        """Size of all artifacts of `runs`."""
        return sum(run.bytes for run in self.runs)


class _Item(msgspec.Struct, frozen=True):
    run_id: str
    ref: ArtifactRef
    clock: int


async def archive(
    work: Work,
    engine: Engine,
    policy: Policy,
    *,
    url: str,
    back: bool,
    compress: bool = False,
    least_bytes: int = 0,
    dry_run: bool = True,
) -> Archived:
    """Move artifacts to another store, or back; see `ExperimentManager.archive`.

    `url` is canonical; "" is all archives with `back`, and else the store itself, in which artifacts are compressed.
    """
    if type(least_bytes) is not int or least_bytes < 0:
        raise InvalidInputError(f"least_bytes={least_bytes!r}: give a whole number of bytes from 0 on")
    policy.check_values()
    await work.begin()
    work.check_whole()
    now = await work.time(dry_run=dry_run)
    kept: Counter[str] = Counter()
    runs: list[ArchivedRun] = []
    items: list[_Item] = []
    for doc in policy.choose(work.catalog, now):
        refs = [
            ref for ref in doc.artifacts.values() if _moves(ref, url, back=back) and ref.size >= least_bytes
        ]
        if refs and doc.run_id in engine.alive:
            kept["of runs that are going on"] += len(refs)
            continue
        if refs:
            runs.append(
                ArchivedRun(
                    run_id=doc.run_id,
                    name=doc.name,
                    experiment_name=doc.experiment_name,
                    artifacts=len(refs),
                    bytes=sum(ref.size for ref in refs),
                )
            )
            items += [_Item(doc.run_id, ref, doc.clocks[f"artifacts.{ref.path}"]) for ref in refs]
    moved = 0
    if not dry_run and items:
        moved = await _Move(work, engine, "" if back else url, kept, compress=compress).run(items)
    return Archived(runs=runs, moved=moved, kept=dict(sorted(kept.items())), dry_run=dry_run, cost=work.cost)


def _moves(ref: ArtifactRef, url: str, *, back: bool) -> bool:
    if back:
        return bool(ref.store) and url in ("", ref.store)
    # What several runs share is small, and stays for those of them that do not move.
    return not ref.store and not ref.key.startswith("shared/") and (bool(url) or _can_be_packed(ref))


def _can_be_packed(ref: ArtifactRef) -> bool:
    """Whether compression is worth an attempt; what is in parts is not put together for it."""
    return (
        ref.packed is None
        and ref.compression is None
        and len(ref.objects) == 1
        and _LEAST_PACKED <= ref.size <= _MOST_PACKED
        and not ref.path.lower().endswith(_ENDINGS)
    )


class _Move:
    """One move, to the store of a canonical URL ("": home)."""

    def __init__(self, work: Work, engine: Engine, url: str, kept: Counter[str], *, compress: bool) -> None:
        self._work = work
        self._engine = engine
        self._url = url
        self._target = work.store_of(url)
        self._kept = kept
        self._compress = compress
        self._identity = new_id()
        self._small = asyncio.Semaphore(_AT_ONCE)
        self._large = _streaming()
        self._notes: dict[str, str] = {}
        self._sure = True
        """Whether nothing is left without a reference"""

    async def run(self, items: list[_Item]) -> int:
        """Move artifacts; return how many have moved."""
        done = moved = 0
        for batch in _batches(items):
            self._work.tell("moving artifacts", done, len(items))
            moved += await self._batch(batch)
            done += len(batch)
        self._work.tell("moving artifacts", done, len(items))
        if self._sure and self._notes:
            await self._work.store.delete(list(self._notes.values()))
        return moved

    async def _batch(self, batch: list[_Item]) -> int:
        await self._note(batch)
        begun = now_ms()
        new = await self._copy_all(batch)
        for item, ref in new:
            # The least clock: whatever was saved since the artifact was looked at is later, and stands.
            self._engine.post(ArtifactSaved(clock=item.clock + 1, run_id=item.run_id, ref=ref))
        await self._engine.flush()
        await self._work.catalog.refresh()
        moved = [pair for pair in new if self._stands(*pair)]
        if now_ms() - begun > _LONG:  # it may have slept, and its copies taken for litter
            moved = await self._still_there(moved)
        await self._write_documents({item.run_id for item, _ in moved})
        gone: dict[str, list[str]] = {}
        for item, _ in moved:
            gone.setdefault(item.ref.store, []).extend(part.key for part in item.ref.objects)
        for url, keys in gone.items():
            await self._work.store_of(url).delete(keys)
        return len(moved)

    async def _note(self, batch: list[_Item]) -> None:
        """Say where objects may be without a reference, from now on for as long as `gc` waits."""
        folders: dict[str, set[str]] = {}
        for item in batch:
            if self._url:
                folders.setdefault(self._url, set()).add(f"{layout.ARCHIVE}/{self._identity}")
            elif item.ref.store:
                folders.setdefault(item.ref.store, set()).add(layout.folder_of_archived(item.ref.key))
        for url, found in folders.items():
            # Each batch that brings artifacts home has folders of its own; those of earlier ones stay noted.
            known = self._notes.get(url, "") if self._url else ""
            key = await self._work.note(url, sorted(found), known)
            self._notes[url if self._url else key] = key

    async def _copy_all(self, batch: list[_Item]) -> list[tuple[_Item, ArtifactRef]]:
        new: list[tuple[_Item, ArtifactRef]] = []

        async def one(item: _Item) -> None:
            try:
                ref = await self._copy(item)
                if ref is not None:
                    new.append((item, ref))
            except (CorruptError, NotFoundError):
                self._sure = False
                self._kept["damaged, or replaced meanwhile; see aqrec verify"] += 1

        try:
            async with asyncio.TaskGroup() as tasks:
                for item in batch:
                    tasks.create_task(one(item))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return new

    async def _copy(self, item: _Item) -> ArtifactRef | None:
        """Copy an artifact's objects; return the reference to the copies, or None if it is as well where it is."""
        ref, source = item.ref, self._work.store_of(item.ref.store)
        if self._url:
            base = layout.archived_key(self._identity, item.run_id, ref.path)
            keys = [f"{base}/{number:06d}" for number in range(len(ref.parts))] or [base]
        else:
            # What is under the artifact's own name may be somebody else's by now: parts have names that nobody else uses.
            base = f"{layout.artifact_parts_folder(item.run_id, ref.path)}/{new_id()}"
            keys = [layout.artifact_part_key(base, number) for number in range(len(ref.objects))]
        if self._compress and _can_be_packed(ref):
            key = layout.artifact_part_key(base, 0)
            async with self._large:
                packed = await _pack_object(source, ref, self._target, key)
            if packed.size <= ref.size * _WORTH:
                part = ArtifactPart(key=key, size=packed.size, checksum=packed.checksum)
                return self._new(ref, base, [part], packed=_PACKING)
            await self._target.delete([key])
            if not self._url and not ref.store:
                self._kept["that compression does not make smaller"] += 1
                return None
        parts = [msgspec.structs.replace(part, key=key) for part, key in zip(ref.objects, keys, strict=True)]
        for part, copy in zip(ref.objects, parts, strict=True):
            async with self._small if part.size <= _SMALL else self._large:
                await _copy_object(source, part.key, self._target, copy)
        return self._new(ref, base, [] if keys == [base] else parts)

    def _new(self, ref: ArtifactRef, key: str, parts: list[ArtifactPart], **others: Any) -> ArtifactRef:
        return msgspec.structs.replace(
            ref,
            key=key,
            parts=parts,
            store=self._url,
            earlier=[],
            writer=self._engine.writer,
            **others,
        )

    def _stands(self, item: _Item, ref: ArtifactRef) -> bool:
        """Whether an artifact's new reference is what readers go by, so that nobody wants its original."""
        doc = self._work.catalog.runs.get(item.run_id)
        if (
            doc is not None
            and doc.artifacts.get(ref.path) == ref
            and doc.status != STATUS_R
            and not doc.purged
        ):
            return True
        self._sure = False
        self._kept["replaced, purged or resumed meanwhile"] += 1
        return False

    async def _still_there(self, moved: list[tuple[_Item, ArtifactRef]]) -> list[tuple[_Item, ArtifactRef]]:
        """Return what has its copies; the others are referred to where they were, and still are."""
        there: list[tuple[_Item, ArtifactRef]] = []
        for item, ref in moved:
            try:
                for part in ref.objects:
                    await self._target.head(part.key)
            except NotFoundError:
                self._sure = False
                self._kept["whose copies were deleted meanwhile"] += 1
                self._engine.post(ArtifactSaved(clock=item.clock + 2, run_id=item.run_id, ref=item.ref))
            else:
                there.append((item, ref))
        await self._engine.flush()
        return there

    async def _write_documents(self, runs: Iterable[str]) -> None:
        """Write the documents of runs anew that have one among their files."""
        for run_id in sorted(runs):
            key = layout.run_document_key(run_id)
            try:
                await self._work.store.head(key)
            except NotFoundError:
                continue  # sealed in bulk
            doc: RunDocument = self._work.catalog.runs[run_id]
            await self._work.store.put(key, document_to_json(doc))


def _batches(items: list[_Item]) -> Iterator[list[_Item]]:
    batch: list[_Item] = []
    size = 0
    for item in items:
        batch.append(item)
        size += item.ref.size
        if len(batch) >= _BATCH or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


async def _copy_object(source: Store, key: str, target: Store, copy: ArtifactPart) -> None:
    """Copy an object, and read the copy; raise `CorruptError` if the bytes are not the recorded ones."""
    if copy.size <= _SMALL:
        data = await source.get(key)
        _compare(_digest(data), copy, key)
        await target.put(copy.key, data)
        _compare(_digest(await target.get(copy.key)), copy, copy.key)
        return

    def write(file: BinaryIO, out: BinaryIO) -> Digest:
        return copy_file(file, out, size=copy.size, checksum=copy.checksum, name=key)

    await _stream(source, key, target, copy.key, write)
    _compare(await target.get_stream(copy.key, lambda file: HashingReader(file).drain()), copy, copy.key)


async def _stream(
    source: Store, key: str, target: Store, copy: str, write: Callable[[BinaryIO, BinaryIO], Digest]
) -> Digest:
    """Write an object from another one, in bounded memory; it keeps two worker threads."""
    loop = asyncio.get_running_loop()
    writing: list[Future[Digest]] = []

    def read(file: BinaryIO) -> Digest:
        writing.append(
            asyncio.run_coroutine_threadsafe(target.put_stream(copy, lambda out: write(file, out)), loop)
        )
        return writing[0].result()

    try:
        return await source.get_stream(key, read)
    except BaseException:
        for future in writing:
            future.cancel()
        raise


async def _pack_object(source: Store, ref: ArtifactRef, target: Store, copy: str) -> Digest:
    """Compress an artifact of one object, and unpack the copy; return the digest of the compressed bytes."""
    from aqrec.artifacts._streams import compressing, decompressing  # noqa: PLC0415 - heavy

    (part,) = ref.objects

    def write(file: BinaryIO, out: BinaryIO) -> Digest:
        sink = HashingWriter(out)
        with compressing(sink, _PACKING) as stream:
            copy_file(file, stream, size=part.size, checksum=part.checksum, name=part.key)
        return sink.digest()

    def unpack(file: BinaryIO) -> tuple[Digest, Digest]:
        reader = HashingReader(file)
        stream = cast("BinaryIO", io.BufferedReader(reader))
        return HashingReader(decompressing(stream, _PACKING)).drain(), reader.drain()

    packed = await _stream(source, part.key, target, copy, write)
    plain, found = await target.get_stream(copy, unpack)
    _compare(plain, part, copy)
    _compare(found, ArtifactPart(key=copy, size=packed.size, checksum=packed.checksum), copy)
    return packed


def _digest(data: bytes) -> Digest:
    return HashingReader(io.BytesIO(data)).drain()


def _compare(found: Digest, part: ArtifactPart, key: str) -> None:
    if (found.size, found.checksum) != (part.size, part.checksum):
        raise CorruptError(
            f"{key} has {found.size} bytes with the checksum {found.checksum}, not the recorded ones"
        )
