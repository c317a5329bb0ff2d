"""Workflow files of Qlib run unchanged: its models and data sets, aqrec's records and store."""

import contextvars
import json
import threading
from pathlib import Path

import pandas as pd
import pytest

import aqrec
import aqrec.sync
import aqrec.sync.workflow as blocking
from aqrec import workflow
from aqrec.analysis import calc_ic
from aqrec.errors import InvalidWorkflowError

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.timeout(600)]
DATA = Path(__file__).parents[1] / "workflow" / "data"
FILE = DATA / "alpha360.yaml"
FIGURES = ("IC", "ICIR", "Rank IC", "Rank ICIR")


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, provider: Path) -> None:
    monkeypatch.setenv("PROVIDER", str(provider))
    monkeypatch.chdir(tmp_path)


def test_lightgbm_on_alpha360_runs_and_runs_again(tmp_path: Path) -> None:
    """The model's own logs go into the run, nothing goes to MLflow, and the second run gives the same."""
    recorder = blocking.run(FILE, uri="lab")
    assert recorder.status == "FINISHED"
    assert {path.name for path in tmp_path.iterdir()} == {"lab"}
    names = {name for name in recorder.list_artifacts() if not name.startswith(("code_", "environment"))}
    objects = {"config", "task", "params.pkl", "dataset", "pred.pkl", "label.pkl"}
    assert names == objects | {"sig_analysis", "portfolio_analysis"}
    report = recorder.load_object("portfolio_analysis/report_normal_1day.pkl")
    assert (report.index[0], report.index[-1]) == (pd.Timestamp("2014-01-02"), pd.Timestamp("2014-12-30"))
    params = recorder.list_params()
    assert params["model.class"] == "LGBModel"
    assert params["dataset.kwargs.segments.test"] == ["2014-01-01", "2014-12-31"]
    assert len(recorder.metric_history("l2.valid")) == 20
    pred, label = recorder.load_object("pred.pkl"), recorder.load_object("label.pkl")
    days = pred.index.get_level_values("datetime")
    assert (days.min(), days.max()) == (pd.Timestamp("2014-01-02"), pd.Timestamp("2014-12-31"))
    ic, _ = calc_ic(pred["score"], label.iloc[:, 0])
    assert recorder.list_metrics()["IC"] == pytest.approx(ic.mean())
    model = recorder.load_object("params.pkl", trust="trusted")
    assert model.params["num_leaves"] == 15
    again = blocking.rerun(recorder)
    assert {key: again.list_metrics()[key] for key in FIGURES} == {
        key: recorder.list_metrics()[key] for key in FIGURES
    }
    aqrec.sync.R.close()


def test_a_qrun_leaves_what_qlib_left(
    golden_provider: Path, monkeypatch: pytest.MonkeyPatch, memory_url: str
) -> None:
    """Params, artifacts, metrics: those of Qlib's own recorder, records and backtest."""
    monkeypatch.setenv("GOLDEN_PROVIDER", str(golden_provider))
    monkeypatch.setenv("GOLDEN_URI", "not used")
    golden = json.loads((DATA / "qrun.json").read_text())
    recorder = blocking.run(DATA / "qrun.yaml", uri=memory_url)
    assert recorder.status == golden["status"]
    found = {
        path
        for folder in ("", "sig_analysis", "portfolio_analysis")
        for path in recorder.list_artifacts(folder)
    }
    assert found >= set(golden["artifacts"])
    assert {key for key in recorder.list_params() if key != "cmd-sys.argv"} == set(golden["params"]) - {
        "cmd-sys.argv"
    }
    metrics = recorder.list_metrics()
    assert set(metrics) == set(golden["metrics"])
    # Predictions and labels are float32.
    assert metrics == pytest.approx(golden["metrics"], rel=1e-5, abs=1e-8)
    config = recorder.load_object("config")
    assert config["task"]["record"][0]["kwargs"] == {"model": "<MODEL>", "dataset": "<DATASET>"}


@pytest.mark.blocks_loop("Qlib's classes are imported by the test as well")
async def test_the_async_face_runs_it_too(memory_url: str) -> None:
    recorder = await workflow.run(FILE, uri=memory_url)
    assert recorder.status == "FINISHED"
    assert len(await recorder.metric_history("l2.valid")) == 20


def test_slips_in_a_file_of_qlib_are_found_with_their_lines(tmp_path: Path) -> None:
    text = (
        FILE.read_text().replace("class: Alpha360", "class: Alpha361").replace("num_boost_round", "num_boost")
    )
    text = text.replace("class: LGBModel", "class: LGBModle")
    (tmp_path / "w.yaml").write_text(text)
    with pytest.raises(InvalidWorkflowError) as caught:
        blocking.check("w.yaml")
    assert [problem.key for problem in caught.value.problems] == [
        "task.model.class",
        "task.dataset.kwargs.handler.class",
    ]


def test_qlibs_own_recorder_stays_what_it_is_elsewhere(memory_url: str) -> None:
    """Other threads, and this one afterwards, see what Qlib has registered."""
    from qlib.workflow import R

    from aqrec.sync._qlib import qlib_logs_into

    before = vars(R).get("_provider")
    seen: list[str] = []

    def look() -> None:
        try:
            seen.append(type(R.get_recorder()).__module__)
        except AttributeError:
            seen.append("none")

    with aqrec.sync.open_recorder(memory_url) as recorder:
        with qlib_logs_into(recorder):
            R.log_metrics(inside=1.0)
            assert R.get_recorder() == recorder
            inherits = threading.Thread(
                target=contextvars.copy_context().run, args=(R.log_params,), kwargs={"a": 1}
            )
            inherits.start()
            inherits.join()
        assert recorder.list_metrics() == {"inside": 1.0}
        assert recorder.list_params()["a"] == 1
    if before is None:
        look()
        assert seen == ["none"]
    else:
        assert R.exp_manager is before.exp_manager
