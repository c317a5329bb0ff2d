"""Whether a store holds what it says: frames, references, checksums, Parquet; and mending what can be mended.

What a crash leaves is normal and no problem: the torn end of a file, an artifact whose replacement was not completed, objects that nothing
refers to. A problem is what was acknowledged and cannot be read.
"""

from __future__ import annotations

import asyncio
import io
import zlib
from collections import Counter
from collections.abc import Coroutine, Iterable
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import msgspec

from aqrec.artifacts._hashing import HashingReader
from aqrec.errors import (
    AqrecError,
    ConflictError,
    CorruptError,
    InvalidInputError,
    NotFoundError,
    StorageError,
)
from aqrec.format import _layout as layout
from aqrec.format._document import (
    RunDocument,
    archived_rivals,
    document_from_json,
    document_to_json,
    sealed_parts,
)
from aqrec.format._frames import POINTS, Damage, scan
from aqrec.format._ids import new_id, now_ms
from aqrec.format._keys import own_key
from aqrec.format._parquet import open_checked
from aqrec.format._points import decode_points
from aqrec.format._unfold import unfold
from aqrec.upkeep._fold import create_head, fold
from aqrec.upkeep._work import Cost, Work

if TYPE_CHECKING:
    from aqrec.engine import Engine
    from aqrec.format._document import SealedPart
    from aqrec.format._records import ArtifactPart, ArtifactRef, ArtifactVersion
    from aqrec.stores import Store

__all__ = ["Problem", "Verified", "verify"]

_AT_ONCE: Final = 8


