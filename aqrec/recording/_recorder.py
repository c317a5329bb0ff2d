"""`Recorder`: one run, async."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from aqrec.engine import DONE, Statistics
from aqrec.format._records import STATUS_FI
from aqrec.recording import _active
from aqrec.recording import _artifacts as artifacts
from aqrec.recording import _files as files
from aqrec.recording._histories import HistoryForm, Part, histories, history
from aqrec.recording._run import Point, check_status, end_status, refuse_deleted
from aqrec.recording._starting import Starting
from aqrec.recording._views import RecorderView

if TYPE_CHECKING:
    import datetime as dt
    import os
    from collections.abc import Awaitable, Coroutine, Iterable, Mapping
    from types import TracebackType

    import pandas as pd

    from aqrec.artifacts import TrustPolicy
    from aqrec.artifacts._trust import TrustMode
    from aqrec.recording._progress import Progress

__all__ = ["Recorder"]

T = TypeVar("T")


class Recorder(RecorderView):
    """One run of an experiment.

    Get one from `open_recorder`, `Experiment.create_recorder` or `ExperimentManager.get_recorder`. Used as
    ``async with recorder:`` it starts on entry, and on leaving, unless it was ended inside, ends FINISHED, or
    FAILED if an exception (also a cancellation, Ctrl-C, or ``sys.exit`` with a code) passes through.

    Every method can be awaited. ``log_metrics``, ``log_params``, ``log_batch``, ``set_tags`` and
    ``delete_tags`` are complete when called: they append to a bounded buffer and return a finished awaitable,
    so they work without ``await``, too. Awaiting them waits for room when the buffer is full (see
    `BufferOptions`).
    """

    async def __aenter__(self) -> Self:
        refuse_deleted(self._run.doc)
        starting = Starting(self._run.session)
        try:
            await self._start(starting)
            return self
        except BaseException as error:
            await starting.agive_up(error)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if _active.deactivate(self._run) and not self._run.ended_by_exit:
            await self._run.session.finish(self._run.end(*end_status(error)))

    async def start_run(self) -> Self:
        """Set the run RUNNING and make it this task's active one.

        Waits for the store to answer once. Raises `StorageError` if it cannot be reached or used, `InvalidInputError` for a
        deleted run.
        """
        return await self.__aenter__()

    async def _start(self, starting: Starting) -> None:
        session = self._run.session
        if not session.prepared:
            await self._call(session.prepare())
        starting.run = self._run
        _active.begin(self._run)

    async def end_run(self, status: str = STATUS_FI) -> None:
        """End the run with `status`.

        Waits until everything recorded is durable and sealed. Cancelling stops the wait, not the end. Storage
        failures are logged and counted; with ``Options.strict`` they raise `StorageError`. Raises `InvalidValueError`
        for an unknown `status`; the run goes on then.
        """
        check_status(status)
        _active.deactivate(self._run)
        await self._call(self._run.end(status), shield=True)

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
        `ParamConflictError` if a key has another value already, `InvalidInputError` for what cannot be
        stored.
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
            Of the mapping's metrics, refused beside tuples; `timestamp` in ms since epoch, default: now.
        """
        if type(metrics) is dict and params is None and tags is None and timestamp is None:
            return self._log(step, metrics) or DONE  # the loop that has its metrics in a dict
        return self._run.log_batch(metrics, params, tags, step, timestamp) or DONE

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

    @overload
    async def save_objects(
        self,
        local_path: str | os.PathLike[str],
        artifact_path: str | None = None,
        *,
        progress: Progress = False,
    ) -> None: ...

    @overload
    async def save_objects(
        self, local_path: None = None, artifact_path: str | None = None, **objects: Any
    ) -> None: ...

    # Names in a dict: a type checker cannot tell them from the other parameters.
    @overload
    async def save_objects(self, **objects: Any) -> None: ...

    async def save_objects(
        self,
        local_path: str | os.PathLike[str] | None = None,
        artifact_path: str | None = None,
        **objects: object,
    ) -> None:
        """Save objects as artifacts ``artifact_path/name``, replacing older ones of the same name.

        The name's ending chooses the form: ``.pkl`` (or none) pickle, ``.parquet``, ``.npy``/``.npz``,
        ``.json``, ``.yaml``, ``.txt``, ``.png``/``.html`` for figures, anything else bytes. Or `local_path`:
        a file, or a folder whose content is copied; with it, `progress` is as in `log_artifact`. An object that is
        called like a parameter needs an ending: ``progress.pkl``.

        Waits until the bytes and the reference to them are durable. Cancelling leaves each artifact whole or
        absent. Raises `InvalidInputError` (nothing was written) or `StorageError`.
        """
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
            Which pickles may run: ``"restricted"`` (plain data, the default for what another process wrote),
            ``"trusted"``, ``"never"``, or a `TrustPolicy`.
        unpickler
            A subclass of ``pickle.Unpickler`` to use instead.

        Raises
        ------
        LoadObjectError
            If there is no such artifact, it is damaged, or it cannot become an object.
        UntrustedObjectError
            If the trust policy forbids it; the message says how to allow it.
        """
        return await self._call(artifacts.load_object(self._run, name, trust, unpickler))

    async def log_artifact(
        self,
        local_path: str | os.PathLike[str],
        artifact_path: str | None = None,
        *,
        progress: Progress = False,
    ) -> None:
        """Copy a file, or a folder under its own name, below `artifact_path`.

        Waits until all of it is durable; up to ``Options.transfers`` files are copied at once. Cancelling, or
        the first failure, leaves each file whole or absent and nothing under way. An artifact above
        ``Options.shard_bytes`` is stored in parts; called again after an interruption, those that are stored
        are not sent again.

        Parameters
        ----------
        local_path, artifact_path
            What to copy, and the folder of the run that it goes to (default: the root).
        progress
            True: show a bar of bytes and files on standard error, if that is a terminal. Or a function, called
            in worker threads as ``progress(done_bytes, total_bytes)``, one call at a time, at most every
            0.05 s, with all bytes done at the end; what it raises ends the transfer.

        Raises
        ------
        ObjectNotFoundError
            There is no such file or folder.
        InvalidInputError
            The folder has no file in it: a run's artifacts are files, and empty folders are not kept.
        ConflictError
            A large file changed while it was read.
        StorageError, OSError
            The store failed, or a file cannot be read; the message names it.
        """
        await self._call(files.log_files(self._run, local_path, artifact_path, progress))

    async def list_artifacts(self, artifact_path: str | None = None) -> list[str]:
        """Return the direct children of a folder (default: the root) as paths from the root, sorted."""
        return await self._call(artifacts.list_artifacts(self._run, artifact_path))

    async def download_artifact(
        self,
        path: str,
        dst_path: str | os.PathLike[str] | None = None,
        *,
        progress: Progress = False,
        resume: bool = False,
    ) -> str:
        """Copy an artifact, or a folder of them, below `dst_path`, as it was saved; return its place.

        Up to ``Options.transfers`` files at once, and parts of large ones in parallel; checksums are verified.
        Cancelling, or the first failure, leaves each file whole or as it was and nothing under way.

        Parameters
        ----------
        path
            Artifact or folder, from the run's root; empty for all.
        dst_path
            Folder below which it goes, under its full path; default: a new temporary folder.
        progress
            As in `log_artifact`.
        resume
            Keep files that are there already and have the recorded size and checksum; artifacts that were saved
            compressed have one of their stored bytes only, and are fetched again. Otherwise, files that are there
            are replaced without being looked at.

        Raises
        ------
        ObjectNotFoundError
            There is no such artifact or folder.
        LoadObjectError
            An artifact is damaged.
        StorageError, OSError
            The store failed, or a file cannot be written; the message names it.
        """
        return await self._call(files.download_artifact(self._run, path, dst_path, progress, resume=resume))

    async def get_local_dir(self) -> str:
        """Return the folder of the run's artifacts as stored. Raises `InvalidInputError` if it is on no local disk."""
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

    async def metric_history(
        self,
        key: str,
        *,
        after_step: int | None = None,
        after_time: dt.datetime | int | None = None,
        max_points: int | None = None,
    ) -> pd.DataFrame:
        """Return the points of a metric, of a running or ended run, as known here and in the store now.

        Parameters
        ----------
        key
            The metric.
        after_step, after_time
            Only points with a greater step, or logged later (a datetime with time zone, or ms since epoch): what is new since
            the last look. Those without a step come after none. Parts of sealed histories that have none are not read.
        max_points
            At most so many, 4 or more: the first, the last, and the least and greatest of equal stretches between them.

        Returns
        -------
        DataFrame
            ``step`` (Int64, <NA> when logged without one), ``timestamp`` (datetime64[ms, UTC], time of the
            call), ``value`` (float64); ordered by step, then timestamp, then the order of logging. Empty for
            an unknown key.
        """
        part = Part(after_step=after_step, after_time=after_time, max_points=max_points)
        return await self._call(history(self._run, key, part))

    async def metric_histories(
        self,
        keys: list[str] | None = None,
        *,
        form: HistoryForm = "long",
        after_step: int | None = None,
        after_time: dt.datetime | int | None = None,
        max_points: int | None = None,
    ) -> pd.DataFrame:
        """Return the points of several metrics (None: all) as one table; see `ExperimentManager.metric_histories`."""
        part = Part(after_step=after_step, after_time=after_time, max_points=max_points)
        return await self._call(histories(self._run.session, [self.id], keys, form, part))

    async def refresh(self) -> Self:
        """Read the run's state from the store: other processes may have ended or renamed it."""
        await self._call(self._run.document())
        return self

    async def flush(self) -> None:
        """Wait until everything logged before the call is durable.

        Raises `FlushTimeoutError` after ``Options.flush_timeout`` seconds; nothing is given up. Cancelling
        stops the wait only.
        """
        await self._call(self._run.flush())

    async def statistics(self) -> Statistics:
        """Return the counters of this process's writer in the store."""
        return self._run.engine.statistics()

    async def _call(self, work: Coroutine[Any, Any, T], *, shield: bool = False) -> T:
        return await self._run.session.run(work, shield=shield)
