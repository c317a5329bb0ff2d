"""`R`: the recorder of this task, without passing objects around, blocking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from aqrec.recording import _active
from aqrec.recording import _artifacts as artifacts
from aqrec.recording._default import Defaults, defaults
from aqrec.recording._starting import Starting
from aqrec.stores import redact_url
from aqrec.sync._calls import ExperimentCalls, start_exp
from aqrec.sync._recorder import Recorder

if TYPE_CHECKING:
    import contextlib
    import os
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from aqrec.artifacts import TrustPolicy
    from aqrec.artifacts._trust import TrustMode
    from aqrec.engine import Statistics
    from aqrec.options import Mode, Options
    from aqrec.recording._progress import Progress
    from aqrec.recording._run import Point
    from aqrec.recording._workspace import Workspace
    from aqrec.sync._experiment import Experiment

__all__ = ["GlobalRecorder", "R", "Started"]


class Started:
    """What `R.start` returns; enter it with ``with`` to get the `Experiment`."""

    def __init__(self, store: Workspace, start: dict[str, Any]) -> None:
        self._store = store
        self._start = start
        self._recorder: Recorder | None = None

    def __enter__(self) -> Experiment:
        starting = Starting(self._store.session)
        try:
            experiment = start_exp(self._store, **self._start, starting=starting)
            self._recorder = experiment.get_recorder()
            return experiment
        except BaseException as error:
            starting.give_up(error)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._recorder is not None:
            self._recorder.__exit__(kind, error, trace)


class GlobalRecorder(ExperimentCalls):
    """Every call of Qlib's ``R`` on this task's active recorder, experiment and store.

    The active recorder is task-local (contextvars): tasks and threads that each start one do not see each
    other's.
    """

    def __init__(self, defaults: Defaults) -> None:
        self._defaults = defaults

    def __repr__(self) -> str:
        entry = _active.find_active()
        return f"R(uri={redact_url(self.uri)!r}, active={entry.run.run_id if entry else None!r})"

    @property
    def _workspace(self) -> Workspace:
        return self._defaults.current_workspace()

    @property
    def uri(self) -> str:
        """URL of the active recorder's store, or the default one."""
        return self._defaults.current_uri()

    def _recorder(self) -> Recorder:
        return Recorder(_active.active_run())

    def configure(
        self,
        uri: str | None = None,
        *,
        default_exp_name: str | None = None,
        options: Options | None = None,
        storage_options: dict[str, Any] | None = None,
    ) -> None:
        """Set the default store, experiment and options of this process; holds for stores opened from now on.

        Raises `RecorderInitializationError` if options are changed while a recorder is active.
        """
        self._defaults.configure(uri, default_exp_name, options, storage_options)

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
        mode: Mode | None = None,
    ) -> Started:
        """Record a run: ``with R.start(experiment_name="alpha") as exp:``.

        Ends FINISHED, or FAILED if anything is raised through it. Inside an active run the new one is its
        child. The arguments are those of `ExperimentManager.start_exp`, the store's `uri`, and its `mode`: ``offline`` records to this machine's
        spool alone, for `sync_spool`.
        """
        return Started(
            self._defaults.workspace_to_start(uri, mode),
            {
                "experiment_id": experiment_id,
                "experiment_name": experiment_name,
                "recorder_id": recorder_id,
                "recorder_name": recorder_name,
                "resume": resume,
                "parent": parent,
            },
        )

    def start_exp(
        self,
        *,
        experiment_id: str | None = None,
        experiment_name: str | None = None,
        recorder_id: str | None = None,
        recorder_name: str | None = None,
        uri: str | None = None,
        resume: bool = False,
        parent: Recorder | str | None = None,
        mode: Mode | None = None,
    ) -> Experiment:
        """Do as `start` without a block; end it with `end_exp`, or the process's exit ends it."""
        return start_exp(
            self._defaults.workspace_to_start(uri, mode),
            experiment_id=experiment_id,
            experiment_name=experiment_name,
            recorder_id=recorder_id,
            recorder_name=recorder_name,
            resume=resume,
            parent=parent,
        )

    def get_uri(self) -> str:
        """Return the URL of the active recorder's store, or the default one."""
        return self.uri

    def set_uri(self, uri: str | None) -> None:
        """Set the default store; None: ``AQREC_URI`` or ``./aqruns``. Active recorders keep theirs.

        A relative path starts at the present working directory, also when that changes.
        """
        self._defaults.set_uri(uri)

    def uri_context(self, uri: str) -> contextlib.AbstractContextManager[None]:
        """Change the default store inside ``with R.uri_context(uri):``; a ``uri=`` given to `start` wins."""
        return self._defaults.override(uri)

    def log_metrics(self, /, step: int | None = None, **metrics: float) -> None:
        """Log one value for each key on the active recorder; starts a default one if there is none.

        See `Recorder.log_metrics`.
        """
        room = self._defaults.run_to_log_to().log(step, metrics)
        if room is not None:
            room.block()

    def log_params(self, /, **params: object) -> None:
        """Record params on the active recorder (starts a default one); see `Recorder.log_params`."""
        self._defaults.run_to_log_to().log_params(params)

    def log_batch(
        self,
        metrics: Mapping[str, float] | Iterable[Point] = (),
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, object] | None = None,
        *,
        step: int | None = None,
        timestamp: int | None = None,
    ) -> None:
        """Log metrics, params and tags together on the active recorder; see `Recorder.log_batch`."""
        room = self._defaults.run_to_log_to().log_batch(metrics, params, tags, step, timestamp)
        if room is not None:
            room.block()

    def set_tags(self, /, **tags: object) -> None:
        """Set tags on the active recorder (starts a default one)."""
        self._defaults.run_to_log_to().set_tags(tags)

    def delete_tags(self, *keys: str) -> None:
        """Delete tags of the active recorder."""
        _active.active_run().delete_tags(keys)

    @overload
    def save_objects(
        self,
        local_path: str | os.PathLike[str],
        artifact_path: str | None = None,
        *,
        progress: Progress = False,
    ) -> None: ...

    @overload
    def save_objects(
        self, local_path: None = None, artifact_path: str | None = None, **objects: Any
    ) -> None: ...

    # Names in a dict: a type checker cannot tell them from the other parameters.
    @overload
    def save_objects(self, **objects: Any) -> None: ...

    def save_objects(
        self,
        local_path: str | os.PathLike[str] | None = None,
        artifact_path: str | None = None,
        **objects: object,
    ) -> None:
        """Save objects as artifacts of the active recorder; see `Recorder.save_objects`."""
        run = _active.active_run()
        run.session.call(artifacts.save_objects(run, objects, artifact_path, local_path))

    def load_object(
        self, name: str, *, trust: TrustPolicy | TrustMode | None = None, unpickler: type[Any] | None = None
    ) -> Any:
        """Load an artifact of the active recorder; see `Recorder.load_object`."""
        return self._recorder().load_object(name, trust=trust, unpickler=unpickler)

    def log_artifact(
        self,
        local_path: str | os.PathLike[str],
        artifact_path: str | None = None,
        *,
        progress: Progress = False,
    ) -> None:
        """Copy a file or folder into the active recorder (starts a default one); see `Recorder.log_artifact`."""
        Recorder(self._defaults.run_to_log_to()).log_artifact(local_path, artifact_path, progress=progress)

    def list_artifacts(self, artifact_path: str | None = None) -> list[str]:
        """Return the direct children of a folder of the active recorder's artifacts."""
        return self._recorder().list_artifacts(artifact_path)

    def download_artifact(
        self,
        path: str,
        dst_path: str | os.PathLike[str] | None = None,
        *,
        progress: Progress = False,
        resume: bool = False,
    ) -> str:
        """Copy an artifact or folder of the active recorder here; see `Recorder.download_artifact`."""
        return self._recorder().download_artifact(path, dst_path, progress=progress, resume=resume)

    def flush(self) -> None:
        """Wait until everything logged on the active recorder is durable; see `Recorder.flush`."""
        self._recorder().flush()

    def statistics(self) -> Statistics:
        """Return the counters of the writer in the current store."""
        return self._workspace.session.engine.statistics()

    def close(self) -> None:
        """Close the stores that `R` has opened, as leaving a manager does; later calls open them again."""
        for session in self._defaults.take_all():
            session.shut()


R = GlobalRecorder(defaults)
"""The recorder of this task."""
