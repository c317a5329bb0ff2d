"""Calls on the experiments and runs of a store that a manager and `R` share, blocking."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, TypeVar

from aqrec.format._records import STATUS_FI
from aqrec.recording import _active
from aqrec.sync._experiment import Experiment
from aqrec.sync._recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Coroutine

    import pandas as pd

    from aqrec.recording._workspace import ExperimentRef, Workspace

__all__ = ["ExperimentCalls", "start_exp"]

T = TypeVar("T")


def start_exp(
    workspace: Workspace,
    *,
    experiment_id: str | None = None,
    experiment_name: str | None = None,
    recorder_id: str | None = None,
    recorder_name: str | None = None,
    resume: bool = False,
    parent: Recorder | str | None = None,
) -> Experiment:
    """Start a recorder and make it this task's active one; see `ExperimentManager.start_exp`."""
    begun = workspace.session.call(
        workspace.start_run(
            experiment_id=experiment_id,
            experiment_name=experiment_name,
            recorder_id=recorder_id,
            recorder_name=recorder_name,
            resume=resume,
            parent=_active.parent_in(workspace, parent),
        )
    )
    return Experiment(_active.activate(*begun).experiment)


class ExperimentCalls(abc.ABC):
    """See the module's text."""

    @property
    @abc.abstractmethod
    def _workspace(self) -> Workspace:
        """The store that is meant."""

    def _call(self, work: Coroutine[Any, Any, T], *, shield: bool = False) -> T:
        return self._workspace.session.call(work, shield=shield)

    def _experiment(self, experiment_id: str | None, experiment_name: str | None) -> ExperimentRef:
        workspace = self._workspace
        current = _active.active_experiment(workspace, experiment_id, experiment_name)
        if current is not None:
            return current
        return self._call(workspace.find_experiment(experiment_id, experiment_name, create=False))

    def end_exp(self, recorder_status: str = STATUS_FI) -> None:
        """End this task's active recorder; nothing to do if there is none. See `Recorder.end_run`."""
        entry = _active.to_end(self._workspace)
        if entry is not None:
            Recorder(entry.run).end_run(recorder_status)

    def get_exp(
        self,
        *,
        experiment_id: str | None = None,
        experiment_name: str | None = None,
        create: bool = True,
        start: bool = False,
    ) -> Experiment:
        """Return an experiment by id or name; neither: the active one, or the default one.

        With `create` a missing name is created, else `ExperimentNotFoundError`. With `start` a recorder is
        started in it unless one is active.
        """
        workspace = self._workspace
        ref = _active.active_experiment(workspace, experiment_id, experiment_name)
        if ref is None:
            ref = self._call(workspace.get_experiment(experiment_id, experiment_name, create=create))
        experiment = Experiment(ref)
        if start and _active.active(workspace) is None:
            experiment.start()
        return experiment

    def create_exp(self, experiment_name: str | None = None) -> Experiment:
        """Create an experiment, or raise `ExpAlreadyExistError`; a deleted one's name may be used again."""
        return Experiment(self._call(self._workspace.create_experiment(experiment_name)))

    def delete_exp(self, *, experiment_id: str | None = None, experiment_name: str | None = None) -> None:
        """Hide an experiment and the runs it has now; `restore_exp` brings them back."""
        self._call(self._workspace.delete_experiment(experiment_id, experiment_name))

    def restore_exp(
        self, *, experiment_id: str | None = None, experiment_name: str | None = None
    ) -> Experiment:
        """Show a deleted experiment and its runs again."""
        return Experiment(self._call(self._workspace.restore_experiment(experiment_id, experiment_name)))

    def list_experiments(self) -> dict[str, Experiment]:
        """Return the experiments by name, deleted ones left out."""
        refs = self._call(self._workspace.list_experiments())
        return {ref.name: Experiment(ref) for ref in refs}

    def list_recorders(
        self, *, experiment_id: str | None = None, experiment_name: str | None = None
    ) -> dict[str, Recorder]:
        """Return the recorders of an experiment by id, the latest start first.

        Without a name or id, those of the active or default experiment. Raises `ExperimentNotFoundError`.
        """
        ref = self._experiment(experiment_id, experiment_name)
        return {run.run_id: Recorder(run) for run in self._call(self._workspace.list_runs(ref))}

    def get_recorder(
        self,
        *,
        recorder_id: str | None = None,
        recorder_name: str | None = None,
        experiment_id: str | None = None,
        experiment_name: str | None = None,
    ) -> Recorder:
        """Return a recorder: by id (of any experiment), by name (the latest of an experiment), or the active.

        Raises `RecorderNotFoundError`, `ExperimentNotFoundError`, or `RecorderInitializationError` when
        nothing is named and none is active.
        """
        if recorder_id is not None:
            return Recorder(self._call(self._workspace.find_run(recorder_id, None, None)))
        if recorder_name is not None:
            ref = self._experiment(experiment_id, experiment_name)
            return Recorder(self._call(self._workspace.find_run(None, recorder_name, ref)))
        return Recorder(_active.active_run(self._workspace))

    def delete_recorder(
        self,
        *,
        recorder_id: str | None = None,
        recorder_name: str | None = None,
        experiment_id: str | None = None,
        experiment_name: str | None = None,
    ) -> None:
        """Hide a recorder, by id or the latest of a name; `restore_recorder` brings it back."""
        named = recorder_id is None and recorder_name is not None
        ref = self._experiment(experiment_id, experiment_name) if named else None
        self._call(self._workspace.delete_run(recorder_id, recorder_name, ref))

    def restore_recorder(self, recorder_id: str) -> Recorder:
        """Show a deleted recorder again."""
        return Recorder(self._call(self._workspace.restore_run(recorder_id)))

    def search_records(
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
            For example ``metrics.ic > 0.03 and params.model = 'lgb'``; checked before anything is read.
        order_by
            Keys with ``ASC`` or ``DESC``; default: the latest start first.
        max_results
            At most so many rows.
        view
            ``active``, ``deleted`` or ``all``.

        Returns
        -------
        DataFrame
            ``run_id, experiment_id, status`` (text), ``start_time, end_time`` (datetime64[ms, UTC]),
            ``artifact_uri``, then ``metrics.*`` (float64, latest values), ``params.*`` (typed), ``tags.*``.
        """
        return self._call(
            self._workspace.search(
                experiment_ids, experiment_names, filter_string, order_by, max_results, view
            )
        )
