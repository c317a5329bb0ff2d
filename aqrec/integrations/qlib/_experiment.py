"""Qlib's Experiment as one of aqrec's."""

# Qlib has no types, and is not installed where types are checked.
# pyright: reportMissingImports=false, reportUntypedBaseClass=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qlib.log import get_module_logger
from qlib.workflow.exp import Experiment

from aqrec.errors import InvalidInputError
from aqrec.format._records import STATUS_FI
from aqrec.integrations.qlib._recorder import DEFAULT_RECORDER_NAME, AqrecRecorder
from aqrec.integrations.qlib._stores import stores_in_use
from aqrec.recording import _active
from aqrec.recording._searching import Query, search
from aqrec.recording._workspace import ExperimentRef
from aqrec.sync._calls import start_exp

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AqrecExperiment", "view_of"]

logger = get_module_logger("workflow")

_VIEWS = {1: "active", 2: "deleted", 3: "all"}
"""MLflow's view types"""


def view_of(run_view_type: int | None) -> str:
    """Return aqrec's word for one of MLflow's view types; None: the runs that are not deleted."""
    view = _VIEWS.get(1 if run_view_type is None else run_view_type)
    if view is None:
        raise InvalidInputError(f"run_view_type={run_view_type!r}: give 1 (active), 2 (deleted) or 3 (all)")
    return view


