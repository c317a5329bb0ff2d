"""`generate_all`: order, failures, cancellation, and every place where templates can be made."""

import asyncio
import concurrent.futures
import io
import math
import os
import signal
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

import aqrec
import aqrec.sync.templates as blocking
from aqrec.errors import InvalidInputError, InvalidValueError, MissingInputError, WorkerLostError
from aqrec.templates import (
    ACRecordTemp,
    RecordTemp,
    SigAnaRecord,
    SignalMseRecord,
    SignalRecord,
    generate_all,
)
from aqrec.templates._schedule import AsyncFace
from aqrec.templates._workers import choose_workers
from tests._support import ROOT, run_script, wait_until
from tests.templates import makers
from tests.templates.cases import Labelled, Model, artifacts, panel, run, run_blocking

PRED, LABEL = panel()


def a_signal(recorder: Any, sign: float = 1.0) -> list[Any]:
    """Return templates of one run, those first that depend on others."""
    return [
        SignalMseRecord(recorder),
        SigAnaRecord(recorder),
        SignalRecord(Model(sign * PRED), Labelled(LABEL), recorder),
    ]


FILES = [
    "label.pkl",
    "pred.pkl",
    "sig_analysis/ic.pkl",
    "sig_analysis/mse.pkl",
    "sig_analysis/ric.pkl",
    "sig_analysis/rmse.pkl",
]


async def test_templates_wait_for_those_whose_files_they_need(store_url: str) -> None:
    async with run(store_url) as recorder:
        await generate_all(a_signal(recorder))
        assert await artifacts(recorder) == FILES
        assert set(await recorder.list_metrics()) == {"IC", "ICIR", "Rank IC", "Rank ICIR", "MSE", "RMSE"}


async def test_runs_do_not_wait_for_each_other(store_url: str) -> None:
    async with run(store_url) as one, run(store_url) as two:
        await generate_all([*a_signal(one), *a_signal(two, -1.0)])
        first, second = await one.list_metrics(), await two.list_metrics()
        assert first["IC"] == pytest.approx(-second["IC"])


async def test_independent_templates_are_under_way_together(memory_url: str) -> None:
    both = asyncio.Barrier(2)

    class Meeting(ACRecordTemp):
        def __init__(self, recorder: Any, name: str) -> None:
            super().__init__(recorder)
            self.name = name

        def list(self) -> Any:
            return [self.name]

        async def _generate(self) -> Any:
            await both.wait()
            return {self.name: 1}

    async with run(memory_url) as recorder:
        await generate_all([Meeting(recorder, "a.pkl"), Meeting(recorder, "b.pkl")])
        assert await artifacts(recorder) == ["a.pkl", "b.pkl"]


async def test_only_so_many_threads_compute_at_once(memory_url: str) -> None:
    busy: list[int] = []
    lock = threading.Lock()
    most = 0
    full = threading.Event()

    class Counting(Model):
        def predict(self, dataset: Any) -> Any:
            nonlocal most
            with lock:
                busy.append(1)
                most = max(most, len(busy))
                if len(busy) == 2:
                    full.set()
            assert full.wait(30)
            with lock:
                busy.pop()
            return self.pred

    async with aqrec.ExperimentManager(memory_url, options=aqrec.Options(provenance=False)) as manager:
        experiment = await manager.create_exp("alpha")
        recorders = [await experiment.create_recorder(f"r{number}") for number in range(6)]
        await generate_all(
            [SignalRecord(Counting(PRED), None, recorder) for recorder in recorders], workers=2
        )
        assert most == 2


async def test_nothing_to_make_is_no_error() -> None:
    await generate_all([])


class Chain(ACRecordTemp):
    """Makes one file out of others."""

    def __init__(self, recorder: Any, own: int, needs: frozenset[int], log: list[int]) -> None:
        super().__init__(recorder)
        self.own, self.needs, self.log = own, needs, log

    def list(self) -> Any:
        return [f"{self.own}.pkl"]

    def _inputs(self) -> Any:
        return {f"{number}.pkl": Chain for number in self.needs}

    async def _generate(self) -> Any:
        self.log.append(self.own)
        if self.own in self.broken:
            raise ZeroDivisionError(f"number {self.own}")
        return {f"{self.own}.pkl": 1 + sum([await self.load(f"{number}.pkl") for number in self.needs])}

    broken: frozenset[int] = frozenset()


GRAPHS = st.integers(1, 7).flatmap(
    lambda size: st.tuples(
        st.tuples(*(st.frozensets(st.integers(0, max(n - 1, 0)), max_size=n) for n in range(size))),
        st.permutations(range(size)),
        st.frozensets(st.integers(0, size - 1), max_size=2),
    )
)


