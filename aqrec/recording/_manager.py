"""`ExperimentManager`: the experiments of one store, async."""

from __future__ import annotations

from collections.abc import Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from aqrec.format._records import STATUS_FI
from aqrec.options import Options
from aqrec.recording import _active
from aqrec.recording._experiment import Experiment, parent_id
from aqrec.recording._recorder import Recorder
from aqrec.recording._run import end_status
from aqrec.recording._session import Session
from aqrec.recording._workspace import ExperimentRef, Workspace
from aqrec.stores import redact_url

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")

__all__ = ["ExperimentManager", "OpenRecorder", "open_recorder"]


class ExperimentManager:
    """The experiments and runs of one store.

    Parameters
    ----------
    uri
        The store: a folder, ``file://``, ``memory://``.
    default_exp_name
        Experiment that is meant when none is named.
    options
        How this process writes and reads it; see `Options`.
    storage_options
        Passed to the store's driver (credentials, endpoints); never printed.

    Used as ``async with``: leaving waits until everything is stored, bounded by ``Options.close_timeout``, and closes what was
    opened.
    """

    def __init__(
        self,
        uri: str,
        *,
        default_exp_name: str = "Experiment",
        options: Options | None = None,
        storage_options: dict[str, Any] | None = None,
    ) -> None:
        self._workspace = Workspace(Session(str(uri), options or Options(), storage_options), default_exp_name)

    def __repr__(self) -> str:
        return f"ExperimentManager({redact_url(self.uri)!r})"

    @property
    def uri(self) -> str:
        """URL of the store."""
        return self._workspace.session.url

    @property
    def default_exp_name(self) -> str:
        """Experiment that is meant when none is named."""
        return self._workspace.default_exp_name

    @property
    def active_experiment(self) -> Experiment | None:
        """Experiment of this task's active recorder in this store, or None."""
        entry = _active.active(self._workspace)
        return Experiment(entry.experiment) if entry is not None else None

    async def __aenter__(self) -> ExperimentManager:
        session = self._workspace.session
        await session.runtime.run(session.check())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Wait until everything recorded is stored (at most ``Options.close_timeout`` seconds) and close what was opened.

        Cancelling does not stop it half-way.
        """
        await self._workspace.session.ashut()

    async def start_exp(
        self,
        *,
        experiment_id: str | None = None,
        experiment_name: str | None = None,
        recorder_id: str | None = None,
        recorder_name: str | None = None,
        resume: bool = False,
        parent: Recorder | str | None = None,
    ) -> Experiment:
        """Start a recorder in an experiment and make it this task's active one; end it with `end_exp`.

        Parameters
        ----------
        experiment_id, experiment_name
            Which experiment (created when its name is new); neither: the default one.
        recorder_id, recorder_name
            Id and name of the new recorder, or which one to resume.
        resume
            Go on with the recorder of the id, or the latest of the name; unknown ones are new.
        parent
            Recorder that the new one belongs to; default: the one that is active already, if it is in this store.

        Waits for the store to answer. Raises `ExperimentNotFoundError` for an unknown `experiment_id`.
        """
        outer = _active.active(self._workspace) if parent is None else None
        ref, run = await self._call(
            self._workspace.start_run(
                experiment_id=experiment_id,
                experiment_name=experiment_name,
                recorder_id=recorder_id,
                recorder_name=recorder_name,
                resume=resume,
                parent=outer.run.run_id if outer is not None else parent_id(parent),
            )
        )
        _active.activate(ref, run)
        return Experiment(ref)

    async def end_exp(self, recorder_status: str = STATUS_FI) -> None:
        """End this task's active recorder; nothing to do if there is none. See `Recorder.end_run`."""
        await self._end(recorder_status, "")

    async def _end(self, status: str, reason: str) -> None:
        entry = _active.active(self._workspace)
        if entry is not None:
            _active.deactivate(entry)
            await self._workspace.session.runtime.run(entry.run.end(status, reason), shield=True)

    async def get_exp(
        self,
        *,
        experiment_id: str | None = None,
        experiment_name: str | None = None,
        create: bool = True,
        start: bool = False,
    ) -> Experiment:
        """Return an experiment by id or name; neither: the active one, or the default one.

        With `create` a missing name is created, else `ExperimentNotFoundError`. With `start` a recorder is started in
        it unless one is active.
        """
        current = _active.active(self._workspace)
        if experiment_id is None and experiment_name is None and current is not None:
            return Experiment(current.experiment)
        ref: ExperimentRef = await self._call(
            self._workspace.find_experiment(experiment_id, experiment_name, create=create)
        )
        if create:
            await self._call(self._workspace.ensure(ref))
        if start and current is None:
            await self.start_exp(experiment_name=ref.name)
        return Experiment(ref)

    async def create_exp(self, experiment_name: str | None = None) -> Experiment:
        """Create an experiment, or raise `ExpAlreadyExistError`; a deleted one's name may be used again."""
        return Experiment(await self._call(self._workspace.create_experiment(experiment_name)))

    async def delete_exp(self, *, experiment_id: str | None = None, experiment_name: str | None = None) -> None:
        """Hide an experiment and the runs it has now; `restore_exp` brings them back."""
        await self._call(self._workspace.delete_experiment(experiment_id, experiment_name))

    async def restore_exp(
        self, *, experiment_id: str | None = None, experiment_name: str | None = None
    ) -> Experiment:
        """Show a deleted experiment and its runs again."""
        return Experiment(await self._call(self._workspace.restore_experiment(experiment_id, experiment_name)))

    async def list_experiments(self) -> dict[str, Experiment]:
        """Return the experiments by name, deleted ones left out."""
        refs = await self._call(self._workspace.list_experiments())
        return {ref.name: Experiment(ref) for ref in refs}

    async def list_recorders(
        self, *, experiment_id: str | None = None, experiment_name: str | None = None
    ) -> dict[str, Recorder]:
        """Return the recorders of an experiment (default: the active or default one) by id, the latest start first.

        Raises `ExperimentNotFoundError`.
        """
        ref = await self._experiment(experiment_id, experiment_name)
        return {run.run_id: Recorder(run) for run in await self._call(self._workspace.list_runs(ref))}

    async def _experiment(self, experiment_id: str | None, experiment_name: str | None) -> ExperimentRef:
        if experiment_id is None and experiment_name is None:
            entry = _active.active(self._workspace)
            if entry is not None:
                return entry.experiment
        ref: ExperimentRef = await self._call(
            self._workspace.find_experiment(experiment_id, experiment_name, create=False)
        )
        return ref

    async def get_recorder(
        self,
        *,
        recorder_id: str | None = None,
        recorder_name: str | None = None,
        experiment_id: str | None = None,
        experiment_name: str | None = None,
    ) -> Recorder:
        """Return a recorder: by id (in any experiment), by name (the latest in the experiment), or the active one.

        Raises `RecorderNotFoundError`, `ExperimentNotFoundError`, or `RecorderInitializationError` when nothing is named
        and none is active.
        """
        if recorder_id is not None:
            return Recorder(await self._call(self._workspace.find_run(recorder_id, None, None)))
        if recorder_name is not None:
            ref = await self._experiment(experiment_id, experiment_name)
            return Recorder(await self._call(self._workspace.find_run(None, recorder_name, ref)))
        entry = _active.active(self._workspace)
        return Recorder(self._workspace.refuse_none(entry.run if entry is not None else None))

    async def search_records(
        self,
        experiment_ids: list[str] | None = None,
        *,
        experiment_names: list[str] | None = None,
        filter_string: str = "",
        order_by: list[str] | None = None,
        max_results: int | None = None,
        view: str = "active",
    ) -> pd.DataFrame:
        """Return matching runs, one a row.

        Parameters
        ----------
        experiment_ids, experiment_names
            Where to look; neither: everywhere.
        filter_string
            For example ``metrics.ic > 0.03 and params.model = 'lgb'``; checked completely before anything is read.
        order_by
            Keys with ``ASC`` or ``DESC``; default: the latest start first.
        max_results
            At most so many rows.
        view
            ``active``, ``deleted`` or ``all``.

        Returns
        -------
        DataFrame
            ``run_id, experiment_id, status`` (text), ``start_time, end_time`` (datetime64[ms, UTC]), ``artifact_uri``, then
            ``metrics.*`` (float64, latest values), ``params.*`` (typed), ``tags.*``.
        """
        return await self._call(
            self._workspace.search(experiment_ids, experiment_names, filter_string, order_by, max_results, view)
        )

    async def delete_recorder(
        self,
        *,
        recorder_id: str | None = None,
        recorder_name: str | None = None,
        experiment_id: str | None = None,
        experiment_name: str | None = None,
    ) -> None:
        """Hide a recorder, by id or the latest of a name in an experiment."""
        ref = None if recorder_id is not None else await self._experiment(experiment_id, experiment_name)
        await self._call(self._workspace.delete_run(recorder_id, recorder_name, ref))

    async def restore_recorder(self, recorder_id: str) -> Recorder:
        """Show a deleted recorder again."""
        return Recorder(await self._call(self._workspace.restore_run(recorder_id)))

    async def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return await self._workspace.session.runtime.run(work)


