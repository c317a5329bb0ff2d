"""Many processes and one bucket: every point is there once, whoever writes, folds, sleeps or comes back."""

import signal

import pytest

from aqrec.options import Options
from aqrec.sync import ExperimentManager
from tests._support.services import Location, Service
from tests.buckets.support import workers

RECORD = """
async def main():
    wait("ready")
    async with aqrec.ExperimentManager(URL, options=OPTIONS, storage_options=STORAGE) as manager:
        experiment = await manager.get_exp(experiment_name="sweep")

        async def one(run):
            recorder = await experiment.create_recorder(recorder_id=f"w{NUMBER}-r{run}")
            async with recorder:
                recorder.log_params(number=NUMBER, run=run)
                for step in range(100):
                    recorder.log_metrics(step=step, a=1000 * NUMBER + step, b=run)
                    if step % 40 == 0:
                        await recorder.flush()
                await recorder.save_objects(**{"mine.json": [NUMBER, run]})

        await asyncio.gather(*map(one, range(3)))

asyncio.run(main())
"""

FOLD = """
async def main():
    wait("ready")
    async with aqrec.ExperimentManager(URL, options=OPTIONS, storage_options=STORAGE) as manager:
        for _ in range(4):
            try:
                await manager.compact()
            except aqrec.errors.ConflictError:
                pass  # the other one was faster again and again

asyncio.run(main())
"""

RANK = """
async def main():
    wait("ready")
    async with aqrec.ExperimentManager(URL, options=OPTIONS, storage_options=STORAGE) as manager:
        experiment = await manager.get_exp(experiment_name="ranks")
        recorder = await experiment.start(recorder_id="shared", resume=True)
        for step in range(100):
            recorder.log_metrics(step=step, common=1000 * NUMBER + step, **{f"own{NUMBER}": step})
            if step % 50 == NUMBER:
                await recorder.flush()
        recorder.log_params(**{f"rank{NUMBER}": NUMBER})
        await recorder.save_objects(**{f"rank{NUMBER}.json": [NUMBER]})
        wait("logged")
        await recorder.end_run()

asyncio.run(main())
"""

ZOMBIE = """
async def main():
    async with aqrec.ExperimentManager(URL, options=OPTIONS, storage_options=STORAGE) as manager:
        experiment = await manager.get_exp(experiment_name="z")
        recorder = await experiment.start(recorder_id="shared", resume=True)
        first = 100 * NUMBER
        for step in range(first, first + 50):
            recorder.log_metrics(step=step, x=step)
        await recorder.flush()
        wait("flushed")
        for step in range(first + 50, first + 100):
            recorder.log_metrics(step=step, x=step)
        await recorder.end_run()
        print("ended", flush=True)

if NUMBER == 1:
    wait("ready")
asyncio.run(main())
"""


def manager(location: Location) -> ExperimentManager:
    return ExperimentManager(
        location.url, options=Options(provenance=False), storage_options=location.storage_options
    )


@pytest.mark.timeout(1200)
def test_eight_processes_record_while_two_fold(s3_server: Service) -> None:
    """Three runs each, all at once: every run is found, whole, by whoever opens the store afterwards."""
    location = s3_server.location()
    with workers(location, [RECORD] * 8 + [FOLD] * 2) as made:
        for worker in made:
            worker.expect("ready")
        for worker in made:
            worker.go()
    with manager(location) as fresh:
        for _ in range(2):
            frame = fresh.search_records(experiment_names=["sweep"])
            assert sorted(frame["run_id"]) == sorted(f"w{w}-r{r}" for w in range(8) for r in range(3))
            assert set(frame["status"]) == {"FINISHED"}
            for row in frame.to_dict("records"):
                number, run = int(row["params.number"]), int(row["params.run"])
                recorder = fresh.get_recorder(recorder_id=f"w{number}-r{run}")
                history = recorder.metric_history("a")
                assert history["step"].tolist() == list(range(100))
                assert history["value"].tolist() == [1000 * number + step for step in range(100)]
                assert recorder.load_object("mine.json") == [number, run]
            fresh.compact()


@pytest.mark.timeout(1200)
def test_eight_ranks_record_in_one_run(s3_location: Location) -> None:
    """On the emulator and on the real server: no rank's points, params or artifacts displace another's."""
    with workers(location := s3_location, [RANK] * 8) as made:
        for worker in made:
            worker.expect("ready")
        for worker in made:
            worker.go()
        for worker in made:
            worker.expect("logged")
        for worker in made:
            worker.go()
    with manager(location) as fresh:
        recorder = fresh.get_recorder(recorder_id="shared")
        assert recorder.status == "FINISHED"
        common = recorder.metric_history("common")
        assert sorted(common["value"]) == sorted(
            1000 * rank + step for rank in range(8) for step in range(100)
        )
        for rank in range(8):
            assert recorder.metric_history(f"own{rank}")["value"].tolist() == list(range(100))
            assert recorder.load_object(f"rank{rank}.json") == [rank]
        assert recorder.list_params() == {f"rank{rank}": rank for rank in range(8)}


@pytest.mark.timeout(1200)
def test_a_writer_that_slept_while_its_run_was_resumed_only_adds(s3_server: Service) -> None:
    """It was stopped in the middle, another one resumed and ended the run; it wakes, and goes on."""
    location = s3_server.location()
    with workers(location, [ZOMBIE] * 2) as (zombie, other):
        zombie.expect("flushed")
        zombie.process.send_signal(signal.SIGSTOP)
        other.expect("ready")
        other.go()
        other.expect("flushed")
        other.go()
        other.expect("ended")
        with manager(location) as fresh:
            recorder = fresh.get_recorder(recorder_id="shared")
            assert recorder.status == "FINISHED"
            assert recorder.metric_history("x")["value"].tolist() == [*range(50), *range(100, 200)]
        zombie.process.send_signal(signal.SIGCONT)
        zombie.go()
        zombie.expect("ended")
    with manager(location) as fresh:
        recorder = fresh.get_recorder(recorder_id="shared")
        assert recorder.status == "FINISHED"
        assert recorder.metric_history("x")["value"].tolist() == list(range(200))
