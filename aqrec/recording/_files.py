"""Files and folders into a run and out of it, several at once. All coroutines run on the engine thread.

Each file is whole or absent, whatever fails. After a failure no other file is begun, and the first error is raised.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import stat
import tempfile
from contextlib import nullcontext
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast

from aqrec.artifacts import Digest, codec_for_load, copy_file
from aqrec.artifacts._unpacking import unpack_file
from aqrec.errors import AqrecError, CorruptError, InvalidInputError, ObjectNotFoundError
from aqrec.format._names import check_artifact_path
from aqrec.recording._progress import Progress, Track, as_progress, metered
from aqrec.recording._reading import get_stream, read_artifact, store_of
from aqrec.recording._saving import Form, shard_bytes, store_file_in_parts, store_stream
from aqrec.recording._threads import LARGE, all_of, gates, to_its_end
from aqrec.stores._jobs import Jobs
from aqrec.stores._names import from_system, to_system

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from aqrec.format._document import RunDocument
    from aqrec.format._records import ArtifactPart, ArtifactRef
    from aqrec.recording._run import Run

__all__ = ["artifacts_below", "download_artifact", "download_files", "join", "log_files"]

_SMALL = 1 << 20
"""Up to this size, bytes, a file is fetched without keeping a worker thread meanwhile"""


def join(folder: str | None, name: str) -> str:
    """Return the path of an artifact below a folder, if it is legal."""
    root = check_artifact_path(folder, allow_root=True) if folder else ""
    return check_artifact_path(f"{root}/{name}" if root else name)


_PICKLE = b"\x80"
"""How pickles begin, from protocol 2 on"""


class _Source(NamedTuple):
    file: Path
    path: str
    size: int


def _sources(path: Path, artifact_path: str | None, *, content_only: bool) -> list[_Source]:
    """List the files to record, those below linked folders too; refuse what is no file before anything is written."""
    if not path.exists():
        raise ObjectNotFoundError(f"there is no file or folder {str(path)!r} to record")
    if not path.is_dir():
        return [_Source(path, join(artifact_path, from_system(path.name)), _size(path))]
    prefix = artifact_path if content_only else join(artifact_path, from_system(path.resolve().name))
    found: list[_Source] = []
    seen: set[tuple[int, int]] = set()
    for folder, folders, names in os.walk(path, followlinks=True):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()  # a link back to where we have been
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        for name in sorted(names):
            file = Path(folder, name)
            found.append(
                _Source(file, join(prefix, from_system(file.relative_to(path).as_posix())), _size(file))
            )
    if not found:
        raise InvalidInputError(
            f"the folder {str(path)!r} has no file in it, so there is nothing to record: a run's artifacts are files"
        )
    return found


def _size(file: Path) -> int:
    """Return the bytes of a regular file; reading from anything else might never end."""
    try:
        status = file.stat()
    except FileNotFoundError:
        raise InvalidInputError(
            f"{str(file)!r} is a link to nothing; remove it, or record the files beside it one by one"
        ) from None
    if not stat.S_ISREG(status.st_mode):
        raise InvalidInputError(
            f"{str(file)!r} is no regular file (a pipe, socket or device); remove it, or record the files beside it"
        )
    return status.st_size


async def log_files(
    run: Run,
    local_path: str | os.PathLike[str],
    artifact_path: str | None,
    progress: Progress = False,
    *,
    content_only: bool = False,
) -> None:
    """Copy a file, or a folder (under its own name unless `content_only`), into the run."""
    await run.session.prepare()
    # A large folder takes a while to walk, and the engine has other things to do.
    sources = await asyncio.get_running_loop().run_in_executor(
        None, lambda: _sources(Path(local_path), artifact_path, content_only=content_only)
    )
    slots = asyncio.Semaphore(run.session.options.transfers)
    async with metered(as_progress(progress), sum(source.size for source in sources), len(sources)) as meter:

        async def one(source: _Source) -> None:
            async with slots:
                track = Track(meter, source.size)
                with _named(source.file, f"recording {source.file}"):
                    await _log(run, source, track)
                track.finish()

        await all_of(map(one, sources))
        await run.engine.acknowledge()


def _codec(source: _Source) -> str:
    """Return the codec of a file; one without an ending is a pickle only if it begins like one."""
    codec = codec_for_load(source.path)
    if codec != "pickle" or "." in source.path.rpartition("/")[2]:
        return codec
    with source.file.open("rb") as opened:
        return "pickle" if opened.read(1) == _PICKLE else "bytes"


async def _log(run: Run, source: _Source, track: Track) -> None:
    form = Form(await asyncio.get_running_loop().run_in_executor(None, _codec, source))
    limit = shard_bytes(run)
    if limit is not None and source.size > limit:
        await store_file_in_parts(run, source.path, source.file, form, limit, track)
        return

    def write(file: BinaryIO) -> Digest:
        track.again()
        with source.file.open("rb", buffering=0) as opened:
            return copy_file(opened, track.counted(file))

    await store_stream(run, source.path, write, form, expected=source.size)


@contextlib.contextmanager
def _named(file: Path, doing: str) -> Generator[None]:
    """Let an error say which file it is about."""
    try:
        yield
    except AqrecError as error:
        error.add_note(f"while {doing}")
        raise
    except OSError as error:
        if error.filename is None and error.errno is not None:  # full disks do not tell
            error.filename = str(file)
        raise


# -- out of the run --------------------------------------------------------------------------------------------------


def artifacts_below(doc: RunDocument, path: str) -> dict[str, ArtifactRef]:
    """Return the artifact of a path, or those of a folder, by path; raise `ObjectNotFoundError` if there are none."""
    clean = check_artifact_path(path, allow_root=True)
    found = {
        name: ref
        for name, ref in sorted(doc.artifacts.items())
        if not clean or name == clean or name.startswith(f"{clean}/")
    }
    if not found:
        children = sorted({name.split("/", 1)[0] + ("/" if "/" in name else "") for name in doc.artifacts})
        known = ", ".join(children[:10]) + (" …" if len(children) > 10 else "") if children else "none at all"
        raise ObjectNotFoundError(f"run {doc.run_id} has no artifact or folder {clean!r}; it has {known}")
    for name in found:
        check_artifact_path(name)  # the store may have been written by somebody who wants files elsewhere
    return found


async def download_artifact(
    run: Run,
    path: str,
    dst_path: str | os.PathLike[str] | None,
    progress: Progress = False,
    *,
    resume: bool = False,
) -> str:
    """Copy an artifact or a folder of them to this machine; return where it is."""
    clean = check_artifact_path(path, allow_root=True)
    doc = await run.document()
    wanted = artifacts_below(doc, clean)
    loop = asyncio.get_running_loop()
    target = (
        Path(dst_path) if dst_path is not None else Path(await loop.run_in_executor(None, tempfile.mkdtemp))
    )
    await download_files(
        run, doc, {name: target / to_system(name) for name in wanted}, progress, resume=resume
    )
    return str(target / to_system(clean)) if clean else str(target)


async def download_files(
    run: Run, doc: RunDocument, plan: Mapping[str, Path], progress: Progress = False, *, resume: bool = False
) -> None:
    """Copy artifacts, given by path, to files, replacing those; see `Recorder.download_artifact` for `resume`."""
    total = sum(doc.artifacts[path].size for path in plan)
    slots = asyncio.Semaphore(run.session.options.transfers)
    loop = asyncio.get_running_loop()
    async with metered(as_progress(progress), total, len(plan)) as meter:

        async def one(path: str, target: Path) -> None:
            track = Track(meter, doc.artifacts[path].size)

            async def fetch(ref: ArtifactRef) -> None:
                track.again()
                if resume and ref.compression is None:
                    async with gates().large if ref.size > LARGE else nullcontext():
                        if await loop.run_in_executor(None, _is_there, target, ref):
                            return
                await _fetch(run, ref, target, track)

            async with slots:
                with _named(target, f"copying artifact {path!r} to {target}"):
                    await read_artifact(run, path, fetch, doc)
                track.finish()

        await all_of(one(path, target) for path, target in plan.items())


def _is_there(target: Path, ref: ArtifactRef) -> bool:
    """Whether a file has the recorded bytes."""
    try:
        if target.stat().st_size != ref.size:
            return False
        with target.open("rb", buffering=0) as file:
            copy_file(file, cast("BinaryIO", _Nowhere()), size=ref.size, checksum=ref.checksum)
    except (OSError, CorruptError):
        return False
    return True


class _Nowhere:
    def write(self, data: memoryview) -> int:
        return len(data)


async def _fetch(run: Run, ref: ArtifactRef, target: Path, track: Track) -> None:
    """Copy one artifact to a file as it was saved; the file appears when it is whole and verified."""
    store = store_of(run, ref)
    jobs = Jobs(run.session.url)
    # Where a part's bytes go in the file is known only if they are stored as they are.
    in_place = bool(ref.parts) and ref.packed is None and ref.compression is None
    partial = target.with_name(f".{target.name[:50]}.{secrets.token_hex(8)}.part")

    def begin() -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("xb") as file:
            file.truncate(ref.size if in_place else 0)

    def take(file: BinaryIO) -> None:
        with partial.open("wb", buffering=0) as out:
            unpack_file(
                track.counted_source(file),
                out,
                compression=ref.compression,
                size=ref.size,
                checksum=ref.checksum,
                name="it",
            )

    async def one_part(part: ArtifactPart, start: int) -> None:
        async with gates().large:
            await store.get_stream(part.key, lambda file: _take_part(file, part, partial, start, track))

    data = await store.get(ref.key) if ref.size <= _SMALL and not ref.parts else None
    try:
        await jobs.run(begin)
        if in_place:
            starts = accumulate((part.size for part in ref.parts), initial=0)
            await all_of(one_part(part, start) for part, start in zip(ref.parts, starts, strict=False))
        elif data is not None:
            await jobs.run(lambda: take(BytesIO(data)))
        else:
            async with gates().large if ref.size > LARGE else nullcontext():
                await get_stream(run, ref, take)
        await jobs.run(lambda: partial.replace(target))
    except BaseException:
        with contextlib.suppress(OSError):
            await to_its_end(jobs.run(lambda: partial.unlink(missing_ok=True)))
        raise


def _take_part(file: BinaryIO, part: ArtifactPart, partial: Path, start: int, track: Track) -> None:
    with partial.open("r+b", buffering=0) as out:
        out.seek(start)
        copy_file(
            file, track.counted(out), size=part.size, checksum=part.checksum, name=f"its part {part.key}"
        )
