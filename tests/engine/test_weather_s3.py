"""The same weather over the real S3 driver: a proxy that fails requests between it and a server."""

import asyncio
import json
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import aqrec
from aqrec.errors import FlushTimeoutError
from aqrec.format._frames import POINTS, Damage, decode_frames
from aqrec.format._points import decode_points
from aqrec.options import SpoolOptions
from aqrec.stores import open_store
from tests._support import run_script, wait_until
from tests._support.services import FaultProxy, Location, Rule, Service, bad_weather
from tests.engine.support import history, options

Before = Callable[[str | Location], FaultProxy]


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's processes spool to."""
    folder = tmp_path / "spool"
    monkeypatch.setenv("AQREC_SPOOL", str(folder))
    return folder


def impatient(location: Location, retries: int = 1) -> dict[str, Any]:
    """Return storage options by which a request is given up soon."""
    return {**location.storage_options, "retries": retries, "connect_timeout": 1, "read_timeout": 0.4}


async def frames(location: Location) -> Counter[tuple[str, int]]:
    """Return how often each points frame is stored, by (writer, number)."""
    store, found = (
        open_store(location.url, storage_options=location.storage_options),
        Counter[tuple[str, int]](),
    )
    for key in [info.key async for info in store.list("journal")]:
        for frame in decode_frames(await store.get(key)):
            if not isinstance(frame, Damage) and frame.kind == POINTS:
                found[key.split("/")[1], decode_points(frame.payload).seq] += 1
    await store.aclose()
    return found


async def stored(location: Location, run_id: str) -> list[tuple[int | None, float]]:
    async with aqrec.ExperimentManager(
        location.url, options=options(), storage_options=location.storage_options
    ) as manager:
        recorder = await manager.get_recorder(recorder_id=run_id)
        return await history(recorder, "loss")


@pytest.mark.parametrize("p", [0.1, 0.3])
async def test_requests_that_fail_in_every_way_lose_and_double_nothing(
    s3_server: Service, fault_proxy: Before, spool: Path, p: float
) -> None:
    location = s3_server.location()
    proxy = fault_proxy(location)
    chosen = options(segment=0.05, seal="never", close_timeout=20, spool=SpoolOptions(away_after=0.5))
    flushed = 0
    async with aqrec.ExperimentManager(
        location.url, options=chosen, storage_options=impatient(location.through(proxy.endpoint))
    ) as manager:
        experiment = await manager.get_exp(experiment_name="e")
        recorder = await experiment.create_recorder("r")
        await recorder.start_run()
        proxy.add(*bad_weather(p, seed=int(10 * p), hang_for=0.6))
        for step in range(300):
            began = asyncio.get_running_loop().time()
            await recorder.log_metrics(step=step, loss=step)
            assert asyncio.get_running_loop().time() - began < 1
            if step % 60 == 59:
                await recorder.flush()
                flushed += 1
                assert (await frames(location)).total() >= flushed, "what is acknowledged is there"
                await recorder.save_objects(**{f"a{step}.json": [step]})
        await recorder.end_run()
        proxy.clear()
    assert any(request.action for request in proxy.log)
    await aqrec.sync_spool(location.url, storage_options=location.storage_options)
    assert await stored(location, recorder.id) == [(step, float(step)) for step in range(300)]
    assert set((await frames(location)).values()) == {1}
    async with aqrec.ExperimentManager(
        location.url, options=options(), storage_options=location.storage_options
    ) as manager:
        again = await manager.get_recorder(recorder_id=recorder.id)
        assert [await again.load_object(f"a{step}.json") for step in range(59, 300, 60)] == [
            [step] for step in range(59, 300, 60)
        ]
    assert not any(path.is_file() for path in spool.rglob("*"))


async def test_a_server_that_is_gone_for_a_while_gets_everything_in_the_end(
    s3_server: Service, fault_proxy: Before, spool: Path
) -> None:
    location = s3_server.location()
    proxy = fault_proxy(location)
    chosen = options(segment=0.05, flush_timeout=1.0, spool=SpoolOptions(away_after=0.2))
    async with aqrec.ExperimentManager(
        location.url, options=chosen, storage_options=impatient(location.through(proxy.endpoint), retries=0)
    ) as manager:
        recorder = await (await manager.get_exp(experiment_name="e")).create_recorder("r")
        await recorder.start_run()
        await recorder.flush()
        proxy.add(Rule("reset"))
        for step in range(5_000):
            await recorder.log_metrics(step=step, loss=step)
        with pytest.raises(FlushTimeoutError, match="aqrec sync --store s3://"):
            await recorder.flush()
        await recorder.save_objects(**{"model.json": [1]})
        await recorder.end_run()
        statistics = await recorder.statistics()
        assert not statistics.storing
        assert statistics.spooled_bytes > 50_000
        proxy.clear()
    assert not any(path.is_file() for path in spool.rglob("*"))
    assert await stored(location, recorder.id) == [(step, float(step)) for step in range(5_000)]


