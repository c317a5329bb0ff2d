"""What is read from an MLflow store, whichever kind it is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

import msgspec

__all__ = ["STATUSES", "FoundExperiment", "FoundRun", "Point", "Source", "artifact_folder", "fingerprint"]

STATUSES = ("", "RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED")
"""MLflow's statuses by their number"""

Point = tuple[int, float, int]
"""Timestamp in ms since epoch, value, step"""


class FoundExperiment(msgspec.Struct, kw_only=True):
    """One experiment that is not deleted; it need not have runs."""

    name: str
    tags: dict[str, str]


class FoundRun(msgspec.Struct, kw_only=True):
    """One run, without its metric history.

    Attributes
    ----------
    start, end
        ms since epoch.
    sizes
        By metric key, something that grows when points are added: bytes or a count.
    artifacts
        Folder on this machine, or None: there is none, or it is elsewhere.
    artifact_uri
        Where MLflow says that they are, or would be.
    base
        Where a relative artifact URI starts.
    where
        Of the source, to read the points: a folder or an id.
    """

    run_id: str
    name: str
    experiment: str
    status: str
    start: int | None
    end: int | None
    params: dict[str, str]
    tags: dict[str, str]
    sizes: dict[str, int]
    artifacts: Path | None
    artifact_uri: str
    base: Path
    where: str

    @property
    def elsewhere(self) -> bool:
        """Whether artifacts may lie where this machine does not reach.

        MLflow makes a run's folder with its first artifact, so there are none where a folder is missing and one above it, up to the
        root of all experiments, is there.
        """
        if self.artifacts is not None or not self.artifact_uri:
            return False
        folder = _local_folder(self.artifact_uri, self.base)
        return folder is None or not any(above.is_dir() for above in list(folder.parents)[:3])

    def files(self) -> list[tuple[str, int]]:
        """Return path and bytes of each artifact on this machine."""
        if self.artifacts is None:
            return []
        paths = (path for path in sorted(self.artifacts.rglob("*")) if path.is_file())
        return [(path.relative_to(self.artifacts).as_posix(), path.stat().st_size) for path in paths]


class Source(Protocol):
    """An MLflow store."""

    damaged: list[str]
    """What could not be read, in words"""
    deleted: int
    """Runs that MLflow has marked as deleted; they are left out"""

    def __len__(self) -> int:
        """Return how many runs there are, deleted ones left out."""
        ...

    def experiments(self) -> list[FoundExperiment]:
        """Read the experiments, deleted ones left out."""
        ...

    def runs(self) -> Iterator[FoundRun]:
        """Read the runs one after another."""
        ...

    def points(self, run: FoundRun) -> Iterable[tuple[str, list[Point]]]:
        """Read the history of each metric, in one order each time."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...


def fingerprint(run: FoundRun, files: list[tuple[str, int]]) -> str:
    """Return a text that changes when there is more to import of a run, which has these `files` as artifacts."""
    facts = (run.name, run.status, run.start, run.end, run.artifact_uri, files)
    maps = [sorted(each.items()) for each in (run.params, run.tags, run.sizes)]
    return hashlib.sha256(msgspec.json.encode((facts, maps))).hexdigest()[:16]


def artifact_folder(uri: str, base: Path, beside: Path | None = None) -> Path | None:
    """Return the folder that an artifact URI names on this machine, or None.

    `beside` is where the artifacts of a file store lie unless they were sent elsewhere; it is right where the store was moved.
    Relative URIs start at `base`.
    """
    if beside is not None and beside.is_dir() and any(beside.iterdir()):
        return beside
    folder = _local_folder(uri, base)
    if folder is not None and folder.is_dir():
        return folder
    return beside if folder is not None and beside is not None and beside.is_dir() else None


def _local_folder(uri: str, base: Path) -> Path | None:
    parts = urlsplit(uri)
    if parts.scheme not in ("", "file") or not uri:
        return None
    return base / (unquote(parts.netloc + parts.path) if parts.scheme else uri)
