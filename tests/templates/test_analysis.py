"""What `SigAnaRecord` computes, saves and logs."""

import asyncio
import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

import aqrec
from aqrec.errors import InvalidInputError, InvalidValueError, MissingInputError
from aqrec.templates import SigAnaRecord, SignalRecord
from tests._support import run_script
from tests.templates.cases import GOLDEN, QRUN, Labelled, Model, artifacts, panel, read, run

PRED, LABEL = panel()


async def analysed(
    url: str, pred: Any, label: Any, **options: Any
) -> tuple[dict[str, Any], dict[str, float]]:
    async with run(url) as recorder:
        await SignalRecord(Model(pred), Labelled(label), recorder).generate()
        record = SigAnaRecord(recorder, **options)
        await record.generate()
        await record.check(include_self=True)
        files = {name: await recorder.load_object(f"sig_analysis/{name}") for name in record.list()}
        assert await recorder.list_artifacts("sig_analysis") == sorted(
            f"sig_analysis/{name}" for name in files
        )
        return files, await recorder.list_metrics()


async def test_a_run_of_qrun_has_the_same_figures(store_url: str) -> None:
    files, metrics = await analysed(store_url, read(QRUN / "pred.parquet"), read(QRUN / "label.parquet"))
    expected = read(QRUN / "signal_analysis.parquet")
    for name in ("ic", "ric"):
        np.testing.assert_allclose(files[f"{name}.pkl"], expected[name], rtol=1e-9)
        pd.testing.assert_index_equal(files[f"{name}.pkl"].index, expected.index, check_names=True)
    logged = json.loads((QRUN / "metrics.json").read_text())["metrics"]
    assert metrics.keys() == logged.keys()
    # "Rank IC" is a hundredth of its terms: what float64 leaves of the mean is less than 9 digits
    assert metrics == pytest.approx(logged, rel=1e-9, abs=1e-12)


async def test_the_long_short_analysis_has_qlibs_figures(store_url: str) -> None:
    files, metrics = await analysed(
        store_url,
        read(GOLDEN / "inputs" / "pred_syn40_a.parquet"),
        read(GOLDEN / "g01_syn40_default" / "label.parquet"),
        ana_long_short=True,
    )
    expected = read(GOLDEN / "g01_syn40_default" / "signal_analysis.parquet")
    for name, tolerance in (("ic", 1e-9), ("ric", 1e-9), ("long_short_r", 1e-6), ("long_avg_r", 1e-6)):
        np.testing.assert_allclose(files[f"{name}.pkl"], expected[name], rtol=tolerance, atol=1e-8)
        assert list(files[f"{name}.pkl"].index) == list(expected.index)
    logged = json.loads((GOLDEN / "g01_syn40_default" / "case.json").read_text())["logged_metrics"]
    assert sorted(metrics) == [
        "IC",
        "ICIR",
        "Long-Avg Ann Return",
        "Long-Avg Ann Sharpe",
        "Long-Short Ann Return",
        "Long-Short Ann Sharpe",
        "Rank IC",
        "Rank ICIR",
    ]
    for name, value in metrics.items():
        assert value == pytest.approx(logged[name], rel=1e-6 if "Long" in name else 1e-9), name


async def test_the_metrics_sum_up_the_files(memory_url: str) -> None:
    files, metrics = await analysed(memory_url, PRED, LABEL, ana_long_short=True, ann_scaler=12)
    ic, ric, spread, average = files.values()
    assert metrics == pytest.approx(
        {
            "IC": ic.mean(),
            "ICIR": ic.mean() / ic.std(),
            "Rank IC": ric.mean(),
            "Rank ICIR": ric.mean() / ric.std(),
            "Long-Short Ann Return": spread.mean() * 12,
            "Long-Short Ann Sharpe": spread.mean() / spread.std() * math.sqrt(12),
            "Long-Avg Ann Return": average.mean() * 12,
            "Long-Avg Ann Sharpe": average.mean() / average.std() * math.sqrt(12),
        },
        rel=1e-12,
    )


