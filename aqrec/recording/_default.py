"""Which store `R` means, shared by both faces: a process-wide default, a task-local override, one workspace a URL."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Generator
from contextvars import ContextVar
from typing import Any

from aqrec.errors import RecorderInitializationError
from aqrec.format._names import check_name
from aqrec.options import Mode, Options
from aqrec.recording import _active
from aqrec.recording._provenance import begin_run
from aqrec.recording._run import Run
from aqrec.recording._session import Session
from aqrec.recording._workspace import Workspace
from aqrec.stores import canonical_url
from aqrec.stores._place import target_of
from aqrec.stores._urls import anchored, url_text

__all__ = ["Defaults", "defaults"]

_FOLDER = "aqruns"


class Defaults:
    """See the module's text."""

    def __init__(self) -> None:
        self.uri: str | None = None
        self.options = Options()
        self.storage_options: dict[str, Any] | None = None
        self.default_exp_name = "Experiment"
        self._override: ContextVar[str | None] = ContextVar("aqrec_uri", default=None)
        self._lock = threading.Lock()
        self._workspaces: dict[tuple[str, str, str, Mode | None], Workspace] = {}

    def default_uri(self) -> str:
        """Return the URL that holds when none is given: `uri_context`, `set_uri`, ``AQREC_URI``, else ``./aqruns``."""
        return self._override.get() or self.uri or os.environ.get("AQREC_URI") or f"./{_FOLDER}"

    def current_uri(self) -> str:
        """Return the URL of the active run's store, or the default."""
        workspace = _active.active_workspace()
        return workspace.session.url if workspace is not None else canonical_url(self.default_uri())

    def current_workspace(self) -> Workspace:
        """Return the active run's workspace, or the default URL's."""
        return _active.active_workspace() or self._opened(self.default_uri())

    def workspace_to_start(self, uri: str | None = None, mode: Mode | None = None) -> Workspace:
        """Return where a new run goes: a URL's workspace, that of this task's own run, or the default URL's."""
        entry = _active.mine() if uri is None and mode is None else None
        return (
            entry.experiment.workspace
            if entry is not None
            else self._opened(uri if uri is not None else self.default_uri(), mode)
        )

    def _opened(self, uri: str, mode: Mode | None = None) -> Workspace:
        # what a URL says of the way to its store makes another workspace; the options of `configure` do not
        text = url_text(uri)
        key = (*target_of(text).key(), mode)
        with self._lock:
            workspace = self._workspaces.get(key)
            if workspace is None or workspace.session.closed:
                options = self.options.with_mode(mode)
                session = Session(text, options, self.storage_options, self.default_exp_name)
                workspace = self._workspaces[key] = Workspace(session)
            return workspace

    def configure(
        self,
        uri: str | None,
        default_exp_name: str | None,
        options: Options | None,
        storage_options: dict[str, Any] | None,
    ) -> None:
        """Change the defaults for stores that are opened from now on."""
        entry = _active.active()
        if entry is not None and (options is not None or storage_options is not None):
            raise RecorderInitializationError(
                f"recorder {entry.run.run_id} is active in {entry.run.session.url}; end it before R.configure()"
            )
        if default_exp_name is not None:
            check_name("experiment", default_exp_name)
        if uri is not None:
            self.set_uri(uri)
        self.default_exp_name = default_exp_name if default_exp_name is not None else self.default_exp_name
        self.options = options if options is not None else self.options
        self.storage_options = storage_options if storage_options is not None else self.storage_options

    def set_uri(self, uri: str | None) -> None:
        """Change the default URL, or go back to ``AQREC_URI`` and the folder."""
        if uri is not None:
            canonical_url(url_text(uri))
        self.uri = anchored(url_text(uri)) if uri is not None else None

    def take_all(self) -> list[Session]:
        """Give up all workspaces; return their sessions to be closed."""
        with self._lock:
            sessions = [workspace.session for workspace in self._workspaces.values()]
            self._workspaces.clear()
        return sessions

    @contextlib.contextmanager
    def override(self, uri: str) -> Generator[None]:
        """Change the default URL for this task."""
        text = url_text(uri)
        canonical_url(text)
        token = self._override.set(anchored(text))
        try:
            yield
        finally:
            self._override.reset(token)

    def run_to_log_to(self) -> Run:
        """Return the active run; if there is none, start one in the default experiment, as Qlib does.

        Needs no answer from the store: the run's documents go the same way as its metrics.
        """
        entry = _active.active()
        if entry is None:
            workspace = self.workspace_to_start()
            experiment = workspace.experiment(workspace.default_exp_name)
            run = workspace.new_run(experiment)
            begin_run(run)
            entry = _active.activate(experiment, run)
        return entry.run

    def after_fork(self) -> None:
        """Make a lock of our own: the parent's may be held for ever."""
        self._lock = threading.Lock()


defaults = Defaults()
os.register_at_fork(after_in_child=defaults.after_fork)
