"""`aqrec.sync.templates`: the same classes for blocking code."""

import asyncio
import contextvars
import inspect
import json
import logging
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import aqrec.sync
import aqrec.sync.templates as blocking
import aqrec.templates as awaitable
from aqrec.errors import InvalidInputError, InvalidValueError, LoadObjectError, MissingInputError
from aqrec.sync.templates import ACRecordTemp, RecordTemp, SigAnaRecord, SignalRecord
from tests.templates.cases import QRUN, AsyncModel, Labelled, Model, QlibDataset, panel, read
from tests.templates.cases import run_blocking as run

PRED, LABEL = panel()
BLOCKS = pytest.mark.blocks_loop("the blocking face blocks the loop it is called on")


class Breadth(ACRecordTemp):
    """Written as for Qlib."""

    artifact_path = "breadth"
    depend_cls = SignalRecord

    def list(self) -> Any:
        return ["breadth.pkl"]

    def _generate(self, above: float = 0.0) -> Any:
        return {"breadth.pkl": (self.load("pred.pkl")["score"] > above).groupby(level="datetime").mean()}


class AsyncBreadth(Breadth):
    async def _generate(self, above: float = 0.0) -> Any:
        await asyncio.sleep(0)
        return super()._generate(above)


def shown(cls: type) -> dict[str, Any]:
    """Return the public attributes that templates define, `__init__` and `_generate` with them."""
    names = {name for name in dir(cls) if not name.startswith("_")} | {"__init__", "_generate", "_inputs"}
    return {name: getattr(cls, name) for name in names if hasattr(cls, name)}


def test_both_faces_show_the_same_names() -> None:
    assert blocking.__all__ == awaitable.__all__
    assert blocking.LabelledDataset is awaitable.LabelledDataset


TEMPLATES = [
    name
    for name in awaitable.__all__
    if inspect.isclass(getattr(awaitable, name))
    and issubclass(getattr(awaitable, name), awaitable.RecordTemp)
]


@pytest.mark.parametrize("name", TEMPLATES)
def test_both_faces_have_the_same_members_with_the_same_parameters(name: str) -> None:
    ours, theirs = shown(getattr(blocking, name)), shown(getattr(awaitable, name))
    assert ours.keys() == theirs.keys()
    for member, value in ours.items():
        if callable(value) and not inspect.isclass(value):
            mine, other = inspect.signature(value), inspect.signature(theirs[member])
            assert list(mine.parameters.values()) == list(other.parameters.values()) or member == "__init__"
            assert [(p.name, p.kind, p.default) for p in mine.parameters.values()] == [
                (p.name, p.kind, p.default) for p in other.parameters.values()
            ]
            assert not inspect.iscoroutinefunction(value)
        elif member not in {"depend_cls", "requires"}:
            assert value == theirs[member]
    parents = [
        cls.depend_cls and cls.depend_cls.__name__
        for cls in (getattr(f, name) for f in (blocking, awaitable))
    ]
    assert parents[0] == parents[1]


def test_what_is_awaited_on_one_face_returns_on_the_other() -> None:
    for name in ("save", "load", "check", "generate"):
        assert inspect.iscoroutinefunction(getattr(awaitable.SigAnaRecord, name))
        assert not inspect.iscoroutinefunction(getattr(blocking.SigAnaRecord, name))


