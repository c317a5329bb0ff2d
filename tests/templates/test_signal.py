"""What `SignalRecord` saves."""

import logging
from typing import Any

import numpy as np
import pandas as pd
import pytest

from aqrec.errors import InvalidValueError, MissingInputError
from aqrec.templates import HFSignalRecord, LabelledDataset, SigAnaRecord, SignalMseRecord, SignalRecord
from tests.templates.cases import AsyncModel, Labelled, Model, QlibDataset, artifacts, panel, run

PRED, LABEL = panel()


@pytest.mark.parametrize("kind", [Model, AsyncModel])
async def test_a_series_becomes_the_column_score(store_url: str, kind: Any) -> None:
    async with run(store_url) as recorder:
        made = await SignalRecord(kind(PRED.rename("y")), None, recorder).generate()
        saved = await recorder.load_object("pred.pkl")
        pd.testing.assert_frame_equal(saved, PRED.to_frame("score"))
        pd.testing.assert_frame_equal(made["pred.pkl"], saved)
        assert await artifacts(recorder) == ["pred.pkl"]


async def test_a_frame_is_saved_as_it_is(memory_url: str) -> None:
    frame = pd.DataFrame({"mine": PRED, "std": 1.0})
    async with run(memory_url) as recorder:
        await SignalRecord(Model(frame), None, recorder).generate()
        pd.testing.assert_frame_equal(
            await SignalRecord(Model(frame), None, recorder).load("pred.pkl"), frame
        )


@pytest.mark.parametrize("dataset", [Labelled(LABEL), QlibDataset(LABEL)], ids=["labels", "prepare"])
async def test_raw_labels_are_saved_beside_the_prediction(store_url: str, dataset: Any) -> None:
    async with run(store_url) as recorder:
        record = SignalRecord(Model(PRED), dataset, recorder)
        assert list(record.list()) == ["pred.pkl", "label.pkl"]
        await record.generate()
        await record.check(include_self=True)
        pd.testing.assert_frame_equal(await recorder.load_object("label.pkl"), LABEL)


async def test_labels_may_be_async(memory_url: str) -> None:
    class Remote:
        async def labels(self) -> Any:
            return LABEL["LABEL1"]

    async with run(memory_url) as recorder:
        await SignalRecord(Model(PRED), Remote(), recorder).generate()
        pd.testing.assert_frame_equal(await recorder.load_object("label.pkl"), LABEL[["LABEL1"]])


async def test_prepare_may_be_async(memory_url: str) -> None:
    class Remote:
        async def prepare(self, segments: str, col_set: str, data_key: str) -> Any:
            return LABEL

    async with run(memory_url) as recorder:
        await SignalRecord(Model(PRED), Remote(), recorder).generate()
        pd.testing.assert_frame_equal(await recorder.load_object("label.pkl"), LABEL)


async def test_labels_go_before_prepare(memory_url: str) -> None:
    class Both(Labelled):
        def prepare(self, segments: str, col_set: str, data_key: str) -> Any:
            raise AssertionError("not asked")

    async with run(memory_url) as recorder:
        assert "label.pkl" in await SignalRecord(Model(PRED), Both(LABEL), recorder).generate()


async def test_a_handler_that_knows_no_data_key_is_asked_without(memory_url: str) -> None:
    asked: list[dict[str, Any]] = []

    def fetch(col_set: str) -> Any:
        return LABEL

    class Dataset:
        def prepare(self, segments: str, **kwargs: Any) -> Any:
            asked.append(kwargs)
            return fetch(**kwargs)

    class Older:
        def prepare(self, segments: str, col_set: str) -> Any:
            return LABEL

    async with run(memory_url) as recorder:
        assert "label.pkl" in await SignalRecord(Model(PRED), Dataset(), recorder).generate()
        assert asked == [{"col_set": "label", "data_key": "raw"}, {"col_set": "label"}]
        assert "label.pkl" in await SignalRecord(Model(PRED), Older(), recorder).generate()


