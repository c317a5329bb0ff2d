"""Every public call on both faces, as people write it, with the type that checkers must find.

mypy and pyright read this strictly; `test_api` runs it, and sees that no call is left out.
"""

import asyncio
import contextlib
import datetime as dt
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Literal, assert_type

import pandas as pd
import polars as pl
import pyarrow as pa

import aqrec
import aqrec.sync

OPTIONS = aqrec.Options(
    buffer=aqrec.BufferOptions(capacity=1024, overflow="drop_oldest", wait_timeout=1.0),
    flush=aqrec.FlushOptions(sync_interval=0.5),
    retry=aqrec.RetryOptions(first=0.1, longest=1.0),
    spool=aqrec.SpoolOptions(capacity=1_000_000, artifact_bytes=100_000, away_after=2.0),
    durability="store",
    provenance=False,
    seal="bulk",
)


# -- async ---------------------------------------------------------------------------------------------------


async def record(url: str, folder: Path) -> None:
    """Use a recorder."""
    async with aqrec.open_recorder(
        url,
        experiment="alpha",
        name="lgb",
        recorder_id="own-id",
        resume=False,
        parent=None,
        options=OPTIONS,
        storage_options=None,
        mode="online",
    ) as recorder:
        assert_type(recorder, aqrec.Recorder)
        recorder.log_metrics(step=1, loss=0.31)
        assert_type(recorder.log_metrics(step=2, loss=0.3), Awaitable[None])
        assert_type(await recorder.log_metrics(ic=1), None)
        await recorder.log_params(lr=0.02, layers=[64, 32], note=None)
        await recorder.log_batch({"a b": 1.0}, {"c": 1}, {"d": "e"}, step=1, timestamp=1_700_000_000_000)
        await recorder.log_batch([("loss", 0.1, 1, None), ("loss", 0.2, None, 1_700_000_000_000)])
        await recorder.set_tags(owner="me")
        await recorder.delete_tags("owner")
        await recorder.set_recorder_name("xgb")
        await recorder.save_objects(**{"a.pkl": [1]}, artifact_path="x")
        await recorder.save_objects(folder, progress=print)
        await recorder.log_artifact(folder, "y", progress=True)
        assert_type(await recorder.load_object("x/a.pkl", trust="restricted", unpickler=None), Any)
        assert_type(await recorder.list_artifacts("x"), list[str])
        assert_type(await recorder.download_artifact("x", folder / "z", progress=print, resume=True), str)
        assert_type(await recorder.list_params(), dict[str, Any])
        assert_type(await recorder.list_metrics(), dict[str, float])
        assert_type(await recorder.list_tags(), dict[str, Any])
        assert_type(await recorder.metric_history("loss", after_step=1, max_points=100), pd.DataFrame)
        assert_type(await recorder.metric_histories(["loss"], form="wide"), pd.DataFrame)
        assert_type(await recorder.refresh(), aqrec.Recorder)
        assert_type(await recorder.flush(), None)
        assert_type((await recorder.statistics()).dropped, int)
        assert_type(await recorder.get_artifact_uri(), str)
        with contextlib.suppress(aqrec.errors.InvalidInputError):
            assert_type(await recorder.get_local_dir(), str)
        assert_type(recorder.id, str)
        assert_type(recorder.name, str)
        assert_type(recorder.experiment_id, str)
        assert_type(recorder.status, str)
        assert_type(recorder.parent, str | None)
        assert_type(recorder.uri, str)
        assert_type(recorder.artifact_uri, str)
        assert_type(recorder.start_time, dt.datetime | None)
        assert_type(recorder.end_time, dt.datetime | None)
        assert_type(recorder.info, dict[str, Any])
        assert recorder.status in {recorder.STATUS_S, recorder.STATUS_R, aqrec.STATUS_S, aqrec.STATUS_R}
        assert_type(await recorder.end_run(recorder.STATUS_FI), None)
        assert recorder.status not in {recorder.STATUS_FA, aqrec.STATUS_FA}


