"""Qlib's Recorder as a run of aqrec's."""

# Qlib has no types, and is not installed where types are checked.
# pyright: reportMissingImports=false, reportUntypedBaseClass=false

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from qlib.utils.exceptions import LoadObjectError
from qlib.workflow.recorder import Recorder

import aqrec.sync
from aqrec import provenance
from aqrec.errors import InvalidInputError, RecorderNotFoundError
from aqrec.format._records import STATUS_FI, STATUS_S
from aqrec.integrations.qlib._stores import stores_in_use
from aqrec.integrations.qlib._values import plain, shown, without_secrets
from aqrec.recording import _artifacts as artifacts

if TYPE_CHECKING:
    import datetime as dt
    import os
    from types import TracebackType

    from aqrec.recording._run import Run
    from aqrec.recording._workspace import ExperimentRef

__all__ = ["DEFAULT_RECORDER_NAME", "AqrecRecorder"]

DEFAULT_RECORDER_NAME = "mlflow_recorder"
"""Qlib's name for runs that were given none: old runs and new ones are found by the same name"""


class AqrecRecorder(Recorder):
    """A run, as Qlib's code sees it.

    Get one from `qlib.workflow.R` or an `AqrecExperiment`. Logging is complete when a call returns: in the buffer, with the
    time of the call, in order. What a call gets that cannot be recorded is refused there and then.

    It can be pickled at any time, without credentials; elsewhere it opens its store as the ``exp_manager`` of that process
    says.

    Attributes
    ----------
    async_log
        None: there is no queue to wait for.
    """

    async_log = None

    def __init__(self, experiment: ExperimentRef, name: str, run: Run | None = None) -> None:
        # Not the base's constructor: what it sets are properties here, which know what other processes did.
        self._uri = experiment.workspace.session.url
        self._experiment_name = experiment.name
        self._experiment_id = experiment.experiment_id
        self._experiment: ExperimentRef | None = experiment
        self._name = name
        self._id = run.run_id if run is not None else None
        self._run = run

    @classmethod
    def of(cls, run: Run, experiment: ExperimentRef) -> Self:
        """Return the recorder of a run."""
        return cls(experiment, run.doc.name, run)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_experiment": None, "_run": None, "_name": self.name}

    def __repr__(self) -> str:
        status = self._run.status if self._run is not None else None
        return (
            f"AqrecRecorder(id={self._id!r}, name={self.name!r}, experiment_id={self._experiment_id!r}, "
            f"status={status!r}, uri={self._uri!r})"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AqrecRecorder) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.face.__exit__(kind, error, trace)

    # -- what it is --------------------------------------------------------------------------------------------------

    @property
    def core(self) -> Run:
        """The run, as this process knows it. Raises `RecorderNotFoundError` before it is started."""
        if self._run is None:
            if self._id is None:
                raise RecorderNotFoundError(
                    f"recorder {self._name!r} was not started; call its start_run(), or R.start()"
                )
            workspace = stores_in_use().open(self._uri)
            self._run = workspace.session.call(workspace.find_run(self._id, None, None))
        return self._run

    @property
    def face(self) -> aqrec.sync.Recorder:
        """The run as `aqrec.sync` has it."""
        return aqrec.sync.Recorder(self.core)

    @property
    def id(self) -> str | None:
        """The run's id; None before it is started."""
        return self._id

    @property
    def name(self) -> str:
        """The run's name."""
        return self._run.doc.name if self._run is not None else self._name

    @property
    def experiment_id(self) -> str:
        """Id of the experiment that the run belongs to."""
        return self._experiment_id

    @property
    def status(self) -> str:
        """SCHEDULED, RUNNING, FINISHED or FAILED."""
        return self.core.status if self._id is not None else STATUS_S

    @property
    def start_time(self) -> str | None:
        """When the run first started: local time, whole seconds; or None."""
        return _local(self.face.start_time) if self._id is not None else None

    @property
    def end_time(self) -> str | None:
        """When the run ended: local time, whole seconds; or None."""
        return _local(self.face.end_time) if self._id is not None else None

    @property
    def uri(self) -> str:
        """URL of the store."""
        return self._uri

    @property
    def artifact_uri(self) -> str | None:
        """URL of the run's artifacts; None before it is started."""
        return self.face.artifact_uri if self._id is not None else None

    def get_artifact_uri(self) -> str:
        """Return the URL of the run's artifacts."""
        return self.face.artifact_uri

    def get_local_dir(self) -> str:
        """Return the run's folder, which holds ``artifacts``. Raises RuntimeError if it is on no local disk."""
        try:
            return str(Path(self.face.get_local_dir()).parent)
        except InvalidInputError as error:
            raise RuntimeError(str(error)) from error

    def set_recorder_name(self, rname: str) -> None:
        """Rename the run."""
        if self._id is not None:
            self.face.set_recorder_name(rname)
        self._name = rname

    # -- its life ----------------------------------------------------------------------------------------------------

    def start_run(self) -> Self:
        """Start the run, or resume it, and make it this thread's active one."""
        if self._id is None:
            experiment = self._experiment or stores_in_use().open(self._uri).experiment(self._experiment_name)
            workspace = experiment.workspace
            self._run = workspace.session.call(workspace.create_run(experiment, self._name, None, None))
            self._id = self._run.run_id
        self.face.start_run()
        return self

    def end_run(self, status: str = STATUS_FI) -> None:
        """End the run; waits until everything recorded is durable."""
        self.face.end_run(status)

    def _log_uncommitted_code(self) -> None:
        """Save what git says of the current folder now; that of the start is saved without being asked for."""
        found = provenance.collect(Path.cwd(), max_age=0).artifacts()
        code = {path: data for path, data in found.items() if path.startswith("code_")}
        self.core.session.call(artifacts.save_texts(self.core, code))

    # -- what is recorded --------------------------------------------------------------------------------------------

    def log_params(self, **kwargs: object) -> None:
        """Record params; what is neither text, number, list nor dict is recorded as its text.

        Raises `aqrec.errors.ParamConflictError` if one has another value already.
        """
        self.face.log_params(**plain("param", kwargs))

    def log_metrics(self, step: int | None = None, **kwargs: float) -> None:
        """Log one value for each key, with the time of the call."""
        room = self.core.log(step, kwargs)
        if room is not None:
            room.block()

    def set_tags(self, **kwargs: object) -> None:
        """Set tags, replacing older values; what is no plain value is recorded as its text."""
        self.face.set_tags(**plain("tag", kwargs))

    def delete_tags(self, *keys: str) -> None:
        """Delete tags; unknown keys are no error."""
        self.face.delete_tags(*keys)

    def save_objects(
        self,
        local_path: str | os.PathLike[str] | None = None,
        artifact_path: str | None = None,
        **kwargs: object,
    ) -> None:
        """Save objects as pickles under their names, or a file, or the content of a folder; waits until they are durable.

        Of a workflow's configuration, the credentials in ``qlib_init`` are left out.
        """
        objects = {name: without_secrets(value) for name, value in kwargs.items()}
        # Pickles under any name, as Qlib has it: what was saved comes back as the same object.
        saving = artifacts.save_objects(self.core, objects, artifact_path, local_path, codec="pickle")
        self.core.session.call(saving)

    def load_object(self, name: str, unpickler: type[pickle.Unpickler] = pickle.Unpickler) -> Any:
        """Load an artifact as an object, a fresh one each time; its checksum is verified.

        What pickles may do, the manager's `trust` says. Raises Qlib's LoadObjectError, whatever went wrong.
        """
        chosen = None if unpickler is pickle.Unpickler else unpickler
        try:
            return self.face.load_object(name, unpickler=chosen)
        except Exception as error:
            raise LoadObjectError(str(error)) from error

    def log_artifact(self, local_path: str | os.PathLike[str], artifact_path: str | None = None) -> None:
        """Copy a file, or a folder under its own name, below `artifact_path`; waits until it is durable."""
        self.face.log_artifact(local_path, artifact_path)

    def list_artifacts(self, artifact_path: str | None = None) -> list[str]:
        """Return the direct children of a folder (default: the root) as paths from the root, sorted."""
        return self.face.list_artifacts(artifact_path)

    def download_artifact(self, path: str, dst_path: str | os.PathLike[str] | None = None) -> str:
        """Copy an artifact, or a folder of them, below `dst_path` (default: a new temporary folder); return its place."""
        return self.face.download_artifact(path, dst_path)

    def list_metrics(self) -> dict[str, float]:
        """Return the latest value of each metric: that of the greatest step, then time."""
        return self.face.list_metrics()

    def list_params(self) -> dict[str, str]:
        """Return the params as texts, as Qlib's code expects them; `aqrec` has them typed."""
        return shown(self.face.list_params())

    def list_tags(self) -> dict[str, str]:
        """Return the tags as texts."""
        return shown(self.face.list_tags())


def _local(time: dt.datetime | None) -> str | None:
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S") if time is not None else None
