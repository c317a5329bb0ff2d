"""Templates on a Dask cluster, whose workers are other processes."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import distributed
import pytest

import aqrec.sync.templates as blocking
from aqrec.errors import InvalidInputError
from aqrec.templates import SigAnaRecord, SignalRecord, generate_all
from tests._support import wait_until
from tests.templates import makers
from tests.templates.cases import Labelled, Model, artifacts, panel, run, run_blocking

PRED, LABEL = panel()


@pytest.fixture(scope="module")
def cluster() -> Iterator[distributed.LocalCluster]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1"
    ) as cluster:
        yield cluster


@pytest.mark.parametrize("asynchronous", [True, False], ids=["async client", "blocking client"])
async def test_workers_write_to_the_same_store(
    cluster: distributed.LocalCluster, local_url: str, asynchronous: bool
) -> None:
    async def work(client: distributed.Client) -> None:
        async with run(local_url) as one, run(local_url) as two:
            templates: list[Any] = []
            for recorder in (one, two):
                templates += [
                    makers.After(recorder),
                    makers.Where(recorder),
                    SigAnaRecord(recorder),
                    SignalRecord(Model(PRED), Labelled(LABEL), recorder),
                ]
            await generate_all(templates, executor=client)
            for recorder in (one, two):
                assert await recorder.load_object("where.pkl") != os.getpid()
                assert await recorder.load_object("after.pkl") == await recorder.load_object("where.pkl") + 1
                assert (await recorder.list_metrics())["IC"] == pytest.approx(
                    (await recorder.load_object("sig_analysis/ic.pkl")).mean()
                )

    if asynchronous:
        async with distributed.Client(cluster.scheduler_address, asynchronous=True) as client:
            await work(client)
            assert await client.submit(abs, -1) == 1, "it is left as it was"
    else:
        client = await asyncio.to_thread(distributed.Client, cluster.scheduler_address, set_as_default=False)
        try:
            await work(client)
        finally:
            await asyncio.to_thread(client.close)


async def test_a_failure_on_a_worker_leaves_the_others_alone(
    cluster: distributed.LocalCluster, local_url: str
) -> None:
    async with (
        distributed.Client(cluster.scheduler_address, asynchronous=True) as client,
        run(local_url) as recorder,
        run(local_url) as other,
    ):
        with pytest.raises(ExceptionGroup, match="1 of 3 templates failed, and 1 that need") as caught:
            await generate_all(
                [makers.AfterBroken(recorder), makers.Broken(recorder), makers.Where(other)], executor=client
            )
        assert isinstance(caught.value.exceptions[0], ZeroDivisionError)
        assert await artifacts(other) == ["where.pkl"]
        assert await artifacts(recorder) == []


def _waiting(dask_worker: Any) -> int:
    """Return how many tasks a worker has been given and has not begun."""
    return len(dask_worker.state.ready)


def _tasks(dask_scheduler: Any) -> int:
    return len(dask_scheduler.tasks)


async def test_cancelling_leaves_what_waits_and_lets_what_runs_end_whole(
    cluster: distributed.LocalCluster, local_url: str, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    async with (
        distributed.Client(cluster.scheduler_address, asynchronous=True) as client,
        run(local_url) as running,
        run(local_url) as second,
        run(local_url) as waiting,
    ):
        task = asyncio.create_task(
            generate_all(
                [
                    makers.SlowSave(running, tmp_path / "one", go),
                    makers.SlowSave(second, tmp_path / "two", go),
                    makers.Where(waiting),
                ],
                executor=client,
            )
        )
        for name in ("one", "two"):
            await asyncio.to_thread(wait_until, (tmp_path / name).exists, timeout=60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while await client.run_on_scheduler(_tasks):  # until it has heard of the cancellation
            await asyncio.sleep(0.02)
        while any((await client.run(_waiting)).values()):  # and so have the workers
            await asyncio.sleep(0.02)
        go.touch()
        while len(await artifacts(running)) < 2 or len(await artifacts(second)) < 2:
            await asyncio.sleep(0.02)
        assert await artifacts(running) == ["slow/a.pkl", "slow/b.pkl"]
        assert await client.submit(abs, -1) == 1, "the workers are free again"
        assert await artifacts(waiting) == []


def test_the_blocking_face_takes_a_blocking_client(cluster: distributed.LocalCluster, local_url: str) -> None:
    with (
        distributed.Client(cluster.scheduler_address, set_as_default=False) as client,
        run_blocking(local_url) as recorder,
    ):
        blocking.generate_all([makers.BlockingWhere(recorder)], executor=client)
        assert recorder.load_object("where.pkl") != os.getpid()


@pytest.mark.blocks_loop("the blocking face blocks the loop it is called on")
async def test_the_blocking_face_refuses_an_async_client(
    cluster: distributed.LocalCluster, local_url: str
) -> None:
    async with distributed.Client(cluster.scheduler_address, asynchronous=True) as client:
        with run_blocking(local_url) as recorder:
            with pytest.raises(InvalidInputError, match="async Dask client, which belongs to a loop"):
                blocking.generate_all([makers.BlockingWhere(recorder)], executor=client)
            assert recorder.list_artifacts() == []
