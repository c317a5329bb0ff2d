"""How an artifact is found and read, whichever version its key holds and whether or not it is in parts.

Every read is checked against the reference; a mismatch is looked at once more, because a writer may just have replaced the
artifact.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from aqrec.errors import AqrecError, CorruptError, LoadObjectError, NotFoundError
from aqrec.format import _layout as layout
from aqrec.format._document import archived_rivals
from aqrec.recording import _parts as parts
from aqrec.recording._saving import saving

if TYPE_CHECKING:
    from aqrec.format._document import RunDocument
    from aqrec.format._records import ArtifactRef
    from aqrec.recording._run import Run
    from aqrec.stores import Store

__all__ = ["get_stream", "read_artifact", "store_of"]

logger = logging.getLogger("aqrec")

T = TypeVar("T")


async def read_artifact(
    run: Run, path: str, use: Callable[[ArtifactRef], Awaitable[T]], doc: RunDocument | None = None
) -> T:
    """Return what `use` makes of an artifact; it raises `CorruptError` if the bytes are not what the reference says.

    `doc` is what the caller knows of the run already; it saves a look into the store.
    """
    damage: CorruptError | None = None
    seen: list[ArtifactRef] = []
    for _ in range(3):
        known, doc = doc or await run.document(), None
        ref = known.artifacts.get(path)
        if ref is None:
            near = ", ".join(sorted(known.artifacts)[:10]) or "none at all"
            raise LoadObjectError(f"run {run.run_id} has no artifact {path!r}; it has {near}")
        candidates = [ref, *map(ref.of, ref.earlier)]
        for rival in known.rivals.get(path, ()):
            if rival.ref.key == ref.key:
                candidates += [rival.ref, *map(rival.ref.of, rival.ref.earlier)]
        candidates += archived_rivals(known, ref)
        if candidates == seen:
            break
        seen = candidates
        missing: set[tuple[str, str]] = set()
        for candidate in candidates:
            if (candidate.store, candidate.key) in missing:
                continue
            try:
                result = await use(candidate)
            except CorruptError as error:
                damage = damage or error
            except NotFoundError as error:
                where = f" in {candidate.store}" if candidate.store else ""
                damage = CorruptError(f"it is recorded but its bytes are missing{where}")
                damage.__cause__ = error
                missing.add((candidate.store, candidate.key))
            else:
                if candidate is not ref:
                    logger.warning(
                        "aqrec: artifact %r of run %s is an earlier version: its replacement was not completed",
                        path,
                        run.run_id,
                    )
                return result
        async with saving(run, layout.artifact_key(run.run_id, path)):
            pass  # it may be this process that is replacing it
    assert damage is not None
    raise LoadObjectError(f"run {run.run_id}: artifact {path!r} is damaged: {damage}") from damage


def store_of(run: Run, ref: ArtifactRef) -> Store:
    """Return the store in which an artifact's bytes lie."""
    return run.session.archives.open(ref.store) if ref.store else run.engine.store


async def get_stream(run: Run, ref: ArtifactRef, read: Callable[[BinaryIO], T]) -> T:
    """Call `read` with the artifact's bytes as a blocking file, seekable unless they are packed; see `Store.get_stream`."""
    store = store_of(run, ref)
    if ref.packed is not None:
        return await parts.get_stream(store, ref, _unpacking(read, ref.packed))
    if ref.parts:
        return await parts.get_stream(store, ref, read)
    return await store.get_stream(ref.key, read)


def _unpacking(read: Callable[[BinaryIO], T], packed: str) -> Callable[[BinaryIO], T]:
    def unpack(file: BinaryIO) -> T:
        from aqrec.artifacts._streams import decompressing  # noqa: PLC0415 - heavy

        try:
            return read(decompressing(file, packed))
        except OSError as error:
            if isinstance(error, AqrecError) or error.errno is not None:
                raise
            raise CorruptError(f"its compressed bytes cannot be unpacked: {error}") from error

    return unpack
