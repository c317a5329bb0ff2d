"""Which run is active: one stack a task (contextvars), so concurrent tasks and threads never disturb each other."""

from __future__ import annotations

import os
import threading
from contextvars import ContextVar

from aqrec.errors import RecorderInitializationError
from aqrec.recording._run import Run
from aqrec.recording._workspace import ExperimentRef, Workspace

__all__ = ["Active", "activate", "active", "deactivate"]


class Active:
    """A run that was started and is not ended, where it was started."""

    __slots__ = ("closed", "experiment", "pid", "run", "thread")

    def __init__(self, experiment: ExperimentRef, run: Run) -> None:
        self.experiment = experiment
        self.run = run
        self.thread = threading.get_ident()
        self.pid = os.getpid()
        self.closed = False


_stack: ContextVar[tuple[Active, ...]] = ContextVar("aqrec_active", default=())
_everywhere: dict[Active, None] = {}


def activate(experiment: ExperimentRef, run: Run) -> Active:
    """Put a run on top of this task's stack."""
    entry = Active(experiment, run)
    _everywhere[entry] = None
    _stack.set((*(other for other in _stack.get() if not other.closed), entry))
    return entry


def deactivate(entry: Active) -> None:
    """Take a run off; tasks that inherited it see that it is gone."""
    entry.closed = True
    _everywhere.pop(entry, None)
    _stack.set(tuple(other for other in _stack.get() if not other.closed))


def active(workspace: Workspace | None = None) -> Active | None:
    """Return the innermost active run of this task, of one workspace if given, or None.

    A plain thread inherits no context; if it has started nothing itself, and one run is active in the process, that one is meant.
    """
    mine = [entry for entry in _stack.get() if not entry.closed and _fits(entry, workspace)]
    if mine:
        return mine[-1]
    here = threading.get_ident()
    others = [
        entry
        for entry in list(_everywhere)
        if entry.thread != here and entry.pid == os.getpid() and _fits(entry, workspace)
    ]
    if len(others) > 1:
        raise RecorderInitializationError(
            f"this thread has started no recorder and {len(others)} are active in others "
            f"({', '.join(entry.run.run_id for entry in others[:3])}); use the Recorder object itself, or run the "
            "thread in contextvars.copy_context()"
        )
    return others[0] if others else None


def _fits(entry: Active, workspace: Workspace | None) -> bool:
    return workspace is None or entry.experiment.workspace.session is workspace.session
