"""Runs of an MLflow store into an aqrec store: the same ids, times, statuses, params, tags, histories and artifacts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import msgspec

from aqrec.engine import follow
from aqrec.errors import AqrecError, InvalidInputError, ObjectNotFoundError
from aqrec.format._names import check_name, check_run_id
from aqrec.format._records import STATUS_FA, STATUS_FI, STATUS_R, STATUS_S
from aqrec.integrations.mlflow._file_store import FileSource
from aqrec.integrations.mlflow._source import FoundExperiment, FoundRun, Source, fingerprint
from aqrec.integrations.mlflow._sqlite import SqliteSource
from aqrec.options import Options
from aqrec.reading import read_metric_history
from aqrec.recording._default import defaults
from aqrec.recording._files import log_files
from aqrec.recording._session import Session
from aqrec.recording._workspace import Workspace

if TYPE_CHECKING:
    from concurrent.futures import Future

    from aqrec.format._document import RunDocument
    from aqrec.recording._run import Run

__all__ = ["Artifacts", "Imported", "import_mlruns", "open_source"]

Artifacts = Literal["copy", "reference"]
"""Copy the artifacts, or only tag each run with the place where they are"""

MARK = "aqrec.import"
"""Tag of imported runs: ``begun``, or the source's fingerprint when all of it is stored"""
PLACE = "mlflow.artifact_uri"
"""Tag of runs whose artifacts were not copied: where they are"""
BEGUN = "begun"
_AT_ONCE = 64
_LATEST = 2**53
_FINAL = {"FINISHED": STATUS_FI, "FAILED": STATUS_FA, "KILLED": STATUS_FA}
_SQLITE = b"SQLite format 3\0"


class Imported(msgspec.Struct, kw_only=True):
    """What an import did.

    Attributes
    ----------
    runs
        Runs that were new, or had more than before.
    unchanged
        Runs that were there already.
    points
        Metric points that were stored.
    deleted
        Runs that MLflow calls deleted; they were left out.
    referenced
        Runs whose artifacts were not copied; their tag ``mlflow.artifact_uri`` says where they are.
    empty
        Experiments without a run that are in the store now.
    tags_left
        Experiments whose tags stayed out: aqrec has none of experiments.
    failed
        Run id or place -> what stood against it.
    """

    runs: int = 0
    unchanged: int = 0
    points: int = 0
    deleted: int = 0
    referenced: int = 0
    empty: int = 0
    tags_left: list[str] = []
    failed: dict[str, str] = {}


def open_source(location: str) -> Source:
    """Open an MLflow store: a folder, ``file:``, ``sqlite:///path``, or a file of SQLite.

    Raises
    ------
    ObjectNotFoundError
        There is none.
    InvalidInputError
        It is of a kind that is not read.
    """
    scheme, colon, rest = location.partition("://")
    if colon and scheme.partition("+")[0] == "sqlite":
        if not rest.startswith("/"):
            raise InvalidInputError(
                f"{location!r}: write sqlite:///relative/file.db or sqlite:////absolute/file.db"
            )
        return SqliteSource(Path(rest[1:].partition("?")[0]).expanduser())
    if colon and scheme != "file":
        raise InvalidInputError(
            f"{scheme}:// is not read; give a folder 'mlruns' or sqlite:///mlflow.db (from other data bases, MLflow's "
            "own tools can copy into one)"
        )
    path = Path(rest if colon else location.removeprefix("file:")).expanduser()
    with contextlib.suppress(OSError), path.open("rb") as file:
        if file.read(len(_SQLITE)) == _SQLITE:
            return SqliteSource(path)
    return FileSource(path)


