"""Artifacts of a run: objects and files in, objects and files out. All coroutines run on the engine thread.

New bytes are stored before the reference to them; bytes that replace others, after it. All is durable when a call returns. Every
read is checked against the reference; a mismatch is looked at once more, because a writer may just have replaced the artifact.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar
from weakref import WeakKeyDictionary, WeakValueDictionary

import msgspec

from aqrec.artifacts import (
    Digest,
    TrustPolicy,
    codec_for_load,
    codec_for_save,
    copy_file,
    default_trust,
    read_object,
    write_object,
)
from aqrec.errors import CorruptError, InvalidInputError, LoadObjectError, NotFoundError, ObjectNotFoundError
from aqrec.format import _layout as layout
from aqrec.format._ids import now_ms
from aqrec.format._names import check_artifact_path
from aqrec.format._records import ArtifactRef, ArtifactSaved, ArtifactVersion
from aqrec.recording._run import Run

if TYPE_CHECKING:
    from aqrec.artifacts._trust import TrustMode

__all__ = [
    "download_artifact",
    "list_artifacts",
    "load_object",
    "local_dir",
    "log_artifact",
    "save_objects",
    "save_texts",
]

logger = logging.getLogger("aqrec")

T = TypeVar("T")

_FILES_AT_ONCE = 4
_REPLACED_AT_ONCE = 2
_MAX_EARLIER = 16
_gates: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()
_locks: WeakValueDictionary[tuple[int, str, str], asyncio.Lock] = WeakValueDictionary()


def _join(folder: str | None, name: str) -> str:
    root = check_artifact_path(folder, allow_root=True) if folder else ""
    return check_artifact_path(f"{root}/{name}" if root else name)


def _ref(
    run: Run,
    path: str,
    key: str,
    digest: Digest,
    codec: str,
    compression: str | None,
    earlier: list[ArtifactVersion],
) -> ArtifactRef:
    return ArtifactRef(
        path=path,
        key=key,
        size=digest.size,
        checksum=digest.checksum,
        codec=codec,
        compression=compression,
        modified=now_ms(),
        writer=run.engine.writer,
        earlier=earlier,
    )


def _record(run: Run, ref: ArtifactRef) -> None:
    run.session.written.add((ref.key, ref.checksum))
    run.post(ArtifactSaved(clock=run.engine.clock.now(), run_id=run.run_id, ref=ref))


def _saving(run: Run, key: str) -> asyncio.Lock:
    """Return what this process holds while it replaces an artifact; a forked one must not wait for its parent's."""
    name = (os.getpid(), run.session.url, key)
    lock = _locks.get(name)
    if lock is None:
        lock = _locks[name] = asyncio.Lock()
    return lock


async def save_objects(
    run: Run,
    objects: Mapping[str, object],
    artifact_path: str | None,
    local_path: str | os.PathLike[str] | None,
) -> None:
    """Save objects under their names, or a file or the content of a folder."""
    if local_path is not None:
        if objects:
            raise InvalidInputError("save_objects takes objects or a local_path, not both")
        await _log_files(run, local_path, artifact_path, content_only=True)
        return
    plan = [(_join(artifact_path, name), obj, codec_for_save(name, obj)) for name, obj in objects.items()]
    await run.session.prepare()
    await _all(_save_object(run, *item) for item in plan)
    await run.engine.acknowledge()


