"""What `HFSignalRecord`, `SignalMseRecord` and `MultiSegRecord` compute, save and log."""

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

import aqrec.sync.templates as blocking
from aqrec.errors import InvalidInputError, InvalidValueError, MissingInputError
from aqrec.templates import ACRecordTemp, HFSignalRecord, MultiSegRecord, SignalMseRecord, SignalRecord
from tests.templates.cases import (
    GOLDEN,
    AsyncModel,
    Labelled,
    Model,
    artifacts,
    panel,
    read,
    run,
    run_blocking,
)

PRED, LABEL = panel()
SYN40 = GOLDEN / "g01_syn40_default"


@contextlib.asynccontextmanager
async def predicted(url: str, pred: Any = PRED, label: Any = LABEL) -> AsyncIterator[Any]:
    async with run(url) as recorder:
        await SignalRecord(Model(pred), Labelled(label), recorder).generate()
        yield recorder


async def test_the_precisions_are_qlibs(store_url: str) -> None:
    pred, label = read(GOLDEN / "inputs" / "pred_syn40_a.parquet"), read(SYN40 / "label.parquet")
    async with predicted(store_url, pred, label) as recorder:
        made = await HFSignalRecord(recorder).generate()
        assert made is not None
        await HFSignalRecord(recorder).check(include_self=True)
        facts = json.loads((SYN40 / "case.json").read_text())
        assert await recorder.list_artifacts("hg_sig_analysis") == [
            path for path in facts["artifacts"] if path.startswith("hg_sig_analysis/")
        ]
        metrics = await recorder.list_metrics()
    expected = read(SYN40 / "signal_analysis.parquet")
    for name, daily in made.items():
        column = expected[f"hf_{name.removesuffix('.pkl')}"]
        tolerance = 1e-6 if name.startswith("long_") and name.endswith("r.pkl") else 1e-9
        np.testing.assert_allclose(daily.reindex(column.index), column, rtol=tolerance, atol=1e-8)
    assert len(metrics) == 8
    for name, value in metrics.items():
        tolerance = 1e-6 if name.startswith("Long-Short") else 1e-9
        assert value == pytest.approx(facts["logged_metrics"][name], rel=tolerance), name


async def test_precisions_need_the_labels_of_six_instruments(memory_url: str) -> None:
    pred, label = panel(names=5)
    async with predicted(memory_url, pred, label) as recorder:
        with pytest.raises(InvalidValueError, match="at least 6 instruments"):
            await HFSignalRecord(recorder).generate()
        assert await recorder.list_metrics() == {}
        assert await recorder.list_artifacts("hg_sig_analysis") == []


@pytest.mark.parametrize("template", [HFSignalRecord, SignalMseRecord])
async def test_without_labels_nothing_is_made(memory_url: str, template: Any) -> None:
    async with predicted(memory_url, label=None) as recorder:
        with pytest.raises(MissingInputError, match=r"lacks 'label\.pkl' \(made by SignalRecord\)"):
            await template(recorder).generate()
        assert await template(recorder, on_missing="skip").generate() is None
        assert await artifacts(recorder) == ["pred.pkl"]


@pytest.mark.parametrize("template", [HFSignalRecord, SignalMseRecord])
async def test_what_exists_is_left_alone(memory_url: str, template: Any) -> None:
    async with predicted(memory_url) as recorder:
        assert list(await template(recorder, skip_existing=True).generate()) == list(
            template(recorder).list()
        )
        assert await template(recorder, skip_existing=True).generate() is None


async def test_the_squared_error_goes_by_rows_that_have_both(store_url: str) -> None:
    """The order of rows, rows of one side only and unknown labels do not matter."""
    label = LABEL[["LABEL0"]].sample(frac=1, random_state=0)
    label.iloc[3] = np.nan
    kept = label.iloc[:-5].dropna().drop(PRED.index[:4], errors="ignore")
    expected = float(((PRED.loc[kept.index] - kept["LABEL0"]) ** 2).mean())
    async with predicted(store_url, PRED.drop(PRED.index[:4]), label.iloc[:-5]) as recorder:
        made = await SignalMseRecord(recorder).generate()
        assert made == pytest.approx({"mse.pkl": expected, "rmse.pkl": expected**0.5}, rel=1e-12)
        assert await recorder.list_metrics() == {"MSE": made["mse.pkl"], "RMSE": made["rmse.pkl"]}
        assert await recorder.list_artifacts("sig_analysis") == [
            "sig_analysis/mse.pkl",
            "sig_analysis/rmse.pkl",
        ]


@pytest.mark.parametrize("template", [HFSignalRecord, SignalMseRecord])
async def test_rows_that_do_not_meet_are_an_error(memory_url: str, template: Any) -> None:
    async with predicted(memory_url, PRED.iloc[:10], LABEL.iloc[10:]) as recorder:
        with pytest.raises(InvalidInputError, match=r"no row in common: the prediction has 10 rows.*has 110"):
            await template(recorder).generate()


async def test_without_a_value_on_both_sides_there_is_no_squared_error(memory_url: str) -> None:
    async with predicted(memory_url, PRED, LABEL * np.nan) as recorder:
        with pytest.raises(MissingInputError, match="no row has both a prediction and a label"):
            await SignalMseRecord(recorder).generate()


@pytest.mark.parametrize("which", ["pred", "label"])
async def test_repeated_rows_have_no_squared_error(memory_url: str, which: str) -> None:
    pred = pd.concat([PRED, PRED.iloc[:1] + 1]) if which == "pred" else PRED
    label = pd.concat([LABEL, LABEL.iloc[:1]]) if which == "label" else LABEL
    async with predicted(memory_url, pred, label) as recorder:
        with pytest.raises(InvalidValueError, match="drop repeated rows"):
            await SignalMseRecord(recorder).generate()
        assert await recorder.list_metrics() == {}