async def test_raw_data_that_was_dropped_is_no_error(
    memory_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Dropped:
        def prepare(self, segments: str, col_set: str, data_key: str) -> Any:
            raise AttributeError("DataHandlerLP has not attribute _data, please set drop_raw = False")

    async with run(memory_url) as recorder:
        assert list(await SignalRecord(Model(PRED), Dropped(), recorder).generate()) == ["pred.pkl"]
    assert "has no raw labels: DataHandlerLP" in caplog.text


@pytest.mark.parametrize("error", [TypeError("a bug"), AttributeError("a bug"), KeyError("test")])
async def test_another_error_of_the_data_set_comes_through_and_nothing_is_saved(
    memory_url: str, error: Exception
) -> None:
    asked: list[str] = []

    class Broken:
        def prepare(self, segments: str, col_set: str, data_key: str = "infer") -> Any:
            asked.append(data_key)
            raise error

    async with run(memory_url) as recorder:
        with pytest.raises(type(error)) as caught:
            await SignalRecord(Model(PRED), Broken(), recorder).generate()
        assert caught.value is error
        assert asked == ["raw"], "processed labels are no substitute for raw ones"
        assert await artifacts(recorder) == []


@pytest.mark.parametrize("label", [None, np.zeros(3)])
async def test_labels_that_are_no_pandas_object_are_left_out_with_a_warning(
    memory_url: str, label: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with run(memory_url) as recorder:
        await SignalRecord(Model(PRED), Labelled(label), recorder).generate()
        assert await artifacts(recorder) == ["pred.pkl"]
        with pytest.raises(MissingInputError, match=r"'label\.pkl'"):
            await SignalRecord(Model(PRED), Labelled(label), recorder).check(include_self=True)
    assert "so label.pkl is not saved" in caplog.text
    assert [record.levelno for record in caplog.records if "label.pkl" in record.message] == [logging.WARNING]


@pytest.mark.parametrize("dataset", [None, Labelled(None)])
async def test_labels_of_an_earlier_prediction_are_not_taken_for_its_own(
    memory_url: str, dataset: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with run(memory_url) as recorder:
        await SignalRecord(Model(PRED), Labelled(LABEL), recorder).generate()
        made = await SignalRecord(Model(-PRED), dataset, recorder).generate()
        saved = await recorder.load_object("label.pkl")
        assert saved.shape == (0, 1)
        assert list(saved.index.names) == ["datetime", "instrument"]
        pd.testing.assert_frame_equal(made["label.pkl"], saved)
        for template in (SigAnaRecord, HFSignalRecord, SignalMseRecord):
            with pytest.raises(MissingInputError, match="label is empty"):
                await template(recorder).generate()
        assert await SigAnaRecord(recorder).generate(LABEL)
    assert "earlier prediction" in caplog.text


@pytest.mark.parametrize("dataset", [None, LABEL, {"x": 1}, type("Other", (), {"prepare": lambda self: 1})()])
async def test_a_data_set_that_cannot_give_labels_is_not_asked(memory_url: str, dataset: Any) -> None:
    async with run(memory_url) as recorder:
        record = SignalRecord(Model(PRED), dataset, recorder)
        assert list(record.list()) == ["pred.pkl"]
        await record.generate()
        await record.check(include_self=True)


class Bad:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def predict(self, dataset: Any) -> Any:
        raise self.error


class AsyncBad(Bad):
    async def predict(self, dataset: Any) -> Any:
        raise self.error


@pytest.mark.parametrize("kind", [Bad, AsyncBad])
async def test_a_prediction_that_fails_leaves_nothing(store_url: str, kind: Any) -> None:
    error = RuntimeError("out of memory")
    async with run(store_url) as recorder:
        with pytest.raises(RuntimeError) as caught:
            await SignalRecord(kind(error), Labelled(LABEL), recorder).generate()
        assert caught.value is error
        assert await artifacts(recorder) == []


@pytest.mark.parametrize("pred", [None, np.zeros(3), [1.0]])
async def test_a_prediction_that_is_no_pandas_object_is_refused(memory_url: str, pred: Any) -> None:
    async with run(memory_url) as recorder:
        with pytest.raises(
            InvalidValueError, match=rf"predict\(\) returned {type(pred).__name__}; return a pandas"
        ):
            await SignalRecord(Model(pred), None, recorder).generate()
        assert await artifacts(recorder) == []


async def test_a_model_that_cannot_predict_is_refused_at_once(memory_url: str) -> None:
    async with run(memory_url) as recorder:
        with pytest.raises(InvalidValueError, match=r"model is None, which has no method predict\(dataset\)"):
            SignalRecord(None, None, recorder)


def test_the_protocol_tells_labelled_data_sets_from_others() -> None:
    assert isinstance(Labelled(None), LabelledDataset)
    assert not isinstance(QlibDataset(None), LabelledDataset)
