"""How many requests a store of immutable objects takes; each costs money and a round trip."""

import asyncio
import uuid
from collections import Counter

import pytest

import aqrec
from aqrec.format import _layout as layout
from aqrec.options import Options
from aqrec.reading import Catalog
from aqrec.stores import CountingStore, LatencyStore, MemoryStore
from aqrec.upkeep import compact
from tests.engine.support import read, serve

QUIET = Options(provenance=False)


class Bucket:
    """A store that counts, shared by all who open its URL."""

    def __init__(self, latency: float = 0.0) -> None:
        self.name = uuid.uuid4().hex
        self.counting: list[CountingStore] = []
        self._latency = latency
        self.url = serve(self._open)

    def _open(self) -> CountingStore:
        inner = MemoryStore(self.name, append=False)
        store = CountingStore(LatencyStore(inner, self._latency) if self._latency else inner)
        self.counting.append(store)
        return store

    @property
    def requests(self) -> Counter[str]:
        """Requests since the last `reset`; asking what the store can do is answered by its driver."""
        total: Counter[str] = Counter()
        for store in self.counting:
            total += store.requests
        del total["probe_create"]
        return total

    def reset(self) -> None:
        for store in self.counting:
            store.reset()


@pytest.fixture
async def bucket() -> Bucket:
    """A bucket that is a store already."""
    bucket = Bucket()
    async with aqrec.open_recorder(bucket.url, options=QUIET):
        pass
    bucket.reset()
    return bucket


async def test_opening_a_store_takes_one_request(bucket: Bucket) -> None:
    async with aqrec.ExperimentManager(bucket.url, options=QUIET) as manager:
        assert bucket.requests == {"get": 1}
        recorder = (await manager.start_exp()).get_recorder
        await recorder()
        assert bucket.requests == {"get": 1}, "starting a run waits for nothing more"


async def test_a_short_run_takes_six_requests_at_most(bucket: Bucket) -> None:
    async with aqrec.open_recorder(bucket.url, experiment="alpha", options=QUIET) as recorder:
        await recorder.log_params(lr=0.1)
        for step in range(100):
            recorder.log_metrics(step=step, loss=1 / (step + 1))
    # Marker; history, events and document; one look at whether the catalog should be folded.
    assert bucket.requests == {"get": 1, "put_stream": 1, "put": 2, "list": 1}
    async with aqrec.ExperimentManager(bucket.url, options=QUIET) as manager:
        (again,) = (await manager.list_recorders(experiment_name="alpha")).values()
        assert len(await again.metric_history("loss")) == 100
    store = MemoryStore(bucket.name)
    assert [info.key async for info in store.list(layout.JOURNAL)] == []


async def test_starts_of_many_runs_share_one_request(bucket: Bucket) -> None:
    async with aqrec.ExperimentManager(bucket.url, options=QUIET) as manager:
        experiment = await manager.start_exp(experiment_name="alpha")
        bucket.reset()
        for number in range(50):
            recorder = await experiment.create_recorder(f"run {number}")
            await recorder.start_run()
        assert not bucket.requests
        await recorder.flush()
        assert bucket.requests == {"put": 1}


async def test_a_flush_of_many_runs_takes_one_request(bucket: Bucket) -> None:
    """Whoever opens the store then finds the points."""
    async with aqrec.ExperimentManager(bucket.url, options=QUIET) as manager:
        experiment = await manager.start_exp(experiment_name="alpha")
        recorders = [await experiment.create_recorder(f"run {number}") for number in range(20)]
        for recorder in recorders:
            await recorder.start_run()
            recorder.log_metrics(step=1, loss=0.5)
        await recorder.flush()
        bucket.reset()
        for recorder in recorders:
            recorder.log_metrics(step=2, loss=0.25)
        await asyncio.gather(*(recorder.flush() for recorder in recorders))
        assert bucket.requests == {"put": 1}
        stranger = serve(lambda: MemoryStore(bucket.name, append=False))
        for recorder in recorders:
            assert await read(stranger, recorder.id, "loss") == [(1, 0.5), (2, 0.25)]


async def test_the_end_of_a_longer_run_takes_few_requests(bucket: Bucket) -> None:
    async with aqrec.open_recorder(bucket.url, experiment="alpha", options=QUIET) as recorder:
        for step in range(5):
            recorder.log_metrics(step=step, loss=0.5)
            await recorder.flush()
        recorder.log_metrics(step=9, loss=0.5)
        bucket.reset()
        await recorder.end_run()
        # History, events, document; what is not needed any more goes at once.
        assert bucket.requests == {"put_stream": 1, "put": 2, "delete": 1}
        assert len(await recorder.metric_history("loss")) == 6