async def _all(saves: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Wait for all, then raise what went wrong first; nothing goes on behind the caller's back."""
    for outcome in await asyncio.gather(*saves, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


async def _store(
    run: Run, path: str, write: Callable[[BinaryIO], Digest], codec: str, compression: str | None
) -> None:
    """Store bytes and the reference to them, one save of a path at a time.

    Once begun it goes on to its end, even if the caller is cancelled: bytes that were replaced without their
    reference would read as damaged.
    """
    key = layout.artifact_key(run.run_id, path)

    async def both() -> None:
        async with _saving(run, key):
            old = run.doc.artifacts.get(path)
            if old is not None and old.key == key:
                await _replace(run, old, write, codec, compression)
            else:
                digest = await run.engine.store.put_stream(key, write)
                run.session.published[key] = digest.checksum
                _record(run, _ref(run, path, key, digest, codec, compression, []))

    task = asyncio.create_task(both())
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        raise


async def _replace(
    run: Run, old: ArtifactRef, write: Callable[[BinaryIO], Digest], codec: str, compression: str | None
) -> None:
    """Replace an artifact's bytes: its key holds the old or the new ones, whenever the process dies.

    When all new bytes are written, and before they appear under the key, the reference to them is made durable; it names
    the versions that the key may hold until then.
    """
    key, session, loop = old.key, run.session, asyncio.get_running_loop()
    sure = session.published.pop(key, None) == old.checksum
    before = [old.version, *(() if sure else old.earlier)][:_MAX_EARLIER]
    new: ArtifactRef | None = None

    async def announce(digest: Digest) -> None:
        nonlocal new
        new = _ref(run, old.path, key, digest, codec, compression, before)
        _record(run, new)
        await run.engine.acknowledge()

    def write_and_announce(file: BinaryIO) -> Digest:
        digest = write(file)
        asyncio.run_coroutine_threadsafe(announce(digest), loop).result()
        return digest

    try:
        async with _gate(loop):
            digest = await run.engine.store.put_stream(key, write_and_announce)
    except BaseException:
        if new is not None:  # it may have had its effect all the same
            _record(run, msgspec.structs.replace(old, writer=new.writer, earlier=[new.version, *before[1:]]))
        raise
    session.published[key] = digest.checksum


def _gate(loop: asyncio.AbstractEventLoop) -> asyncio.Semaphore:
    """Return what keeps replacements from taking all worker threads while they wait for one of them."""
    gate = _gates.get(loop)
    if gate is None:
        gate = _gates[loop] = asyncio.Semaphore(_REPLACED_AT_ONCE)
    return gate


async def _save_object(run: Run, path: str, obj: object, codec: str) -> None:
    options = run.session.options

    def write(file: BinaryIO) -> Digest:
        return write_object(file, obj, codec=codec, pickler=options.pickler, compression=options.compression)

    await _store(run, path, write, codec, options.compression)


async def save_texts(run: Run, texts: Mapping[str, bytes]) -> None:
    """Save small texts; runs that are sealed in bulk share them."""
    for path, data in texts.items():

        def write(file: BinaryIO, data: bytes = data) -> Digest:
            return write_object(file, data, codec="bytes")

        codec = codec_for_load(path)
        if run.session.options.seal == "bulk":
            key = layout.shared_key(hashlib.sha256(data).hexdigest()[:32], path)
            digest = run.session.shared.get(key)
            if digest is None:
                digest = run.session.shared[key] = await run.engine.store.put_stream(key, write)
            _record(run, _ref(run, path, key, digest, codec, None, []))
        else:
            await _store(run, path, write, codec, None)


def _files_of(path: Path, artifact_path: str | None, *, content_only: bool) -> list[tuple[Path, str]]:
    if path.is_file():
        return [(path, _join(artifact_path, path.name))]
    if not path.is_dir():
        raise ObjectNotFoundError(f"there is no file or folder {str(path)!r} to record")
    prefix = artifact_path if content_only else _join(artifact_path, path.resolve().name)
    found: list[tuple[Path, str]] = []
    for folder, _, names in os.walk(path):
        for name in sorted(names):
            file = Path(folder, name)
            found.append((file, _join(prefix, file.relative_to(path).as_posix())))
    return found


async def log_artifact(run: Run, local_path: str | os.PathLike[str], artifact_path: str | None) -> None:
    """Copy a file, or a folder under its own name, into the run."""
    await _log_files(run, local_path, artifact_path, content_only=False)


async def _log_files(
    run: Run, local_path: str | os.PathLike[str], artifact_path: str | None, *, content_only: bool
) -> None:
    await run.session.prepare()
    # A large folder takes a while to walk, and the engine has other things to do.
    files = await asyncio.get_running_loop().run_in_executor(
        None, lambda: _files_of(Path(local_path), artifact_path, content_only=content_only)
    )
    slots = asyncio.Semaphore(_FILES_AT_ONCE)

    async def one(source: Path, path: str) -> None:
        def write(file: BinaryIO) -> Digest:
            with source.open("rb", buffering=0) as opened:
                return copy_file(opened, file)

        async with slots:
            await _store(run, path, write, codec_for_load(path), None)

    await _all(one(*item) for item in files)
    await run.engine.acknowledge()


async def _refs(run: Run) -> dict[str, ArtifactRef]:
    return (await run.document()).artifacts


async def list_artifacts(run: Run, artifact_path: str | None) -> list[str]:
    """Return the direct children of a folder as paths from the run's root."""
    root = check_artifact_path(artifact_path or "", allow_root=True)
    prefix = f"{root}/" if root else ""
    children = {
        prefix + path[len(prefix) :].split("/", 1)[0] for path in await _refs(run) if path.startswith(prefix)
    }
    return sorted(children)


async def _read(run: Run, path: str, use: Callable[[ArtifactRef], Awaitable[T]]) -> T:
    """Return what `use` makes of an artifact; it raises `CorruptError` if the bytes are not what the reference says."""
    damage: CorruptError | None = None
    seen: list[ArtifactRef] = []
    for _ in range(3):
        doc = await run.document()
        ref = doc.artifacts.get(path)
        if ref is None:
            near = ", ".join(sorted(doc.artifacts)[:10]) or "none at all"
            raise LoadObjectError(f"run {run.run_id} has no artifact {path!r}; it has {near}")
        candidates = [ref, *map(ref.of, ref.earlier)]
        for rival in doc.rivals.get(path, ()):
            if rival.ref.key == ref.key:
                candidates += [rival.ref, *map(rival.ref.of, rival.ref.earlier)]
        if candidates == seen:
            break
        seen = candidates
        for candidate in candidates:
            try:
                result = await use(candidate)
            except CorruptError as error:
                damage = damage or error
            except NotFoundError as error:
                damage = CorruptError(
                    f"artifact {path!r} of run {run.run_id} is recorded but its bytes are missing"
                )
                damage.__cause__ = error
                break
            else:
                if candidate is not ref:
                    logger.warning(
                        "aqrec: artifact %r of run %s is an earlier version: its replacement was not completed",
                        path,
                        run.run_id,
                    )
                return result
        async with _saving(run, ref.key):
            pass  # it may be this process that is replacing it
    assert damage is not None
    raise LoadObjectError(f"artifact {path!r} of run {run.run_id} is damaged: {damage}") from damage


async def load_object(
    run: Run, name: str, trust: TrustPolicy | TrustMode | None, unpickler: type[Any] | None
) -> Any:
    """Load an artifact as an object."""
    policy = default_trust(trust, run.session.options.allow) if isinstance(trust, str) else trust
    return await _read(run, check_artifact_path(name), lambda ref: _load(run, ref, policy, unpickler))


async def _load(run: Run, ref: ArtifactRef, trust: TrustPolicy | None, unpickler: type[Any] | None) -> Any:
    options = run.session.options
    policy = trust or default_trust(options.trust, options.allow)
    if trust is None and (ref.key, ref.checksum) in run.session.written:
        policy = TrustPolicy(mode="trusted")

    def read(file: BinaryIO) -> Any:
        return read_object(
            file,
            codec=ref.codec,
            compression=ref.compression,
            checksum=ref.checksum,
            size=ref.size,
            trust=policy,
            unpickler=unpickler,
            name=ref.path,
        )

    return await run.engine.store.get_stream(ref.key, read)


async def download_artifact(run: Run, path: str, dst_path: str | os.PathLike[str] | None) -> str:
    """Copy an artifact or a folder of them to this machine; return where it is."""
    clean = check_artifact_path(path, allow_root=True)
    refs = await _refs(run)
    wanted = [name for name in refs if name == clean or not clean or name.startswith(f"{clean}/")]
    if not wanted:
        raise ObjectNotFoundError(f"run {run.run_id} has no artifact or folder {clean!r}")
    for name in wanted:
        check_artifact_path(name)  # the store may have been written by somebody who wants files elsewhere
    loop = asyncio.get_running_loop()
    target = (
        Path(dst_path) if dst_path is not None else Path(await loop.run_in_executor(None, tempfile.mkdtemp))
    )
    slots = asyncio.Semaphore(_FILES_AT_ONCE)

    async def copy(ref: ArtifactRef) -> None:
        name = ref.path

        def read(file: BinaryIO) -> None:
            place = target / name
            place.parent.mkdir(parents=True, exist_ok=True)
            partial = place.with_name(f"{place.name}.part-{os.getpid()}")
            try:
                with partial.open("wb", buffering=0) as out:
                    copy_file(file, out, size=ref.size, checksum=ref.checksum, name=f"{run.run_id}/{name}")
                partial.replace(place)
            finally:
                partial.unlink(missing_ok=True)

        await run.engine.store.get_stream(ref.key, read)

    async def one(name: str) -> None:
        async with slots:
            await _read(run, name, copy)

    await asyncio.gather(*map(one, sorted(wanted)))
    return str(target / clean) if clean else str(target)


def local_dir(run: Run) -> str:
    """Return the folder of the run's artifacts on this machine."""
    path = run.engine.store.local_path(layout.artifacts_folder(run.run_id))
    if path is None:
        raise InvalidInputError(
            f"{run.session.url} is not on this machine's file system; use download_artifact() to get a copy"
        )
    return str(path)
