"""A bucket that lists its objects in no order, as S3's directory buckets do."""

import random
from collections.abc import AsyncIterator
from pathlib import Path

import aqrec
from aqrec.stores import MemoryStore, ObjectInfo, WrapperStore
from tests.engine.support import history, options, serve


class Shuffled(WrapperStore):
    """Lists another store in another order each time."""

    chance = random.Random(1)

    async def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
        infos = [info async for info in super().list(prefix)]
        self.chance.shuffle(infos)
        for info in infos:
            yield info


async def test_recording_reading_and_folding_need_no_order(tmp_path: Path) -> None:
    url = serve(lambda: Shuffled(MemoryStore(tmp_path.name, append=False)))
    chosen = options(segment=0.001)
    ids: list[str] = []
    async with aqrec.ExperimentManager(url, options=chosen) as manager:
        experiment = await manager.get_exp(experiment_name="e")
        running = await experiment.create_recorder("running")
        await running.start_run()
        for number in range(20):
            running.log_metrics(step=number, loss=number)
            await running.flush()  # a segment each, of which sixteen are merged
            async with await experiment.create_recorder(f"{number}") as recorder:
                recorder.log_metrics(step=0, loss=number)
            ids.append(recorder.id)
            if number % 7 == 6:
                await manager.compact(grace=0)
            async with aqrec.ExperimentManager(url, options=options(capacity=1000)) as reader:
                again = await reader.get_recorder(recorder_id=running.id)
                assert await history(again, "loss") == [(step, float(step)) for step in range(number + 1)]
                found = await reader.search_records(filter_string="status = 'FINISHED'")
                assert sorted(found["run_id"]) == sorted(ids)
