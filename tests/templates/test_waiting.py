"""How templates treat the loop, the context, cancellation and trio."""

import asyncio
import contextvars
import threading
from typing import Any

import anyio
import pytest
import trio

import aqrec
from aqrec.stores import LocalStore, MemoryStore
from aqrec.templates import ACRecordTemp, SigAnaRecord, SignalRecord, _saving
from tests._support import run_script
from tests.templates.cases import AsyncModel, Labelled, Model, artifacts, panel, run

PRED, LABEL = panel()
TICKS = 50


class Waiting(Model):
    """Predicts only after the loop has ticked; raises if it does not."""

    def __init__(self) -> None:
        super().__init__(PRED)
        self.ticked = threading.Event()
        self.thread: int | None = None

    def predict(self, dataset: Any) -> Any:
        self.thread = threading.get_ident()
        assert self.ticked.wait(30), "the loop stood still while the model predicted"
        return self.pred


async def test_the_loop_runs_while_a_plain_model_predicts(store_url: str) -> None:
    model = Waiting()

    async def tick() -> None:
        for _ in range(TICKS):
            await asyncio.sleep(0.001)
        model.ticked.set()

    async with run(store_url) as recorder, asyncio.TaskGroup() as group:
        group.create_task(tick())
        await SignalRecord(model, None, recorder).generate()
        assert model.thread != threading.get_ident()