async def test_a_thousand_runs_with_bulk_sealing_take_twenty_requests() -> None:
    bucket = Bucket()
    async with aqrec.open_recorder(bucket.url, options=QUIET):
        pass
    bucket.reset()
    bulk = Options(provenance=False, seal="bulk")
    async with aqrec.ExperimentManager(bucket.url, options=bulk) as manager:
        experiment = await manager.start_exp(experiment_name="sweep")

        async def one(number: int) -> None:
            async with await experiment.create_recorder(f"run {number}") as recorder:
                await recorder.log_params(number=number)
                for step in range(5):
                    recorder.log_metrics(step=step, loss=1.0)

        await asyncio.gather(*(one(number) for number in range(1_000)))
    assert bucket.requests.total() <= 20, bucket.requests
    catalog = Catalog(MemoryStore(bucket.name, append=False))
    await catalog.refresh()
    sweep = [doc for doc in catalog.runs_of() if doc.experiment_name == "sweep" and doc.sealed]
    assert len(sweep) == 1_000


async def test_opening_and_searching_ten_thousand_runs_takes_ten_requests() -> None:
    from aqrec.engine import Engine
    from aqrec.format._ids import experiment_id, now_ms
    from aqrec.format._records import RunCreated, StatusSet

    bucket = Bucket()
    async with aqrec.ExperimentManager(bucket.url, options=QUIET) as manager:
        await manager.start_exp(experiment_name="alpha")
        engine: Engine = manager._workspace.session.engine
        for number in range(10_000):
            engine.post(
                RunCreated(
                    clock=engine.clock.now(),
                    run_id=f"r{number}",
                    experiment_id=experiment_id("alpha"),
                    experiment_name="alpha",
                    name="n",
                    created=now_ms(),
                )
            )
            engine.post(StatusSet(clock=engine.clock.now(), run_id=f"r{number}", status="FINISHED", time=5))
        await manager.compact(grace=0)
    async with aqrec.open_recorder(bucket.url, experiment="alpha", options=QUIET):
        pass
    bucket.reset()
    async with aqrec.ExperimentManager(bucket.url, options=QUIET) as manager:
        frame = await manager.search_records(experiment_names=["alpha"])
        assert len(frame) == 10_002
        assert bucket.requests.total() <= 10
        bucket.reset()
        await manager.search_records(experiment_names=["alpha"], filter_string="status = 'FINISHED'")
        assert bucket.requests == {"list": 1}, "an unchanged catalog is not read again"
        page = await manager.search_page(max_results=6_000)
        bucket.reset()
        assert len((await manager.search_page(max_results=6_000, page_token=page.token)).records) == 4_002
        assert not bucket.requests, "a further page is in memory"


async def test_the_history_of_a_running_run_takes_one_request_a_segment(bucket: Bucket) -> None:
    async with aqrec.open_recorder(bucket.url, experiment="alpha", options=QUIET) as recorder:
        for step in range(5):
            recorder.log_metrics(step=step, loss=0.5)
            await recorder.flush()
        async with aqrec.ExperimentManager(
            bucket.url, options=Options(provenance=False, upkeep="never")
        ) as manager:
            (again,) = (await manager.list_recorders(experiment_name="alpha")).values()
            await again.list_params()
            bucket.reset()
            assert len(await again.metric_history("loss")) == 5
            assert bucket.requests["get"] == 5
            assert bucket.requests["list"] <= 6


async def test_the_history_of_a_running_run_with_a_thousand_segments_takes_forty_requests(
    bucket: Bucket,
) -> None:
    async with aqrec.open_recorder(bucket.url, experiment="alpha", options=QUIET) as recorder:
        for step in range(1_000):
            recorder.log_metrics(step=step, loss=0.5)
            await recorder.flush()
        store = MemoryStore(bucket.name)

        async def segments() -> int:
            return len([info.key async for info in store.list(layout.JOURNAL)])

        async with asyncio.timeout(30):
            while await segments() > 33:  # the last merge is done beside the last flush
                await asyncio.sleep(0.01)
        async with aqrec.ExperimentManager(
            bucket.url, options=Options(provenance=False, upkeep="never")
        ) as manager:
            (again,) = (await manager.list_recorders(experiment_name="alpha")).values()
            await again.list_params()
            bucket.reset()
            assert (await again.metric_history("loss"))["step"].tolist() == list(range(1_000))
            assert bucket.requests["get"] + bucket.requests["get_stream"] <= 40
        bucket.reset()
        await recorder.end_run()
        assert bucket.requests.total() <= 10, "the writer has small segments in memory"
        assert len(await recorder.metric_history("loss")) == 1_000
    assert await segments() == 0


async def test_the_history_of_a_sealed_run_takes_one_request(bucket: Bucket) -> None:
    async with aqrec.open_recorder(bucket.url, experiment="alpha", options=QUIET) as recorder:
        for step in range(100):
            recorder.log_metrics(step=step, loss=0.5)
    await compact(Catalog(MemoryStore(bucket.name, append=False)), grace=0)
    async with aqrec.ExperimentManager(bucket.url, options=QUIET) as manager:
        (again,) = (await manager.list_recorders(experiment_name="alpha")).values()
        bucket.reset()
        assert len(await again.metric_history("loss")) == 100
        assert bucket.requests - Counter(list=1) == {"get_stream": 1}, "the listing looks for news of the run"
