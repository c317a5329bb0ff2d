"""`Recorder`: one run, async."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Awaitable, Coroutine, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from aqrec.engine import DONE, Statistics
from aqrec.format._records import STATUS_FA, STATUS_FI, STATUS_R, STATUS_S
from aqrec.recording import _active
from aqrec.recording._run import Run, end_status
from aqrec.recording._workspace import ExperimentRef, Workspace

if TYPE_CHECKING:
    import pandas as pd

    from aqrec.artifacts import TrustPolicy
    from aqrec.artifacts._trust import TrustMode

T = TypeVar("T")

__all__ = ["Point", "Recorder", "log_points", "recorder_info", "utc"]

Point = tuple[str, float, int | None, int | None]
"""(key, value, step or None, timestamp in ms since epoch or None for now)"""


def utc(milliseconds: int | None) -> dt.datetime | None:
    """Return a time as an aware datetime."""
    return None if milliseconds is None else dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC)


def recorder_info(run: Run) -> dict[str, Any]:
    """Return what `Recorder.info` shows."""
    doc = run.doc
    return {
        "class": "Recorder",
        "id": run.run_id,
        "name": doc.name,
        "experiment_id": doc.experiment_id,
        "start_time": utc(doc.start_time),
        "end_time": utc(doc.end_time),
        "status": doc.status,
    }


def log_points(
    run: Run,
    metrics: Mapping[str, float] | Iterable[Point],
    step: int | None,
    timestamp: int | None,
) -> Any:
    """Log the metrics of a batch; return what to wait for, or None."""
    if isinstance(metrics, Mapping):
        given = dict(metrics)
        return run.log(step, given) if timestamp is None else run.log_at(step, timestamp, given)
    room = None
    for key, value, at, stamp in list(metrics):
        point = {key: value}
        room = (run.log(at, point) if stamp is None else run.log_at(at, stamp, point)) or room
    return room


class Recorder:
    """One run of an experiment.

    Get one from `open_recorder`, `Experiment.create_recorder` or `ExperimentManager.get_recorder`. Used as ``async with recorder:`` it
    starts on entry, and on leaving ends FINISHED, or FAILED if an exception (also a cancellation, Ctrl-C, or ``sys.exit`` with
    a code) passes through.

    Every method can be awaited. ``log_metrics``, ``log_params``, ``log_batch``, ``set_tags`` and ``delete_tags`` are complete
    when called: they append to a bounded buffer and return a finished awaitable, so they work without ``await``, too. Awaiting
    them waits for room when the buffer is full (see `BufferOptions`).
    """

    STATUS_S: ClassVar[str] = STATUS_S
    STATUS_R: ClassVar[str] = STATUS_R
    STATUS_FI: ClassVar[str] = STATUS_FI
    STATUS_FA: ClassVar[str] = STATUS_FA

    def __init__(self, run: Run) -> None:
        self._run = run
        self._log = run.log
        self._entry: _active.Active | None = None

    def __repr__(self) -> str:
        return f"Recorder(id={self.id!r}, name={self.name!r}, experiment_id={self.experiment_id!r}, status={self.status!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recorder) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def id(self) -> str:
        """The run's id."""
        return self._run.run_id

    @property
    def name(self) -> str:
        """The run's name, which need not be unique."""
        return self._run.doc.name

    @property
    def experiment_id(self) -> str:
        """Id of the experiment that the run belongs to."""
        return self._run.doc.experiment_id

    @property
    def status(self) -> str:
        """SCHEDULED, RUNNING, FINISHED or FAILED, as far as this process knows; `refresh` asks the store."""
        return self._run.status

    @property
    def start_time(self) -> dt.datetime | None:
        """When the run first started (UTC), or None."""
        return utc(self._run.doc.start_time)

    @property
    def end_time(self) -> dt.datetime | None:
        """When the run ended (UTC), or None."""
        return utc(self._run.doc.end_time)

    @property
    def parent(self) -> str | None:
        """Id of the parent run, or None."""
        return self._run.doc.parent

    @property
    def uri(self) -> str:
        """URL of the store."""
        return self._run.session.url

    @property
    def artifact_uri(self) -> str:
        """URL of the run's artifacts."""
        return Workspace(self._run.session, "-").artifact_uri(self.id)

    @property
    def info(self) -> dict[str, Any]:
        """Class, id, name, experiment_id, start_time, end_time and status."""
        return recorder_info(self._run)

    async def __aenter__(self) -> Recorder:
        await self.start_run()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        status, reason = end_status(error)
        await self._end(status, reason)

    async def start_run(self) -> Recorder:
        """Set the run RUNNING and make it this task's active one.

        Waits for the store to answer once. Raises `StorageError` if it cannot be reached or used.
        """
        session = self._run.session
        await session.runtime.run(session.prepare())
        self._run.begin()
        doc = self._run.doc
        experiment = ExperimentRef(Workspace(session, "-"), doc.experiment_id, doc.experiment_name)
        self._entry = _active.activate(experiment, self._run)
        return self

    async def end_run(self, status: str = STATUS_FI) -> None:
        """End the run with `status`.

        Waits until everything recorded is durable and sealed. Cancelling stops the wait, not the end. Storage failures
        are logged and counted; with ``Options.strict`` they raise `StorageError`.
        """
        await self._end(status, "")

    async def _end(self, status: str, reason: str) -> None:
        if self._entry is not None:
            _active.deactivate(self._entry)
            self._entry = None
        await self._run.session.runtime.run(self._run.end(status, reason), shield=True)

    def log_metrics(self, /, step: int | None = None, **metrics: float) -> Awaitable[None]:
        """Log one value for each key.

        Parameters
        ----------
        step
            Whole number (64 bits) that orders the history; may repeat, go back or be left out.
        **metrics
            Numbers (numpy scalars and 0-d tensors too), stored as float64; NaN and infinities are kept.

        Raises
        ------
        InvalidInputError
            If a key or value is not legal; nothing of the call is recorded.
        BufferFullError
            If the buffer is full and its overflow policy is ``error``.
        """
        return self._log(step, metrics) or DONE

    def log_params(self, /, **params: object) -> Awaitable[None]:
        """Record params: what the run was configured with. The first value of a key stays.

        Text, numbers, booleans, None, lists and dicts keep their type and may be of any length. Raises
        `ParamConflictError` if a key has another value already, `InvalidInputError` for what cannot be stored.
        """
        self._run.log_params(params)
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
        """Log metrics, params and tags together; keys may be any text.

        Parameters
        ----------
        metrics
            Mapping of key to number, all of `step` and `timestamp`; or tuples (key, value, step, timestamp).
        params, tags
            As in `log_params` and `set_tags`.
        step, timestamp
            Of the mapping's metrics; `timestamp` in ms since epoch, default: now.
        """
        self._run.check_batch(params, tags)
        room = log_points(self._run, metrics, step, timestamp)
        self._run.log_params(params or {})
        self._run.set_tags(tags or {})
        return room or DONE

    def set_tags(self, /, **tags: object) -> Awaitable[None]:
        """Set tags, replacing older values; the latest writer of a key wins."""
        self._run.set_tags(tags)
        return DONE

    def delete_tags(self, *keys: str) -> Awaitable[None]:
        """Delete tags; unknown keys are no error."""
        self._run.delete_tags(keys)
        return DONE

    def set_recorder_name(self, name: str) -> Awaitable[None]:
        """Rename the run."""
        self._run.rename(name)
        return DONE

    async def save_objects(
        self,
        local_path: str | os.PathLike[str] | None = None,
        artifact_path: str | None = None,
        **objects: object,
    ) -> None:
        """Save objects as artifacts ``artifact_path/name``, replacing older ones of the same name.

        The name's ending chooses the form: ``.pkl`` (or none) pickle, ``.parquet``, ``.npy``/``.npz``, ``.json``,
        ``.yaml``, ``.txt``, ``.png``/``.html`` for figures, anything else bytes. Or `local_path`: a file, or a folder whose
        content is copied.

        Waits until the bytes and the reference to them are durable. Cancelling leaves each artifact whole or absent.
        Raises `InvalidInputError` (nothing was written) or `StorageError`.
        """
        from aqrec.recording import _artifacts as artifacts  # noqa: PLC0415 - keeps the import of aqrec light

        await self._prepared()
        await self._call(artifacts.save_objects(self._run, objects, artifact_path, local_path))

    async def load_object(
        self, name: str, *, trust: TrustPolicy | TrustMode | None = None, unpickler: type[Any] | None = None
    ) -> Any:
        """Load an artifact as an object, a fresh one each time; its checksum is verified.

        Parameters
        ----------
        name
            Path from the run's root.
        trust
            Which pickles may run: ``"restricted"`` (plain data, the default for what another process wrote), ``"trusted"``,
            ``"never"``, or a `TrustPolicy`.
        unpickler
            A subclass of ``pickle.Unpickler`` to use instead.

        Raises
        ------
        LoadObjectError
            If there is no such artifact, it is damaged, or it cannot become an object.
        UntrustedObjectError
            If the trust policy forbids it; the message says how to allow it.
        """
        from aqrec.recording import _artifacts as artifacts  # noqa: PLC0415

        return await self._call(artifacts.load_object(self._run, name, as_policy(self._run, trust), unpickler))

    async def log_artifact(self, local_path: str | os.PathLike[str], artifact_path: str | None = None) -> None:
        """Copy a file, or a folder under its own name, below `artifact_path`.

        Waits until all of it is durable. Cancelling leaves each file whole or absent.
        """
        from aqrec.recording import _artifacts as artifacts  # noqa: PLC0415

        await self._prepared()
        await self._call(artifacts.log_artifact(self._run, local_path, artifact_path))

    async def list_artifacts(self, artifact_path: str | None = None) -> list[str]:
        """Return the direct children of a folder (default: the root) as paths from the root, sorted."""
        from aqrec.recording import _artifacts as artifacts  # noqa: PLC0415

        return await self._call(artifacts.list_artifacts(self._run, artifact_path))

    async def download_artifact(self, path: str, dst_path: str | os.PathLike[str] | None = None) -> str:
        """Copy an artifact, or a folder of them, below `dst_path` (default: a new temporary folder); return its place.

        Checksums are verified. Cancelling leaves no part of a file behind.
        """
        from aqrec.recording import _artifacts as artifacts  # noqa: PLC0415

        return await self._call(artifacts.download_artifact(self._run, path, dst_path))

    async def get_local_dir(self) -> str:
        """Return the folder of the run's artifacts on this machine, or raise `InvalidInputError` for a remote store."""
        from aqrec.recording import _artifacts as artifacts  # noqa: PLC0415

        return artifacts.local_dir(self._run)

    async def get_artifact_uri(self) -> str:
        """Return the URL of the run's artifacts."""
        return self.artifact_uri

    async def list_params(self) -> dict[str, Any]:
        """Return the params with their types."""
        return await self._call(self._run.list_params())

    async def list_metrics(self) -> dict[str, float]:
        """Return the latest value of each metric: that of the greatest step, then time."""
        return await self._call(self._run.list_metrics())

    async def list_tags(self) -> dict[str, Any]:
        """Return the tags."""
        return await self._call(self._run.list_tags())

    async def metric_history(self, key: str) -> pd.DataFrame:
        """Return all points of a metric, of a running or ended run, as this process and the store know them now.

        Returns
        -------
        DataFrame
            ``step`` (Int64, <NA> when logged without one), ``timestamp`` (datetime64[ms, UTC], time of the call), ``value`` (float64);
            ordered by step, then timestamp, then the order of logging. Empty for an unknown key.
        """
        return await self._call(self._run.metric_history(key))

    async def refresh(self) -> Recorder:
        """Read the run's state from the store: other processes may have ended or renamed it."""
        await self._call(self._run.document())
        return self

    async def flush(self) -> None:
        """Wait until everything logged before the call is durable.

        Raises `FlushTimeoutError` after ``Options.flush_timeout`` seconds; nothing is given up. Cancelling stops the wait only.
        """
        await self._call(self._run.flush())

    async def statistics(self) -> Statistics:
        """Return the counters of this process's writer in the store."""
        return self._run.engine.statistics()

    async def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return await self._run.session.runtime.run(work)

    async def _prepared(self) -> None:
        await self._call(self._run.session.prepare())


def as_policy(run: Run, trust: TrustPolicy | TrustMode | None) -> TrustPolicy | None:
    """Return the policy that a caller named."""
    if trust is None or not isinstance(trust, str):
        return trust
    from aqrec.artifacts import default_trust  # noqa: PLC0415 - keeps the import of aqrec light

    return default_trust(trust, run.session.options.allow)
