"""`ExperimentManager`: the experiments of one store, async."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from aqrec.options import Mode, Options
from aqrec.recording import _active
from aqrec.recording._calls import ExperimentCalls, start_exp
from aqrec.recording._experiment import Experiment
from aqrec.recording._run import end_status
from aqrec.recording._session import Session
from aqrec.recording._upkeep_calls import UpkeepCalls
from aqrec.recording._workspace import Workspace
from aqrec.stores import redact_url
from aqrec.stores._urls import url_text
from aqrec.upkeep import Compaction

if TYPE_CHECKING:
    from types import TracebackType

    from aqrec.recording._recorder import Recorder

__all__ = ["ExperimentManager", "OpenRecorder", "open_recorder"]


class ExperimentManager(ExperimentCalls, UpkeepCalls):
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
    mode
        ``offline``: record to this machine's spool alone, for `sync_spool`; default: as `options` say.

    Used as ``async with``: leaving ends the recorders that are still active, waits until everything is
    stored, bounded by ``Options.close_timeout``, and closes what was opened.
    """

    def __init__(
        self,
        uri: str,
        *,
        default_exp_name: str = "Experiment",
        options: Options | None = None,
        storage_options: dict[str, Any] | None = None,
        mode: Mode | None = None,
    ) -> None:
        chosen = (options or Options()).with_mode(mode)
        session = Session(url_text(uri), chosen, storage_options, default_exp_name)
        self._of_store = Workspace(session)

    def __repr__(self) -> str:
        return f"ExperimentManager({redact_url(self.uri)!r})"

    @property
    def _workspace(self) -> Workspace:
        return self._of_store

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

    async def __aenter__(self) -> Self:
        try:
            await self._call(self._workspace.session.check())
        except BaseException:
            await self._workspace.session.ashut(insist=True)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._workspace.session.ashut(*end_status(error), insist=True)

    async def aclose(self) -> None:
        """End the recorders that are still active, wait until everything is stored, close what was opened.

        Takes ``Options.close_timeout`` seconds at most. Cancelling stops the wait, not the closing.
        """
        await self._workspace.session.ashut()

    async def compact(self, *, grace: float = 600.0, own_histories: bool = False) -> Compaction:
        """Fold the catalog completely, and merge small histories: searches read few objects then, however many runs there are.

        Small files of sealed histories of many runs (``seal="bulk"``) become larger ones, of one experiment each. Files that were merged go in a
        later call, when the grace period is over.

        That happens by itself in small steps (`Options.upkeep`); call this after a large import, or where the store does not
        honour create-if-absent, and then by one process at a time. Reading and recording go on meanwhile.

        Parameters
        ----------
        grace
            Seconds before objects that are superseded are deleted, for those who are reading them.
        own_histories
            Also take small histories of ended runs out of the runs' own folders, so that a store of many short runs has few files. A run's
            folder is not complete by itself any more then. Large files with points of purged runs are written again without these, too.

        Returns
        -------
        Compaction
            Numbers: ``folded`` event logs, ``deleted`` objects, the ``snapshots`` with their ``rows`` that there are now, and how many files of
            histories were ``merged`` into how many that were ``written``, with those of how many ``runs``.

        Waits for the store. Cancelling leaves the catalog as good as it was. Raises `ConflictError` if others were faster again
        and again, or a later version of aqrec has written what this one would lose.
        """
        return await self._call(self._workspace.session.compact(grace, own_histories=own_histories))

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
            Go on with the recorder of the id, or the latest of the name; unknown ones are new. A deleted id is refused:
            restore it first.
        parent
            Recorder that the new one belongs to, or its id; default: the one that is active already, if it is in this
            store. An id is not looked up, since the parent may be recorded elsewhere and arrive later.

        Waits for the store to answer. Raises `ExperimentNotFoundError` for an unknown `experiment_id`, `InvalidInputError`
        before anything is written for what cannot be meant.
        """
        return await start_exp(
            self._workspace,
            experiment_id=experiment_id,
            experiment_name=experiment_name,
            recorder_id=recorder_id,
            recorder_name=recorder_name,
            resume=resume,
            parent=parent,
        )


class OpenRecorder:
    """What `open_recorder` returns; enter it with ``async with``."""

    def __init__(self, manager: ExperimentManager, start: dict[str, Any]) -> None:
        self._manager = manager
        self._start = start
        self._recorder: Recorder | None = None

    async def __aenter__(self) -> Recorder:
        try:
            await self._manager.__aenter__()
            experiment = await self._manager.start_exp(**self._start)
            self._recorder = await experiment.get_recorder()
            return self._recorder
        except BaseException as error:
            await self._manager.__aexit__(type(error), error, error.__traceback__)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._recorder is not None:
                await self._recorder.__aexit__(kind, error, trace)
        finally:
            await self._manager.__aexit__(kind, error, trace)


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
    mode: Mode | None = None,
) -> OpenRecorder:
    """Open a store and record one run in it: the short way.

    ``async with open_recorder("./lab", experiment="alpha", name="lgb") as recorder:`` starts the run, ends it
    FINISHED or FAILED, waits until all of it is stored, and closes the store.

    Parameters
    ----------
    uri
        The store.
    experiment, name, recorder_id, resume, parent
        As in `ExperimentManager.start_exp`.
    options, storage_options, mode
        As in `ExperimentManager`.
    """
    manager = ExperimentManager(uri, options=options, storage_options=storage_options, mode=mode)
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