@pytest.mark.parametrize(
    "action", ["hang", *(pytest.param(other, marks=pytest.mark.soak) for other in ("reset", "status"))]
)
async def test_a_job_that_begins_its_next_runs_in_an_outage_goes_on(
    s3_server: Service, fault_proxy: Before, spool: Path, monkeypatch: pytest.MonkeyPatch, action: Any
) -> None:
    """It finds what it has recorded, opens the store anew for a run, and in the end the server has everything once."""
    monkeypatch.setattr("aqrec.engine._outage._PATIENCE", 0.5)
    location = s3_server.location()
    proxy = fault_proxy(location)
    storage = impatient(location.through(proxy.endpoint), retries=0)
    chosen = options(segment=0.05, close_timeout=1.5, spool=SpoolOptions(away_after=0.3))

    async def one(manager: aqrec.ExperimentManager, number: int) -> str:
        async with await (await manager.get_exp(experiment_name="e")).start(recorder_name=f"{number}") as run:
            run.log_metrics(step=number, loss=number)
            await run.save_objects(**{"a.json": [number]})
            assert await run.list_metrics() == {"loss": number}
            assert await run.load_object("a.json") == [number]
        return run.id

    async with aqrec.ExperimentManager(location.url, options=chosen, storage_options=storage) as manager:
        ids = [await one(manager, 0)]
        assert list(await manager.list_recorders(experiment_name="e")) == ids
        proxy.add(Rule(action))
        async with asyncio.timeout(60):
            ids += [await one(manager, number) for number in (1, 2)]
            frame = await manager.search_records(experiment_names=["e"], order_by=["metrics.loss ASC"])
            assert frame["run_id"].tolist() == ids
    async with (
        asyncio.timeout(60),
        aqrec.ExperimentManager(location.url, options=chosen, storage_options=storage) as manager,
    ):
        ids.append(await one(manager, 3))
    assert proxy.log[-1].action == action
    proxy.clear()
    await aqrec.sync_spool(location.url, storage_options=location.storage_options)
    for number, run_id in enumerate(ids):
        assert await stored(location, run_id) == [(number, float(number))]
    assert not any(path.is_file() for path in spool.rglob("*"))


KILLED = """
    import asyncio, json, sys
    from pathlib import Path
    import aqrec
    from tests.engine.support import options

    async def main(url, storage, switch):
        async with aqrec.ExperimentManager(url, options=options(segment=60), storage_options=json.loads(storage)) as manager:
            recorder = await (await manager.get_exp(experiment_name="e")).create_recorder("r", recorder_id="killed")
            await recorder.start_run()
            recorder.log_metrics(step=0, loss=0)
            await recorder.flush()
            Path(switch + ".begun").touch()
            while not Path(switch).exists():
                await asyncio.sleep(0.005)
            for step in range(1, 500):
                recorder.log_metrics(step=step, loss=step)
            await recorder.save_objects(**{"a.json": [1]})
            print("ready", flush=True)
            await asyncio.sleep(60)

    asyncio.run(main(*sys.argv[1:]))
"""


async def test_what_a_killed_process_had_is_sent_once(
    s3_server: Service, fault_proxy: Before, spool: Path, tmp_path: Path
) -> None:
    location = s3_server.location()
    proxy = fault_proxy(location)
    switch = tmp_path / "switch"
    storage = json.dumps(impatient(location.through(proxy.endpoint), retries=0))
    job = asyncio.create_task(
        asyncio.to_thread(run_script, KILLED, location.url, storage, str(switch), signal=signal.SIGKILL)
    )
    await asyncio.to_thread(wait_until, tmp_path.joinpath("switch.begun").exists, 50)
    proxy.add(Rule("reset"))
    switch.touch()
    assert (await job).returncode == -signal.SIGKILL
    proxy.clear()
    proxy.add(*bad_weather(0.2, seed=3, hang_for=0.6))
    through = impatient(location.through(proxy.endpoint), retries=0)
    sent: list[str] = []
    while left := await asyncio.gather(
        *(aqrec.sync_spool(location.url, storage_options=through) for _ in range(2))
    ):
        sent += [report.state for reports in left for report in reports]
        if "sent" in sent:
            break
    assert sent.count("sent") == 1
    assert await stored(location, "killed") == [(step, float(step)) for step in range(500)]
    assert set((await frames(location)).values()) == {1}
    assert storage not in "".join(
        path.read_text(errors="replace") for path in spool.rglob("*") if path.is_file()
    )
