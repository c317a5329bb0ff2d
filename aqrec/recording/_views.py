"""What recorders and experiments of both faces show without asking the store."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self, cast

import msgspec

from aqrec.errors import InvalidInputError, InvalidValueError
from aqrec.format._names import check_run_id
from aqrec.format._records import STATUS_FA, STATUS_FI, STATUS_R, STATUS_S
from aqrec.options import Options
from aqrec.recording._workspace import ExperimentRef, Workspace

if TYPE_CHECKING:
    from aqrec.recording._run import Run

__all__ = ["ExperimentView", "RecorderView", "RunReference", "parent_id", "run_ids_of", "run_reference"]


def _utc(milliseconds: int | None) -> dt.datetime | None:
    return None if milliseconds is None else dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC)


class _Handle:
    """Belongs to its process: a copy is the handle itself, and it cannot be pickled."""

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        # What opens the store may be a secret, which must not get into files; and unpickling would wait for the store.
        what, instead = self._instead_of_pickling()
        raise InvalidValueError(f"{what} cannot be pickled: it belongs to this process. {instead}")

    def _instead_of_pickling(self) -> tuple[str, str]:
        """Return what this is, and what to pass to another process in its place."""
        raise NotImplementedError


class RecorderView(_Handle):
    """The facts of a run as this process knows them."""

    STATUS_S: ClassVar[str] = STATUS_S
    STATUS_R: ClassVar[str] = STATUS_R
    STATUS_FI: ClassVar[str] = STATUS_FI
    STATUS_FA: ClassVar[str] = STATUS_FA

    def __init__(self, run: Run) -> None:
        self._run = run
        self._log = run.log

    def __repr__(self) -> str:
        return (
            f"Recorder(id={self.id!r}, name={self.name!r}, experiment_id={self.experiment_id!r}, "
            f"status={self.status!r})"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RecorderView) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def _instead_of_pickling(self) -> tuple[str, str]:
        return (
            f"recorder {self.id!r}",
            "Pass its uri and its id on, and open it there by ExperimentManager(uri).get_recorder(recorder_id=id)",
        )

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
        return _utc(self._run.doc.start_time)

    @property
    def end_time(self) -> dt.datetime | None:
        """When the run ended (UTC), or None."""
        return _utc(self._run.doc.end_time)

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
        return Workspace(self._run.session).artifact_uri(self.id)

    @property
    def info(self) -> dict[str, Any]:
        """Class, id, name, experiment_id, start_time, end_time and status."""
        return {
            "class": "Recorder",
            "id": self.id,
            "name": self.name,
            "experiment_id": self.experiment_id,
            "start_time": self.start_time,
            "end_time": self.end_time,
            "status": self.status,
        }


class ExperimentView(_Handle):
    """What names an experiment."""

    def __init__(self, ref: ExperimentRef) -> None:
        self._ref = ref

    def __repr__(self) -> str:
        return f"Experiment(name={self.name!r}, id={self.id!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ExperimentView) and other._ref == self._ref

    def __hash__(self) -> int:
        return hash(self._ref)

    def _instead_of_pickling(self) -> tuple[str, str]:
        return (
            f"experiment {self.name!r}",
            "Pass the store's uri and its name on, and open it there by ExperimentManager(uri).get_exp(experiment_name=name)",
        )

    @property
    def id(self) -> str:
        """Derived from the name, so that racing creators agree."""
        return self._ref.experiment_id

    @property
    def name(self) -> str:
        """The unique name."""
        return self._ref.name


def parent_id(parent: object) -> str | None:
    """Return the id of a parent given as a recorder of either face, an id, or None."""
    if isinstance(parent, RecorderView):
        return parent.id
    if parent is None:
        return None
    if isinstance(parent, str):
        return check_run_id(parent, "parent")
    raise InvalidInputError(f"parent={parent!r}: give a Recorder or its id")


def run_ids_of(recorders: object) -> list[str]:
    """Return the ids of runs given as a list of recorders of either face, or of ids."""
    if isinstance(recorders, RecorderView | str | bytes) or not isinstance(recorders, Iterable):
        raise InvalidInputError(f"recorders={recorders!r}: give a list of Recorders or their ids")
    return [_run_id_of(recorder) for recorder in cast("Iterable[object]", recorders)]


def _run_id_of(recorder: object) -> str:
    if isinstance(recorder, RecorderView):
        return recorder.id
    if isinstance(recorder, str):
        return recorder
    raise InvalidInputError(f"{recorder!r} is no run: give a Recorder or its id")


class RunReference(msgspec.Struct, frozen=True):
    """What another process needs to open a run; never printed, since it may hold credentials."""

    url: str
    run_id: str
    options: Options
    storage_options: dict[str, Any] | None

    def __repr__(self) -> str:
        return f"RunReference({self.run_id!r})"


def run_reference(recorder: RecorderView) -> RunReference:
    """Return the reference of a recorder of either face."""
    session = recorder._run.session  # pyright: ignore[reportPrivateUsage] - this module's own
    target = session.target
    return RunReference(target.url, recorder.id, session.options, target.storage_options)
