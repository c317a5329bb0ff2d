"""Reading one store for a command: which one is meant, which run is meant, and what is known of it.

Nothing here makes a store, and nothing but `StoreView.compact` and `StoreView.upkeep` writes to one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from bisect import bisect_left
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from aqrec.cli._text import iso
from aqrec.cli._where import Where
from aqrec.errors import (
    InvalidInputError,
    InvalidNameError,
    NotFoundError,
    ObjectNotFoundError,
    RecorderNotFoundError,
)
from aqrec.format import _layout as layout
from aqrec.format._document import RunDocument, document_from_json, latest
from aqrec.format._ids import now_ms
from aqrec.format._names import check_run_id
from aqrec.options import Options
from aqrec.reading import ExperimentDocument
from aqrec.recording import _artifacts as artifacts
from aqrec.recording._comparing import Comparison, compare
from aqrec.recording._default import defaults
from aqrec.recording._exporting import Exported, Exporting, export
from aqrec.recording._searching import Query, search
from aqrec.recording._session import Session
from aqrec.recording._workspace import Workspace
from aqrec.stores import redact_url
from aqrec.stores._urls import local_root, scheme_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    from aqrec.artifacts import TrustPolicy
    from aqrec.recording._run import Run
    from aqrec.stores import Store
    from aqrec.upkeep import Compaction, Progress

__all__ = ["StoreView", "last_activity", "opened", "shown_place", "span"]

T = TypeVar("T")

_SHORTEST_ID = 10
"""The first ten digits of an id are its time to a quarter of a second: later runs seldom share them."""
_LONGEST_OWN_ID = 24
_CANDIDATES = 8


def shown_place(location: str) -> str:
    """Return where a store lies as people write it: a path, or a URL without secrets."""
    return local_root(location) if scheme_of(location) in {"", "file"} else redact_url(location)


@contextlib.contextmanager
def opened(place: Where | str | None) -> Generator[StoreView]:
    """Open a store for reading; default: ``AQREC_URI``, else ``./aqruns``.

    Raises
    ------
    NotFoundError
        There is no store; the message says what to do next.
    """
    location, storage_options = place if isinstance(place, Where) else (place, {})
    named = location is not None or "AQREC_URI" in os.environ
    url = location if location is not None else defaults.default_uri()
    if not url.strip():
        raise InvalidInputError("the store's name is empty; give a folder or URL")
    options = Options(provenance=False, upkeep="never", mode="online")
    session = Session(url, options, storage_options or None)
    try:
        view = StoreView(session)
        _ = session.runtime  # names without a driver are refused here
        if not view.call(_load(session)):
            raise NotFoundError(_missing(url, named=named))
        yield view
    finally:
        session.shut()


async def _load(session: Session) -> bool:
    """Read the catalog; return whether there is a store at all."""
    catalog = await session.refresh()
    await catalog.catch_up()
    if catalog.checked or catalog.runs:
        return True
    # Folders of runs that somebody copied here: each stands for itself.
    store = session.engine.store
    _, folders = await store.list_dir(layout.RUNS)
    found = await asyncio.gather(*(_copied_run(session, folder) for folder in folders))
    for doc in filter(None, found):
        catalog.runs[doc.run_id] = doc
        catalog.by_experiment.setdefault(doc.experiment_id, set()).add(doc.run_id)
        catalog.experiments.setdefault(
            doc.experiment_id, ExperimentDocument(experiment_id=doc.experiment_id, name=doc.experiment_name)
        )
    return bool(catalog.runs)


async def _copied_run(session: Session, folder: str) -> RunDocument | None:
    with contextlib.suppress(ObjectNotFoundError):
        return document_from_json(await session.engine.store.get(f"{folder}/run.json"))
    return None


def _missing(url: str, *, named: bool) -> str:
    place = shown_place(url)
    text = f"there is no aqrec store in {place}"
    if scheme_of(url) in {"", "file"}:
        folder = Path(place)
        near = sorted(str(path.parent) for path in folder.glob(f"*/{layout.MARKER}"))[:3]
        if near:
            return f"{text}; did you mean {' or '.join(near)}?"
        if not folder.exists():
            text += " (no such folder)"
    if named:
        return f"{text}; check the name, or make a store with an example run: aqrec demo --store FOLDER"
    return f"{text}; name one (a folder or URL), set AQREC_URI, or make one with an example run: aqrec demo"


def span(doc: RunDocument) -> int | None:
    """Return how long a run took, or has been running, in ms."""
    if doc.start_time is None:
        return None
    return (doc.end_time if doc.end_time is not None else now_ms()) - doc.start_time


def last_activity(doc: RunDocument) -> int:
    """Return when the run was last heard of, in ms since epoch."""
    stamps = [doc.created, doc.start_time or 0, doc.end_time or 0]
    return max([*stamps, *(row.timestamp for rows in doc.metrics.values() for row in rows.values())])


class StoreView:
    """One store as it was when it was opened."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._workspace = Workspace(session)

    @property
    def url(self) -> str:
        """URL of the store, without secrets."""
        return redact_url(self._session.url)

    @property
    def place(self) -> str:
        """Where the store lies: a path, or a URL without secrets."""
        return shown_place(self._session.url)

    @property
    def store(self) -> Store:
        """The store itself; its coroutines are for `call`."""
        return self._session.engine.store

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something on the engine thread and wait for it."""
        return self._session.runtime.call(work)

    def compact(self, grace: float, *, own_histories: bool) -> Compaction:
        """Fold the catalog; see `ExperimentManager.compact`."""
        return self.call(self._session.compact(grace, own_histories=own_histories))

    def upkeep(self, work: Callable[[Session], Coroutine[Any, Any, T]]) -> T:
        """Do some upkeep of the store."""
        return self.call(work(self._session))

    # -- experiments and runs ------------------------------------------------------------------------------

    def experiments(self, *, deleted: bool = False) -> list[ExperimentDocument]:
        """Return the experiments by name; deleted ones too if asked."""
        found = self._session.catalog.experiments.values()
        return sorted((e for e in found if deleted or e.alive), key=lambda e: e.name)

    def experiment(self, name: str, *, deleted: bool = False) -> ExperimentDocument:
        """Return an experiment by name (or id), or raise `ExperimentNotFoundError`."""
        for experiment in self.experiments(deleted=deleted):
            if name in {experiment.name, experiment.experiment_id}:
                return experiment
        return self._session.catalog.find_experiment(name=name)

    def runs(
        self, experiment: ExperimentDocument | None = None, *, deleted: bool = False
    ) -> list[RunDocument]:
        """Return run documents, the latest start first."""
        ids = None if experiment is None else [experiment.experiment_id]
        return self._session.catalog.runs_of(ids, view="all" if deleted else "active")

    def deleted(self, doc: RunDocument) -> bool:
        """Whether the run was deleted, itself or with its experiment."""
        return self._session.catalog.hidden(doc)

    def short_ids(self, docs: list[RunDocument]) -> dict[str, str]:
        """Return the shortest prefix of each id that no other run has; ids that people chose stay whole."""
        made = [doc.run_id for doc in docs if not (doc.own_id and len(doc.run_id) <= _LONGEST_OWN_ID)]
        return {doc.run_id: doc.run_id for doc in docs} | self.short(made)

    def short(self, run_ids: list[str]) -> dict[str, str]:
        """Return the shortest prefix of each id, of ten characters at least, that no other run has."""
        everyone = sorted(self._session.catalog.runs)
        short: dict[str, str] = {}
        for run_id in run_ids:
            at = bisect_left(everyone, run_id)
            neighbours = everyone[max(at - 1, 0) : at + 2]
            shared = max((_shared(run_id, other) for other in neighbours if other != run_id), default=0)
            short[run_id] = run_id[: max(shared + 1, _SHORTEST_ID)]
        return short

    def search(self, query: Query) -> Any:
        """Return what a search finds; see `ExperimentManager.search_records`."""
        return self.call(search(self._workspace, query))

    def export(self, asked: Exporting, progress: Progress) -> Exported:
        """Write tables for other programs; see `ExperimentManager.export`."""
        return self.call(export(self._workspace, asked, progress))

    def compare(self, docs: list[RunDocument], *, everything: bool) -> Comparison:
        """Return what distinguishes runs; see `ExperimentManager.compare`."""
        return self.call(compare(self._workspace, [doc.run_id for doc in docs], everything=everything))

    def find(self, text: str) -> RunDocument:
        """Return the run that is meant by an id, the beginning of one, or ``experiment/name`` (the latest).

        Raises
        ------
        RecorderNotFoundError
            No run fits.
        InvalidInputError
            Several ids begin so; the message lists them.
        """
        catalog = self._session.catalog
        exact = catalog.runs.get(text)
        if exact is not None and exact.known:
            return exact
        living = self.runs()
        fitting = [doc for doc in living if text and doc.run_id.startswith(text)]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            raise InvalidInputError(self._ambiguous(text, fitting))
        for doc in living:
            if f"{doc.experiment_name}/{doc.name}" == text:
                return doc
        with contextlib.suppress(NotFoundError, InvalidNameError):
            return self.call(
                catalog.find_run(check_run_id(text))
            )  # a run whose folder was copied into this store
        raise RecorderNotFoundError(self._unknown(text, living))

    def _ambiguous(self, text: str, docs: list[RunDocument]) -> str:
        short = self.short_ids(docs)
        lines = [
            f"  {short[doc.run_id]}  {doc.experiment_name}/{doc.name}  {doc.status}"
            for doc in docs[:_CANDIDATES]
        ]
        if len(docs) > _CANDIDATES:
            lines.append("  …")
        return "\n".join(
            [f"{len(docs)} runs have an id that begins with {text!r}; write more of it:", *lines]
        )

    def _unknown(self, text: str, living: list[RunDocument]) -> str:
        known = f"no run of {self.place} has the id or name {text!r}"
        named = sorted({f"{doc.experiment_name}/{doc.name}" for doc in living if doc.name == text})
        if named:
            return f"{known}; did you mean {' or '.join(named[:3])}?"
        return f"{known}; give an id, its beginning, or EXPERIMENT/NAME: aqrec ls shows them"

    # -- one run -------------------------------------------------------------------------------------------

    def run(self, doc: RunDocument) -> Run:
        """Return what loads artifacts and histories of a run."""
        return self._workspace.handle(doc)

    def folder(self, doc: RunDocument) -> str:
        """Return where the run's files lie: a path, or a URL."""
        return f"{self.place.rstrip('/')}/{layout.artifacts_folder(doc.run_id).removesuffix('/artifacts')}"

    def load(self, doc: RunDocument, path: str, trust: TrustPolicy | None = None) -> Any:
        """Load an artifact as an object; see `Recorder.load_object`."""
        return self.call(artifacts.load_object(self.run(doc), path, trust, None))

    def plain_run(self, doc: RunDocument) -> dict[str, Any]:
        """Return a run as plain values for JSON: times in ISO 8601 (UTC), metrics with their range."""
        metrics = {
            key: {
                "last": row.value,
                "step": row.step,
                "time": iso(row.timestamp),
                "min": row.minimum,
                "max": row.maximum,
                "count": row.count,
            }
            for key, row in sorted(latest(doc).items())
        }
        length = span(doc)
        return {
            "run_id": doc.run_id,
            "name": doc.name,
            "experiment_id": doc.experiment_id,
            "experiment_name": doc.experiment_name,
            "status": doc.status,
            "status_reason": doc.status_reason,
            "parent": doc.parent,
            "deleted": self.deleted(doc),
            "created": iso(doc.created),
            "start_time": iso(doc.start_time),
            "end_time": iso(doc.end_time),
            "seconds": None if length is None else length / 1000,
            "folder": self.folder(doc),
            "params": dict(sorted(doc.params.items())),
            "param_conflicts": dict(sorted(doc.param_conflicts.items())),
            "metrics": metrics,
            "tags": dict(sorted(doc.tags.items())),
            "artifacts": [
                {"path": ref.path, "size": ref.size, "codec": ref.codec, "checksum": ref.checksum}
                for _, ref in sorted(doc.artifacts.items())
            ],
            "dropped_points": sum(doc.dropped.values()),
        }


def _shared(a: str, b: str) -> int:
    """Return how many characters two ids begin with alike."""
    return next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