async def manage(url: str) -> None:
    """Use a manager and its experiments."""
    async with aqrec.ExperimentManager(
        url, default_exp_name="lab", options=OPTIONS, storage_options=None
    ) as manager:
        assert_type(manager, aqrec.ExperimentManager)
        assert_type(manager.uri, str)
        assert_type(manager.default_exp_name, str)
        assert_type(await manager.create_exp("beta"), aqrec.Experiment)
        assert_type((await manager.compact(grace=600.0)).rows, int)
        assert_type((await manager.gc(grace=604_800.0, dry_run=True, unreferenced=False)).cost.requests, int)
        assert_type((await manager.reap(horizon=3600.0, dry_run=False)).running, int)
        assert_type((await manager.verify(contents=True, repair=False)).ok, bool)
        assert_type((await manager.retain(keep_last=100, status=aqrec.STATUS_FI, dry_run=False)).objects, int)
        assert_type((await manager.purge(older_than=2_592_000.0, dry_run=True)).objects, int)
        assert_type((await manager.archive(compress=True, dry_run=True)).moved, int)
        assert_type(
            (await manager.export("memory://exports", output_format="csv", overwrite=True)).cost.sent, int
        )
        experiment = await manager.get_exp(experiment_name="alpha", create=True, start=False)
        assert_type(experiment, aqrec.Experiment)
        assert_type(experiment.id, str)
        assert_type(experiment.name, str)
        assert_type(await experiment.info(), dict[str, Any])
        recorder = await experiment.create_recorder("first", recorder_id=None, parent=None)
        async with recorder as entered:
            assert_type(entered, aqrec.Recorder)
        assert_type(await recorder.start_run(), aqrec.Recorder)
        await recorder.end_run()
        assert_type(
            await experiment.start(recorder_name="second", resume=False, parent=recorder), aqrec.Recorder
        )
        assert_type(experiment.active_recorder, aqrec.Recorder | None)
        assert_type(await experiment.get_recorder(), aqrec.Recorder)
        assert_type(await experiment.end(), None)
        assert_type(await experiment.list_recorders(), dict[str, aqrec.Recorder])
        assert_type(
            await experiment.list_recorders("list", max_results=3, status=aqrec.STATUS_FI),
            list[aqrec.Recorder],
        )
        assert_type(await experiment.search_records(filter_string=""), pd.DataFrame)
        assert_type(await experiment.metric_histories(["loss"], recorders=[recorder]), pd.DataFrame)
        assert_type(await experiment.search_records(fields=["run_id"], output_format="arrow"), pa.Table)
        assert_type(await experiment.delete_recorder(recorder_id=recorder.id), None)
        assert_type(await experiment.restore_recorder(recorder.id), aqrec.Recorder)
        assert_type(
            await manager.start_exp(experiment_name="alpha", recorder_id="own", parent=recorder.id),
            aqrec.Experiment,
        )
        assert_type(manager.active_experiment, aqrec.Experiment | None)
        assert_type(await manager.end_exp(aqrec.STATUS_FI), None)
        assert_type(await manager.get_recorder(recorder_id="own"), aqrec.Recorder)
        assert_type(await manager.list_experiments(), dict[str, aqrec.Experiment])
        assert_type(await manager.list_recorders(experiment_name="alpha"), dict[str, aqrec.Recorder])
        assert_type(
            await manager.search_records([experiment.id], order_by=["metrics.ic DESC"], max_results=3),
            pd.DataFrame,
        )
        assert_type(await manager.metric_histories([recorder, recorder.id], after_time=0), pd.DataFrame)
        with contextlib.suppress(aqrec.errors.InvalidInputError):
            assert_type(await manager.compare([recorder, recorder.id], everything=True), aqrec.Comparison)
        assert_type(await manager.search_records(output_format="polars"), pl.DataFrame)
        assert_type(await manager.search_records(output_format="recorders"), list[aqrec.Recorder])
        page = await manager.search_page(filter_string="", max_results=10, page_token=None)
        assert_type(page, aqrec.Page[pd.DataFrame])
        assert_type((page.records, page.token), tuple[pd.DataFrame, str | None])
        assert_type(await manager.search_page(output_format="recorders"), aqrec.Page[list[aqrec.Recorder]])
        assert_type(await manager.delete_recorder(recorder_id="own"), None)
        assert_type(await manager.restore_recorder("own"), aqrec.Recorder)
        assert_type(await manager.delete_exp(experiment_name="beta"), None)
        assert_type(await manager.restore_exp(experiment_name="beta"), aqrec.Experiment)
        assert_type(await manager.aclose(), None)


