"""Artifacts of a run: objects in, objects out. All coroutines run on the engine thread.

All is durable when a call returns. How bytes are stored and found again: `_saving`, `_parts`, `_reading`; files: `_files`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from aqrec.artifacts import (
    Digest,
    TrustPolicy,
    codec_for_load,
    codec_for_save,
    default_trust,
    read_object,
    write_object,
)
from aqrec.artifacts._digest import Expectation
from aqrec.artifacts._hashing import HashingReader
from aqrec.artifacts._objects import VERIFY_FIRST
from aqrec.artifacts._size import expected_size
from aqrec.errors import InvalidInputError, LoadObjectError
from aqrec.format import _layout as layout
from aqrec.format._ids import now_ms
from aqrec.format._names import check_artifact_path
from aqrec.recording._files import join, log_files
from aqrec.recording._progress import as_progress
from aqrec.recording._reading import get_stream, read_artifact
from aqrec.recording._saving import Form, make_ref, record, store_stream

if TYPE_CHECKING:
    from aqrec.artifacts._trust import TrustMode
    from aqrec.format._records import ArtifactRef
    from aqrec.recording._run import Run

__all__ = ["list_artifacts", "load_object", "local_dir", "save_objects", "save_texts"]

_SHARED_FOR: Final = 1_800_000
"""Milliseconds after which a shared text is put again: half of the least grace of `upkeep._gc`"""


_RENAMED = "an object of that name is saved as {0}.pkl: save_objects(**{{'{0}.pkl': obj}})"


async def save_objects(
    run: Run,
    objects: Mapping[str, object],
    artifact_path: str | None,
    local_path: str | os.PathLike[str] | None,
    *,
    codec: str | None = None,
    then: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Save objects under their names, or a file or the content of a folder, which may have a `progress`.

    `codec` stores all objects alike, whatever their names end with. `then` is called when all objects are stored, and what
    it logs is durable, too, when this returns.
    """
    if local_path is not None:
        if not isinstance(cast("object", local_path), str | os.PathLike):
            raise InvalidInputError(
                f"local_path is {type(local_path).__name__}, not the path of a file or folder; {_RENAMED.format('local_path')}"
            )
        others = dict(objects)
        progress = as_progress(others.pop("progress", False))
        if others:
            raise InvalidInputError("save_objects takes objects or a local_path, not both")
        await log_files(run, local_path, artifact_path, progress, content_only=True)
        return
    shown = objects.get("progress")
    if codec is None and (isinstance(shown, bool) or callable(shown)):
        raise InvalidInputError(
            f"progress={shown!r} is for a local_path: objects are saved without; {_RENAMED.format('progress')}"
        )
    plan = [
        (join(artifact_path, name), obj, codec or codec_for_save(name, obj)) for name, obj in objects.items()
    ]
    await run.session.prepare()
    await _all(_save_object(run, *item) for item in plan)
    if then is not None:
        await then()
    await run.engine.acknowledge()


async def _all(saves: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Wait for all, then raise what went wrong first; nothing goes on behind the caller's back."""
    for outcome in await asyncio.gather(*saves, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


async def _save_object(run: Run, path: str, obj: object, codec: str) -> None:
    options = run.session.options

    def write(file: BinaryIO) -> Digest:
        return write_object(file, obj, codec=codec, pickler=options.pickler, compression=options.compression)

    expected = expected_size(obj, codec, options.compression)
    await store_stream(run, path, write, Form(codec, options.compression, made=True), expected=expected)


async def save_texts(run: Run, texts: Mapping[str, bytes]) -> None:
    """Save small texts; runs that are sealed in bulk share them."""
    for path, data in texts.items():

        def write(file: BinaryIO, data: bytes = data) -> Digest:
            return write_object(file, data, codec="bytes")

        codec = codec_for_load(path)
        if run.session.options.seal == "bulk":
            key = layout.shared_key(hashlib.sha256(data).hexdigest()[:32], path)
            now = now_ms()
            digest, put = run.session.shared.get(key, (None, 0))
            # What no run refers to any more may be collected once it is old.
            if digest is None or not 0 <= now - put < _SHARED_FOR:
                digest = await run.engine.store.put_stream(key, write)
                run.session.shared[key] = digest, now
            record(run, make_ref(run, path, key, digest, Form(codec)))
        else:
            await store_stream(run, path, write, Form(codec))


async def list_artifacts(run: Run, artifact_path: str | None) -> list[str]:
    """Return the direct children of a folder as paths from the run's root."""
    root = check_artifact_path(artifact_path or "", allow_root=True)
    prefix = f"{root}/" if root else ""
    children = {
        prefix + path[len(prefix) :].split("/", 1)[0]
        for path in (await run.document()).artifacts
        if path.startswith(prefix)
    }
    return sorted(children)


async def load_object(
    run: Run, name: str, trust: TrustPolicy | TrustMode | None, unpickler: type[Any] | None
) -> Any:
    """Load an artifact as an object."""
    policy = default_trust(trust, run.session.options.allow) if isinstance(trust, str) else trust
    return await read_artifact(run, check_artifact_path(name), lambda ref: _load(run, ref, policy, unpickler))


async def _load(run: Run, ref: ArtifactRef, trust: TrustPolicy | None, unpickler: type[Any] | None) -> Any:
    options = run.session.options
    policy = trust or default_trust(options.trust, options.allow)

    def read(file: BinaryIO, policy: TrustPolicy = policy) -> Any:
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

    def read_own(file: BinaryIO) -> Any:
        if ref.size > VERIFY_FIRST and unpickler is None:
            # Somebody may have replaced it since, and it would run before its checksum is known. Plain data needs no trust.
            start = file.tell()
            with contextlib.suppress(LoadObjectError):
                return read(file)
            file.seek(start)
            Expectation(ref.size, ref.checksum, ref.path).check(HashingReader(file).drain())
            file.seek(start)
        return read(file, TrustPolicy(mode="trusted"))

    own = trust is None and (ref.key, ref.version) in run.session.made
    return await get_stream(run, ref, read_own if own else read)


def local_dir(run: Run) -> str:
    """Return the folder of the run's artifacts on this machine."""
    path = run.engine.store.local_path(layout.artifacts_folder(run.run_id))
    if path is None:
        raise InvalidInputError(
            f"{run.session.url} is not on this machine's file system; use download_artifact() to get a copy"
        )
    return str(path)
