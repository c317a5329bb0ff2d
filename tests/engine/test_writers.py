"""Any number of writers may write one run: every point is there once, and nobody overwrites anybody."""

import asyncio
import json
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import aqrec
from aqrec.errors import InvalidInputError
from aqrec.format import _ids as ids
from aqrec.format import _layout as layout
from aqrec.stores import LatencyStore, MemoryStore
from tests._support import ROOT
from tests.buckets.support import Worker
from tests.engine.support import history, on_engine, options, read, serve

WORKER = """
    import asyncio, sys
    import aqrec
    from aqrec.options import Options

    async def main(url, number):
        options = Options(provenance=False)
        print("ready", flush=True)
        sys.stdin.readline()
        async with aqrec.ExperimentManager(url, options=options) as manager:
            experiment = await manager.get_exp(experiment_name="ranks")
            recorder = await experiment.start(recorder_id="shared", resume=True)
            print("started", flush=True)
            sys.stdin.readline()
            for step in range(200):
                recorder.log_metrics(step=step, common=1000 * number + step, **{f"own{number}": step})
                if step % 50 == number:
                    await recorder.flush()
            await recorder.log_params(**{f"rank{number}": number, "contested": number, "same": "value"})
            await recorder.set_tags(**{f"tag{number}": number, "last": number})
            await recorder.save_objects(**{f"rank{number}.json": [number]})
            print("logged", flush=True)
            sys.stdin.readline()
            await recorder.end_run()
        print("ended", flush=True)

    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


@contextmanager
def workers(url: str, count: int, code: str = WORKER) -> Iterator[list[Worker]]:
    made = [
        Worker(
            subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(code), url, str(number)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
            )
        )
        for number in range(count)
    ]
    try:
        yield made
        assert [worker.process.wait(30) for worker in made] == [0] * count
    finally:
        for worker in made:
            worker.process.kill()
            worker.process.communicate()


async def check(url: str, count: int) -> None:
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        assert list(await manager.list_recorders(experiment_name="ranks")) == ["shared"]
        recorder = await manager.get_recorder(recorder_id="shared")
        common = await history(recorder, "common")
        assert sorted(common) == sorted((s, 1000.0 * n + s) for n in range(count) for s in range(200))
        for number in range(count):
            assert await history(recorder, f"own{number}") == [(step, float(step)) for step in range(200)]
            assert await recorder.load_object(f"rank{number}.json") == [number]
        params = await recorder.list_params()
        assert {key: params[key] for key in params if key.startswith("rank")} == {
            f"rank{n}": n for n in range(count)
        }
        assert params["same"] == "value"
        document = await recorder._call(recorder._run.document())
        assert sorted([params["contested"], *document.param_conflicts["contested"]]) == list(range(count))
        assert "same" not in document.param_conflicts
        tags = await recorder.list_tags()
        assert tags["last"] in range(count)
        assert recorder.status == "FINISHED"


async def test_processes_of_one_run_lose_and_overwrite_nothing(local_url: str) -> None:
    """They create the run and its experiment at the same moment, log, and end one after the other: zombies, all but the last."""
    with workers(local_url, 3) as ranks:
        for rank in ranks:
            rank.expect("ready")
        for rank in ranks:
            rank.go()
        for rank in ranks:  # who finds another's params at its start is told of the conflict at once
            rank.expect("started")
        for rank in ranks:
            rank.go()
        for rank in ranks:
            rank.expect("logged")
        before = await read(local_url, "shared", "common")
        for rank in ranks:
            rank.go()
            rank.expect("ended")
            assert set(await read(local_url, "shared", "common")) >= set(before)
    await check(local_url, 3)
    sealed = sorted(
        path.name for path in Path(local_url.removeprefix("file://")).glob("runs/shared/*.parquet")
    )
    assert len(sealed) == 3
    assert not list(Path(local_url.removeprefix("file://")).glob("journal/*/*"))


RACER = """
    import asyncio, sys
    import aqrec
    from aqrec.errors import InvalidInputError
    from aqrec.options import Options

    async def main(url, number):
        print("ready", flush=True)
        sys.stdin.readline()
        async with aqrec.ExperimentManager(url, options=Options(provenance=False)) as manager:
            experiment = await manager.get_exp(experiment_name=f"e{number}")
            try:
                recorder = await experiment.create_recorder(f"r{number}", recorder_id="mine")
                await recorder.start_run()
                recorder.log_metrics(step=number, loss=number)
                await recorder.end_run()
                print("won", flush=True)
            except InvalidInputError:
                print("taken", flush=True)

    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


