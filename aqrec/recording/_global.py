"""`R`: the recorder of this task, without passing objects around; async."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from aqrec.engine import DONE, Statistics
from aqrec.format._records import STATUS_FI
from aqrec.options import Options
from aqrec.recording import _active
from aqrec.recording._default import Defaults
from aqrec.recording._experiment import Experiment
from aqrec.recording._manager import ExperimentManager
from aqrec.recording._recorder import Point, Recorder, log_points
from aqrec.recording._run import end_status
from aqrec.recording._workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

    from aqrec.artifacts import TrustPolicy
    from aqrec.artifacts._trust import TrustMode

__all__ = ["GlobalRecorder", "Started", "manager_of"]


def manager_of(workspace: Workspace) -> ExperimentManager:
    """Return a manager that shares an existing workspace."""
    manager = ExperimentManager.__new__(ExperimentManager)
    manager._workspace = workspace  # noqa: SLF001 - the same package's class
    return manager


class Started:
    """What `R.start` returns; enter it with ``async with`` to get the `Experiment`."""

    def __init__(self, manager: ExperimentManager, start: dict[str, Any]) -> None:
        self._manager = manager
        self._start = start
        self._entry: _active.Active | None = None

    async def __aenter__(self) -> Experiment:
        experiment = await self._manager.start_exp(**self._start)
        self._entry = _active.active(self._manager._workspace)  # noqa: SLF001
        return experiment

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        entry = self._entry
        if entry is not None and not entry.closed:
            _active.deactivate(entry)
            await entry.run.session.runtime.run(entry.run.end(*end_status(error)), shield=True)


class GlobalRecorder:
    """Every call of Qlib's ``R`` on this task's active recorder, experiment and store.

    The active recorder is task-local (contextvars): tasks and threads that each start one do not see each other's.
    """

    def __init__(self, defaults: Defaults) -> None:
        self._defaults = defaults

    def __repr__(self) -> str:
        entry = _active.active()
        return f"R(uri={self.uri!r}, active={entry.run.run_id if entry else None!r})"

    @property
    def uri(self) -> str:
        """URL of the active recorder's store, or the default one."""
        return self._defaults.current_uri()

    def _manager(self, uri: str | None = None) -> ExperimentManager:
        return manager_of(self._defaults.workspace(uri))

    def _recorder(self) -> Recorder:
        return Recorder(self._defaults.active_run())

    def configure(
        self,
        uri: str | None = None,
        *,
        default_exp_name: str | None = None,
        options: Options | None = None,
        storage_options: dict[str, Any] | None = None,
    ) -> Awaitable[None]:
        """Set the default store, experiment and options of this process; holds for stores opened from now on.

        Raises `RecorderInitializationError` if options are changed while a recorder is active.
        """
        self._defaults.configure(uri, default_exp_name, options, storage_options)
        return DONE

    def start(
        self,
        *,
        experiment_id: str | None = None,
        experiment_name: str | None = None,
        recorder_id: str | None = None,
        recorder_name: str | None = None,
        uri: str | None = None,
        resume: bool = False,
        parent: Recorder | str | None = None,
    ) -> Started:
        """Record a run: ``async with R.start(experiment_name="alpha") as exp:``.

        Ends FINISHED, or FAILED if anything is raised through it. Inside an active run the new one is its child. The
        arguments are those of `ExperimentManager.start_exp`, and the store's `uri`.
        """
        return Started(
            self._manager(uri),
            {
                "experiment_id": experiment_id,
                "experiment_name": experiment_name,
                "recorder_id": recorder_id,
                "recorder_name": recorder_name,
                "resume": resume,
                "parent": parent,
            },
        )

    async def start_exp(
        self,
        *,
        experiment_id: str | None = None,
        experiment_name: str | None = None,
        recorder_id: str | None = None,
        recorder_name: str | None = None,
        uri: str | None = None,
        resume: bool = False,
        parent: Recorder | str | None = None,
    ) -> Experiment:
        """Do as `start` without a block; end it with `end_exp`. What is still open at the process's exit is ended there."""
        return await self._manager(uri).start_exp(
            experiment_id=experiment_id,
            experiment_name=experiment_name,
            recorder_id=recorder_id,
            recorder_name=recorder_name,
            resume=resume,
            parent=parent,
        )

    async def end_exp(self, recorder_status: str = STATUS_FI) -> None:
        """End this task's active recorder; nothing to do if there is none."""
        await self._manager().end_exp(recorder_status)

    async def get_exp(
        self,
        *,
        experiment_id: str | None = None,
        experiment_name: str | None = None,
        create: bool = True,
        start: bool = False,
    ) -> Experiment:
        """Return an experiment; see `ExperimentManager.get_exp`."""
        return await self._manager().get_exp(
            experiment_id=experiment_id, experiment_name=experiment_name, create=create, start=start
        )

    async def create_exp(self, experiment_name: str | None = None) -> Experiment:
        """Create an experiment, or raise `ExpAlreadyExistError`."""
        return await self._manager().create_exp(experiment_name)

    async def delete_exp(self, *, experiment_id: str | None = None, experiment_name: str | None = None) -> None:
        """Hide an experiment and the runs it has now."""
        await self._manager().delete_exp(experiment_id=experiment_id, experiment_name=experiment_name)

    async def restore_exp(
        self, *, experiment_id: str | None = None, experiment_name: str | None = None
    ) -> Experiment:
        """Show a deleted experiment and its runs again."""
        return await self._manager().restore_exp(experiment_id=experiment_id, experiment_name=experiment_name)

    async def list_experiments(self) -> dict[str, Experiment]:
        """Return the experiments by name."""
        return await self._manager().list_experiments()

    async def list_recorders(
        self, *, experiment_id: str | None = None, experiment_name: str | None = None
    ) -> dict[str, Recorder]:
        """Return the recorders of an experiment (default: the active or default one) by id, the latest start first."""
        return await self._manager().list_recorders(experiment_id=experiment_id, experiment_name=experiment_name)

    async def get_recorder(
        self,
        *,
        recorder_id: str | None = None,
        recorder_name: str | None = None,
        experiment_id: str | None = None,
        experiment_name: str | None = None,
    ) -> Recorder:
        """Return a recorder by id or name, or the active one; see `ExperimentManager.get_recorder`."""
        return await self._manager().get_recorder(
            recorder_id=recorder_id,
            recorder_name=recorder_name,
            experiment_id=experiment_id,
            experiment_name=experiment_name,
        )

    async def delete_recorder(
        self,
        *,
        recorder_id: str | None = None,
        recorder_name: str | None = None,
        experiment_id: str | None = None,
        experiment_name: str | None = None,
    ) -> None:
        """Hide a recorder."""
        await self._manager().delete_recorder(
            recorder_id=recorder_id,
            recorder_name=recorder_name,
            experiment_id=experiment_id,
            experiment_name=experiment_name,
        )

    async def restore_recorder(self, recorder_id: str) -> Recorder:
        """Show a deleted recorder again."""
        return await self._manager().restore_recorder(recorder_id)

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
        """Return matching runs, one a row; see `ExperimentManager.search_records`."""
        return await self._manager().search_records(
            experiment_ids,
            experiment_names=experiment_names,
            filter_string=filter_string,
            order_by=order_by,
            max_results=max_results,
            view=view,
        )

    async def get_uri(self) -> str:
        """Return the URL of the active recorder's store, or the default one."""
        return self.uri

    def set_uri(self, uri: str | None) -> Awaitable[None]:
        """Set the default store; None: ``AQREC_URI`` or ``./aqruns``. Active recorders keep theirs."""
        self._defaults.uri = None
        self._defaults.configure(uri, None, None, None)
        return DONE

    def uri_context(self, uri: str) -> contextlib.AbstractContextManager[None]:
        """Change the default store inside ``with R.uri_context(uri):``, for this task; a ``uri=`` given to start wins."""
        return self._defaults.override(uri)

    def log_metrics(self, /, step: int | None = None, **metrics: float) -> Awaitable[None]:
        """Log one value for each key on the active recorder; starts a default one if there is none.

        See `Recorder.log_metrics`.
        """
        return self._defaults.run_to_log_to().log(step, metrics) or DONE

    def log_params(self, /, **params: object) -> Awaitable[None]:
        """Record params on the active recorder (starts a default one); see `Recorder.log_params`."""
        self._defaults.run_to_log_to().log_params(params)
        return DONE

    def log_batch(
        self,
        metrics: Mapping[str, float] | Iterable[Point] = (),
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, object] | None = None,
        *,
        step: int | None = None,
        timestamp: int | None = None,
    ) -> Awaitable[None]:
        """Log metrics, params and tags together on the active recorder; see `Recorder.log_batch`."""
        run = self._defaults.run_to_log_to()
        run.check_batch(params, tags)
        room = log_points(run, metrics, step, timestamp)
        run.log_params(params or {})
        run.set_tags(tags or {})
        return room or DONE

    def set_tags(self, /, **tags: object) -> Awaitable[None]:
        """Set tags on the active recorder (starts a default one)."""
        self._defaults.run_to_log_to().set_tags(tags)
        return DONE

    def delete_tags(self, *keys: str) -> Awaitable[None]:
        """Delete tags of the active recorder."""
        self._defaults.active_run().delete_tags(keys)
        return DONE

    async def save_objects(
        self,
        local_path: str | os.PathLike[str] | None = None,
        artifact_path: str | None = None,
        **objects: object,
    ) -> None:
        """Save objects as artifacts of the active recorder; see `Recorder.save_objects`."""
        await self._recorder().save_objects(local_path, artifact_path, **objects)

    async def load_object(
        self, name: str, *, trust: TrustPolicy | TrustMode | None = None, unpickler: type[Any] | None = None
    ) -> Any:
        """Load an artifact of the active recorder; see `Recorder.load_object`."""
        return await self._recorder().load_object(name, trust=trust, unpickler=unpickler)

    async def log_artifact(self, local_path: str | os.PathLike[str], artifact_path: str | None = None) -> None:
        """Copy a file or folder into the active recorder (starts a default one)."""
        await Recorder(self._defaults.run_to_log_to()).log_artifact(local_path, artifact_path)

    async def list_artifacts(self, artifact_path: str | None = None) -> list[str]:
        """Return the direct children of a folder of the active recorder's artifacts."""
        return await self._recorder().list_artifacts(artifact_path)

    async def download_artifact(self, path: str, dst_path: str | os.PathLike[str] | None = None) -> str:
        """Copy an artifact or folder of the active recorder to this machine; return its place."""
        return await self._recorder().download_artifact(path, dst_path)

    async def flush(self) -> None:
        """Wait until everything logged on the active recorder is durable; see `Recorder.flush`."""
        await self._recorder().flush()

    async def statistics(self) -> Statistics:
        """Return the counters of the writer in the current store."""
        return self._defaults.workspace().session.engine.statistics()

    async def aclose(self) -> None:
        """Store everything and close all stores that `R` has opened; it opens them again when needed."""
        for session in self._defaults.take_all():
            await session.ashut()
