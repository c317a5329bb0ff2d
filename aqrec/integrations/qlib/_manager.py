"""Qlib's ExpManager on an aqrec store."""

# Qlib has no types, and is not installed where types are checked.
# pyright: reportMissingImports=false, reportUntypedBaseClass=false

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any

from qlib.config import C
from qlib.log import get_module_logger
from qlib.utils.exceptions import ExpAlreadyExistError
from qlib.workflow import QlibRecorder
from qlib.workflow.expm import ExpManager

from aqrec import errors
from aqrec.format._records import STATUS_FI
from aqrec.integrations.qlib._experiment import AqrecExperiment, view_of
from aqrec.integrations.qlib._recorder import AqrecRecorder
from aqrec.integrations.qlib._stores import absolute, as_options, stores_for
from aqrec.recording import _active
from aqrec.recording._searching import Query, search
from aqrec.stores import open_store, redact_url

if TYPE_CHECKING:
    import pandas as pd

    from aqrec.artifacts._trust import TrustMode
    from aqrec.options import Options
    from aqrec.recording._workspace import Workspace

__all__ = ["AqrecExpManager"]

logger = get_module_logger("workflow")


class AqrecExpManager(ExpManager):
    """The experiments of Qlib's ``R``, in an aqrec store.

    Which recorder is active is known to each thread and task for itself: several may record at once, and a block inside
    another one is a child run.

    Parameters
    ----------
    uri
        The store: a folder, ``s3://``, ``gs://``, ``az://``, ``memory://``; None: ``AQREC_URI``, else ``./aqruns``. A folder
        stays the same one when the working directory changes.
    default_exp_name
        Experiment that is meant when none is named.
    storage_options
        Credentials and endpoints of `uri`, used for other stores of its scheme too; see `aqrec.stores.open_store`. Not
        needed where the environment or the service's configuration files have them, which is the safer place.
    options
        `aqrec.Options`, or a mapping of their fields: ``{"durability": "local", "flush": {"segment_interval": 5}}``.
    trust
        Which pickles ``load_object`` may load that this process did not write. Default: what `options` or the environment
        variable ``AQREC_TRUST`` say, else ``"trusted"``: Qlib's models, data sets and reports are pickles of its own classes, and
        naming a store here says that its writers are trusted. ``"restricted"`` loads plain data alone.

    Raises
    ------
    InvalidInputError
        The URI or an option is not valid.
    """

    def __init__(
        self,
        uri: str | None = None,
        default_exp_name: str | None = None,
        *,
        storage_options: Mapping[str, Any] | None = None,
        options: Options | Mapping[str, Any] | None = None,
        trust: TrustMode | None = None,
    ) -> None:
        # Not the base's constructor: its active_experiment is a property here.
        home = absolute(uri)
        open_store(
            home, storage_options=storage_options
        )  # asks nothing of it, but knows what is wrong with these
        self._stores = stores_for(home, as_options(options, trust), storage_options)
        self._default_exp_name = default_exp_name if default_exp_name is not None else "Experiment"
        self._uri_of: dict[str, str] = {}
        """By run: the URI that its start was given"""
        self.default_uri = self._stores.home

    def __repr__(self) -> str:
        return f"AqrecExpManager(uri={redact_url(self.uri)!r})"

    # -- which store -------------------------------------------------------------------------------------------------

    @property
    def default_uri(self) -> str:
        """URI that holds when a start is given none; kept in Qlib's configuration."""
        return absolute(C.exp_manager.get("kwargs", {}).get("uri"))

    @default_uri.setter
    def default_uri(self, uri: str | None) -> None:
        C.exp_manager.setdefault("kwargs", {})["uri"] = absolute(uri) if uri is not None else None

    @property
    def uri(self) -> str:
        """URI that this thread's active recorder was started with, or the default one."""
        entry = self._innermost(_active.mine)
        return (self._uri_of.get(entry.run.run_id) if entry is not None else None) or self.default_uri

    def _store(self) -> Workspace:
        return self._stores.open(self.uri)

    def close(self) -> None:
        """End the recorders that are still active, wait until everything is stored, close what was opened.

        Later calls open it again. At the end of the process that happens by itself.
        """
        self._stores.close()

    # -- what is active ----------------------------------------------------------------------------------------------

    def _innermost(self, find: Callable[[Workspace | None], _active.Active | None]) -> _active.Active | None:
        """Return the innermost active run that `find` knows in the stores of this manager."""
        stores = self._stores.opened()
        if len(stores) > 1:
            entry = find(None)
            if entry is not None and any(entry.run.session.url == store.session.url for store in stores):
                return entry
        for store in stores:
            entry = find(store)
            if entry is not None:
                return entry
        return None

    @property
    def active_experiment(self) -> AqrecExperiment | None:
        """Experiment of this thread's active recorder, or None."""
        entry = self._innermost(_active.active)
        return AqrecExperiment(entry.experiment) if entry is not None else None

    def start_exp(
        self,
        *,
        experiment_id: str | None = None,
        experiment_name: str | None = None,
        recorder_id: str | None = None,
        recorder_name: str | None = None,
        uri: str | None = None,
        resume: bool = False,
    ) -> AqrecExperiment:
        """Start a recorder, or with `resume` go on with an old one; end it with `end_exp`.

        Parameters
        ----------
        experiment_id, experiment_name
            Which experiment, created when its name is new; neither: the default one.
        recorder_id, recorder_name, resume
            As in `AqrecExperiment.start`.
        uri
            The store; default: `default_uri`.

        Raises
        ------
        ExperimentNotFoundError
            The id is unknown and no name is given.
        """
        workspace = self._stores.open(uri if uri is not None else self.default_uri)
        experiment = self._wanted(workspace, experiment_id, experiment_name)
        run = experiment.start(recorder_id=recorder_id, recorder_name=recorder_name, resume=resume).core
        if uri is not None:
            self._uri_of[run.run_id] = uri
        # What is resumed belongs to its own experiment, whichever was named.
        return AqrecExperiment(workspace.experiment(run.doc.experiment_name))

    def _wanted(self, workspace: Workspace, experiment_id: str | None, name: str | None) -> AqrecExperiment:
        """Return the experiment to record in; by name, without asking the store."""
        if experiment_id is not None:
            try:
                return self._found(workspace, experiment_id, None)
            except errors.ExperimentNotFoundError:
                if name is None:
                    raise
        return AqrecExperiment(workspace.experiment(name if name is not None else self._default_exp_name))

    def end_exp(self, recorder_status: str = STATUS_FI) -> None:
        """End this thread's active recorder; nothing to do if there is none.

        A process that was forked inside the run does not end it: that is for the one that started it.
        """
        entry = self._innermost(_active.to_end)
        if entry is None or entry.pid != os.getpid():
            return
        run = entry.run
        self._uri_of.pop(run.run_id, None)
        if run.run_id in run.session.begun:
            AqrecRecorder.of(run, entry.experiment).end_run(recorder_status)
        else:
            _active.deactivate(run)  # ended already, at the exit of the process

    @contextlib.contextmanager
    def recording(self, **start: Any) -> Generator[AqrecExperiment]:
        """Do as `start_exp` for a block: the run ends FINISHED, or FAILED if anything is raised through it.

        ``R.start`` does this: sys.exit and Ctrl-C end the run as well, and only the run of this block.
        """
        experiment = self.start_exp(**start)
        entry = self._innermost(_active.mine)
        assert entry is not None
        recorder = AqrecRecorder.of(entry.run, entry.experiment).face
        try:
            yield experiment
        except GeneratorExit:
            raise  # nobody left the block: it was forgotten half-way
        except BaseException as error:
            if entry.pid == os.getpid():
                recorder.__exit__(type(error), error, error.__traceback__)
            raise
        else:
            if entry.pid == os.getpid():
                recorder.__exit__(None, None, None)
        finally:
            self._uri_of.pop(entry.run.run_id, None)

    # -- experiments -------------------------------------------------------------------------------------------------

    def get_exp(
        self,
        *,
        experiment_id: str | None = None,
        experiment_name: str | None = None,
        create: bool = True,
        start: bool = False,
    ) -> AqrecExperiment:
        """Return an experiment by id or name; neither: the active one, or the default one.

        With `create` a missing name is created, else `aqrec.errors.ExperimentNotFoundError`, a ValueError, is raised. With `start`
        a recorder is started in it unless one is active.
        """
        active = (
            self.active_experiment if start or (experiment_id is None and experiment_name is None) else None
        )
        if experiment_id is None and experiment_name is None:
            if active is not None:
                return active
            experiment_name = self._default_exp_name
        if start and active is None:
            return self.start_exp(experiment_id=experiment_id, experiment_name=experiment_name)
        if create:
            return self._get_or_create_exp(experiment_id, experiment_name)[0]
        return self._get_exp(experiment_id, experiment_name)

    def _get_exp(
        self, experiment_id: str | None = None, experiment_name: str | None = None
    ) -> AqrecExperiment:
        return self._found(self._store(), experiment_id, experiment_name)

    @staticmethod
    def _found(workspace: Workspace, experiment_id: str | None, name: str | None) -> AqrecExperiment:
        finding = workspace.find_experiment(experiment_id, name, create=False)
        return AqrecExperiment(workspace.session.call(finding))

    def _get_or_create_exp(
        self, experiment_id: str | None = None, experiment_name: str | None = None
    ) -> tuple[AqrecExperiment, bool]:
        try:
            return self._get_exp(experiment_id, experiment_name), False
        except errors.ExperimentNotFoundError:
            if experiment_name is None:
                raise
        try:
            return self.create_exp(experiment_name), True
        except ExpAlreadyExistError:  # somebody was faster
            return self._get_exp(None, experiment_name), False

    def create_exp(self, experiment_name: str | None = None) -> AqrecExperiment:
        """Create an experiment, or raise Qlib's ExpAlreadyExistError; a deleted one's name may be used again."""
        workspace = self._store()
        name = experiment_name if experiment_name is not None else self._default_exp_name
        try:
            return AqrecExperiment(workspace.session.call(workspace.create_experiment(name)))
        except errors.ExpAlreadyExistError as error:
            raise ExpAlreadyExistError(str(error)) from error

    def delete_exp(self, experiment_id: str | None = None, experiment_name: str | None = None) -> None:
        """Hide an experiment and the runs it has now. Raises ValueError if there is none."""
        workspace = self._store()
        workspace.session.call(workspace.delete_experiment(experiment_id, experiment_name))

    def list_experiments(self) -> dict[str, AqrecExperiment]:
        """Return the experiments by name, deleted ones left out."""
        workspace = self._store()
        refs = workspace.session.call(workspace.list_experiments())
        return {ref.name: AqrecExperiment(ref) for ref in refs}

    def search_records(
        self,
        experiment_ids: list[str] | None = None,
        filter_string: str | None = None,
        run_view_type: int | None = None,
        max_results: int | None = None,
        order_by: list[str] | None = None,
    ) -> pd.DataFrame:
        """Return matching runs, one a row; see `aqrec.sync.ExperimentManager.search_records`.

        Without `experiment_ids`, of all experiments. `run_view_type` is 1 (those not deleted, the default), 2 (deleted) or 3 (all).
        """
        workspace = self._store()
        query = Query(
            experiment_ids=experiment_ids,
            filter_string=filter_string or "",
            order_by=order_by,
            max_results=max_results,
            view=view_of(run_view_type),
        )
        found: pd.DataFrame = workspace.session.call(search(workspace, query))
        return found


def _mend_blocks() -> None:
    """Let ``with R.start()`` leave the end of the run to an `AqrecExpManager`; others do as before.

    Qlib's block sees an Exception only. With sys.exit or Ctrl-C it would leave the run open, to be called FINISHED at the exit
    of the process; nothing but the block itself sees the difference.
    """
    original = QlibRecorder.start

    @functools.wraps(original)
    def start(recorder: Any, **arguments: Any) -> Any:
        manager = recorder.exp_manager
        if isinstance(manager, AqrecExpManager):
            return manager.recording(**arguments)
        return original(recorder, **arguments)

    QlibRecorder.start = start


_mend_blocks()