async def use_r(url: str, folder: Path) -> None:
    """Use R."""
    from aqrec import R

    await R.configure(url, default_exp_name="lab", options=OPTIONS, storage_options=None)
    await R.set_uri(url)
    assert_type(R.uri, str)
    assert_type(await R.get_uri(), str)
    with R.uri_context(url):
        async with R.start(experiment_name="gamma", recorder_name="lgb", uri=url, resume=False) as experiment:
            assert_type(experiment, aqrec.Experiment)
            await R.log_params(lr=0.02)
            assert_type(await R.log_metrics(step=1, loss=0.3), None)
            await R.log_batch({"ic": 0.1}, step=1)
            await R.set_tags(owner="me")
            await R.delete_tags("owner")
            await R.save_objects(**{"a.json": {}}, artifact_path="x")
            await R.log_artifact(folder)
            assert_type(await R.load_object("x/a.json"), Any)
            assert_type(await R.list_artifacts(), list[str])
            assert_type(await R.download_artifact("x", folder / "r"), str)
            assert_type(await R.flush(), None)
            assert_type((await R.statistics()).points, int)
    assert_type(await R.start_exp(experiment_name="gamma", parent=None), aqrec.Experiment)
    recorder = await R.get_recorder()
    assert_type(recorder, aqrec.Recorder)
    assert_type(await R.end_exp(), None)
    assert_type(await R.get_exp(experiment_name="gamma"), aqrec.Experiment)
    assert_type(await R.create_exp("delta"), aqrec.Experiment)
    assert_type(await R.delete_exp(experiment_name="delta"), None)
    assert_type(await R.restore_exp(experiment_name="delta"), aqrec.Experiment)
    assert_type(await R.list_experiments(), dict[str, aqrec.Experiment])
    assert_type(await R.list_recorders(experiment_name="gamma"), dict[str, aqrec.Recorder])
    assert_type(await R.search_records(experiment_names=["gamma"], view="all"), pd.DataFrame)
    assert_type(await R.search_page(experiment_names=["gamma"], output_format="arrow"), aqrec.Page[pa.Table])
    assert_type(await R.delete_recorder(recorder_id=recorder.id), None)
    assert_type(await R.restore_recorder(recorder.id), aqrec.Recorder)
    assert_type(await R.aclose(), None)
    for report in await aqrec.sync_spool(url, storage_options=None, folder=folder, dry_run=True):
        assert_type(report.state, Literal["sent", "waiting", "in use", "failed"])


# -- blocking -----------------------------------------------------------------------------------------------