def import_mlruns(
    source: str,
    uri: str | None = None,
    *,
    artifacts: Artifacts = "copy",
    experiments: list[str] | None = None,
    storage_options: Mapping[str, Any] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Imported:
    """Take over the runs of an MLflow store: ids, names, times, statuses, params, tags, full metric history, artifacts.

    May be called again, also after it was interrupted: what is stored already is left alone, what was added since is added.
    Params and tags stay texts. A KILLED run is FAILED, with its reason. Experiments come without runs, too. Their tags are not taken
    over, nor are data sets, traces and registered models.

    Ctrl-C leaves the runs that `on_progress` has told of complete; the next call goes on with the others.

    Parameters
    ----------
    source
        A folder ``mlruns`` or its ``file:`` URL, ``sqlite:///relative.db`` or ``sqlite:////absolute.db``, or such a file.
    uri
        Store to import into; default: ``AQREC_URI``, else ``./aqruns``.
    artifacts
        ``copy`` those on this machine's file systems; others, and all with ``reference``, stay where they are, and the run's tag
        ``mlflow.artifact_uri`` tells.
    experiments
        Names of the experiments to import; default: all.
    storage_options
        Of `uri`.
    on_progress
        Called with the number of runs done, which are stored, and of all.

    Returns
    -------
    Imported
        What was done. Runs that failed are named in it; the others are complete.

    Raises
    ------
    ObjectNotFoundError, InvalidInputError, CorruptError
        `source` is not there, is not read, or is no MLflow store; nothing was written.
    StorageError
        The store failed; call again to go on.
    """
    if artifacts not in get_args(Artifacts):
        raise InvalidInputError(f"artifacts={artifacts!r}: choose 'copy' or 'reference'")
    found = open_source(source)
    try:
        wanted = _chosen(found.experiments(), experiments)
        url = uri if uri is not None else defaults.default_uri()
        session = Session(url, Options(provenance=False, strict=True), dict(storage_options or {}) or None)
        try:
            return _Import(Workspace(session), found, artifacts).work(wanted, on_progress)
        finally:
            session.shut()
    finally:
        found.close()


class _Begun(NamedTuple):
    """A run of which all is recorded but artifacts and the end."""

    found: FoundRun
    mark: str
    run: Run
    has_files: bool


class _Import:
    def __init__(self, workspace: Workspace, source: Source, artifacts: Artifacts) -> None:
        self.workspace = workspace
        self.session = workspace.session
        self.source = source
        self.artifacts = artifacts
        self.done = Imported()

    def work(
        self, experiments: list[FoundExperiment], on_progress: Callable[[int, int], None] | None
    ) -> Imported:
        session, done = self.session, self.done
        session.call(session.prepare())
        known = session.call(session.refresh()).runs
        names = {experiment.name for experiment in experiments}
        runs = (run for run in self.source.runs() if run.experiment in names)
        total, seen = len(self.source), 0
        finishing: Future[None] | None = None
        try:
            # One batch is read while the one before it is finished.
            for batch in _batches(runs, _AT_ONCE):
                begun = self._begin_all(batch, known)
                if finishing is not None:
                    follow(finishing).result()
                    if on_progress is not None:
                        on_progress(seen, total)
                finishing = session.runtime.submit(self._finish(begun))
                seen += len(batch)
            if finishing is not None:
                follow(finishing).result()
                if on_progress is not None:
                    on_progress(seen, total)
        except BaseException:
            if finishing is not None:
                finishing.cancel()
            raise
        session.call(self._make(experiments))
        done.tags_left = sorted(experiment.name for experiment in experiments if experiment.tags)
        done.deleted = self.source.deleted
        done.failed |= dict(text.split(": ", 1) for text in self.source.damaged)
        return done

    def _begin_all(self, batch: list[FoundRun], known: Mapping[str, RunDocument]) -> list[_Begun]:
        begun: list[_Begun] = []
        for found in batch:
            try:
                files = found.files()
                mark = f"{self.artifacts} {fingerprint(found, files)}"
                doc = known.get(found.run_id)
                if doc is not None and doc.tags.get(MARK) == mark:
                    self.done.unchanged += 1
                else:
                    begun.append(_Begun(found, mark, self._begin(found, doc), bool(files)))
            except (AqrecError, OSError) as error:
                self.done.failed[found.run_id] = str(error)
        return begun

    async def _make(self, experiments: list[FoundExperiment]) -> None:
        """Make the experiments that have no run."""
        # One that was deleted here since stays so.
        there = {known.name for known in (await self.session.refresh()).experiments.values()}
        for experiment in experiments:
            if experiment.name in there:
                continue
            try:
                await self.workspace.ensure(self.workspace.experiment(experiment.name))
                self.done.empty += 1
            except AqrecError as error:
                self.done.failed[f"experiment {experiment.name!r}"] = str(error)

    def _begin(self, found: FoundRun, doc: RunDocument | None) -> Run:
        """Record all but artifacts and the end; until that is recorded, the run is SCHEDULED."""
        if doc is None or not doc.known:
            run = self._create(found)
            there: dict[str, int] = {}
        else:
            if MARK not in doc.tags:
                raise InvalidInputError(
                    f"the store has a run {found.run_id} that was not imported (experiment {doc.experiment_name!r})"
                )
            run = self.workspace.handle(doc)
            there = self.session.call(self._counts(run, list(found.sizes)))
        run.set_tags({**found.tags, MARK: BEGUN})
        run.log_params(found.params, quiet=True)
        for key, points in self.source.points(found):
            # Points of a key are stored in the order of logging, so what is there are the first ones.
            for timestamp, value, step in points[there.get(key, 0) :]:
                room = run.log_at(step, timestamp, {key: value})
                if room is not None:
                    room.block()
                self.done.points += 1
        return run

    def _create(self, found: FoundRun) -> Run:
        check_run_id(found.run_id)
        for time in (found.start, found.end):
            if time is not None and (type(time) is not int or not 0 <= time <= _LATEST):
                raise InvalidInputError(f"{time!r} is no time in ms since epoch")
        name = found.name if found.name.strip() else found.run_id
        check_name("recorder", name)
        return self.workspace.new_run(
            self.workspace.experiment(found.experiment),
            name,
            found.run_id,
            found.tags.get("mlflow.parentRunId") or None,
            created=found.start,
        )

    async def _counts(self, run: Run, keys: list[str]) -> dict[str, int]:
        """Return how many points of each metric are stored; what was interrupted has not summed them up."""
        return {key: len(await read_metric_history(run.engine.store, run.document, key)) for key in keys}

    async def _finish(self, begun: list[_Begun]) -> None:
        """Finish several runs together, which share the waiting for the disk."""
        outcomes = await asyncio.gather(*map(self._end, begun), return_exceptions=True)
        for each, outcome in zip(begun, outcomes, strict=True):
            if isinstance(outcome, AqrecError | OSError):
                self.done.failed[each.found.run_id] = str(outcome)
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                self.done.runs += 1

    async def _end(self, begun: _Begun) -> None:
        found, run = begun.found, begun.run
        if begun.has_files and self.artifacts == "copy":
            assert found.artifacts is not None
            await log_files(run, found.artifacts, None, content_only=True)
        elif begun.has_files or found.elsewhere:
            self.done.referenced += 1
            run.set_tags({PLACE: found.artifact_uri})
        final = _FINAL.get(found.status)
        if final is None:
            if found.status == STATUS_R:
                run.set_status(STATUS_R, found.start or 0)
            elif run.status != STATUS_S:
                run.set_status(STATUS_S, found.start or 0)
            run.set_tags({MARK: begun.mark})
            await run.flush()
            return
        # Last of all, so that whoever sees it knows that nothing is missing.
        await run.flush()
        run.set_tags({MARK: begun.mark})
        reason = "KILLED in MLflow" if found.status == "KILLED" else ""
        end = found.end if found.end is not None else found.start
        await run.end(final, reason, started=found.start, ended=end)


def _chosen(found: list[FoundExperiment], names: list[str] | None) -> list[FoundExperiment]:
    """Return the experiments of these names, or raise `ObjectNotFoundError`."""
    if names is None:
        return found
    known = {experiment.name: experiment for experiment in found}
    if missing := [name for name in names if name not in known]:
        there = ", ".join(map(repr, sorted(known))) or "none"
        raise ObjectNotFoundError(
            f"no experiment {', '.join(map(repr, missing))} is in the MLflow store; there are {there}"
        )
    return [known[name] for name in dict.fromkeys(names)]


def _batches(runs: Iterator[FoundRun], size: int) -> Iterator[list[FoundRun]]:
    while batch := list(islice(runs, size)):
        yield batch
