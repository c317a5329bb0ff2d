"""What recording and reading cost, counted by a proxy before a real server: requests do not depend on the machine."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import aqrec
from aqrec.engine import Engine
from aqrec.format._ids import experiment_id, now_ms
from aqrec.format._records import RunCreated, StatusSet
from aqrec.options import Options
from tests._support.services import FaultProxy, Location, Service

pytestmark = pytest.mark.timeout(1200)

QUIET = Options(provenance=False)


class Counted:
    """A place in the bucket that is a store already, reached through the proxy."""

    def __init__(self, location: Location, proxy: FaultProxy) -> None:
        self.location = location.through(proxy.endpoint)
        self.proxy = proxy

    def manager(self, options: Options = QUIET) -> aqrec.ExperimentManager:
        return aqrec.ExperimentManager(
            self.location.url, options=options, storage_options=self.location.storage_options
        )

    def recorder(self, options: Options = QUIET, **named: Any) -> Any:
        return aqrec.open_recorder(
            self.location.url, options=options, storage_options=self.location.storage_options, **named
        )

    def reset(self) -> None:
        self.proxy.forget()

    def lines(self) -> list[str]:
        """Return what passed: method and target of each request."""
        return [request.line for request in self.proxy.log]


@pytest.fixture
async def counted(s3_server: Service, fault_proxy: Callable[[Location], FaultProxy]) -> Counted:
    location = s3_server.location()
    counted = Counted(location, fault_proxy(location))
    async with counted.recorder(experiment="before"):
        pass
    counted.reset()
    return counted


async def test_a_short_run_takes_six_requests_from_opening_to_closing(counted: Counted) -> None:
    """Marker, history, events and document, and a look whether the catalog is to be folded."""
    async with counted.recorder(experiment="e") as recorder:
        recorder.log_params(lr=0.1)
        for step in range(20):
            recorder.log_metrics(step=step, loss=0.5)
    assert 4 <= len(counted.lines()) <= 6, counted.lines()


async def test_a_start_waits_for_nothing_and_a_flush_for_one_request(counted: Counted) -> None:
    async with counted.manager() as manager:
        experiment = await manager.start_exp(experiment_name="e")
        assert len(counted.lines()) == 1, "the marker"
        recorders = [await experiment.create_recorder(f"run {number}") for number in range(10)]
        for recorder in recorders:
            await recorder.start_run()
            recorder.log_metrics(step=1, loss=0.5)
        assert len(counted.lines()) == 1
        await recorders[0].flush()
        assert len(counted.lines()) == 3, "points and events of all"
        counted.reset()
        for recorder in recorders:
            recorder.log_metrics(step=2, loss=0.25)
        await asyncio.gather(*(recorder.flush() for recorder in recorders))
        assert len(counted.lines()) == 1, counted.lines()


async def test_a_thousand_runs_sealed_together_take_twenty_requests(counted: Counted) -> None:
    async with counted.manager(Options(provenance=False, seal="bulk")) as manager:
        experiment = await manager.get_exp(experiment_name="sweep")

        async def one(number: int) -> None:
            async with await experiment.create_recorder(f"run {number}") as recorder:
                recorder.log_params(number=number)
                for step in range(5):
                    recorder.log_metrics(step=step, loss=1.0)

        await asyncio.gather(*map(one, range(1_000)))
    assert len(counted.lines()) <= 20, counted.lines()
    async with counted.manager() as manager:
        frame = await manager.search_records(experiment_names=["sweep"])
        assert (frame["status"] == "FINISHED").sum() == 1_000


async def test_opening_and_searching_ten_thousand_runs_takes_twelve_requests(counted: Counted) -> None:
    async with counted.manager() as manager:
        await manager.get_exp(experiment_name="alpha")
        engine: Engine = manager._workspace.session.engine
        for number in range(10_000):
            clock = engine.clock.now()
            engine.post(
                RunCreated(
                    clock=clock,
                    run_id=f"r{number}",
                    experiment_id=experiment_id("alpha"),
                    experiment_name="alpha",
                    name="n",
                    created=now_ms(),
                )
            )
            engine.post(StatusSet(clock=clock + 1, run_id=f"r{number}", status="FINISHED", time=5))
        await manager.compact(grace=0)
    counted.reset()
    async with counted.manager() as manager:
        frame = await manager.search_records(experiment_names=["alpha"])
    assert len(frame) == 10_000
    assert len(counted.lines()) <= 12, counted.lines()


async def test_a_sealed_history_and_a_small_object_take_one_request_each(counted: Counted) -> None:
    async with counted.recorder(experiment="e") as recorder:
        for step in range(100):
            recorder.log_metrics(step=step, loss=0.5)
        await recorder.flush()
        counted.reset()
        await recorder.save_objects(**{"x.json": [1]})
        puts = [line for line in counted.lines() if "/artifacts/x.json" in line]
        assert [line.split()[0] for line in puts] == ["PUT"]
        assert len(counted.lines()) == 2, "the object, and the reference to it"
    async with counted.manager() as manager:
        again = await manager.get_recorder(recorder_id=recorder.id)
        counted.reset()
        assert len(await again.metric_history("loss")) == 100
        reads = [line for line in counted.lines() if line.startswith("GET") and "metrics.parquet" in line]
        assert len(reads) <= 2, "the object, and perhaps its footer"