@settings(max_examples=30)
@given(GRAPHS)
def test_any_graph_is_made_in_order_and_around_what_fails(
    graph: tuple[tuple[frozenset[int], ...], list[int], frozenset[int]],
) -> None:
    needs, order, broken = graph
    lost = set[int]()
    for number in range(len(needs)):
        if number in broken or needs[number] & lost:
            lost.add(number)
    failing = {number for number in broken if not needs[number] & lost}

    async def main() -> None:
        log: list[int] = []
        async with run(f"memory://{os.urandom(8).hex()}") as recorder:
            templates = [Chain(recorder, number, needs[number], log) for number in order]
            for template in templates:
                template.broken = broken
            if failing:
                with pytest.raises(ExceptionGroup) as caught:
                    await generate_all(templates)
                assert {str(error) for error in caught.value.exceptions} == {f"number {n}" for n in failing}
                assert f"{len(failing)} of {len(needs)} templates failed" in str(caught.value)
            else:
                await generate_all(templates)
            assert sorted(log) == sorted(set(range(len(needs))) - lost | failing)
            assert await artifacts(recorder) == sorted(f"{n}.pkl" for n in set(range(len(needs))) - lost)
            for number in log:
                assert all(log.index(needed) < log.index(number) for needed in needs[number])

    asyncio.run(main())


async def test_a_failure_says_whose_it_is_and_what_was_left_out(store_url: str) -> None:
    class Broken(Model):
        def predict(self, dataset: Any) -> Any:
            raise RuntimeError("out of memory")

    async with run(store_url) as good, run(store_url) as bad:
        templates = [
            *a_signal(good),
            SigAnaRecord(bad),
            SignalMseRecord(bad),
            SignalRecord(Broken(PRED), Labelled(LABEL), bad),
        ]
        with pytest.raises(
            ExceptionGroup, match="1 of 6 templates failed, and 2 that need their files were left"
        ) as caught:
            await generate_all(templates)
        (error,) = caught.value.exceptions
        assert str(error) == "out of memory"
        (note,) = error.__notes__
        assert note.startswith("aqrec: raised by SignalRecord of run ")
        assert bad.id in note
        assert "these were not made: SigAnaRecord of run" in note
        assert "SignalMseRecord of run" in note
        assert await artifacts(good) == FILES
        assert await artifacts(bad) == []


async def test_an_input_that_nobody_makes_is_an_error_of_its_template(memory_url: str) -> None:
    async with run(memory_url) as recorder:
        with pytest.raises(ExceptionGroup) as caught:
            await generate_all([SigAnaRecord(recorder)])
        assert isinstance(caught.value.exceptions[0], MissingInputError)
        await generate_all([SigAnaRecord(recorder, on_missing="skip")])


async def test_what_makes_no_sense_is_refused_before_anything_is_made(memory_url: str) -> None:
    async with run(memory_url) as recorder:
        one, two = SigAnaRecord(recorder), SigAnaRecord(recorder)
        signal = SignalRecord(Model(PRED), Labelled(LABEL), recorder)
        for templates, text in (
            ([signal, one, two], r"both make 'sig_analysis/ic\.pkl'; give each its own run"),
            ([signal, one, signal], r"SignalRecord of run .* comes twice"),
            ([signal, "SigAnaRecord"], r"'SigAnaRecord' is no template of aqrec\.templates"),
            (
                [signal, Chain(recorder, 0, frozenset([1]), []), Chain(recorder, 1, frozenset([0]), [])],
                "these wait for each other's files: Chain of run",
            ),
        ):
            with pytest.raises(InvalidInputError, match=text):
                await generate_all(templates)  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError, match="templates is one SignalRecord; give a list of them"):
            await generate_all(signal)  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError, match="templates is None; give a list"):
            await generate_all(None)  # type: ignore[arg-type]
        for options, text in (
            ({"executor": "fork"}, "executor is 'fork'; choose"),
            ({"workers": 0}, "workers is 0; give a whole number"),
        ):
            with pytest.raises(InvalidInputError, match=text):
                await generate_all([signal], **options)  # type: ignore[arg-type]
        assert await artifacts(recorder) == []


def test_it_runs_on_trio(store_url: str) -> None:
    async def main() -> None:
        async with run(store_url) as recorder:
            await generate_all(a_signal(recorder))
            assert await artifacts(recorder) == FILES

    trio.run(main)


# --- cancellation ---------------------------------------------------------------------------------------------


def whole_or_absent(found: list[str]) -> bool:
    return all(
        len({*record}.intersection(found)) in {0, len(record)}
        for record in (FILES[:2], FILES[2::2], FILES[3::2])
    )


