"""Calls on the experiments and runs of a store that a manager and `R` share; async."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import msgspec

from aqrec.format._records import STATUS_FI
from aqrec.recording import _active
from aqrec.recording._comparing import Comparison, compare
from aqrec.recording._experiment import Experiment
from aqrec.recording._exporting import Exported, Exporting, ExportTable, export
from aqrec.recording._histories import HistoryForm, Part, histories
from aqrec.recording._recorder import Recorder
from aqrec.recording._searching import OutputFormat, Page, Query, search, search_page, shown
from aqrec.recording._starting import Starting
from aqrec.recording._views import run_ids_of

if TYPE_CHECKING:
    import datetime as dt
    import os
    from collections.abc import Coroutine, Sequence

    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from aqrec.recording._export_forms import ExportFormat
    from aqrec.recording._workspace import ExperimentRef, Workspace
    from aqrec.upkeep import Progress

__all__ = ["ExperimentCalls", "start_exp"]

T = TypeVar("T")


async def start_exp(
    workspace: Workspace,
    *,
    experiment_id: str | None = None,
    experiment_name: str | None = None,
    recorder_id: str | None = None,
    recorder_name: str | None = None,
    resume: bool = False,
    parent: Recorder | str | None = None,
    starting: Starting | None = None,
) -> Experiment:
    """Start a recorder and make it this task's active one; see `ExperimentManager.start_exp`.

    `starting`: of a caller who ends the run himself if he is interrupted before he has it.
    """
    starting = starting or Starting(workspace.session)
    try:
        begun = await workspace.session.run(
            workspace.start_run(
                starting.begin,
                experiment_id=experiment_id,
                experiment_name=experiment_name,
                recorder_id=recorder_id,
                recorder_name=recorder_name,
                resume=resume,
                parent=_active.parent_in(workspace, parent),
            )
        )
        return Experiment(_active.activate(*begun).experiment)
    except BaseException as error:
        await starting.agive_up(error)
        raise


class ExperimentCalls(abc.ABC):
    """See the module's text."""

    @property
    @abc.abstractmethod
    def _workspace(self) -> Workspace:
        """The store that is meant."""

    async def _call(self, work: Coroutine[Any, Any, T], *, shield: bool = False) -> T:
        return await self._workspace.session.run(work, shield=shield)

    async def _experiment(self, experiment_id: str | None, experiment_name: str | None) -> ExperimentRef:
        workspace = self._workspace
        current = _active.active_experiment(workspace, experiment_id, experiment_name)
        if current is not None:
            return current
        return await self._call(workspace.find_experiment(experiment_id, experiment_name, create=False))

    async def end_exp(self, recorder_status: str = STATUS_FI) -> None:
        """End this task's active recorder; nothing to do if there is none. See `Recorder.end_run`."""
        entry = _active.to_end(self._workspace)
        if entry is not None:
            await Recorder(entry.run).end_run(recorder_status)

    async def get_exp(
        self,
        *,
        experiment_id: str | None = None,
        experiment_name: str | None = None,
        create: bool = True,
        start: bool = False,
    ) -> Experiment:
        """Return an experiment by id or name; neither: the active one, or the default one.

        With `create` a missing name is created, else `ExperimentNotFoundError`. With `start` a recorder is
        started in it unless one is active.
        """
        workspace = self._workspace
        ref = _active.active_experiment(workspace, experiment_id, experiment_name)
        if ref is None:
            ref = await self._call(workspace.get_experiment(experiment_id, experiment_name, create=create))
        experiment = Experiment(ref)
        if start and _active.active(workspace) is None:
            await experiment.start()
        return experiment

    async def create_exp(self, experiment_name: str | None = None) -> Experiment:
        """Create an experiment, or raise `ExpAlreadyExistError`; a deleted one's name may be used again."""
        return Experiment(await self._call(self._workspace.create_experiment(experiment_name)))

    async def delete_exp(
        self, *, experiment_id: str | None = None, experiment_name: str | None = None
    ) -> None:
        """Hide an experiment and the runs it has now; `restore_exp` brings them back."""
        await self._call(self._workspace.delete_experiment(experiment_id, experiment_name))

    async def restore_exp(
        self, *, experiment_id: str | None = None, experiment_name: str | None = None
    ) -> Experiment:
        """Show a deleted experiment and its runs again."""
        return Experiment(
            await self._call(self._workspace.restore_experiment(experiment_id, experiment_name))
        )

    async def list_experiments(self) -> dict[str, Experiment]:
        """Return the experiments by name, deleted ones left out."""
        refs = await self._call(self._workspace.list_experiments())
        return {ref.name: Experiment(ref) for ref in refs}

    async def list_recorders(
        self, *, experiment_id: str | None = None, experiment_name: str | None = None
    ) -> dict[str, Recorder]:
        """Return the recorders of an experiment by id, the latest start first.

        Without a name or id, those of the active or default experiment. Raises `ExperimentNotFoundError`.
        """
        ref = await self._experiment(experiment_id, experiment_name)
        return {run.run_id: Recorder(run) for run in await self._call(self._workspace.list_runs(ref))}

    async def get_recorder(
        self,
        *,
        recorder_id: str | None = None,
        recorder_name: str | None = None,
        experiment_id: str | None = None,
        experiment_name: str | None = None,
    ) -> Recorder:
        """Return a recorder: by id (of any experiment, unless one is named), by name (the latest of an experiment), or the active.

        Raises `RecorderNotFoundError`, `ExperimentNotFoundError`, or `RecorderInitializationError` when
        nothing is named and none is active.
        """
        if recorder_id is not None:
            scope = self._workspace.named_experiment(experiment_id, experiment_name)
            return Recorder(await self._call(self._workspace.find_run(recorder_id, None, scope)))
        if recorder_name is not None:
            ref = await self._experiment(experiment_id, experiment_name)
            return Recorder(await self._call(self._workspace.find_run(None, recorder_name, ref)))
        return Recorder(_active.active_run(self._workspace))

    async def delete_recorder(
        self,
        *,
        recorder_id: str | None = None,
        recorder_name: str | None = None,
        experiment_id: str | None = None,
        experiment_name: str | None = None,
    ) -> None:
        """Hide a recorder, by id or the latest of a name; `restore_recorder` brings it back.

        An id is looked for in every experiment, unless one is named; a name in the one named, active or default.
        """
        if recorder_id is None and recorder_name is not None:
            ref: ExperimentRef | None = await self._experiment(experiment_id, experiment_name)
        else:
            ref = self._workspace.named_experiment(experiment_id, experiment_name)
        await self._call(self._workspace.delete_run(recorder_id, recorder_name, ref))

    async def restore_recorder(self, recorder_id: str) -> Recorder:
        """Show a deleted recorder again."""
        return Recorder(await self._call(self._workspace.restore_run(recorder_id)))

    @overload
    async def search_records(
        self,
        experiment_ids: list[str] | None = None,
        *,
        experiment_names: list[str] | None = None,
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
        experiment_ids: list[str] | None = None,
        *,
        experiment_names: list[str] | None = None,
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
        experiment_ids: list[str] | None = None,
        *,
        experiment_names: list[str] | None = None,
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
        experiment_ids: list[str] | None = None,
        *,
        experiment_names: list[str] | None = None,
        filter_string: str = "",
        order_by: list[str] | None = None,
        max_results: int | None = None,
        view: str = "active",
        fields: list[str] | None = None,
        output_format: Literal["recorders"],
    ) -> list[Recorder]: ...

    async def search_records(
        self,
        experiment_ids: list[str] | None = None,
        *,
        experiment_names: list[str] | None = None,
        filter_string: str = "",
        order_by: list[str] | None = None,
        max_results: int | None = None,
        view: str = "active",
        fields: list[str] | None = None,
        output_format: OutputFormat = "pandas",
    ) -> Any:
        """Return matching runs, one a row.

        Parameters
        ----------
        experiment_ids, experiment_names
            Where to look; neither: everywhere.
        filter_string
            For example ``metrics.ic > 0.03 and params.model = 'lgb'``; checked before anything is read.
        order_by
            Keys with ``ASC`` or ``DESC``; default: the latest start first.
        max_results
            At most so many rows.
        view
            ``active``, ``deleted`` or ``all``.
        fields
            Columns, in this order: keys as in filters (``metrics.ic``, ``min(metrics.loss)``, ``run_name``, ``duration``…),
            ``experiment_id``, ``experiment_name``, ``metrics.*``, ``params.*``, ``tags.*``; default: see below. Nothing else is
            read then.
        output_format
            ``pandas``, ``arrow`` or ``polars`` for a table, ``recorders`` for a list of `Recorder`.

        Returns
        -------
        DataFrame, Table or list
            ``run_id, experiment_id, status`` (text), ``start_time, end_time`` (datetime64[ms, UTC]), ``artifact_uri``, then
            ``metrics.*`` (float64, latest values), ``params.*`` (typed), ``tags.*``. In Arrow and polars tables what a run
            does not have is null, tags are text, and so are params of several types (lists and dicts as JSON).

        Raises
        ------
        InvalidInputError
            A filter, order, field or choice makes no sense; the message points at the place. Or a library is not installed.
        """
        query = Query(
            experiment_ids=experiment_ids,
            experiment_names=experiment_names,
            filter_string=filter_string,
            order_by=order_by,
            max_results=max_results,
            view=view,
            fields=fields,
            output_format=output_format,
        )
        return shown(await self._call(search(self._workspace, query)), query, Recorder)

    @overload
    async def search_page(
        self,
        experiment_ids: list[str] | None = None,
        *,
        experiment_names: list[str] | None = None,
        filter_string: str = "",
        order_by: list[str] | None = None,
        max_results: int = 1000,
        view: str = "active",
        fields: list[str] | None = None,
        page_token: str | None = None,
        output_format: Literal["pandas"] = "pandas",
    ) -> Page[pd.DataFrame]: ...

    @overload
    async def search_page(
        self,
        experiment_ids: list[str] | None = None,
        *,
        experiment_names: list[str] | None = None,
        filter_string: str = "",
        order_by: list[str] | None = None,
        max_results: int = 1000,
        view: str = "active",
        fields: list[str] | None = None,
        page_token: str | None = None,
        output_format: Literal["arrow"],
    ) -> Page[pa.Table]: ...

    @overload
    async def search_page(
        self,
        experiment_ids: list[str] | None = None,
        *,
        experiment_names: list[str] | None = None,
        filter_string: str = "",
        order_by: list[str] | None = None,
        max_results: int = 1000,
        view: str = "active",
        fields: list[str] | None = None,
        page_token: str | None = None,
        output_format: Literal["polars"],
    ) -> Page[pl.DataFrame]: ...

    @overload
    async def search_page(
        self,
        experiment_ids: list[str] | None = None,
        *,
        experiment_names: list[str] | None = None,
        filter_string: str = "",
        order_by: list[str] | None = None,
        max_results: int = 1000,
        view: str = "active",
        fields: list[str] | None = None,
        page_token: str | None = None,
        output_format: Literal["recorders"],
    ) -> Page[list[Recorder]]: ...

    async def search_page(
        self,
        experiment_ids: list[str] | None = None,
        *,
        experiment_names: list[str] | None = None,
        filter_string: str = "",
        order_by: list[str] | None = None,
        max_results: int = 1000,
        view: str = "active",
        fields: list[str] | None = None,
        page_token: str | None = None,
        output_format: OutputFormat = "pandas",
    ) -> Page[Any]:
        """Return one page of what `search_records` finds.

        Parameters
        ----------
        max_results
            Runs of a page.
        page_token
            Token of the page before; None: the first page. The search must be the same; `fields` and `output_format` may differ.

        All others are those of `search_records`.

        Returns
        -------
        Page
            ``records``, and the ``token`` of the next page, None on the last.

        The pages of a search show the catalog as it was at the first one, as long as this process remembers it (the last eight
        searches that have further pages). After that, or in another process, a token goes on behind the run that came last,
        without runs that were made since the first page; the others are as they are by then.
        """
        query = Query(
            experiment_ids=experiment_ids,
            experiment_names=experiment_names,
            filter_string=filter_string,
            order_by=order_by,
            max_results=max_results,
            view=view,
            fields=fields,
            output_format=output_format,
        )
        page = await self._call(search_page(self._workspace, query, page_token))
        return msgspec.structs.replace(page, records=shown(page.records, query, Recorder))

    async def metric_histories(
        self,
        recorders: Sequence[Recorder | str],
        keys: list[str] | None = None,
        *,
        form: HistoryForm = "long",
        after_step: int | None = None,
        after_time: dt.datetime | int | None = None,
        max_points: int | None = None,
    ) -> pd.DataFrame:
        """Return the points of several metrics of several runs as one table; eight runs are read at once.

        Parameters
        ----------
        recorders
            The runs: recorders or ids.
        keys
            Metrics; None: all that a run has.
        form
            ``long``: one row a point, with ``run_id`` and ``key`` (categories), ``step`` (Int64), ``timestamp`` (datetime64[ms, UTC])
            and ``value`` (float64); run by run as given, key by key. ``wide``: one row a run and step, with a column
            ``metrics.KEY`` for each metric, NaN where it was not logged; the latest value of a step stands. Points without a step
            have a row for each time.
        after_step, after_time, max_points
            As in `Recorder.metric_history`, for each run and metric.

        Raises
        ------
        RecorderNotFoundError
            There is no such run.
        """
        part = Part(after_step=after_step, after_time=after_time, max_points=max_points)
        ids = run_ids_of(recorders)
        return await self._call(histories(self._workspace.session, ids, keys, form, part))

    async def compare(self, recorders: Sequence[Recorder | str], *, everything: bool = False) -> Comparison:
        """Return what distinguishes runs: params, tags, latest metrics, and the code they ran as far as it was recorded.

        Parameters
        ----------
        recorders
            Two runs or more: recorders or ids. The others' code is compared with the first one's.
        everything
            Also params and tags that are the same in all runs.

        Raises
        ------
        RecorderNotFoundError
            There is no such run.
        """
        ids = run_ids_of(recorders)
        return await self._call(compare(self._workspace, ids, everything=everything))

    async def export(
        self,
        destination: str | os.PathLike[str],
        *,
        output_format: ExportFormat = "parquet",
        tables: Sequence[ExportTable] = ("runs", "metrics"),
        experiment_ids: list[str] | None = None,
        experiment_names: list[str] | None = None,
        filter_string: str = "",
        order_by: list[str] | None = None,
        max_results: int | None = None,
        view: str = "active",
        fields: list[str] | None = None,
        keys: list[str] | None = None,
        overwrite: bool = False,
        storage_options: dict[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> Exported:
        """Write runs and the histories of their metrics as tables that other programs read: ``runs`` and ``metrics``.

        A part is in memory at a time, whatever the number of runs and points: 2 million cells, or 1 million points (more only if a single
        metric of a single run has more).

        Parameters
        ----------
        destination
            Folder in which ``runs.parquet`` and ``metrics.parquet`` (``.csv``, ``.jsonl``) are written: a path, which is made if it is
            missing, or any URL that fsspec knows.
        output_format
            ``parquet``, ``csv`` or ``jsonl`` (one JSON object a line; it has no NaN and no infinity: they are null there).
        tables
            Which of them.
        experiment_ids, experiment_names, filter_string, order_by, max_results, view
            Which runs, in which order; as in `search_records`.
        fields
            Columns of ``runs``; as in `search_records`, of whose ``arrow`` table they have the types.
        keys
            Metrics whose histories are written; None: all.
        overwrite
            Whether files that exist give way.
        storage_options
            Arguments of the destination's fsspec file system: credentials, endpoint.
        progress
            Called with what is done now, how many runs are done, and how many there are, on aqrec's own thread.

        Returns
        -------
        Exported
            The files with their rows and bytes, and the ``cost``. ``metrics`` has a row a point, run by run, key by key: ``run_id``,
            ``key`` (text), ``step`` (int64, null without one), ``timestamp`` (ms, UTC), ``value`` (float64).

        Raises
        ------
        AlreadyExistsError
            A file exists, and `overwrite` was not given.
        StorageError
            The destination or the store failed.
        NotFoundError
            There is no store.

        Waits for the store and the destination. Files get their names when all of them are complete: a failing or cancelled export leaves
        what was there before, and removes what it has written (cancelled: soon after, on aqrec's own thread). Only a process that is
        killed leaves that, as ``.runs.parquet.ID.part``.
        """
        query = Query(
            experiment_ids=experiment_ids,
            experiment_names=experiment_names,
            filter_string=filter_string,
            order_by=order_by,
            max_results=max_results,
            view=view,
            fields=fields,
            output_format="arrow",
        )
        asked = Exporting(
            destination=destination,
            query=query,
            output_format=output_format,
            tables=tables,
            keys=keys,
            overwrite=overwrite,
            storage_options=storage_options,
        )
        return await self._call(export(self._workspace, asked, progress))