async def test_the_label_column_is_chosen_by_position(memory_url: str) -> None:
    _, metrics = await analysed(memory_url, PRED, LABEL, label_col=1)
    assert metrics["IC"] == pytest.approx(-1)


async def test_of_a_prediction_the_first_column_is_taken(memory_url: str) -> None:
    _, metrics = await analysed(memory_url, pd.DataFrame({"score": PRED, "other": -PRED}), LABEL, label_col=1)
    assert metrics["IC"] == pytest.approx(-1)


async def test_a_label_column_that_is_not_there_is_named(memory_url: str) -> None:
    with pytest.raises(
        InvalidValueError, match=r"the label has no column number 2; its columns are \['LABEL0',"
    ):
        await analysed(memory_url, PRED, LABEL, label_col=2)


@pytest.mark.parametrize("label", [LABEL, LABEL["LABEL0"]], ids=["frame", "series"])
async def test_an_explicit_label_needs_no_label_file(store_url: str, label: Any) -> None:
    async with run(store_url) as recorder:
        await SignalRecord(Model(PRED), None, recorder).generate()
        made = await SigAnaRecord(recorder).generate(label=label)
        assert made is not None
        assert await artifacts(recorder) == ["pred.pkl", "sig_analysis/ic.pkl", "sig_analysis/ric.pkl"]


async def test_an_explicit_label_goes_before_the_saved_one(memory_url: str) -> None:
    async with run(memory_url) as recorder:
        await SignalRecord(Model(PRED), Labelled(LABEL), recorder).generate()
        await SigAnaRecord(recorder).generate(LABEL[["LABEL1"]])
        assert (await recorder.list_metrics())["IC"] == pytest.approx(-1)


async def test_without_labels_the_error_says_how_to_give_them(memory_url: str) -> None:
    async with run(memory_url) as recorder:
        await SignalRecord(Model(PRED), None, recorder).generate()
        with pytest.raises(
            MissingInputError, match=r"lacks 'label\.pkl' \(made by SignalRecord\).*generate\(label="
        ):
            await SigAnaRecord(recorder).generate()
        with pytest.raises(MissingInputError, match=r"label\.pkl"):
            await SigAnaRecord(recorder).check()


async def test_without_a_prediction_the_label_does_not_help(memory_url: str) -> None:
    async with run(memory_url) as recorder:
        with pytest.raises(
            MissingInputError, match=r"lacks 'pred\.pkl' \(made by SignalRecord\); call SignalRecord"
        ) as e:
            await SigAnaRecord(recorder).generate(label=LABEL)
        assert "label" not in str(e.value)


@pytest.mark.parametrize("saved", [True, False])
async def test_an_empty_label_counts_as_missing(
    memory_url: str, saved: bool, caplog: pytest.LogCaptureFixture
) -> None:
    empty = LABEL.iloc[:0]
    async with run(memory_url) as recorder:
        await SignalRecord(Model(PRED), Labelled(empty if saved else LABEL), recorder).generate()
        label = None if saved else empty
        with pytest.raises(MissingInputError, match="the label is empty"):
            await SigAnaRecord(recorder).generate(label)
        assert await SigAnaRecord(recorder, on_missing="skip").generate(label) is None
        assert "the label is empty" in caplog.text
        assert await recorder.list_artifacts("sig_analysis") == []
        assert await recorder.list_metrics() == {}


async def test_what_is_no_table_is_refused(memory_url: str) -> None:
    async with run(memory_url) as recorder:
        await SignalRecord(Model(PRED), None, recorder).generate()
        with pytest.raises(
            InvalidValueError, match="the label is ndarray; a pandas DataFrame or Series is needed"
        ):
            await SigAnaRecord(recorder).generate(np.zeros(3))  # type: ignore[arg-type]


async def test_figures_that_cannot_be_told_are_nan(memory_url: str) -> None:
    pred, label = panel(days=1)
    _, metrics = await analysed(memory_url, pred, label, ana_long_short=True)
    assert not math.isnan(metrics["IC"])
    assert math.isnan(metrics["ICIR"])
    assert math.isnan(metrics["Long-Short Ann Sharpe"])


