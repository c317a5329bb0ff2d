"""How the bytes of one artifact and the reference to them come into the store. Coroutines of the engine thread.

New bytes are stored before the reference to them. Bytes that replace others under the same key come after it; what is stored
in parts never shares a key with an older save, whose parts go when the reference is durable.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Container
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast
from weakref import WeakValueDictionary

import msgspec

from aqrec.artifacts._parts import LimitedWriter, TooLargeError
from aqrec.errors import AqrecError, FlushTimeoutError
from aqrec.format import _layout as layout
from aqrec.format._ids import new_id, now_ms
from aqrec.format._records import ArtifactPart, ArtifactRef, ArtifactSaved, ArtifactVersion
from aqrec.recording import _parts as parts
from aqrec.recording._threads import LARGE, gates, to_its_end

if TYPE_CHECKING:
    from pathlib import Path

    from aqrec.artifacts import Digest
    from aqrec.recording._progress import Track
    from aqrec.recording._run import Run

__all__ = ["Form", "record", "saving", "shard_bytes", "store_file_in_parts", "store_stream"]

logger = logging.getLogger("aqrec")

_GIB = 1 << 30
_MAX_EARLIER = 16
_ATTEMPTS = 3
_PATIENCE = 5.0
"""Seconds in which the store must say that it has a reference, if it is to be freed of what is superseded"""
_LONG = 1_800_000
"""ms that a save may take before it is looked whether its first parts are still there; litter is older"""
_locks: WeakValueDictionary[tuple[int, str, str], asyncio.Lock] = WeakValueDictionary()


class Form(NamedTuple):
    """How an artifact's bytes are to be read."""

    codec: str
    compression: str | None = None
    made: bool = False
    """Whether this process makes them out of an object; it has only copied the others, and trusts them no more for that"""


def shard_bytes(run: Run) -> int | None:
    """Return the size beyond which artifacts are stored in parts; see `Options.shard_bytes`."""
    chosen = run.session.options.shard_bytes
    if chosen is None and run.engine.store.local_path(layout.MARKER) is None:
        return _GIB
    return chosen


def make_ref(run: Run, path: str, key: str, digest: Digest, form: Form, **others: Any) -> ArtifactRef:
    """Return the reference to an artifact as this process saves it now."""
    return ArtifactRef(
        path=path,
        key=key,
        size=digest.size,
        checksum=digest.checksum,
        codec=form.codec,
        compression=form.compression,
        modified=now_ms(),
        writer=run.engine.writer,
        **others,
    )


def record(run: Run, ref: ArtifactRef, *, made: bool = False) -> None:
    """Post the reference; `made`: see `Form`."""
    if made:
        run.session.made.add((ref.key, ref.version))
    else:
        run.session.made.discard((ref.key, ref.version))
    _post(run, ref)


def _post(run: Run, ref: ArtifactRef) -> None:
    run.post(ArtifactSaved(clock=run.engine.clock.now(), run_id=run.run_id, ref=ref))


def saving(run: Run, key: str) -> asyncio.Lock:
    """Return what this process holds while it replaces an artifact; a forked one must not wait for its parent's."""
    name = (os.getpid(), run.session.url, key)
    lock = _locks.get(name)
    if lock is None:
        lock = _locks[name] = asyncio.Lock()
    return lock


async def store_stream(
    run: Run, path: str, write: Callable[[BinaryIO], Digest], form: Form, *, expected: int = 0
) -> None:
    """Store what `write` writes and the reference to it, one save of a path at a time.

    Up to the size where parts begin this is one object, and once begun goes on to its end even if the caller is
    cancelled: bytes that were replaced without their reference would read as damaged. `write` is called again if the
    bytes prove too many for that; `expected`, the caller's guess, may save this.
    """
    run.places.take(path)
    limit = shard_bytes(run)
    known = run.doc.artifacts.get(path)
    # Who has archived it may yet delete what lies under its own name.
    archived = known is not None and bool(known.store)
    if not archived and (limit is None or expected <= limit):
        try:
            await to_its_end(_store_whole(run, path, _limited(write, limit), form, large=expected > LARGE))
        except TooLargeError:
            pass
        else:
            return
    size = limit or _GIB

    async def put(folder: str, _: list[ArtifactRef]) -> tuple[Digest, list[ArtifactPart]]:
        async with gates().large:
            return await parts.put_stream(run.engine.store, folder, write, size)

    await _store_parts(run, path, put, form)


async def store_file_in_parts(run: Run, path: str, source: Path, form: Form, size: int, track: Track) -> None:
    """Store a file in parts, sending those that an interrupted attempt has not sent.

    Cancelling leaves the artifact as it was, and parts for the next attempt.
    """
    run.places.take(path)

    async def put(folder: str, known: list[ArtifactRef]) -> tuple[Digest, list[ArtifactPart]]:
        used = {part.key for ref in known for part in ref.parts}
        found = await parts.left_over(run.engine.store, layout.artifact_parts_folder(run.run_id, path), used)
        track.again()
        return await parts.put_file(
            run.engine.store, folder, source, size, found, run.session.options.transfers, track
        )

    await _store_parts(run, path, put, form)


