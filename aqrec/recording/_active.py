"""Which run is active: one stack a task (contextvars), so that tasks and threads leave each other alone.

Where a task or thread has started nothing itself, the only run of another thread, or of a task that is over,
is meant: worker threads inherit no context, and a notebook runs each cell that awaits as a task of its own.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from aqrec.errors import RecorderInitializationError
from aqrec.format._records import STATUS_FA
from aqrec.recording import _thread_ends
from aqrec.recording._provenance import begin_run
from aqrec.recording._run import end_status
from aqrec.recording._views import RecorderView, parent_id
from aqrec.recording._workspace import ExperimentRef, Workspace

if TYPE_CHECKING:
    from aqrec.recording._run import Run

__all__ = [
    "Active",
    "activate",
    "active",
    "active_experiment",
    "active_run",
    "active_run_of",
    "active_workspace",
    "begin",
    "deactivate",
    "find_active",
    "find_active_run_of",
    "mine",
    "parent_in",
    "to_end",
]


logger = logging.getLogger("aqrec")


class Active:
    """A run that was started and is not ended, where it was started."""

    __slots__ = ("_left", "_task", "experiment", "pid", "run", "thread")

    def __init__(self, experiment: ExperimentRef, run: Run) -> None:
        self.experiment = experiment
        self.run = run
        self.thread = threading.current_thread()
        self._task = _current_task()
        self.pid = os.getpid()
        self._left = False

    @property
    def closed(self) -> bool:
        """Whether the run was ended, or its store closed."""
        return self._left or self.run.session.closed

    @property
    def orphaned(self) -> bool:
        """Whether the task that started the run is over."""
        task = self._task() if self._task is not None else None
        return self._task is not None and (task is None or task.done())

    def leave(self) -> None:
        """Tasks that inherited the entry see that it is gone."""
        self._left = True


_stack: ContextVar[tuple[Active, ...]] = ContextVar("aqrec_active", default=())
_everywhere: dict[Active, None] = {}


def activate(experiment: ExperimentRef, run: Run) -> Active:
    """Put a run on top of this task's stack."""
    entry = Active(experiment, run)
    if entry.thread is not threading.main_thread():  # whose exceptions are seen when the interpreter exits
        _thread_ends.watch(_end_all_of_this_thread)
    _everywhere[entry] = None
    _stack.set((*(other for other in _stack.get() if not other.closed), entry))
    return entry


def begin(run: Run) -> None:
    """Set a run RUNNING and put it on top of this task's stack."""
    begin_run(run)
    activate(ExperimentRef(Workspace(run.session), run.doc.experiment_id, run.doc.experiment_name), run)


def deactivate(run: Run) -> bool:
    """Take a run off every stack; False if it was on none."""
    found = [entry for entry in list(_everywhere) if entry.closed or entry.run is run]
    for entry in found:
        _everywhere.pop(entry, None)
    living = [entry for entry in found if not entry.closed]
    for entry in living:
        entry.leave()
    _stack.set(tuple(entry for entry in _stack.get() if not entry.closed))
    return bool(living)


def _end_all_of_this_thread(error: BaseException) -> None:
    """End what was started here and left open by a thread that dies of `error`, as leaving its block would."""
    here, (status, reason) = threading.current_thread(), end_status(error)
    if status != STATUS_FA:
        return  # it has left by sys.exit(): open runs wait for the interpreter's exit
    for entry in _living(None):
        if entry.thread is here:
            deactivate(entry.run)
            try:
                entry.run.session.call(entry.run.end(status, f"uncaught {reason}"), shield=True)
            except Exception:  # the thread's own exception was shown
                logger.exception("aqrec: run %s of a thread that died could not be ended", entry.run.run_id)


def mine(workspace: Workspace | None = None) -> Active | None:
    """Return the innermost run that this task started or inherited, of one workspace if given, or None."""
    for entry in reversed(_stack.get()):
        if not entry.closed and _fits(entry, workspace):
            return entry
    return None