async def test_the_levels_of_the_two_sides_may_be_in_another_order(memory_url: str) -> None:
    async with predicted(memory_url, PRED, LABEL.swaplevel()) as recorder:
        made = await SignalMseRecord(recorder).generate()
        assert made is not None
        assert made["mse.pkl"] == pytest.approx(((PRED - LABEL["LABEL0"]) ** 2).mean())


class Segmented:
    """A data set of segments, asked as Qlib's."""

    def prepare(self, segments: Any, col_set: str = "__all", data_key: str = "infer") -> Any:
        assert (col_set, data_key) == ("label", "raw")
        return LABEL.loc[self.rows(segments)]

    @staticmethod
    def rows(segment: Any) -> Any:
        return slice(*{"early": ("2024-01-01", "2024-01-04"), "late": ("2024-01-05", None)}[segment])


class SegmentModel:
    def predict(self, dataset: Any, segment: Any = "test") -> Any:
        return PRED.loc[dataset.rows(segment)]


class AsyncSegmentModel(SegmentModel):
    async def predict(self, dataset: Any, segment: Any = "test") -> Any:
        return super().predict(dataset, segment)


@pytest.mark.parametrize("model", [SegmentModel, AsyncSegmentModel])
async def test_each_segment_has_its_result(store_url: str, model: Any) -> None:
    async with run(store_url) as recorder:
        record = MultiSegRecord(model(), Segmented(), recorder)
        results = await record.generate({"valid": "early", "test": "late"})
        saved = await recorder.load_object("results-test.pkl")
        assert await artifacts(recorder) == ["results-test.pkl", "results-valid.pkl"]
    assert list(saved) == ["all-IC", "mean-IC", "all-Rank-IC", "mean-Rank-IC"]
    assert [len(results[name]["all-IC"]) for name in ("valid", "test")] == [4, 8]
    day = PRED.loc["2024-01-05"].corr(LABEL["LABEL0"].loc["2024-01-05"])
    assert saved["all-IC"].iloc[0] == pytest.approx(day)
    assert saved["mean-IC"] == pytest.approx(saved["all-IC"].mean())
    pd.testing.assert_series_equal(saved["all-Rank-IC"], results["test"]["all-Rank-IC"])


async def test_segments_may_be_given_beforehand_and_results_only_returned(memory_url: str) -> None:
    async with run(memory_url) as recorder:
        record = MultiSegRecord(SegmentModel(), Segmented(), recorder, {"a": "early"})
        assert list(record.list()) == ["results-a.pkl"]
        assert list(await record.generate(save=False)) == ["a"]
        assert await artifacts(recorder) == []
        await record.generate()
        await record.check(include_self=True)


async def test_what_cannot_be_asked_for_segments_is_refused(memory_url: str) -> None:
    async with run(memory_url) as recorder:
        with pytest.raises(
            InvalidValueError, match=r"dataset is Labelled, which has no method prepare\(segment"
        ):
            MultiSegRecord(SegmentModel(), Labelled(LABEL), recorder)
        with pytest.raises(InvalidValueError, match="model is None"):
            MultiSegRecord(None, Segmented(), recorder)
        with pytest.raises(InvalidInputError, match="no segments to judge"):
            await MultiSegRecord(SegmentModel(), Segmented(), recorder).generate()


def test_the_blocking_face_has_the_same_figures(store_url: str) -> None:
    with run_blocking(store_url) as recorder:
        blocking.SignalRecord(AsyncModel(PRED), Labelled(LABEL), recorder).generate()
        precision = blocking.HFSignalRecord(recorder).generate()
        error = blocking.SignalMseRecord(recorder).generate()
        results = blocking.MultiSegRecord(
            AsyncSegmentModel(), Segmented(), recorder, {"a": "late"}
        ).generate()
        assert precision is not None
        assert error is not None
        assert list(precision) == list(blocking.HFSignalRecord(recorder).list())
        metrics = recorder.list_metrics()
        assert metrics["Long precision"] == pytest.approx(precision["long_pre.pkl"].mean())
        assert metrics["MSE"] == error["mse.pkl"] == pytest.approx(((PRED - LABEL["LABEL0"]) ** 2).mean())
        assert recorder.load_object("results-a.pkl")["mean-IC"] == results["a"]["mean-IC"]


async def test_a_template_may_require_several_others(memory_url: str) -> None:
    class Both(ACRecordTemp):
        artifact_path = "both"
        depend_cls = HFSignalRecord
        requires = (SignalMseRecord,)

        def list(self) -> Any:
            return ["sum.pkl"]

        async def _generate(self) -> Any:
            return {"sum.pkl": await self.load("mse.pkl") + len(await self.load("long_pre.pkl"))}

    async with predicted(memory_url) as recorder:
        with pytest.raises(MissingInputError) as caught:
            await Both(recorder).generate()
        text = str(caught.value)
        assert "'hg_sig_analysis/ic.pkl' (made by HFSignalRecord)" in text
        assert "'sig_analysis/mse.pkl' (made by SignalMseRecord)" in text
        assert "call HFSignalRecord.generate() and SignalMseRecord.generate() on it first" in text
        await HFSignalRecord(recorder).generate()
        made = await SignalMseRecord(recorder).generate()
        assert made is not None
        assert await Both(recorder).generate() == {"sum.pkl": made["mse.pkl"] + 12}
        assert (await Both(recorder).load("pred.pkl")).shape == (120, 1), "what they depend on, too"