def _limited(write: Callable[[BinaryIO], Digest], limit: int | None) -> Callable[[BinaryIO], Digest]:
    if limit is None:
        return write

    def limited(file: BinaryIO) -> Digest:
        writer = LimitedWriter(file, limit)
        digest = write(cast("BinaryIO", writer))
        writer.check()
        return digest

    return limited


async def _store_whole(
    run: Run, path: str, write: Callable[[BinaryIO], Digest], form: Form, *, large: bool
) -> None:
    key = layout.artifact_key(run.run_id, path)
    async with saving(run, key), gates().large if large else nullcontext():
        old = run.doc.artifacts.get(path)
        if old is not None and old.key == key:
            await _replace(run, old, write, form)
            return
        digest = await run.engine.store.put_stream(key, write)
        run.session.published[key] = digest.checksum
        record(run, make_ref(run, path, key, digest, form), made=form.made)
        if old is not None and old.parts:
            try:
                await run.engine.flush(_PATIENCE)
            except FlushTimeoutError:  # the store is away: what it will have of the old version stays whole
                return
            await _forget(run, [old])


async def _replace(run: Run, old: ArtifactRef, write: Callable[[BinaryIO], Digest], form: Form) -> None:
    """Replace an artifact's bytes: its key holds the old or the new ones, whenever the process dies.

    When all new bytes are written, and before they appear under the key, the reference to them is made durable; it names
    the versions that the key may hold until then.
    """
    key, session, loop = old.key, run.session, asyncio.get_running_loop()
    sure = session.published.pop(key, None) == old.checksum
    before: list[ArtifactVersion] = [old.version, *(() if sure else old.earlier)][:_MAX_EARLIER]
    announced: list[ArtifactVersion] = []

    async def announce(digest: Digest) -> None:
        # Who writes once more, because the store or the spool failed, need not tell the same again.
        if not announced or announced[0].checksum != digest.checksum:
            new = make_ref(run, old.path, key, digest, form, earlier=[*announced, *before][:_MAX_EARLIER])
            record(run, new, made=form.made)
            announced.insert(0, new.version)
        await run.engine.acknowledge()

    def write_and_announce(file: BinaryIO) -> Digest:
        digest = write(file)
        asyncio.run_coroutine_threadsafe(announce(digest), loop).result()
        return digest

    try:
        async with gates().replacing:
            with run.engine.outage.replacing(key):
                digest = await run.engine.store.put_stream(key, write_and_announce)
    except BaseException:
        if announced:  # it may have had its effect all the same
            earlier = [*announced, *before[1:]]
            _post(run, msgspec.structs.replace(old, writer=run.engine.writer, earlier=earlier))
        raise
    session.published[key] = digest.checksum


async def _store_parts(
    run: Run,
    path: str,
    put: Callable[[str, list[ArtifactRef]], Awaitable[tuple[Digest, list[ArtifactPart]]]],
    form: Form,
) -> None:
    """Store an artifact in parts under keys that no other save uses, and then the reference to them."""
    base = layout.artifact_parts_folder(run.run_id, path)
    async with saving(run, layout.artifact_key(run.run_id, path)):
        for _ in range(_ATTEMPTS):
            begun = now_ms()
            await run.engine.acknowledge()
            doc = await run.document(now=True)
            known = [doc.artifacts[path]] if path in doc.artifacts else []
            known += [rival.ref for rival in doc.rivals.get(path, ())]
            folder = f"{base}/{new_id()}"
            with run.engine.alive.saving(run.run_id):
                digest, stored = await put(folder, known)
            ref = make_ref(run, path, folder, digest, form, parts=stored)
            await to_its_end(_publish(run, ref, known, made=form.made))
            # What an interrupted attempt had left, or was put long ago, may have been taken for litter before the
            # reference was there.
            old = [
                part for part in stored if now_ms() - begun > _LONG or not part.key.startswith(f"{folder}/")
            ]
            if not old or await parts.are_there(run.engine.store, base, old):
                return


async def _publish(run: Run, ref: ArtifactRef, superseded: list[ArtifactRef], *, made: bool) -> None:
    record(run, ref, made=made)
    await run.engine.flush()
    await _forget(run, superseded, keep={part.key for part in ref.parts})


async def _forget(run: Run, superseded: list[ArtifactRef], keep: Container[str] = ()) -> None:
    """Delete the parts of saves that nobody reads any more."""
    keys = [part.key for ref in superseded if not ref.store for part in ref.parts if part.key not in keep]
    if not keys:
        return
    try:
        await run.engine.store.delete(keys)
    except AqrecError as error:
        logger.warning(
            "aqrec: %d parts of an artifact of run %s that was replaced could not be deleted: %s",
            len(keys),
            run.run_id,
            error,
        )