async def test_processes_that_race_for_an_id_agree_on_one_run(local_url: str) -> None:
    """Whoever does not see the other in time joins it: one run, in one experiment, with the points of both."""
    with workers(local_url, 2, RACER) as racers:
        for racer in racers:
            racer.expect("ready")
        for racer in racers:
            racer.go()
        outcomes = []
        for racer in racers:
            assert racer.process.stdout is not None
            outcomes.append(racer.process.stdout.readline().strip())
    assert set(outcomes) <= {"won", "taken"}
    assert "won" in outcomes
    winners = [number for number, outcome in enumerate(outcomes) if outcome == "won"]
    async with aqrec.ExperimentManager(local_url, options=options()) as manager:
        recorder = await manager.get_recorder(recorder_id="mine")
        assert sorted(await history(recorder, "loss")) == [(number, float(number)) for number in winners]
        homes = [
            name
            for name in await manager.list_experiments()
            if await manager.list_recorders(experiment_name=name)
        ]
        assert len(homes) == 1


ZOMBIE = """
    import asyncio, sys
    import aqrec
    from aqrec.options import Options

    async def main(url, number):
        async with aqrec.ExperimentManager(url, options=Options(provenance=False)) as manager:
            experiment = await manager.get_exp(experiment_name="e")
            recorder = await experiment.start(recorder_name="z")
            recorder.log_metrics(step=0, loss=0)
            await recorder.flush()
            print(recorder.id, flush=True)
            sys.stdin.readline()
            recorder.log_metrics(step=2, loss=2)
            recorder.log_params(late=True)
            await recorder.flush()
            print("logged", flush=True)
            sys.stdin.readline()
            await recorder.end_run()

    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


async def test_a_zombie_only_adds(local_url: str) -> None:
    """A process that was given up, and whose run another one resumed and ended, writes on."""
    with workers(local_url, 1, ZOMBIE) as (zombie,):
        assert zombie.process.stdout is not None
        run_id = zombie.process.stdout.readline().strip()
        async with aqrec.ExperimentManager(local_url, options=options()) as manager:
            recorder = await (await manager.get_exp(experiment_name="e")).start(
                recorder_id=run_id, resume=True
            )
            assert await history(recorder, "loss") == [(0, 0.0)]
            recorder.log_metrics(step=1, loss=1)
            await recorder.end_run()
        assert await read(local_url, run_id, "loss") == [(0, 0.0), (1, 1.0)]
        zombie.go()
        zombie.expect("logged")
        assert await read(local_url, run_id, "loss") == [(0, 0.0), (1, 1.0), (2, 2.0)]
        zombie.go()
    assert await read(local_url, run_id, "loss") == [(0, 0.0), (1, 1.0), (2, 2.0)]
    run_json = json.loads(
        (Path(local_url.removeprefix("file://")) / "runs" / run_id / "run.json").read_bytes()
    )
    assert run_json["params"] == {"late": True}
    assert len(run_json["sealed"]) == 2


ACTION = st.tuples(
    st.integers(0, 2),
    st.sampled_from(["log", "log", "log", "stepless", "flush", "end", "start", "tag", "param", "read"]),
)
SEALS = st.sampled_from(["run", "bulk", "never"])


@given(actions=st.lists(ACTION, max_size=25), seal=SEALS)
def test_interleaved_writers_agree(actions: list[tuple[int, str]], seal: Any) -> None:
    """Three writers of one run, in any order of doing; options that differ make engines that differ."""
    asyncio.run(_interleave(actions, seal))


async def _interleave(actions: list[tuple[int, str]], seal: Any) -> None:
    url = f"memory://{ids.new_id()}"
    managers = [
        aqrec.ExperimentManager(url, options=options(seal=seal, sync=60 + number)) for number in range(3)
    ]
    recorders = []
    for number, manager in enumerate(managers):
        experiment = await manager.get_exp(experiment_name="e")
        recorders.append(await experiment.start(recorder_id="shared", resume=number > 0))
        await recorders[-1].flush()
    points: list[list[tuple[int | None, float]]] = [[], [], []]
    tags: dict[str, Any] = {}
    params: dict[str, Any] = {}
    for step, (who, what) in enumerate(actions):
        recorder = recorders[who]
        if what == "log":
            recorder.log_metrics(step=step % 7, loss=step)
            points[who].append((step % 7, float(step)))
        elif what == "stepless":
            recorder.log_metrics(loss=step)
            points[who].append((None, float(step)))
        elif what == "flush":
            await recorder.flush()
        elif what == "end":
            await recorder.end_run()
        elif what == "start":
            await recorder.start_run()
        elif what == "tag":
            await recorder.refresh()  # has seen what the others did, so its clock is behind theirs
            await recorder.set_tags(t=step)
            await recorder.flush()
            tags["t"] = step
        elif what == "param":
            await recorder.log_params(**{f"p{step}": step})
            params[f"p{step}"] = step
        else:
            await _agree(recorder, points, params, tags)
    for recorder in recorders:
        await recorder.end_run()
    for recorder in recorders:
        await _agree(recorder, points, params, tags)
    for manager in managers:
        await manager.aclose()
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        await _agree(await manager.get_recorder(recorder_id="shared"), points, params, tags)


async def _agree(recorder: aqrec.Recorder, points: Any, params: Any, tags: Any) -> None:
    found = await history(recorder, "loss")
    assert sorted(found, key=str) == sorted([point for mine in points for point in mine], key=str)
    steps = [step for step, _ in found]
    assert steps == sorted(steps, key=lambda step: -1 if step is None else step)
    for mine in points:  # the order of one writer is kept within a step
        for step in {step for step, _ in mine}:
            wanted = [value for at, value in mine if at == step]
            assert [value for at, value in found if at == step and value in wanted] == wanted
    assert await recorder.list_params() == params
    assert {key: value for key, value in (await recorder.list_tags()).items() if key == "t"} == tags


async def test_a_writer_whose_clock_is_behind_overrides_what_it_has_read(memory_url: str) -> None:
    ahead = aqrec.ExperimentManager(memory_url, options=options(sync=58))
    behind = aqrec.ExperimentManager(memory_url, options=options(sync=59))
    async with ahead as one, behind as other:
        first = await (await one.get_exp(experiment_name="e")).start(recorder_id="r")
        first._run.engine.clock.observe((ids.now_ms() + 3_600_000) << 16)
        await first.set_tags(t="early")
        await first.flush()
        second = await (await other.get_exp(experiment_name="e")).start(recorder_id="r", resume=True)
        await second.set_tags(t="late")
        await second.end_run("FAILED")
        for recorder in (first, second):
            assert (await recorder.list_tags())["t"] == "late"
            assert (await recorder.refresh()).status == "FAILED"


@pytest.mark.parametrize("seal", ["run", "bulk"])
async def test_reading_while_others_seal_never_misses_a_point(local_url: str, seal: Any) -> None:
    """Journals disappear and Parquet appears under the reader's eyes."""
    writing = aqrec.ExperimentManager(local_url, options=options(seal=seal, journal_bytes=4096))
    reading = aqrec.ExperimentManager(local_url, options=options(sync=59))
    async with writing as manager, reading as other:
        experiment = await manager.get_exp(experiment_name="e")
        logged = 0
        done = asyncio.Event()
        await (await experiment.start(recorder_id="r")).flush()

        async def write() -> None:
            nonlocal logged
            for session in range(15):
                recorder = await experiment.start(recorder_id="r", resume=True)
                for _ in range(30):
                    step = 30 * session + _
                    recorder.log_metrics(step=step, loss=step, other=0.5)
                    await asyncio.sleep(0.0005)
                await recorder.flush()
                logged = 30 * (session + 1)
                await recorder.end_run()
            done.set()

        async def read_on() -> None:
            reads = 0
            while not done.is_set() or not reads:
                acknowledged = logged
                points = await history(await other.get_recorder(recorder_id="r"), "loss")
                assert len(points) >= acknowledged
                assert points == [(step, float(step)) for step in range(len(points))]
                reads += 1

        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            for _ in range(2):
                group.create_task(read_on())
    assert await read(local_url, "r", "loss") == [(step, float(step)) for step in range(450)]