class Problem(msgspec.Struct, kw_only=True):
    """Something that is not as it should be.

    Attributes
    ----------
    kind
        ``event log``, ``snapshot``, ``journal``, ``artifact``, ``sealed history`` or ``run document``.
    key
        Which object.
    run_id
        Whose it is, "" if it is of no single run.
    text
        What is wrong.
    repaired
        Whether it is not so any more.
    """

    kind: str
    key: str
    run_id: str = ""
    text: str = ""
    repaired: bool = False


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What `verify` has found.

    Attributes
    ----------
    problems
        What is not as it should be.
    checked
        How many things of each kind were looked at, and how many ends of files were ``torn``, which is normal.
    cost
        Requests and bytes it took.
    """

    problems: list[Problem] = []
    checked: dict[str, int] = {}
    cost: Cost = Cost()

    @property
    def ok(self) -> bool:
        """Whether everything is as it should be (now)."""
        return all(problem.repaired for problem in self.problems)


async def verify(
    work: Work, engine: Engine | None, *, contents: bool = False, repair: bool = False
) -> Verified:
    """Check a store; see `ExperimentManager.verify`. Only mending needs the engine."""
    work.catalog.thorough = True
    await work.begin()
    check = _Check(work, contents=contents)
    await check.catalog()
    await check.journals()
    await check.runs()
    if repair and engine is not None and check.problems:
        await _Repair(work, engine, check.problems).run()
    return Verified(problems=check.problems, checked=dict(sorted(check.checked.items())), cost=work.cost)


class _Check:
    def __init__(self, work: Work, *, contents: bool) -> None:
        self._work = work
        self._contents = contents
        self.problems: list[Problem] = []
        self.checked: Counter[str] = Counter()

    def _found(self, kind: str, key: str, text: str, run_id: str = "") -> None:
        self.problems.append(Problem(kind=kind, key=key, text=text, run_id=run_id))

    async def catalog(self) -> None:
        """Look at every frame of all event logs, and report which snapshots could not be read."""
        catalog = self._work.catalog
        self.checked["snapshot"] += len(catalog.head.snapshots)
        for key in sorted(catalog.damage):
            if key.startswith(layout.SNAPSHOTS):
                self._found("snapshot", key, "it cannot be read")
        await self._logs(layout.EVENTS, "event log")

    async def journals(self) -> None:
        """Look at every frame of all journals."""
        await self._logs(layout.JOURNAL, "journal")

    async def _logs(self, folder: str, kind: str) -> None:
        async for info in self._work.store.list(folder):
            if own_key(info.key) is None:
                continue
            self.checked[kind] += 1
            self._work.tell(f"checking {kind}s", self.checked[kind])
            try:
                torn, damages = await self._work.store.get_stream(info.key, _scan)
            except NotFoundError:
                continue  # folded, sealed or merged meanwhile
            self.checked["torn"] += torn
            if damages:
                self._found(kind, info.key, _places(damages))

    async def runs(self) -> None:
        """Look at all that documents refer to."""
        total = len(self._work.catalog.runs)
        slots = asyncio.Semaphore(_AT_ONCE)
        bulk: set[str] = set()
        for number, doc in enumerate(self._work.documents()):
            self._work.tell("checking runs", number, total)
            if not doc.known:
                continue
            self.checked["run"] += 1
            parts = [part for part in sealed_parts(doc) if part.key not in bulk]
            bulk.update(part.key for part in parts if part.key.startswith(f"{layout.SEALED}/"))
            jobs = [self._limited(slots, self._artifact(doc, ref)) for ref in doc.artifacts.values()]
            jobs += [self._limited(slots, self._sealed(doc, part)) for part in parts]
            if doc.end_time is not None:
                jobs.append(self._limited(slots, self._document(doc)))
            for result in await asyncio.gather(*jobs, return_exceptions=True):
                if isinstance(result, BaseException):
                    raise result

    async def _limited(self, slots: asyncio.Semaphore, work: Coroutine[Any, Any, None]) -> None:
        async with slots:
            await work

    async def _again(self, doc: RunDocument) -> RunDocument:
        """Return the run's document as it is now, for whoever has missed an object that it spoke of."""
        await self._work.catalog.refresh()
        return self._work.catalog.runs[doc.run_id]

    async def _artifact(self, doc: RunDocument, ref: ArtifactRef) -> None:
        self.checked["artifact"] += 1
        text = await self._why_bad(doc, ref)
        if text:
            latest = (await self._again(doc)).artifacts.get(ref.path)
            if latest is not None and latest != ref:
                ref, text = latest, await self._why_bad(doc, latest)
        if text:
            self._found("artifact", ref.key, f"{ref.path}: {text}", doc.run_id)

    async def _why_bad(self, doc: RunDocument, ref: ArtifactRef) -> str:
        if not ref.store:
            return await self._why_ref_bad(doc, ref)
        try:
            text = await self._why_ref_bad(doc, ref)
        except (InvalidInputError, StorageError) as error:
            return f"the archive {ref.store} cannot be read: {error}"
        return f"{text}, in the archive {ref.store}" if text else ""

    async def _why_ref_bad(self, doc: RunDocument, ref: ArtifactRef) -> str:
        store = self._work.store_of(ref.store)
        if ref.parts:
            found = [await self._why_part_bad(store, part) for part in ref.parts]
            return next((text for text in found if text), "")
        versions = [ref.version, *ref.earlier]
        for rival in doc.rivals.get(ref.path, ()):
            if rival.ref.key == ref.key:
                versions += [rival.ref.version, *rival.ref.earlier]
        text = await self._why_version_bad(store, ref.key, versions)
        for other in archived_rivals(doc, ref) if text else ():
            if not await self._why_ref_bad(doc, other):
                return ""
        return text

    async def _why_part_bad(self, store: Store, part: ArtifactPart) -> str:
        text = await self._compare(store, part.key, [(part.size, part.checksum)])
        return f"part {part.key} {text}" if text else ""

    async def _why_version_bad(self, store: Store, key: str, versions: Iterable[ArtifactVersion]) -> str:
        text = await self._compare(store, key, [(version.size, version.checksum) for version in versions])
        return f"it {text}" if text else ""

    async def _compare(self, store: Store, key: str, allowed: list[tuple[int, str]]) -> str:
        try:
            info = await store.head(key)
            if info.size not in {size for size, _ in allowed}:
                return f"has {info.size} bytes, not {allowed[0][0]}"
            if self._contents:
                digest = await store.get_stream(key, lambda file: HashingReader(file).drain())
                if (digest.size, digest.checksum) not in allowed:
                    return f"has the checksum {digest.checksum}, not {allowed[0][1]}"
        except NotFoundError:
            return "is missing"
        return ""

    async def _sealed(self, doc: RunDocument, part: SealedPart) -> None:
        self.checked["sealed history"] += 1
        text = await self._why_history_bad(part)
        if text and part in sealed_parts(await self._again(doc)):
            self._found("sealed history", part.key, text, doc.run_id)

    async def _why_history_bad(self, part: SealedPart) -> str:
        single = not part.key.startswith(f"{layout.SEALED}/")

        def read(file: BinaryIO) -> str:
            import pyarrow.parquet as pq  # noqa: PLC0415 - heavy

            if part.footer is not None:
                file.seek(-min(part.footer.size, file.seek(0, io.SEEK_END)), io.SEEK_END)
                if zlib.crc32(file.read()) != part.footer.crc:
                    return "its footer has another checksum"
                file.seek(0)
            try:
                parquet = open_checked(file, pq.read_metadata(file))
                if single and parquet.metadata.num_rows != part.points:
                    return f"it has {parquet.metadata.num_rows} points, not {part.points}"
                if self._contents:
                    for group in range(parquet.num_row_groups):
                        parquet.read_row_group(group)
            except Exception as error:  # noqa: BLE001 - whatever damaged bytes lead a reader to
                return f"it cannot be read: {error}"
            return ""

        try:
            return await self._work.store.get_stream(part.key, read)
        except NotFoundError:
            return "it is missing"

    async def _document(self, doc: RunDocument) -> None:
        key = layout.run_document_key(doc.run_id)
        try:
            document_from_json(await self._work.store.get(key))
        except NotFoundError:
            return  # runs that are sealed in bulk have none
        except CorruptError as error:
            self._found("run document", key, str(error), doc.run_id)
        self.checked["run document"] += 1