async def test_a_perfect_prediction_has_an_infinite_ratio_or_none(memory_url: str) -> None:
    """Days that are all alike have no spread: no warning, no error."""
    pred, _ = panel()
    _, metrics = await analysed(memory_url, pred, pred.groupby(level="datetime").rank().to_frame())
    assert metrics["Rank IC"] == pytest.approx(1)
    assert metrics["Rank ICIR"] > 1e6


async def test_analysing_again_is_skipped_if_all_files_are_there(memory_url: str) -> None:
    async with run(memory_url) as recorder:
        await SignalRecord(Model(PRED), Labelled(LABEL), recorder).generate()
        await SigAnaRecord(recorder, skip_existing=True).generate()
        assert await SigAnaRecord(recorder, skip_existing=True).generate() is None
        assert await SigAnaRecord(recorder, True, skip_existing=True).generate() is not None
        assert len(await recorder.list_artifacts("sig_analysis")) == 4


async def test_pictures_are_saved_beside_the_numbers(memory_url: str) -> None:
    async with run(memory_url) as recorder:
        await SignalRecord(Model(PRED), Labelled(LABEL), recorder).generate()
        record = SigAnaRecord(recorder, skip_existing=True, plots=True)
        assert list(record.list()) == [
            *("ic.pkl", "ric.pkl"),
            *("ic.png", "ic_monthly.png", "groups.png", "signal.html"),
        ]
        await record.generate()
        await record.check(include_self=True)
        assert (await record.load("groups.png")).startswith(b"\x89PNG")
        mean = (await recorder.list_metrics())["Rank IC"]
        assert f"<th>Rank IC</th><td>{mean:#.4g}</td>" in await record.load("signal.html")
        assert await record.generate() is None


async def test_without_any_correlation_numbers_and_pictures_are_there_and_say_so(memory_url: str) -> None:
    files, metrics = await analysed(memory_url, PRED, LABEL * math.nan, plots=True)
    assert math.isnan(metrics["IC"])
    assert files["ic.pkl"].isna().all()
    assert files["ic.png"].startswith(b"\x89PNG")
    assert "<th>IC</th><td>nan</td>" in files["signal.html"]


async def test_rows_that_do_not_meet_are_an_error_that_tells_both_sides(memory_url: str) -> None:
    renamed = LABEL.rename(index=str.lower, level="instrument")
    for pred, label in ((PRED.iloc[:30], LABEL.iloc[60:]), (PRED, renamed.swaplevel())):
        async with run(memory_url) as recorder:
            await SignalRecord(Model(pred), Labelled(label), recorder).generate()
            with pytest.raises(InvalidInputError, match="have no row in common") as caught:
                await SigAnaRecord(recorder, on_missing="skip").generate()
            assert await recorder.list_artifacts("sig_analysis") == []
            assert await recorder.list_metrics() == {}
        assert f"the prediction has {len(pred)} rows (datetime 2024-01-01" in str(caught.value)
        assert f"the label has {len(label)} rows" in str(caught.value)
    assert "instrument S00 to S09" in str(caught.value)
    assert "instrument s00 to s09" in str(caught.value)


async def test_another_process_can_analyse_what_this_one_predicted(local_url: str) -> None:
    async with run(local_url) as recorder:
        await SignalRecord(Model(PRED), Labelled(LABEL), recorder).generate()
    code = """
        import asyncio, sys
        import aqrec
        from aqrec.templates import SigAnaRecord

        async def main(url, run_id):
            async with aqrec.ExperimentManager(url) as manager:
                recorder = await manager.get_recorder(recorder_id=run_id)
                await SigAnaRecord(recorder).generate()
                await recorder.flush()

        asyncio.run(main(*sys.argv[1:]))
    """
    await asyncio.to_thread(lambda: run_script(code, local_url, recorder.id).check())
    async with aqrec.ExperimentManager(local_url) as manager:
        again = await manager.get_recorder(recorder_id=recorder.id)
        ic = await SigAnaRecord(again).load("ic.pkl")
        assert (await again.list_metrics())["IC"] == pytest.approx(ic.mean())
        assert again.status == aqrec.STATUS_FI