def to_end(workspace: Workspace | None = None) -> Active | None:
    """Return the run that this task may end: its own, or the only one that a task left behind in this thread."""
    found = mine(workspace)
    if found is not None:
        return found
    here = threading.current_thread()
    left = [entry for entry in _living(workspace) if entry.thread is here and entry.orphaned]
    return left[0] if len(left) == 1 else None


def active(workspace: Workspace | None = None) -> Active | None:
    """Return the innermost active run of this task, of one workspace if given, or None.

    Raises `RecorderInitializationError` where it started nothing itself and several others are active.
    """
    found = _candidates(workspace)
    if len(found) > 1:
        names = ", ".join(entry.run.run_id for entry in found[:3])
        raise RecorderInitializationError(
            f"nothing was started here, and {len(found)} recorders are active elsewhere ({names}); "
            "use the Recorder object itself, or run the thread in contextvars.copy_context()"
        )
    return found[0] if found else None


def find_active() -> Active | None:
    """Return the active run, or None if there is none or it is not clear which."""
    found = _candidates(None)
    return found[0] if len(found) == 1 else None


def active_run(workspace: Workspace | None = None) -> Run:
    """Return the active run or raise `RecorderInitializationError`."""
    entry = active(workspace)
    return _needed(entry.run if entry else None, workspace.session.url if workspace else "this task")


def active_run_of(experiment: ExperimentRef) -> Run:
    """Return the experiment's active run or raise `RecorderInitializationError`."""
    return _needed(find_active_run_of(experiment), f"experiment {experiment.name!r}")


def find_active_run_of(experiment: ExperimentRef) -> Run | None:
    """Return the experiment's active run, or None if there is none or it is not clear which."""
    found = [entry for entry in _candidates(experiment.workspace) if entry.experiment == experiment]
    return found[0].run if len(found) == 1 else None


def active_workspace() -> Workspace | None:
    """Return the store of the active run, also where the store is clear and the run is not, or None."""
    found = {entry.run.session.url: entry.experiment.workspace for entry in _candidates(None)}
    return found.popitem()[1] if len(found) == 1 else None


def active_experiment(
    workspace: Workspace, experiment_id: str | None = None, name: str | None = None
) -> ExperimentRef | None:
    """Return the active run's experiment, or None where there is none or another one is named."""
    if experiment_id is not None or name is not None:
        return None
    found = {entry.experiment for entry in _candidates(workspace)}
    if len(found) == 1:
        return found.pop()
    entry = active(workspace)
    return entry.experiment if entry is not None else None


def parent_in(workspace: Workspace, parent: RecorderView | str | None) -> str | None:
    """Return the id of the parent given, or of the run that is active here already."""
    entry = mine(workspace) if parent is None else None
    return entry.run.run_id if entry is not None else parent_id(parent)


def _candidates(workspace: Workspace | None) -> list[Active]:
    """Return this task's innermost run, or, where it has none, those of other threads and of tasks that are over."""
    found = mine(workspace)
    if found is not None:
        return [found]
    here = threading.current_thread()
    return [entry for entry in _living(workspace) if entry.thread is not here or entry.orphaned]


def _living(workspace: Workspace | None) -> list[Active]:
    process = os.getpid()
    return [
        entry
        for entry in list(_everywhere)
        if entry.pid == process and not entry.closed and _fits(entry, workspace)
    ]


def _current_task() -> weakref.ref[asyncio.Task[Any]] | None:
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return None
    return weakref.ref(task) if task is not None else None


def _needed(run: Run | None, where: str) -> Run:
    if run is None:
        raise RecorderInitializationError(
            f"no recorder is active in {where}; start one with R.start(), or get one by its id"
        )
    return run


def _fits(entry: Active, workspace: Workspace | None) -> bool:
    return workspace is None or entry.run.session.url == workspace.session.url