@settings(max_examples=15)
@given(st.floats(0, 0.08))
def test_cancelling_at_any_moment_leaves_records_whole_or_absent(delay: float) -> None:
    async def main() -> None:
        url = f"memory://{os.urandom(8).hex()}"
        async with aqrec.ExperimentManager(url, options=aqrec.Options(provenance=False)) as manager:
            experiment = await manager.create_exp("alpha")
            recorders = [await experiment.create_recorder(f"r{number}") for number in range(3)]
            with anyio.move_on_after(delay):
                await generate_all([template for recorder in recorders for template in a_signal(recorder)])
            # What was being saved appears a moment later.
            with anyio.fail_after(30):
                while not all([whole_or_absent(await artifacts(recorder)) for recorder in recorders]):
                    await asyncio.sleep(0.005)

    asyncio.run(main())


async def test_cancelling_begins_no_further_template(memory_url: str) -> None:
    begun = asyncio.Event()
    log: list[str] = []

    class Endless(ACRecordTemp):
        def list(self) -> Any:
            return ["endless.pkl"]

        async def _generate(self) -> Any:
            log.append("endless")
            begun.set()
            await asyncio.Event().wait()

    class After(ACRecordTemp):
        depend_cls = Endless

        async def _generate(self) -> Any:
            log.append("after")

    async with run(memory_url) as recorder:
        task = asyncio.create_task(generate_all([After(recorder), Endless(recorder)]))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert log == ["endless"]
        assert await artifacts(recorder) == []


def gone(pid: int) -> bool:
    """Whether a process is no more, or waits to be buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):  # before it is opened, or while it is read
        return True


# --- processes ------------------------------------------------------------------------------------------------


async def test_processes_write_to_the_same_store(local_url: str) -> None:
    async with run(local_url) as one, run(local_url) as two:
        templates = [
            *(makers.Where(recorder) for recorder in (one, two)),
            *(makers.After(recorder) for recorder in (one, two)),
            *a_signal(one),
        ]
        await generate_all(templates, executor="processes", workers=2)
        pids = {await recorder.load_object("where.pkl") for recorder in (one, two)}
        assert os.getpid() not in pids
        assert await two.load_object("after.pkl") == (await two.load_object("where.pkl")) + 1
        assert "IC" in await one.list_metrics()
        assert await artifacts(one) == sorted([*FILES, "after.pkl", "where.pkl"])


async def test_what_cannot_travel_is_named(local_url: str, memory_url: str) -> None:
    class Locked(Model):
        def __init__(self) -> None:
            super().__init__(PRED)
            self.lock = threading.Lock()

    with concurrent.futures.ProcessPoolExecutor(1) as pool:
        async with run(local_url) as recorder:
            with pytest.raises(ExceptionGroup) as caught:
                await generate_all([SignalRecord(Locked(), None, recorder)], executor=pool)
            (error,) = caught.value.exceptions
            assert isinstance(error, InvalidValueError)
            assert "SignalRecord: its attribute 'model' (Locked) cannot be pickled" in str(error)
        async with run(memory_url) as recorder:
            with pytest.raises(ExceptionGroup) as caught:
                await generate_all([makers.Where(recorder)], executor=pool)
            assert "is in the memory of this process" in str(caught.value.exceptions[0])


async def test_a_failure_in_a_process_leaves_the_others_alone(local_url: str) -> None:
    async with run(local_url) as recorder, run(local_url) as other:
        with pytest.raises(ExceptionGroup, match="1 of 3 templates failed, and 1 that need") as caught:
            await generate_all(
                [makers.Broken(recorder), makers.AfterBroken(recorder), makers.Where(other)],
                executor="processes",
                workers=1,
            )
        (error,) = caught.value.exceptions
        assert isinstance(error, ZeroDivisionError)
        assert await artifacts(other) == ["where.pkl"]


@pytest.mark.parametrize("splits", [False, True])
async def test_a_process_that_dies_is_told_with_what_it_made(
    local_url: str, splits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(makers.Dying, "splits", splits)
    async with run(local_url) as recorder:
        with pytest.raises(ExceptionGroup) as caught:
            await generate_all([makers.Dying(recorder)], executor="processes", workers=1)
        (error,) = caught.value.exceptions
        assert isinstance(error, WorkerLostError)
        assert str(error).startswith("a worker process died while Dying was being made")
        assert 'executor="threads"' in str(error)
        assert await artifacts(recorder) == []


def test_where_the_system_tells_no_affinity_all_processors_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS."""
    monkeypatch.delattr(os, "sched_getaffinity")
    assert choose_workers("threads", None, AsyncFace()).count == os.cpu_count()