def _scan(file: BinaryIO) -> tuple[bool, list[Damage]]:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    damages: list[Damage] = []
    torn = False
    trailer = 16
    for frame in scan(file, size):
        if isinstance(frame, Damage):
            if frame.tail:
                torn = frame.end - frame.offset != trailer
            else:
                damages.append(frame)
        elif frame.kind == POINTS:
            try:
                decode_points(frame.payload)
            except CorruptError:
                damages.append(Damage(frame.offset, frame.end, tail=False))
    return torn, damages


def _places(damages: Iterable[Damage]) -> str:
    where = ", ".join(f"{damage.offset}-{damage.end}" for damage in damages)
    return f"bytes {where} are damaged; the rest is read"


class _Repair:
    """Mends what can be mended: nothing that can be read is lost by it."""

    def __init__(self, work: Work, engine: Engine, problems: list[Problem]) -> None:
        self._work = work
        self._engine = engine
        self._problems = problems

    async def run(self) -> None:
        """Mend one kind after the other."""
        self._engine.clock.observe(self._work.catalog.observed)
        for problem in self._problems:
            self._work.tell("repairing", 0)
            try:
                if problem.kind == "run document":
                    await self._write_document(problem)
                elif problem.kind == "snapshot":
                    await self._leave_out(problem)
                elif problem.kind == "event log":
                    await self._set_aside(problem)
            except AqrecError as error:
                problem.text += f"; it could not be repaired: {error}"

    async def _write_document(self, problem: Problem) -> None:
        doc = self._work.catalog.runs[problem.run_id]
        await self._work.store.put(problem.key, document_to_json(doc))
        problem.repaired = True

    async def _leave_out(self, problem: Problem) -> None:
        """Go on without a snapshot that cannot be read; what run documents still tell of its runs is recorded anew."""
        work, engine = self._work, self._engine
        told = 0
        async for info in work.store.list(layout.RUNS):
            own = own_key(info.key)
            if own is None or own.kind != "run document":
                continue
            try:
                doc = document_from_json(await work.store.get(info.key))
            except (CorruptError, NotFoundError):
                continue
            known = work.catalog.runs.get(doc.run_id)
            if doc.known and (known is None or not (known.known or known.purged)):
                for event in unfold(doc):
                    engine.post(event)
                told += 1
        await engine.flush()
        head = work.catalog.head
        new = msgspec.structs.replace(
            head,
            number=head.number + 1,
            nonce=new_id(),
            created=now_ms(),
            snapshots=[ref for ref in head.snapshots if ref.key != problem.key],
            retired=head.retired | {problem.key: head.number + 1},
        )
        if not await create_head(work.store, new):
            raise ConflictError("others fold the catalog at the same time; try again")
        work.catalog.damage.pop(problem.key, None)
        await work.catalog.refresh()
        problem.repaired = True
        problem.text += f"; it is left out, and {told} of its runs are known again from their run documents"

    async def _set_aside(self, problem: Problem) -> None:
        """Fold what can be read of a damaged log, and keep the log where nobody reads it."""
        work = self._work
        if await fold(work.catalog) is None:
            raise ConflictError("the catalog could not be folded; try again")
        await work.catalog.refresh()
        log = work.catalog.logs.get(problem.key)
        data = await work.store.get(problem.key)
        if log is not None and log.news:
            raise ConflictError("its events are not folded yet; try again, or aqrec compact first")
        aside = f"{layout.DAMAGED}/{problem.key.rpartition('/')[2]}"
        await work.store.put(aside, data)
        await work.store.delete([problem.key])
        work.catalog.damage.pop(problem.key, None)
        problem.repaired = True
        problem.text += f"; it is kept in {aside}"