def record_blocking(url: str, folder: Path) -> None:
    """Use a blocking recorder."""
    with aqrec.sync.open_recorder(
        url,
        experiment="alpha",
        name="lgb",
        recorder_id="own-id",
        resume=False,
        parent=None,
        options=OPTIONS,
        storage_options=None,
        mode="online",
    ) as recorder:
        assert_type(recorder, aqrec.sync.Recorder)
        recorder.log_metrics(step=1, loss=0.31)
        assert_type(recorder.log_metrics(ic=1), None)
        recorder.log_params(lr=0.02, layers=[64, 32], note=None)
        recorder.log_batch({"a b": 1.0}, {"c": 1}, {"d": "e"}, step=1, timestamp=1_700_000_000_000)
        recorder.log_batch([("loss", 0.1, 1, None), ("loss", 0.2, None, 1_700_000_000_000)])
        recorder.set_tags(owner="me")
        recorder.delete_tags("owner")
        recorder.set_recorder_name("xgb")
        recorder.save_objects(**{"a.pkl": [1]}, artifact_path="x")
        recorder.save_objects(folder)
        recorder.log_artifact(folder, "y")
        assert_type(recorder.load_object("x/a.pkl", trust="restricted", unpickler=None), Any)
        assert_type(recorder.list_artifacts("x"), list[str])
        assert_type(recorder.download_artifact("x", folder / "z"), str)
        assert_type(recorder.list_params(), dict[str, Any])
        assert_type(recorder.list_metrics(), dict[str, float])
        assert_type(recorder.list_tags(), dict[str, Any])
        assert_type(recorder.metric_history("loss", after_step=1, max_points=100), pd.DataFrame)
        assert_type(recorder.metric_histories(["loss"], form="wide"), pd.DataFrame)
        assert_type(recorder.refresh(), aqrec.sync.Recorder)
        assert_type(recorder.flush(), None)
        assert_type(recorder.statistics().dropped, int)
        assert_type(recorder.get_artifact_uri(), str)
        with contextlib.suppress(aqrec.sync.errors.InvalidInputError):
            assert_type(recorder.get_local_dir(), str)
        assert_type(recorder.id, str)
        assert_type(recorder.name, str)
        assert_type(recorder.experiment_id, str)
        assert_type(recorder.status, str)
        assert_type(recorder.parent, str | None)
        assert_type(recorder.uri, str)
        assert_type(recorder.artifact_uri, str)
        assert_type(recorder.start_time, dt.datetime | None)
        assert_type(recorder.end_time, dt.datetime | None)
        assert_type(recorder.info, dict[str, Any])
        assert recorder.status in {
            recorder.STATUS_S,
            recorder.STATUS_R,
            aqrec.sync.STATUS_S,
            aqrec.sync.STATUS_R,
        }
        assert_type(recorder.end_run(recorder.STATUS_FI), None)
        assert recorder.status not in {recorder.STATUS_FA, aqrec.sync.STATUS_FA}