@pytest.mark.parametrize("saves", [True, False])
async def test_cancelling_ends_processes_but_lets_them_finish_a_save(
    local_url: str, tmp_path: Path, saves: bool
) -> None:
    template = makers.SlowSave if saves else makers.Slow
    async with run(local_url) as recorder:
        task = asyncio.create_task(
            generate_all(
                [template(recorder, tmp_path / "begun", tmp_path / "go")], executor="processes", workers=1
            )
        )
        await asyncio.to_thread(wait_until, (tmp_path / "begun").exists, timeout=60)
        task.cancel()
        (tmp_path / "go").touch()
        with pytest.raises(asyncio.CancelledError):
            await task
        pid = int((tmp_path / "begun").read_text())
        assert gone(pid)
        assert await artifacts(recorder) == (["slow/a.pkl", "slow/b.pkl"] if saves else [])


def test_processes_end_with_the_one_that_started_them(local_url: str, tmp_path: Path) -> None:
    """Also when that is killed."""
    code = """
        import asyncio, sys
        from pathlib import Path
        from aqrec.templates import generate_all
        from tests.templates import makers
        from tests.templates.cases import run

        async def main(url, folder):
            begun = Path(folder, "begun")

            async def tell():
                while not begun.exists():
                    await asyncio.sleep(0.01)
                print("ready", flush=True)

            async with run(url) as recorder, asyncio.TaskGroup() as group:
                group.create_task(tell())
                await generate_all([makers.Slow(recorder, begun, begun)], executor="processes", workers=1)

        if __name__ == "__main__":
            asyncio.run(main(*sys.argv[1:]))
    """
    run_script(code, local_url, str(tmp_path), signal=signal.SIGKILL, env={"PYTHONPATH": str(ROOT)})
    pid = int((tmp_path / "begun").read_text())
    wait_until(lambda: gone(pid), timeout=30)


async def test_an_executor_of_the_callers_is_used_and_left_open(local_url: str, memory_url: str) -> None:
    with concurrent.futures.ThreadPoolExecutor(2, thread_name_prefix="mine") as pool:
        async with run(memory_url) as recorder:
            await generate_all([*a_signal(recorder), makers.Where(recorder)], executor=pool)
            assert await recorder.load_object("where.pkl") == os.getpid()
            assert await artifacts(recorder) == sorted([*FILES, "where.pkl"])
        assert pool.submit(math.sqrt, 4).result() == 2


# --- progress -------------------------------------------------------------------------------------------------


async def test_progress_is_shown_if_asked_for_and_not_in_a_log(
    memory_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    async with run(memory_url) as recorder:
        await generate_all(a_signal(recorder))
        assert stream.getvalue() == ""
    async with run(memory_url) as recorder:
        await generate_all(a_signal(recorder), progress=True)
        assert "Templates" in stream.getvalue()
        assert "3/3" in stream.getvalue()


# --- the blocking face ----------------------------------------------------------------------------------------


def a_blocking_signal(recorder: Any) -> list[Any]:
    return [
        blocking.SignalMseRecord(recorder),
        blocking.SigAnaRecord(recorder),
        blocking.SignalRecord(Model(PRED), Labelled(LABEL), recorder),
    ]


def test_blocking_templates_are_made_in_order(store_url: str) -> None:
    with run_blocking(store_url) as recorder:
        blocking.generate_all(a_blocking_signal(recorder))
        assert recorder.list_artifacts("sig_analysis") == FILES[2:]


@pytest.mark.blocks_loop("the blocking face blocks the loop it is called on")
async def test_blocking_templates_are_made_in_a_notebook(memory_url: str) -> None:
    with run_blocking(memory_url) as recorder:
        blocking.generate_all(a_blocking_signal(recorder))
        assert recorder.list_artifacts("sig_analysis") == FILES[2:]


def test_blocking_templates_are_made_in_processes_and_on_pools(local_url: str) -> None:
    with run_blocking(local_url) as recorder:
        blocking.generate_all([makers.BlockingWhere(recorder)], executor="processes", workers=1)
        assert recorder.load_object("where.pkl") != os.getpid()
    with run_blocking(local_url) as recorder, concurrent.futures.ThreadPoolExecutor(1) as pool:
        blocking.generate_all([makers.BlockingWhere(recorder)], executor=pool)
        assert recorder.load_object("where.pkl") == os.getpid()


def test_each_face_takes_its_own_templates(memory_url: str) -> None:
    with run_blocking(memory_url) as recorder:
        template = blocking.SigAnaRecord(recorder)
        with pytest.raises(InvalidInputError, match=r"is no template of aqrec\.templates"):
            asyncio.run(generate_all([template]))  # type: ignore[list-item]
        with pytest.raises(InvalidInputError, match=r"is no template of aqrec\.sync\.templates"):
            blocking.generate_all([RecordTemp])  # type: ignore[list-item]
        with pytest.raises(InvalidInputError, match="templates is one SigAnaRecord"):
            blocking.generate_all(template)  # type: ignore[arg-type]
