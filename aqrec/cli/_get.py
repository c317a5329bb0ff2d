"""``aqrec get``: artifacts out of a run into files."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from aqrec.cli._console import cell, stderr, stdout
from aqrec.cli._data import opened
from aqrec.cli._text import plural, size
from aqrec.errors import AlreadyExistsError, CorruptError, ObjectNotFoundError
from aqrec.format._names import check_artifact_path

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from aqrec.format._document import RunDocument
    from aqrec.format._records import ArtifactRef
    from aqrec.stores import Store

    Plan = list[tuple[ArtifactRef, Path]]

__all__ = ["artifacts_below", "get"]

_AT_ONCE = 4


def get(text: str, path: str, destination: Path, location: str | None, *, force: bool) -> None:
    """Copy artifacts; see the command's help."""
    with opened(location) as view:
        doc = view.find(text)
        wanted = artifacts_below(doc, path)
        root, plan = _plan(doc, path, wanted, destination)
        if not force:
            _refuse_existing(plan)
        total = sum(ref.size for ref in wanted.values())
        with _progress(total) as advance:
            view.call(_copy_all(view.store, plan, advance))
    stdout().print(cell(f"{plural(len(plan), 'file')}, {size(total)}: {root}"), soft_wrap=True)


def artifacts_below(doc: RunDocument, path: str) -> dict[str, ArtifactRef]:
    """Return the artifact of a path, or those of a folder, by path; raise if there are none."""
    clean = check_artifact_path(path.strip("/"), allow_root=True)
    found = {
        name: ref
        for name, ref in sorted(doc.artifacts.items())
        if not clean or name == clean or name.startswith(f"{clean}/")
    }
    if not found:
        children = sorted({name.split("/", 1)[0] + ("/" if "/" in name else "") for name in doc.artifacts})
        known = ", ".join(children[:10]) + (" …" if len(children) > 10 else "") if children else "none at all"
        raise ObjectNotFoundError(f"run {doc.run_id} has no artifact or folder {clean!r}; it has {known}")
    return found


def _plan(
    doc: RunDocument, path: str, wanted: dict[str, ArtifactRef], destination: Path
) -> tuple[Path, Plan]:
    """Return where all of it goes, and each artifact: as for ``cp -r`` below a folder that exists."""
    clean = path.strip("/")
    below = destination.is_dir() or str(destination).endswith(os.sep)
    root = destination / (clean.rpartition("/")[2] or doc.run_id) if below else destination
    plan: Plan = []
    for name, ref in wanted.items():
        # The names come from the store, which somebody else may have written.
        check_artifact_path(name)
        rest = name[len(clean) :].strip("/")
        plan.append((ref, root / rest if rest else root))
    return root, plan


def _refuse_existing(plan: Plan) -> None:
    existing = [str(target) for _, target in plan if target.exists() or target.is_symlink()]
    if existing:
        more = f" and {len(existing) - 1:,} more" if len(existing) > 1 else ""
        raise AlreadyExistsError(f"{existing[0]}{more} would be overwritten; give another DEST, or --force")


@contextlib.contextmanager
def _progress(total: int) -> Generator[Callable[[int], None]]:
    console = stderr()
    if not console.is_terminal or console.is_dumb_terminal:
        yield lambda _: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn  # noqa: PLC0415

    with Progress(
        BarColumn(), DownloadColumn(), TransferSpeedColumn(), console=console, transient=True
    ) as progress:
        task = progress.add_task("", total=total)
        yield lambda count: progress.advance(task, count)


async def _copy_all(
    store: Store, plan: list[tuple[ArtifactRef, Path]], advance: Callable[[int], None]
) -> None:
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(ref: ArtifactRef, target: Path) -> None:
        async with slots:
            await store.get_stream(ref.key, lambda file: _copy(file, ref, target, advance))

    try:
        async with asyncio.TaskGroup() as tasks:
            for ref, target in plan:
                tasks.create_task(one(ref, target))
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


class _Counted:
    """A file being written that tells how far it is."""

    def __init__(self, file: BinaryIO, advance: Callable[[int], None]) -> None:
        self._file = file
        self._advance = advance

    def write(self, data: Any) -> int:
        count = self._file.write(data)
        self._advance(count)
        return count


def _copy(file: BinaryIO, ref: ArtifactRef, target: Path, advance: Callable[[int], None]) -> None:
    from aqrec.artifacts import copy_file  # noqa: PLC0415 - not needed before there is something to copy

    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name[:100]}.part-{os.getpid()}")
    try:
        with partial.open("wb", buffering=0) as out:
            found = copy_file(file, cast("BinaryIO", _Counted(cast("BinaryIO", out), advance)))
        if found.checksum != ref.checksum:
            raise CorruptError(
                f"artifact {ref.path!r} is damaged: {found.checksum} instead of {ref.checksum}"
            )
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