def manage_blocking(url: str) -> None:
    """Use a blocking manager and its experiments."""
    with aqrec.sync.ExperimentManager(
        url, default_exp_name="lab", options=OPTIONS, storage_options=None
    ) as manager:
        assert_type(manager, aqrec.sync.ExperimentManager)
        assert_type(manager.uri, str)
        assert_type(manager.default_exp_name, str)
        assert_type(manager.create_exp("beta"), aqrec.sync.Experiment)
        assert_type(manager.compact(grace=600.0).rows, int)
        assert_type(manager.gc(grace=604_800.0, dry_run=True, unreferenced=False).cost.requests, int)
        assert_type(manager.reap(horizon=3600.0, dry_run=False).running, int)
        assert_type(manager.verify(contents=True, repair=False).ok, bool)
        assert_type(manager.retain(keep_last=100, status=aqrec.STATUS_FI, dry_run=False).objects, int)
        assert_type(manager.purge(older_than=2_592_000.0, dry_run=True).objects, int)
        assert_type(manager.archive(compress=True, dry_run=True).moved, int)
        assert_type(manager.export("memory://exports", output_format="csv", overwrite=True).cost.sent, int)
        experiment = manager.get_exp(experiment_name="alpha", create=True, start=False)
        assert_type(experiment, aqrec.sync.Experiment)
        assert_type(experiment.id, str)
        assert_type(experiment.name, str)
        assert_type(experiment.info(), dict[str, Any])
        recorder = experiment.create_recorder("first", recorder_id=None, parent=None)
        with recorder as entered:
            assert_type(entered, aqrec.sync.Recorder)
        assert_type(recorder.start_run(), aqrec.sync.Recorder)
        recorder.end_run()
        assert_type(
            experiment.start(recorder_name="second", resume=False, parent=recorder), aqrec.sync.Recorder
        )
        assert_type(experiment.active_recorder, aqrec.sync.Recorder | None)
        assert_type(experiment.get_recorder(), aqrec.sync.Recorder)
        assert_type(experiment.end(), None)
        assert_type(experiment.list_recorders(), dict[str, aqrec.sync.Recorder])
        assert_type(
            experiment.list_recorders("list", max_results=3, status=aqrec.sync.STATUS_FI),
            list[aqrec.sync.Recorder],
        )
        assert_type(experiment.search_records(filter_string=""), pd.DataFrame)
        assert_type(experiment.metric_histories(["loss"], recorders=[recorder]), pd.DataFrame)
        assert_type(experiment.search_records(fields=["run_id"], output_format="arrow"), pa.Table)
        assert_type(experiment.delete_recorder(recorder_id=recorder.id), None)
        assert_type(experiment.restore_recorder(recorder.id), aqrec.sync.Recorder)
        assert_type(
            manager.start_exp(experiment_name="alpha", recorder_id="own", parent=recorder.id),
            aqrec.sync.Experiment,
        )
        assert_type(manager.active_experiment, aqrec.sync.Experiment | None)
        assert_type(manager.end_exp(aqrec.sync.STATUS_FI), None)
        assert_type(manager.get_recorder(recorder_id="own"), aqrec.sync.Recorder)
        assert_type(manager.list_experiments(), dict[str, aqrec.sync.Experiment])
        assert_type(manager.list_recorders(experiment_name="alpha"), dict[str, aqrec.sync.Recorder])
        assert_type(
            manager.search_records([experiment.id], order_by=["metrics.ic DESC"], max_results=3),
            pd.DataFrame,
        )
        assert_type(manager.metric_histories([recorder, recorder.id], after_time=0), pd.DataFrame)
        with contextlib.suppress(aqrec.errors.InvalidInputError):
            assert_type(manager.compare([recorder, recorder.id], everything=True), aqrec.sync.Comparison)
        assert_type(manager.search_records(output_format="polars"), pl.DataFrame)
        assert_type(manager.search_records(output_format="recorders"), list[aqrec.sync.Recorder])
        page = manager.search_page(filter_string="", max_results=10, page_token=None)
        assert_type(page, aqrec.sync.Page[pd.DataFrame])
        assert_type((page.records, page.token), tuple[pd.DataFrame, str | None])
        assert_type(
            manager.search_page(output_format="recorders"), aqrec.sync.Page[list[aqrec.sync.Recorder]]
        )
        assert_type(manager.delete_recorder(recorder_id="own"), None)
        assert_type(manager.restore_recorder("own"), aqrec.sync.Recorder)
        assert_type(manager.delete_exp(experiment_name="beta"), None)
        assert_type(manager.restore_exp(experiment_name="beta"), aqrec.sync.Experiment)
        assert_type(manager.close(), None)


def use_r_blocking(url: str, folder: Path) -> None:
    """Use the blocking R."""
    from aqrec.sync import R

    R.configure(url, default_exp_name="lab", options=OPTIONS, storage_options=None)
    R.set_uri(url)
    assert_type(R.uri, str)
    assert_type(R.get_uri(), str)
    with (
        R.uri_context(url),
        R.start(experiment_name="gamma", recorder_name="lgb", uri=url, resume=False) as experiment,
    ):
        assert_type(experiment, aqrec.sync.Experiment)
        R.log_params(lr=0.02)
        assert_type(R.log_metrics(step=1, loss=0.3), None)
        R.log_batch({"ic": 0.1}, step=1)
        R.set_tags(owner="me")
        R.delete_tags("owner")
        R.save_objects(**{"a.json": {}}, artifact_path="x")
        R.log_artifact(folder)
        assert_type(R.load_object("x/a.json"), Any)
        assert_type(R.list_artifacts(), list[str])
        assert_type(R.download_artifact("x", folder / "r"), str)
        assert_type(R.flush(), None)
        assert_type(R.statistics().points, int)
    assert_type(R.start_exp(experiment_name="gamma", parent=None), aqrec.sync.Experiment)
    recorder = R.get_recorder()
    assert_type(recorder, aqrec.sync.Recorder)
    assert_type(R.end_exp(), None)
    assert_type(R.get_exp(experiment_name="gamma"), aqrec.sync.Experiment)
    assert_type(R.create_exp("delta"), aqrec.sync.Experiment)
    assert_type(R.delete_exp(experiment_name="delta"), None)
    assert_type(R.restore_exp(experiment_name="delta"), aqrec.sync.Experiment)
    assert_type(R.list_experiments(), dict[str, aqrec.sync.Experiment])
    assert_type(R.list_recorders(experiment_name="gamma"), dict[str, aqrec.sync.Recorder])
    assert_type(R.search_records(experiment_names=["gamma"], view="all"), pd.DataFrame)
    assert_type(R.search_page(experiment_names=["gamma"], output_format="arrow"), aqrec.sync.Page[pa.Table])
    assert_type(R.delete_recorder(recorder_id=recorder.id), None)
    assert_type(R.restore_recorder(recorder.id), aqrec.sync.Recorder)
    assert_type(R.close(), None)
    for report in aqrec.sync.sync_spool(url, folder=folder, progress=lambda done, total: None):
        assert_type(report.sent_bytes, int)