async def test_the_loop_runs_while_labels_are_prepared_and_figures_computed(
    memory_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aqrec.templates import _figures

    threads: set[int] = set()

    def noted(function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            threads.add(threading.get_ident())
            return function(*args, **kwargs)

        return call

    class Dataset(Labelled):
        labels = noted(Labelled.labels)

    monkeypatch.setattr(_figures, "signal_figures", noted(_figures.signal_figures))
    async with run(memory_url) as recorder:
        await SignalRecord(AsyncModel(PRED), Dataset(LABEL), recorder).generate()
        await SigAnaRecord(recorder).generate()
    assert threads
    assert threading.get_ident() not in threads


async def test_an_async_model_runs_on_the_callers_loop(memory_url: str) -> None:
    class Remote(Model):
        async def predict(self, dataset: Any) -> Any:
            assert asyncio.get_running_loop() is loop
            return self.pred

    loop = asyncio.get_running_loop()
    async with run(memory_url) as recorder:
        await SignalRecord(Remote(PRED), None, recorder).generate()


async def test_no_code_of_the_users_runs_on_the_engine_thread(memory_url: str) -> None:
    names: list[str] = []

    class Noting(Model):
        def predict(self, dataset: Any) -> Any:
            names.append(threading.current_thread().name)
            return self.pred

        def labels(self) -> Any:
            names.append(threading.current_thread().name)
            return LABEL

    model = Noting(PRED)
    async with run(memory_url) as recorder:
        await SignalRecord(model, model, recorder).generate()
    assert len(names) == 2
    assert not [name for name in names if name.startswith("aqrec")]


async def test_a_model_sees_the_context_and_the_active_run_of_its_caller(memory_url: str) -> None:
    variable = contextvars.ContextVar("variable", default="unset")

    class Logging(Model):
        def predict(self, dataset: Any) -> Any:
            aqrec.R.log_metrics(step=1, rows=float(len(self.pred)))
            aqrec.R.set_tags(seen=variable.get())
            return self.pred

    variable.set("mine")
    async with run(memory_url) as other, run(memory_url) as recorder:
        await SignalRecord(Logging(PRED), None, recorder).generate()
        assert await recorder.list_metrics() == {"rows": len(PRED)}
        assert (await recorder.list_tags())["seen"] == "mine"
        assert await other.list_metrics() == {}


async def test_cancelling_an_async_prediction_leaves_nothing(store_url: str) -> None:
    begun = asyncio.Event()

    class Endless(Model):
        async def predict(self, dataset: Any) -> Any:
            begun.set()
            await asyncio.Event().wait()

    async with run(store_url) as recorder:
        task = asyncio.create_task(SignalRecord(Endless(PRED), Labelled(LABEL), recorder).generate())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await artifacts(recorder) == []


@pytest.mark.parametrize("scope", [True, False], ids=["scope", "task"])
async def test_cancelling_does_not_wait_for_a_plain_prediction_whose_result_is_dropped(
    memory_url: str, scope: bool
) -> None:
    begun, go, done = asyncio.Event(), threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    class Long(Model):
        def predict(self, dataset: Any) -> Any:
            loop.call_soon_threadsafe(begun.set)
            assert go.wait(30)
            loop.call_soon_threadsafe(done.set)
            return self.pred

    async with run(memory_url) as recorder:
        record = SignalRecord(Long(PRED), None, recorder)
        if scope:
            async with anyio.create_task_group() as group:
                group.start_soon(record.generate)
                await begun.wait()
                group.cancel_scope.cancel()
        else:
            task = asyncio.create_task(record.generate())
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert not done.is_set()
        go.set()
        await done.wait()
        assert await artifacts(recorder) == []


class Held:
    """Takes as long to pickle as one likes."""

    begun = threading.Event()
    go = threading.Event()

    def __reduce__(self) -> Any:
        self.begun.set()
        assert self.go.wait(30)
        return (int, (2,))


class First(ACRecordTemp):
    """Makes a file of what it is given."""

    def list(self) -> Any:
        return ["a.pkl"]

    async def _generate(self, value: str) -> Any:
        return {"a.pkl": value}


class Pair(ACRecordTemp):
    """Makes two files."""

    artifact_path = "pair"

    def list(self) -> Any:
        return ["a.pkl", "b.pkl"]

    async def _generate(self, second: Any) -> Any:
        return {"a.pkl": 1, "b.pkl": second}


async def test_a_cancelled_save_is_waited_for(store_url: str) -> None:
    Held.begun.clear()
    Held.go.clear()
    async with run(store_url) as recorder:
        task = asyncio.create_task(Pair(recorder, skip_existing=True).generate(Held()))
        assert await anyio.to_thread.run_sync(Held.begun.wait, 30)
        task.cancel()
        Held.go.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await Pair(recorder, skip_existing=True).generate(3) is None, "not all files were there"
        assert (await Pair(recorder).load("a.pkl"), await Pair(recorder).load("b.pkl")) == (1, 2)


class Judged(SigAnaRecord):
    """Judges a signal, and does one thing more."""

    more: Any

    def list(self) -> Any:
        return [*super().list(), "more.pkl"]

    async def _generate(self, label: Any = None) -> Any:
        made = await super()._generate(label)
        return {**made, "more.pkl": await self.more() if callable(self.more) else self.more}


@pytest.mark.parametrize("scope", [True, False], ids=["scope", "task"])
async def test_a_cancelled_template_leaves_its_files_and_metrics_or_neither(
    store_url: str, scope: bool
) -> None:
    begun = asyncio.Event()

    async def endless() -> None:
        begun.set()
        await asyncio.Event().wait()

    async def cancelled(record: Any, when: Any) -> None:
        if scope:
            async with anyio.create_task_group() as group:
                group.start_soon(record.generate)
                await when
                group.cancel_scope.cancel()
                Held.go.set()
        else:
            task = asyncio.create_task(record.generate())
            await when
            task.cancel()
            Held.go.set()
            with pytest.raises(asyncio.CancelledError):
                await task

    Held.begun.clear()
    Held.go.clear()
    async with run(store_url) as recorder:
        await SignalRecord(AsyncModel(PRED), Labelled(LABEL), recorder).generate()
        record = Judged(recorder)
        record.more = endless
        await cancelled(record, begun.wait())
        assert await recorder.list_artifacts("sig_analysis") == []
        assert await recorder.list_metrics() == {}
        record.more = Held()
        await cancelled(record, anyio.to_thread.run_sync(Held.begun.wait, 30))
        await record.check(include_self=True)
        assert "IC" in await recorder.list_metrics()


async def test_a_cancelled_save_that_replaces_files_is_waited_for(store_url: str) -> None:
    Held.begun.clear()
    Held.go.clear()
    async with run(store_url) as recorder:
        await Pair(recorder).generate(10)
        task = asyncio.create_task(Pair(recorder).generate(Held()))
        assert await anyio.to_thread.run_sync(Held.begun.wait, 30)
        task.cancel()
        Held.go.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await Pair(recorder).load("a.pkl") == 1
        assert await Pair(recorder).load("b.pkl") == 2


@pytest.mark.parametrize("kind", [LocalStore, MemoryStore])
async def test_a_cancellation_just_after_bytes_were_replaced_does_not_lose_their_reference(
    kind: Any, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, original = asyncio.get_running_loop(), kind.put_stream
    left = threading.Event()

    async def put_stream(self: Any, key: str, write: Any) -> Any:
        digest = await original(self, key, write)
        if task is not None and key.endswith("a.pkl"):
            here.call_soon_threadsafe(task.cancel)
            await asyncio.get_running_loop().run_in_executor(None, left.wait, 30)
        return digest

    task: asyncio.Task[Any] | None = None
    monkeypatch.setattr(_saving, "PATIENCE", 0)
    monkeypatch.setattr(kind, "put_stream", put_stream)
    async with run(request.getfixturevalue("local_url" if kind is LocalStore else "memory_url")) as recorder:
        await First(recorder).generate("old")
        task = asyncio.create_task(First(recorder).generate("new"))
        with pytest.raises(asyncio.CancelledError):
            await task
        load = asyncio.create_task(First(recorder).load("a.pkl"))
        await asyncio.wait([load], timeout=0.2)  # would be done by now if it took the mismatch for damage
        left.set()
        assert await load == "new"


async def test_saving_the_same_file_several_times_at_once_does_not_damage_it(store_url: str) -> None:
    async with run(store_url) as recorder:
        for _ in range(4):
            await asyncio.gather(*(First(recorder).generate("x" * n) for n in range(5)))
            assert await First(recorder).load("a.pkl") in {"x" * n for n in range(5)}


async def test_an_object_that_cannot_be_pickled_is_named_and_the_record_is_made_again(store_url: str) -> None:
    async with run(store_url) as recorder:
        with pytest.raises(Exception, match=r"b\.pkl|pickle"):
            await Pair(recorder).generate(threading.Lock())
        assert await Pair(recorder, skip_existing=True).generate(5) is not None
        assert await Pair(recorder).load("b.pkl") == 5


def test_templates_run_on_trio(store_url: str) -> None:
    async def main() -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            for ticks in range(1, TICKS + 1):  # noqa: B007 - counted from outside
                await trio.sleep(0.001)
            model.ticked.set()

        async with run(store_url) as recorder:
            model = Waiting()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(tick)
                await SignalRecord(model, Labelled(LABEL), recorder).generate()
            await SignalRecord(AsyncModel(PRED), Labelled(LABEL), recorder).generate()
            assert await SigAnaRecord(recorder, True).generate() is not None
            assert len(await recorder.list_metrics()) == 8
        assert ticks == TICKS

    trio.run(main)


async def test_concurrent_templates_of_two_runs_keep_apart(memory_url: str) -> None:
    async def one(sign: float) -> float:
        async with run(memory_url) as recorder:
            await SignalRecord(Model(sign * PRED), Labelled(LABEL[["LABEL1"]]), recorder).generate()
            await SigAnaRecord(recorder).generate()
            return (await recorder.list_metrics())["IC"]

    assert await asyncio.gather(one(1.0), one(-1.0)) == pytest.approx([-1, 1])


def test_importing_the_templates_loads_no_pandas() -> None:
    run_script(
        """
        import sys
        import aqrec.templates
        heavy = {"numpy", "pandas", "pyarrow"} & set(sys.modules)
        assert not heavy, heavy
        """
    ).check()
