"""Which run is active: one stack a task (contextvars), so concurrent tasks and threads never disturb each other."""

from __future__ import annotations

import os
import threading
from contextvars import ContextVar

from aqrec.errors import RecorderInitializationError
from aqrec.recording._run import Run
from aqrec.recording._workspace import ExperimentRef, Workspace

__all__ = ["Active", "activate", "active", "active_experiment", "active_workspace", "deactivate", "mine"]


class Active:
    """A run that was started and is not ended, where it was started."""

    __slots__ = ("_left", "experiment", "pid", "run", "thread")

    def __init__(self, experiment: ExperimentRef, run: Run) -> None:
        self.experiment = experiment
        self.run = run
        self.thread = threading.get_ident()
        self.pid = os.getpid()
        self._left = False

    @property
    def closed(self) -> bool:
        """Whether the run was ended, or its store closed."""
        return self._left or self.run.session.closed

    def leave(self) -> None:
        """Tasks that inherited the entry see that it is gone."""
        self._left = True


_stack: ContextVar[tuple[Active, ...]] = ContextVar("aqrec_active", default=())
_everywhere: dict[Active, None] = {}


def activate(experiment: ExperimentRef, run: Run) -> Active:
    """Put a run on top of this task's stack."""
    entry = Active(experiment, run)
    _everywhere[entry] = None
    _stack.set((*(other for other in _stack.get() if not other.closed), entry))
    return entry


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


def mine(workspace: Workspace | None = None) -> Active | None:
    """Return the innermost run that this task started or inherited, of one workspace if given, or None."""
    for entry in reversed(_stack.get()):
        if not entry.closed and _fits(entry, workspace):
            return entry
    return None


def active(workspace: Workspace | None = None) -> Active | None:
    """Return the innermost active run of this task, of one workspace if given, or None.

    A plain thread inherits no context; if it has started nothing itself, and one run is active in the process, that one is meant.
    """
    if (found := mine(workspace)) is not None:
        return found
    others = _of_other_threads(workspace)
    if len(others) > 1:
        raise RecorderInitializationError(
            f"this thread has started no recorder and {len(others)} are active in others "
            f"({', '.join(entry.run.run_id for entry in others[:3])}); use the Recorder object itself, or run the "
            "thread in contextvars.copy_context()"
        )
    return others[0] if others else None


def active_workspace() -> Workspace | None:
    """Return the store of the active run, also where the store is clear and the run is not, or None."""
    if (found := mine()) is not None:
        return found.experiment.workspace
    others = {entry.run.session: entry.experiment.workspace for entry in _of_other_threads(None)}
    return others.popitem()[1] if len(others) == 1 else None


def active_experiment(
    workspace: Workspace, experiment_id: str | None = None, name: str | None = None
) -> ExperimentRef | None:
    """Return the active run's experiment, or None where there is none or another one is named."""
    if experiment_id is not None or name is not None:
        return None
    entry = active(workspace)
    return entry.experiment if entry is not None else None


def _of_other_threads(workspace: Workspace | None) -> list[Active]:
    here, process = threading.get_ident(), os.getpid()
    return [
        entry
        for entry in list(_everywhere)
        if entry.thread != here and entry.pid == process and not entry.closed and _fits(entry, workspace)
    ]


def _fits(entry: Active, workspace: Workspace | None) -> bool:
    return workspace is None or entry.run.session is workspace.session