class OpenRecorder:
    """What `open_recorder` returns; enter it with ``async with``."""

    def __init__(self, manager: ExperimentManager, start: dict[str, Any]) -> None:
        self._manager = manager
        self._start = start

    async def __aenter__(self) -> Recorder:
        await self._manager.__aenter__()
        try:
            await self._manager.start_exp(**self._start)
            return await self._manager.get_recorder()
        except BaseException:
            await self._manager.aclose()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._manager._end(*end_status(error))  # noqa: SLF001 - the other half of the manager
        finally:
            await self._manager.aclose()


def open_recorder(
    uri: str,
    *,
    experiment: str = "Experiment",
    name: str | None = None,
    recorder_id: str | None = None,
    resume: bool = False,
    parent: Recorder | str | None = None,
    options: Options | None = None,
    storage_options: dict[str, Any] | None = None,
) -> OpenRecorder:
    """Open a store and record one run in it: the short way.

    ``async with open_recorder("./lab", experiment="alpha", name="lgb") as recorder:`` starts the run, ends it FINISHED or
    FAILED, waits until all of it is stored, and closes the store.

    Parameters
    ----------
    uri
        The store.
    experiment, name, recorder_id, resume, parent
        As in `ExperimentManager.start_exp`.
    options, storage_options
        As in `ExperimentManager`.
    """
    manager = ExperimentManager(uri, options=options, storage_options=storage_options)
    return OpenRecorder(
        manager,
        {
            "experiment_name": experiment,
            "recorder_name": name,
            "recorder_id": recorder_id,
            "resume": resume,
            "parent": parent,
        },
    )