@pytest.mark.parametrize("kind", [Model, AsyncModel])
@pytest.mark.parametrize("dataset", [Labelled, QlibDataset])
def test_a_run_of_qrun_has_the_same_figures(store_url: str, kind: Any, dataset: Any) -> None:
    with run(store_url) as recorder:
        record = SignalRecord(
            kind(read(QRUN / "pred.parquet")), dataset(read(QRUN / "label.parquet")), recorder
        )
        assert list(record.generate()) == list(record.list()) == ["pred.pkl", "label.pkl"]
        SigAnaRecord(recorder).generate()
        expected = read(QRUN / "signal_analysis.parquet")
        np.testing.assert_allclose(SigAnaRecord(recorder).load("ic.pkl"), expected["ic"], rtol=1e-9)
        logged = json.loads((QRUN / "metrics.json").read_text())["metrics"]
        assert recorder.list_metrics() == pytest.approx(logged, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("template", [Breadth, AsyncBreadth])
def test_a_template_of_ones_own_loads_makes_and_skips(
    store_url: str, template: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "aqrec")
    with run(store_url) as recorder:
        with pytest.raises(
            MissingInputError, match=rf"^{template.__name__}: run {recorder.id} lacks 'pred\.pkl' \(made by"
        ):
            template(recorder).generate()
        assert template(recorder, on_missing="skip").generate() is None
        SignalRecord(Model(PRED), None, recorder).generate()
        made = template(recorder, skip_existing=True).generate(above=0.5)
        pd.testing.assert_series_equal(template(recorder).load("breadth.pkl"), made["breadth.pkl"])
        assert template(recorder, skip_existing=True).generate() is None
        template(recorder).check(include_self=True)
    assert "nothing is made: " in caplog.text
    assert "has all files of" in caplog.text


@BLOCKS
@pytest.mark.parametrize("template", [Breadth, AsyncBreadth])
async def test_all_of_it_works_where_a_loop_runs_already(memory_url: str, template: Any) -> None:
    """As in a notebook, whose cells run on a loop."""
    with run(memory_url) as recorder:
        SignalRecord(AsyncModel(PRED), Labelled(LABEL), recorder).generate()
        SigAnaRecord(recorder, True).generate()
        template(recorder).generate()
        assert len(recorder.list_metrics()) == 8
        assert recorder.list_artifacts("breadth") == ["breadth/breadth.pkl"]


@pytest.mark.parametrize("looping", [True, False], ids=["notebook", "script"])
def test_code_of_the_users_runs_in_the_callers_thread_and_context(memory_url: str, looping: bool) -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    seen: dict[str, tuple[str, str, bool]] = {}

    def note(what: str) -> None:
        try:
            loop = bool(asyncio.get_running_loop())
        except RuntimeError:
            loop = False
        seen[what] = (threading.current_thread().name, variable.get(), loop)

    class Plain(Model):
        def predict(self, dataset: Any) -> Any:
            note("plain")
            return self.pred

    class Coroutine(Model):
        async def predict(self, dataset: Any) -> Any:
            note("async")
            return self.pred

    async def within_a_loop() -> None:
        work()

    def work() -> None:
        variable.set("mine")
        with run(memory_url) as recorder:
            SignalRecord(Plain(PRED), None, recorder).generate()
            SignalRecord(Coroutine(PRED), None, recorder).generate()

    asyncio.run(within_a_loop()) if looping else contextvars.copy_context().run(work)
    here = threading.current_thread().name
    assert seen["plain"] == (here, "mine", looping)
    assert seen["async"][1:] == ("mine", True)
    assert (seen["async"][0] == here) == (not looping)
    assert not seen["async"][0].startswith("aqrec")


def test_a_plain_model_may_start_a_loop_of_its_own(memory_url: str) -> None:
    class Looping(Model):
        def predict(self, dataset: Any) -> Any:
            return asyncio.run(AsyncModel(self.pred).predict(dataset))

    with run(memory_url) as recorder:
        assert SignalRecord(Looping(PRED), None, recorder).generate()["pred.pkl"].shape == (len(PRED), 1)


@BLOCKS
@pytest.mark.usefixtures("no_threads_left")
async def test_no_thread_stays_behind_in_a_notebook(memory_url: str) -> None:
    with run(memory_url) as recorder:
        SignalRecord(AsyncModel(PRED), None, recorder).generate()


@pytest.mark.parametrize("kind", [Model, AsyncModel])
def test_a_prediction_that_fails_leaves_nothing(store_url: str, kind: Any) -> None:
    error = RuntimeError("out of memory")

    class Bad(Model):
        def predict(self, dataset: Any) -> Any:
            raise error

    class AsyncBad(Model):
        async def predict(self, dataset: Any) -> Any:
            raise error

    with run(store_url) as recorder:
        with pytest.raises(RuntimeError) as caught:
            SignalRecord((Bad if kind is Model else AsyncBad)(PRED), Labelled(LABEL), recorder).generate()
        assert caught.value is error
        assert recorder.list_artifacts() == []


def test_labels_that_cannot_be_had_are_left_out(memory_url: str) -> None:
    with run(memory_url) as recorder:
        assert list(SignalRecord(Model(PRED), Labelled(None), recorder).generate()) == ["pred.pkl"]
        with pytest.raises(
            MissingInputError, match=r"'label\.pkl' \(made by SignalRecord\).*generate\(label="
        ):
            SigAnaRecord(recorder).check()
        assert SigAnaRecord(recorder).generate(label=LABEL) is not None


def test_load_looks_at_the_parents_and_passes_over_no_damage(local_url: str) -> None:
    with run(local_url) as recorder:
        SignalRecord(Model(PRED), None, recorder).generate()
        assert Breadth(recorder).load("pred.pkl").shape == (len(PRED), 1)
        with pytest.raises(
            MissingInputError, match=r"none of 'breadth/x\.pkl'.*, 'x\.pkl' \(would be made by Signal"
        ):
            Breadth(recorder).load("x.pkl")
        Breadth(recorder).save(**{"pred.pkl": 1})
        assert Breadth(recorder).load("pred.pkl") == 1
        folder = recorder.get_local_dir()
        Path(folder, "breadth", "pred.pkl").write_bytes(b"something else")
        with pytest.raises(LoadObjectError, match=r"breadth/pred\.pkl"):
            Breadth(recorder).load("pred.pkl")


def test_what_is_not_made_right_is_refused(memory_url: str) -> None:
    class Wrong(ACRecordTemp):
        def _generate(self) -> Any:
            return 1

    class Nothing(ACRecordTemp):
        def _generate(self) -> Any:
            return None

    with run(memory_url) as recorder:
        with pytest.raises(InvalidValueError, match=r"Wrong\._generate"):
            Wrong(recorder).generate()
        assert Nothing(recorder).generate() is None
        with pytest.raises(NotImplementedError):
            RecordTemp(recorder).generate()
        with pytest.raises(NotImplementedError):
            ACRecordTemp(recorder).generate()
        with pytest.raises(InvalidInputError, match="on_missing"):
            ACRecordTemp(recorder, on_missing="later")  # type: ignore[arg-type]


@BLOCKS
async def test_each_face_refuses_the_recorder_of_the_other(memory_url: str) -> None:
    with pytest.raises(InvalidInputError, match="SigAnaRecord has recorder=None"):
        SigAnaRecord(None)  # type: ignore[arg-type]
    with (
        run(memory_url) as recorder,
        pytest.raises(InvalidInputError, match=r"template of aqrec\.templates needs an aqrec\.Recorder"),
    ):
        awaitable.SigAnaRecord(recorder)  # type: ignore[arg-type]
    async with aqrec.open_recorder(memory_url) as other:
        with pytest.raises(
            InvalidInputError, match=r"template of aqrec\.sync\.templates needs an aqrec\.sync\.Rec"
        ):
            SigAnaRecord(other)  # type: ignore[arg-type]


def test_labels_of_an_earlier_prediction_are_not_taken_for_its_own(memory_url: str) -> None:
    with run(memory_url) as recorder:
        SignalRecord(Model(PRED), Labelled(LABEL), recorder).generate()
        assert SignalRecord(Model(PRED), None, recorder).generate()["label.pkl"].empty
        with pytest.raises(MissingInputError, match="label is empty"):
            SigAnaRecord(recorder).generate()