async def test_creating_a_taken_id_is_refused(local_url: str) -> None:
    async with aqrec.ExperimentManager(local_url, options=options()) as manager:
        experiment = await manager.get_exp(experiment_name="e")
        first = await experiment.create_recorder(recorder_id="mine")
        await first.flush()
        with pytest.raises(InvalidInputError, match=r"'mine' is taken.*resume"):
            await experiment.create_recorder(recorder_id="mine")


@pytest.mark.soak
@given(actions=st.lists(ACTION, min_size=20, max_size=100), seal=SEALS)
def test_interleaved_writers_agree_for_long(actions: list[tuple[int, str]], seal: Any) -> None:
    """As above, longer and more often."""
    asyncio.run(_interleave(actions, seal))


async def test_ranks_that_start_a_run_together_all_get_it() -> None:
    """Each finds no such run; none is refused because another one was a moment faster."""
    name = uuid.uuid4().hex
    others_run = asyncio.Event()
    lists = 0

    async def delay(operation: str, key: str) -> None:
        nonlocal lists
        if operation == "list" and key == layout.EVENTS:
            lists += 1
            if lists > 1:
                await others_run.wait()

    slow, fast = serve(lambda: LatencyStore(MemoryStore(name), delay)), serve(lambda: MemoryStore(name))
    async with (
        aqrec.ExperimentManager(slow, options=options()) as one,
        aqrec.ExperimentManager(fast, options=options()) as other,
    ):
        starting = asyncio.create_task(one.start_exp(experiment_name="e", recorder_id="r", resume=True))
        while not lists:
            await asyncio.sleep(0)
        experiment = await other.get_exp(experiment_name="e")
        second = await experiment.start(recorder_id="r", resume=True)
        second.log_metrics(x=2)
        await second.end_run()
        await on_engine(second, others_run.set)
        first = await (await starting).get_recorder()
        first.log_metrics(x=1)
        await first.end_run()
    assert sorted(value for _, value in await read(fast, "r", "x")) == [1.0, 2.0]