class AqrecExperiment(Experiment):
    """An experiment, as Qlib's code sees it. Two of one name in one store are the same."""

    def __init__(self, ref: ExperimentRef) -> None:
        # Not the base's constructor: what it sets are properties here, which tell threads apart.
        self._uri = ref.workspace.session.url
        self._name = ref.name
        self._ref: ExperimentRef | None = ref
        self._default_rec_name = DEFAULT_RECORDER_NAME

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_ref": None}

    def __repr__(self) -> str:
        return f"AqrecExperiment(id={self.id!r}, name={self.name!r}, uri={self._uri!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AqrecExperiment) and other.ref == self.ref

    def __hash__(self) -> int:
        return hash(self.ref)

    @property
    def ref(self) -> ExperimentRef:
        """The experiment, in the store as this process has it open."""
        if self._ref is None:
            self._ref = stores_in_use().open(self._uri).experiment(self._name)
        return self._ref

    @property
    def id(self) -> str:
        """Derived from the name, so that racing creators agree."""
        return self.ref.experiment_id

    @property
    def name(self) -> str:
        """The unique name."""
        return self._name

    @property
    def active_recorder(self) -> AqrecRecorder | None:
        """Active recorder of this thread if it belongs here, or None."""
        run = _active.find_active_run_of(self.ref)
        return AqrecRecorder.of(run, self.ref) if run is not None else None

    def start(
        self, *, recorder_id: str | None = None, recorder_name: str | None = None, resume: bool = False
    ) -> AqrecRecorder:
        """Start a new recorder, or with `resume` go on with an old one; make it this thread's active one.

        Parameters
        ----------
        recorder_id, recorder_name
            Which one to resume: by id, else the latest of the name; an unknown one is new. A new one gets the name.
        resume
            Without it the recorder is always a new one.
        """
        ref = self.ref
        start_exp(
            ref.workspace,
            experiment_name=ref.name,
            recorder_id=recorder_id if resume else None,
            recorder_name=recorder_name if recorder_name is not None else DEFAULT_RECORDER_NAME,
            resume=resume,
        )
        entry = _active.mine(ref.workspace)
        assert entry is not None
        recorder = AqrecRecorder.of(entry.run, entry.experiment)
        logger.info(f"Recorder {recorder.id} of experiment {entry.experiment.name!r} runs in {recorder.uri}")
        return recorder

    def end(self, recorder_status: str = STATUS_FI) -> None:
        """End this thread's active recorder of the experiment; nothing to do if there is none."""
        entry = _active.to_end(self.ref.workspace)
        if entry is not None and entry.experiment == self.ref:
            AqrecRecorder.of(entry.run, entry.experiment).end_run(recorder_status)

    def create_recorder(self, recorder_name: str | None = None) -> AqrecRecorder:
        """Return a recorder that is SCHEDULED; nothing is stored before its ``start_run()``."""
        return AqrecRecorder(self.ref, recorder_name if recorder_name is not None else DEFAULT_RECORDER_NAME)

    def get_recorder(
        self,
        recorder_id: str | None = None,
        recorder_name: str | None = None,
        create: bool = True,
        start: bool = False,
    ) -> AqrecRecorder:
        """Return a recorder by id, or the latest of a name; without either, the active one.

        Parameters
        ----------
        recorder_id, recorder_name
            Which; neither, and none active: the latest of Qlib's default name.
        create
            Return a new one where there is none, else raise `aqrec.errors.RecorderNotFoundError`, a ValueError.
        start
            Start it if it is new.
        """
        if recorder_id is None and recorder_name is None:
            active = self.active_recorder
            if active is not None:
                return active
        try:
            return self._get_recorder(recorder_id, recorder_name)
        except ValueError:
            if not create:
                raise
        recorder = self.create_recorder(recorder_name)
        return recorder.start_run() if start else recorder

    def _get_recorder(
        self, recorder_id: str | None = None, recorder_name: str | None = None
    ) -> AqrecRecorder:
        workspace = self.ref.workspace
        if recorder_id is not None:
            run = workspace.session.call(workspace.find_run(recorder_id, None, None))
        else:
            name = recorder_name if recorder_name is not None else DEFAULT_RECORDER_NAME
            run = workspace.session.call(workspace.find_run(None, name, self.ref))
        owner = ExperimentRef(workspace, run.doc.experiment_id, run.doc.experiment_name)
        return AqrecRecorder.of(run, owner)

    def list_recorders(
        self,
        rtype: str = Experiment.RT_D,
        max_results: int | None = None,
        status: str | None = None,
        filter_string: str = "",
    ) -> dict[str, AqrecRecorder] | list[AqrecRecorder]:
        """Return the recorders, the latest start first, as a dict by id or a list.

        Parameters
        ----------
        rtype
            ``dict`` or ``list``.
        max_results
            At most so many.
        status
            Only those of this status.
        filter_string
            For example ``metrics.IC > 0.03 and params."model.class" = 'LGBModel'``.
        """
        if rtype not in (self.RT_D, self.RT_L):
            raise InvalidInputError(f"rtype={rtype!r}: choose {self.RT_D!r} or {self.RT_L!r}")
        ref = self.ref
        listing = ref.workspace.list_runs(ref, status, max_results, filter_string)
        recorders = [AqrecRecorder.of(run, ref) for run in ref.workspace.session.call(listing)]
        if rtype == self.RT_L:
            return recorders
        return {recorder.core.run_id: recorder for recorder in recorders}

    def search_records(
        self,
        filter_string: str | None = None,
        run_view_type: int | None = None,
        max_results: int | None = None,
        order_by: list[str] | None = None,
    ) -> pd.DataFrame:
        """Return matching runs of this experiment, one a row; see `aqrec.sync.ExperimentManager.search_records`.

        `run_view_type` is 1 (those not deleted, the default), 2 (deleted) or 3 (all).
        """
        workspace = self.ref.workspace
        query = Query(
            experiment_ids=[self.id],
            filter_string=filter_string or "",
            order_by=order_by,
            max_results=max_results,
            view=view_of(run_view_type),
        )
        found: pd.DataFrame = workspace.session.call(search(workspace, query))
        return found

    def delete_recorder(self, recorder_id: str | None = None, recorder_name: str | None = None) -> None:
        """Hide a recorder, by id or the latest of a name. Raises ValueError if there is none."""
        workspace = self.ref.workspace
        workspace.session.call(workspace.delete_run(recorder_id, recorder_name, self.ref))
