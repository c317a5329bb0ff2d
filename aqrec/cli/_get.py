"""``aqrec get``: artifacts out of a run into files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from aqrec.cli._console import cell, stdout
from aqrec.cli._data import opened
from aqrec.cli._text import plural, size
from aqrec.errors import AlreadyExistsError
from aqrec.recording import _files as files

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from aqrec.cli._where import Where

__all__ = ["get"]


def get(text: str, path: str, destination: Path, place: Where, *, force: bool) -> None:
    """Copy artifacts; see the command's help."""
    with opened(place) as view:
        doc = view.find(text)
        clean = path.strip("/")
        wanted = files.artifacts_below(doc, clean)
        root, plan = _plan(doc.run_id, clean, wanted, destination)
        if not force:
            _refuse_existing(plan.values())
        view.call(files.download_files(view.run(doc), doc, plan, progress=True))
        total = sum(target.stat().st_size for target in plan.values())
    stdout().print(cell(f"{plural(len(plan), 'file')}, {size(total)}: {root}"), soft_wrap=True)


def _plan(run_id: str, clean: str, wanted: Iterable[str], destination: Path) -> tuple[Path, dict[str, Path]]:
    """Return where all of it goes, and each artifact: as for ``cp -r`` below a folder that exists."""
    below = destination.is_dir() or str(destination).endswith(os.sep)
    root = destination / (clean.rpartition("/")[2] or run_id) if below else destination
    rests = {name: name[len(clean) :].strip("/") for name in wanted}
    return root, {name: root / rest if rest else root for name, rest in rests.items()}


def _refuse_existing(targets: Iterable[Path]) -> None:
    existing = [str(target) for target in targets if target.exists() or target.is_symlink()]
    if existing:
        more = f" and {len(existing) - 1:,} more" if len(existing) > 1 else ""
        raise AlreadyExistsError(f"{existing[0]}{more} would be overwritten; give another DEST, or --force")
