"""A store's experiments and runs, without a face: what managers, experiments and `R` of both faces stand on.

Coroutines run on the engine thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aqrec._checks import check_arguments, flag
from aqrec.errors import (
    ExpAlreadyExistError,
    ExperimentNotFoundError,
    InvalidInputError,
    RecorderNotFoundError,
)
from aqrec.format import _layout as layout
from aqrec.format._document import RunDocument, copy_document
from aqrec.format._ids import experiment_id as derive_experiment_id
from aqrec.format._ids import new_id, now_ms
from aqrec.format._names import check_name, check_run_id
from aqrec.format._records import (
    STATUSES,
    ExperimentCreated,
    ExperimentDeleted,
    ExperimentRestored,
    RunCreated,
)
from aqrec.reading import Catalog, ExperimentDocument, Selection
from aqrec.recording._remembered import refuse_partial
from aqrec.recording._run import Run, refuse_deleted
from aqrec.recording._session import Session

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["DEFAULT_RECORDER_NAME", "ExperimentRef", "Workspace"]

DEFAULT_RECORDER_NAME = "aqrec_recorder"


def _check_names(name: str | None, run_id: str | None) -> None:
    if name is not None:
        check_name("recorder", name)
    if run_id is not None:
        check_run_id(run_id)


class ExperimentRef:
    """One experiment in one store: its identity, which needs no reading."""

    def __init__(self, workspace: Workspace, experiment_id: str, name: str) -> None:
        self.workspace = workspace
        self.experiment_id = experiment_id
        self.name = name

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ExperimentRef)
            and other.experiment_id == self.experiment_id
            and other.workspace.session.url == self.workspace.session.url
        )

    def __hash__(self) -> int:
        return hash((self.workspace.session.url, self.experiment_id))


class Workspace:
    """Experiments and runs of one store."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.default_exp_name = session.default_exp_name

    # -- without reading the store -----------------------------------------------------------------------------------

    def named_experiment(self, experiment_id: str | None, name: str | None) -> ExperimentRef | None:
        """Return the experiment that is named, whether it exists or not; None: none is."""
        if experiment_id is not None:
            return ExperimentRef(self, experiment_id, name if name is not None else experiment_id)
        return self.experiment(name) if name is not None else None

    def experiment(self, name: str) -> ExperimentRef:
        """Return the experiment of a name, whether it exists or not."""
        check_name("experiment", name)
        return ExperimentRef(self, derive_experiment_id(name), name)

    def new_run(
        self,
        experiment: ExperimentRef,
        name: str | None = None,
        run_id: str | None = None,
        parent: str | None = None,
        *,
        created: int | None = None,
    ) -> Run:
        """Create a run, SCHEDULED; becomes durable with the next flush. `created`: ms since epoch, default: now."""
        engine = self.session.engine
        own = run_id is not None
        identity = check_run_id(run_id) if run_id is not None else new_id()
        title = check_name("recorder", name) if name is not None else DEFAULT_RECORDER_NAME
        if parent == identity:
            raise InvalidInputError(
                f"recorder {identity!r} cannot be its own parent; give another one, or none"
            )
        run = Run(self.session, RunDocument(run_id=identity), made_id=not own)
        run.post(
            RunCreated(
                clock=engine.clock.now(),
                run_id=identity,
                experiment_id=experiment.experiment_id,
                experiment_name=experiment.name,
                name=title,
                parent=parent,
                created=now_ms() if created is None else created,
                writer=engine.writer,
                own_id=own,
            )
        )
        tags: dict[str, str] = {"mlflow.runName": title}
        if parent is not None:
            tags["mlflow.parentRunId"] = parent
        run.set_tags(tags)
        self.session.remember(run)
        return run

    # -- runs --------------------------------------------------------------------------------------------------------

    def handle(self, doc: RunDocument) -> Run:
        """Return this process's handle of a run that was read."""
        run: Run | None = self.session.known(doc.run_id)
        if run is None:
            run = Run(self.session, copy_document(doc))
            self.session.remember(run)
        else:
            run.observe(doc)
        return run

    def create_at_once(
        self, experiment: ExperimentRef, name: str | None, run_id: str | None, parent: str | None
    ) -> Run | None:
        """Create a run if the store need not be asked for that; else None."""
        if run_id is None and self.session.prepared:
            return self.new_run(experiment, name, None, parent)
        return None

    async def create_run(
        self, experiment: ExperimentRef, name: str | None, run_id: str | None, parent: str | None
    ) -> Run:
        """Create a run; refuse an id that is taken."""
        _check_names(name, run_id)
        await self.session.prepare()
        if run_id is not None:
            catalog = await self.session.view(own=True)
            known = catalog.runs.get(check_run_id(run_id))
            self._refuse_gone(catalog, known)
            if known is not None and known.known:
                raise InvalidInputError(
                    f"recorder id {run_id!r} is taken (experiment {known.experiment_name!r}); "
                    "resume it with resume=True, or choose another id"
                )
        return self.new_run(experiment, name, run_id, parent)

    def _refuse_gone(self, catalog: Catalog, known: RunDocument | None) -> None:
        """Refuse an id of what was purged, or is hidden, so that nobody would see what is recorded."""
        if known is None:
            return
        if known.purged:
            raise InvalidInputError(
                f"recorder id {known.run_id!r} was purged from {self.session.url} and is gone for good; choose another id"
            )
        refuse_deleted(known)
        if known.known and catalog.hidden(known):
            raise InvalidInputError(
                f"recorder {known.run_id!r} was deleted with its experiment {known.experiment_name!r}; bring it back by "
                f"restore_exp(experiment_id={known.experiment_id!r}) first, or choose another id"
            )

    async def start_run(
        self,
        begin: Callable[[Run], Awaitable[None]],
        *,
        experiment_id: str | None = None,
        experiment_name: str | None = None,
        recorder_id: str | None = None,
        recorder_name: str | None = None,
        resume: bool = False,
        parent: str | None = None,
    ) -> tuple[ExperimentRef, Run]:
        """Start a new run, or resume one by id or name (an unknown one becomes new); `begin` sets it RUNNING."""
        check_arguments({"resume": flag}, {"resume": resume})
        if experiment_id is None and experiment_name is not None:
            check_name("experiment", experiment_name)
        _check_names(recorder_name, recorder_id)
        await self.session.prepare()
        experiment = await self.find_experiment(experiment_id, experiment_name, create=True)
        if resume and (recorder_id is not None or recorder_name is not None):
            try:
                doc = await self._to_resume(recorder_id, recorder_name, experiment)
            except RecorderNotFoundError:
                # Not looked for again: ranks that start together all find nothing, and all make the same run.
                run = self.new_run(experiment, recorder_name, recorder_id, parent)
            else:
                run = self.handle(doc)
                await run.tell_for_others()
                experiment = ExperimentRef(self, doc.experiment_id, doc.experiment_name)
        else:
            run = await self.create_run(experiment, recorder_name, recorder_id, parent)
        await begin(run)
        return experiment, run

    async def _to_resume(
        self, recorder_id: str | None, name: str | None, experiment: ExperimentRef
    ) -> RunDocument:
        catalog = await self.session.view(own=recorder_id is not None)
        if recorder_id is None:
            return await catalog.find_run(None, name, experiment.experiment_id)
        self._refuse_gone(catalog, catalog.runs.get(recorder_id))
        if catalog is self.session.catalog:
            return await catalog.find_run(recorder_id)
        # The store is away: one that it may have goes on as if it had not, as offline: both parts are one run in the end.
        doc = catalog.runs.get(check_run_id(recorder_id))
        if doc is None or not doc.known:
            raise RecorderNotFoundError(f"no recorder has the id {recorder_id!r} as far as is known")
        return doc

    async def find_run(
        self, recorder_id: str | None, recorder_name: str | None, experiment: ExperimentRef | None
    ) -> Run:
        """Return a run by id, or the latest of a name; only of an experiment, if one is given."""
        run: Run | None = self.session.known(recorder_id) if recorder_id is not None else None
        if run is None:
            catalog = await self.session.view(own=True)
            scope = experiment.experiment_id if experiment else None
            try:
                doc = await catalog.find_run(recorder_id, recorder_name, scope)
            except RecorderNotFoundError as error:
                refuse_partial(catalog, error)
                raise
            run = self.handle(doc)
        if experiment is not None and run.doc.experiment_id != experiment.experiment_id:
            raise RecorderNotFoundError(
                f"recorder {run.run_id!r} is one of experiment {run.doc.experiment_name!r}, not of {experiment.name!r}; name that "
                "experiment, or leave it out and ask the manager or R"
            )
        return run

    async def list_runs(
        self,
        experiment: ExperimentRef | None,
        status: str | None = None,
        max_results: int | None = None,
        filter_string: str = "",
    ) -> list[Run]:
        """Return the living runs of an experiment (or all), the latest start first."""
        if status is not None and status not in STATUSES:
            raise InvalidInputError(f"status {status!r}: choose one of {', '.join(STATUSES)}")
        selection = Selection(filter_string, None, max_results, self.artifact_uri)
        catalog = await self.session.view()
        docs = catalog.runs_of([experiment.experiment_id] if experiment else None, status=status)
        return [self.handle(doc) for doc in selection.apply(docs)]

    def artifact_uri(self, run_id: str) -> str:
        """Return the URL of a run's artifacts."""
        return f"{self.session.url.rstrip('/')}/{layout.artifacts_folder(run_id)}"

    # -- experiments -------------------------------------------------------------------------------------------------

    def experiment_of(self, doc: ExperimentDocument) -> ExperimentRef:
        """Return the experiment that was read."""
        return ExperimentRef(self, doc.experiment_id, doc.name)

    async def find_experiment(
        self, experiment_id: str | None, name: str | None, *, create: bool
    ) -> ExperimentRef:
        """Return an experiment by id or name (default: the default one); create it when missing and allowed."""
        if experiment_id is None:
            wanted = self.experiment(name if name is not None else self.default_exp_name)
            if create:
                return wanted  # its first run makes it exist; racing creators derive the same id
            return await self._known_experiment(wanted.experiment_id, wanted.name)
        return await self._known_experiment(experiment_id)

    async def _known_experiment(self, experiment_id: str, name: str | None = None) -> ExperimentRef:
        catalog = await self.session.view(own=True)
        try:
            return self.experiment_of(catalog.find_experiment(experiment_id, name))
        except ExperimentNotFoundError as error:
            refuse_partial(catalog, error)
            raise

    async def get_experiment(
        self, experiment_id: str | None, name: str | None, *, create: bool
    ) -> ExperimentRef:
        """Return an experiment as `find_experiment` does; a created one exists for everybody at once."""
        experiment = await self.find_experiment(experiment_id, name, create=create)
        return await self.ensure(experiment) if create else experiment

    async def ensure(self, experiment: ExperimentRef) -> ExperimentRef:
        """Make an experiment exist without a run."""
        await self.session.prepare()
        catalog = await self.session.view(own=True)
        known = catalog.experiments.get(experiment.experiment_id)
        if known is None or not known.alive:
            engine = self.session.engine
            engine.post(
                ExperimentCreated(
                    clock=engine.clock.now(), experiment_id=experiment.experiment_id, name=experiment.name
                )
            )
            await engine.acknowledge()
        return experiment

    async def create_experiment(self, name: str | None) -> ExperimentRef:
        """Create an experiment, or raise `ExpAlreadyExistError`."""
        experiment = self.experiment(name if name is not None else self.default_exp_name)
        catalog = await self.session.view(own=True)
        known = catalog.experiments.get(experiment.experiment_id)
        if known is not None and known.alive:
            raise ExpAlreadyExistError(
                f"experiment {experiment.name!r} exists in {self.session.url}; use get_exp() to get it"
            )
        return await self.ensure(experiment)

    async def list_experiments(self) -> list[ExperimentRef]:
        """Return the living experiments, by name."""
        catalog = await self.session.view()
        return [
            self.experiment_of(doc)
            for doc in sorted(catalog.experiments.values(), key=lambda d: d.name)
            if doc.alive
        ]

    async def delete_experiment(self, experiment_id: str | None, name: str | None) -> None:
        """Hide an experiment and the runs it has now."""
        if experiment_id is None and name is None:
            raise InvalidInputError("delete_exp needs experiment_id or experiment_name")
        experiment = await self.find_experiment(experiment_id, name, create=False)
        await self.session.prepare()
        engine = self.session.engine
        engine.post(ExperimentDeleted(clock=engine.clock.now(), experiment_id=experiment.experiment_id))
        await engine.acknowledge()

    async def restore_experiment(self, experiment_id: str | None, name: str | None) -> ExperimentRef:
        """Show a deleted experiment and its runs again."""
        if experiment_id is None and name is None:
            raise InvalidInputError("restore_exp needs experiment_id or experiment_name")
        wanted = experiment_id if experiment_id is not None else self.experiment(name or "").experiment_id
        catalog = await self.session.view()
        known = catalog.experiments.get(wanted)
        if known is None or not known.hidden_until:
            raise ExperimentNotFoundError(
                f"no deleted experiment {experiment_id or name!r} in {self.session.url}"
            )
        await self.session.prepare()
        engine = self.session.engine
        engine.post(ExperimentRestored(clock=engine.clock.now(), experiment_id=wanted))
        await engine.acknowledge()
        return self.experiment_of(known)

    async def delete_run(
        self, recorder_id: str | None, recorder_name: str | None, experiment: ExperimentRef | None
    ) -> None:
        """Hide a run."""
        run = await self._named(recorder_id, recorder_name, experiment, "delete_recorder")
        run.delete()
        await self.session.engine.acknowledge()

    async def restore_run(self, recorder_id: str, experiment: ExperimentRef | None = None) -> Run:
        """Show a deleted run again."""
        run = await self._named(recorder_id, None, experiment, "restore_recorder")
        run.restore()
        await self.session.engine.acknowledge()
        return run

    async def _named(
        self, recorder_id: str | None, name: str | None, experiment: ExperimentRef | None, call: str
    ) -> Run:
        if recorder_id is None and name is None:
            raise InvalidInputError(f"{call} needs recorder_id or recorder_name")
        await self.session.prepare()
        return await self.find_run(recorder_id, name, experiment)

    async def info(self, experiment: ExperimentRef, active: Any) -> dict[str, Any]:
        """Return what `Experiment.info` shows."""
        runs = await self.list_runs(experiment)
        return {
            "class": "Experiment",
            "id": experiment.experiment_id,
            "name": experiment.name,
            "active_recorder": active,
            "recorders": [run.run_id for run in runs],
        }
