"""`Experiment`: a named set of runs, async."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from aqrec.errors import InvalidInputError
from aqrec.format._records import STATUS_FI
from aqrec.recording import _active
from aqrec.recording._histories import HistoryForm, Part, histories
from aqrec.recording._recorder import Recorder
from aqrec.recording._searching import OutputFormat, Query, search, shown
from aqrec.recording._starting import Starting
from aqrec.recording._views import ExperimentView, parent_id, run_ids_of

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Coroutine, Sequence

    import pandas as pd
    import polars as pl
    import pyarrow as pa

T = TypeVar("T")

__all__ = ["Experiment"]


class Experiment(ExperimentView):
    """A named set of runs. Two experiments of one name in one store are the same."""

    @property
    def active_recorder(self) -> Recorder | None:
        """Active recorder of this task if it belongs here, or None."""
        run = _active.find_active_run_of(self._ref)
        return Recorder(run) if run is not None else None

    async def info(self) -> dict[str, Any]:
        """Return class, id, name, active_recorder (id or None), recorders (ids, the latest start first)."""
        run = _active.find_active_run_of(self._ref)
        return await self._call(self._ref.workspace.info(self._ref, run.run_id if run else None))

    async def start(
        self,
        *,
        recorder_id: str | None = None,
        recorder_name: str | None = None,
        resume: bool = False,
        parent: Recorder | str | None = None,
    ) -> Recorder:
        """Start a recorder, or with `resume` go on with an old one; make it this task's active one.

        The arguments are those of `ExperimentManager.start_exp`; it has a parent only if one is given.
        """
        workspace = self._ref.workspace
        starting = Starting(workspace.session)
        try:
            begun = await self._call(
                workspace.start_run(
                    starting.begin,
                    experiment_name=self.name,
                    recorder_id=recorder_id,
                    recorder_name=recorder_name,
                    resume=resume,
                    parent=parent_id(parent),
                )
            )
            return Recorder(_active.activate(*begun).run)
        except BaseException as error:
            await starting.agive_up(error)
            raise

    async def end(self, recorder_status: str = STATUS_FI) -> None:
        """End this task's active recorder of the experiment; nothing to do if there is none."""
        entry = _active.to_end(self._ref.workspace)
        if entry is not None and entry.experiment == self._ref:
            await Recorder(entry.run).end_run(recorder_status)

    async def create_recorder(
        self,
        recorder_name: str | None = None,
        *,
        recorder_id: str | None = None,
        parent: Recorder | str | None = None,
    ) -> Recorder:
        """Create a recorder without starting it (status SCHEDULED); start it by ``async with recorder:``.

        Raises `InvalidInputError` if the id is taken.
        """
        workspace, wanted = self._ref.workspace, (self._ref, recorder_name, recorder_id, parent_id(parent))
        run = workspace.create_at_once(*wanted)
        if run is None:
            run = await self._call(workspace.create_run(*wanted))
        return Recorder(run)

    async def get_recorder(
        self, *, recorder_id: str | None = None, recorder_name: str | None = None
    ) -> Recorder:
        """Return a recorder of the experiment by id, or the latest of a name; without either, this task's active one.

        Raises `RecorderNotFoundError`, or `RecorderInitializationError` when none is active.
        """
        if recorder_id is None and recorder_name is None:
            return Recorder(_active.active_run_of(self._ref))
        return Recorder(await self._call(self._ref.workspace.find_run(recorder_id, recorder_name, self._ref)))

    @overload
    async def list_recorders(
        self,
        rtype: Literal["dict"] = "dict",
        *,
        max_results: int | None = None,
        status: str | None = None,
        filter_string: str = "",
    ) -> dict[str, Recorder]: ...

    @overload
    async def list_recorders(
        self,
        rtype: Literal["list"],
        *,
        max_results: int | None = None,
        status: str | None = None,
        filter_string: str = "",
    ) -> list[Recorder]: ...

    async def list_recorders(
        self,
        rtype: Literal["dict", "list"] = "dict",
        *,
        max_results: int | None = None,
        status: str | None = None,
        filter_string: str = "",
    ) -> dict[str, Recorder] | list[Recorder]:
        """Return the recorders, the latest start first, as a dict by id or a list."""
        if rtype not in ("dict", "list"):
            raise InvalidInputError(f"rtype={rtype!r}: choose 'dict' or 'list'")
        runs = await self._call(self._ref.workspace.list_runs(self._ref, status, max_results, filter_string))
        recorders = [Recorder(run) for run in runs]
        return recorders if rtype == "list" else {recorder.id: recorder for recorder in recorders}

    @overload
    async def search_records(
        self,
        *,
        filter_string: str = "",
        order_by: list[str] | None = None,
        max_results: int | None = None,
        view: str = "active",
        fields: list[str] | None = None,
        output_format: Literal["pandas"] = "pandas",
    ) -> pd.DataFrame: ...

    @overload
    async def search_records(
        self,
        *,
        filter_string: str = "",
        order_by: list[str] | None = None,
        max_results: int | None = None,
        view: str = "active",
        fields: list[str] | None = None,
        output_format: Literal["arrow"],
    ) -> pa.Table: ...

    @overload
    async def search_records(
        self,
        *,
        filter_string: str = "",
        order_by: list[str] | None = None,
        max_results: int | None = None,
        view: str = "active",
        fields: list[str] | None = None,
        output_format: Literal["polars"],
    ) -> pl.DataFrame: ...

    @overload
    async def search_records(
        self,
        *,
        filter_string: str = "",
        order_by: list[str] | None = None,
        max_results: int | None = None,
        view: str = "active",
        fields: list[str] | None = None,
        output_format: Literal["recorders"],
    ) -> list[Recorder]: ...

    async def search_records(
        self,
        *,
        filter_string: str = "",
        order_by: list[str] | None = None,
        max_results: int | None = None,
        view: str = "active",
        fields: list[str] | None = None,
        output_format: OutputFormat = "pandas",
    ) -> Any:
        """Return matching runs of this experiment; see `ExperimentManager.search_records`."""
        query = Query(
            experiment_ids=[self.id],
            filter_string=filter_string,
            order_by=order_by,
            max_results=max_results,
            view=view,
            fields=fields,
            output_format=output_format,
        )
        return shown(await self._call(search(self._ref.workspace, query)), query, Recorder)

    async def metric_histories(
        self,
        keys: list[str] | None = None,
        *,
        recorders: Sequence[Recorder | str] | None = None,
        form: HistoryForm = "long",
        after_step: int | None = None,
        after_time: dt.datetime | int | None = None,
        max_points: int | None = None,
    ) -> pd.DataFrame:
        """Return the points of metrics of all its runs, or some, as one table; see `ExperimentManager.metric_histories`."""
        workspace = self._ref.workspace
        part = Part(after_step=after_step, after_time=after_time, max_points=max_points)
        if recorders is None:
            ids = [run.run_id for run in await self._call(workspace.list_runs(self._ref))]
        else:
            ids = run_ids_of(recorders)
        return await self._call(histories(workspace.session, ids, keys, form, part))

    async def delete_recorder(
        self, *, recorder_id: str | None = None, recorder_name: str | None = None
    ) -> None:
        """Hide a recorder of the experiment, by id or the latest of a name; `restore_recorder` brings it back."""
        await self._call(self._ref.workspace.delete_run(recorder_id, recorder_name, self._ref))

    async def restore_recorder(self, recorder_id: str) -> Recorder:
        """Show a deleted recorder of the experiment again."""
        return Recorder(await self._call(self._ref.workspace.restore_run(recorder_id, self._ref)))

    async def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return await self._ref.workspace.session.run(work)