class Model:
    """The least that a task needs."""

    def fit(self, dataset: object) -> None:
        """Learn nothing."""


TASK = {"model": Model(), "dataset": Model(), "record": []}


async def run_workflows(url: str) -> None:
    """Use the async workflows."""
    from aqrec import workflow

    assert_type(await workflow.check({"task": TASK}), dict[str, Any])
    recorder = await workflow.run({"task": TASK}, experiment_name="alpha", recorder_name="a", uri=url)
    assert_type(recorder, aqrec.Recorder)
    assert_type(await workflow.task_train(TASK, "alpha", "b", uri=url, on_progress=print), aqrec.Recorder)
    begun = await workflow.begin_task_train({**TASK, "model": f"{__name__}.Model"}, "alpha", uri=url)
    assert_type(await workflow.end_task_train(begun), aqrec.Recorder)
    config = {"task": {"model": f"{__name__}.Model", "dataset": f"{__name__}.Model"}}
    again = await workflow.rerun(await workflow.run(config, uri=url))
    assert_type(again, aqrec.Recorder)
    assert_type(workflow.flatten_dict({"a": {"b": 1}}), dict[str, Any])
    assert_type(workflow.fill_placeholder({"a": "<MODEL>"}, {"<MODEL>": 1}), Any)
    assert_type(workflow.init_instance_by_config(Model(), accept_types=Model), Any)


def run_workflows_blocking(url: str) -> None:
    """Use the blocking workflows."""
    from aqrec.sync import workflow

    assert_type(workflow.check({"task": TASK}), dict[str, Any])
    recorder = workflow.run({"task": TASK}, experiment_name="alpha", recorder_name="a", uri=url)
    assert_type(recorder, aqrec.sync.Recorder)
    assert_type(workflow.task_train(TASK, "alpha", "b", uri=url, on_progress=print), aqrec.sync.Recorder)
    begun = workflow.begin_task_train({**TASK, "model": f"{__name__}.Model"}, "alpha", uri=url)
    assert_type(workflow.end_task_train(begun), aqrec.sync.Recorder)
    config = {"task": {"model": f"{__name__}.Model", "dataset": f"{__name__}.Model"}}
    assert_type(workflow.rerun(workflow.run(config, uri=url)), aqrec.sync.Recorder)


def main(url: str, folder: Path) -> None:
    """Make every call once, in stores whose URLs begin with `url`."""
    asyncio.run(record(f"{url}/record", folder))
    asyncio.run(manage(f"{url}/manage"))
    asyncio.run(use_r(f"{url}/r", folder))
    record_blocking(f"{url}/record-blocking", folder)
    manage_blocking(f"{url}/manage-blocking")
    use_r_blocking(f"{url}/r-blocking", folder)
    asyncio.run(run_workflows(f"{url}/workflows"))
    run_workflows_blocking(f"{url}/workflows-blocking")
