"""``qrun`` with LightGBM on aqrec stores: what it leaves is what it leaves with MLflow."""

import datetime as dt
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest

import aqrec.sync
from aqrec.integrations.mlflow import import_mlruns
from tests._support import run_script
from tests._support.services import Service
from tests.qlib.lab import exp_manager, qlib_on

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.timeout(600)]
FILE = Path(__file__).parent / "data" / "lightgbm.yaml"
FOLDERS = ("", "sig_analysis", "portfolio_analysis")
FRAMES = ("pred.pkl", "label.pkl", "sig_analysis/ic.pkl", "portfolio_analysis/report_normal_1day.pkl")
MULTI_PASS = {
    "strategy": {
        "class": "TopkDropoutStrategy",
        "module_path": "qlib.contrib.strategy",
        "kwargs": {"signal": "<PRED>", "topk": 5, "n_drop": 1},
    },
    "backtest": {"start_time": "2012-10-01", "end_time": "2012-11-30", "account": 1e6, "benchmark": "SP500"},
}


class Left(NamedTuple):
    """What a run has left, read by whatever recorder Qlib has."""

    status: str
    params: dict[str, str]
    tags: set[str]
    metrics: dict[str, float]
    artifacts: set[str]
    frames: dict[str, Any]


def _iso(date: re.Match[str]) -> str:
    return f"'{dt.date(*map(int, date.groups()))}'"


def left_by(recorder: Any) -> Left:
    params = recorder.list_params()
    params.pop("cmd-sys.argv")
    for key, value in params.items():  # MLflow shows dates inside lists as Python writes them
        params[key] = re.sub(r"datetime\.date\((\d+), (\d+), (\d+)\)", _iso, value)
    artifacts = {path for folder in FOLDERS for path in recorder.list_artifacts(folder or None)}
    return Left(
        recorder.status,
        params,
        {key for key in recorder.list_tags() if not key.startswith(("mlflow.", "aqrec."))},
        recorder.list_metrics(),
        {path for path in artifacts if not path.startswith(("code_", "environment"))},
        {path: recorder.load_object(path) for path in FRAMES},
    )


def qrun(manager: dict[str, Any], provider: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the file as the command ``qrun`` does; the only recorder there is then."""
    from qlib.cli.run import workflow
    from qlib.workflow import R

    monkeypatch.setenv("PROVIDER", str(provider))
    monkeypatch.setenv("EXP_MANAGER", json.dumps(manager))
    workflow(str(FILE))
    (recorder,) = R.list_recorders(experiment_name="lightgbm").values()
    return recorder


@pytest.fixture(scope="module")
def mlflow_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture(scope="module")
def with_mlflow(provider: Path, mlflow_folder: Path) -> Left:
    """What the same file leaves on MLflow, in the only kind of its stores that it still takes."""
    folder = mlflow_folder
    uri = f"sqlite:///{folder}/mlflow.db"
    manager = {"class": "MLflowExpManager", "module_path": "qlib.workflow.expm"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        recorder = qrun({**manager, "kwargs": {"uri": uri, "default_exp_name": "d"}}, provider, patch)
        return left_by(recorder)


def the_same(ours: Left, theirs: Left) -> None:
    for path, frame in theirs.frames.items():
        (
            pd.testing.assert_frame_equal
            if isinstance(frame, pd.DataFrame)
            else pd.testing.assert_series_equal
        )(ours.frames[path], frame)
    assert ours.metrics == pytest.approx(theirs.metrics, rel=1e-12, abs=0)
    assert ours._replace(frames={}, metrics={}) == theirs._replace(frames={}, metrics={})


def test_a_folder_gets_what_mlflow_gets_and_the_run_can_be_gone_on_with(
    provider: Path, with_mlflow: Left, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recorder = qrun(exp_manager("lab"), provider, monkeypatch)
    the_same(left_by(recorder), with_mlflow)
    assert {path.name for path in tmp_path.iterdir()} == {"lab"}
    with aqrec.sync.ExperimentManager(str(tmp_path / "lab")) as manager:
        run = manager.get_recorder(recorder_id=recorder.id)
        assert run.status == "FINISHED"
        assert run.list_metrics() == recorder.list_metrics()
        assert run.list_params()["model.kwargs.num_boost_round"] == 12
        assert len(run.metric_history("l2.valid")) == 12
        pd.testing.assert_frame_equal(run.load_object("pred.pkl"), with_mlflow.frames["pred.pkl"])
        ic = run.load_object("sig_analysis/ic.pkl")
        assert run.list_metrics()["IC"] == pytest.approx(ic.mean())

    with qlib_on("lab", provider=provider) as R:
        from qlib.workflow.record_temp import MultiPassPortAnaRecord, SigAnaRecord

        with R.start(experiment_name="lightgbm", recorder_id=recorder.id, resume=True):
            resumed = R.get_recorder()
            assert resumed == recorder
            # With pandas 3 Qlib's shuffling fails on any recorder: it writes into an array that is read-only.
            shuffles = int(pd.__version__.split(".")[0]) < 3
            MultiPassPortAnaRecord(resumed, 2, shuffle_init_score=shuffles, config=MULTI_PASS).generate()
            assert SigAnaRecord(resumed, skip_existing=True).generate() is None  # it is there already
        assert "portfolio_analysis/multi_pass_port_analysis_1day.pkl" in resumed.list_artifacts(
            "portfolio_analysis"
        )
        model = resumed.load_object("params.pkl")
        assert type(model).__name__ == "LGBModel"
        assert resumed.load_object("config")["task"]["model"]["class"] == "LGBModel"
        pd.testing.assert_frame_equal(resumed.load_object("pred.pkl"), with_mlflow.frames["pred.pkl"])


def test_a_bucket_gets_what_mlflow_gets(
    provider: Path, with_mlflow: Left, s3_server: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the credentials in the workflow's file, which do not come to lie in the bucket."""
    from qlib.workflow import R

    monkeypatch.chdir(tmp_path)
    location = s3_server.location()
    options = location.storage_options
    recorder = qrun(exp_manager(location.url, storage_options=options), provider, monkeypatch)
    the_same(left_by(recorder), with_mlflow)
    R.exp_manager.close()
    assert list(tmp_path.iterdir()) == []
    with aqrec.sync.ExperimentManager(location.url, storage_options=options) as manager:
        run = manager.get_recorder(recorder_id=recorder.id)
        assert run.list_metrics() == pytest.approx(with_mlflow.metrics, rel=1e-12, abs=0)
        pd.testing.assert_frame_equal(run.load_object("pred.pkl"), with_mlflow.frames["pred.pkl"])
        kept = run.load_object("config", trust="trusted")["qlib_init"]["exp_manager"]["kwargs"]
        assert set(kept["storage_options"].values()) == {"***"}


def test_what_qlib_left_on_mlflow_is_imported_and_gone_on_with(
    provider: Path, with_mlflow: Left, mlflow_folder: Path, tmp_path: Path
) -> None:
    """Old runs and new ones are one experiment to Qlib's code afterwards."""
    done = import_mlruns(f"sqlite:///{mlflow_folder}/mlflow.db", str(tmp_path / "lab"))
    assert (done.runs, done.failed) == (1, {})
    with qlib_on(tmp_path / "lab", provider=provider, options={"provenance": False}) as R:
        (recorder,) = R.list_recorders(experiment_name="lightgbm").values()
        the_same(left_by(recorder), with_mlflow)
        with R.start(experiment_name="lightgbm", resume=True):
            assert R.get_recorder() == recorder
            R.log_metrics(after=1)
        assert type(recorder.load_object("params.pkl")).__name__ == "LGBModel"


def test_four_at_once_into_one_store(provider: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
        import os, sys
        from qlib.cli.run import workflow
        import lightgbm, pyarrow.parquet
        import qlib.contrib.model.gbdt, qlib.contrib.strategy, qlib.workflow.record_temp, tests.qlib.parts

        children = []
        for _ in range(4):
            child = os.fork()
            if child == 0:
                workflow(sys.argv[1])
                sys.exit()
            children.append(child)
        assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
        """
    monkeypatch.setenv("PROVIDER", str(provider))
    monkeypatch.setenv("EXP_MANAGER", json.dumps(exp_manager(tmp_path / "lab")))
    run_script(code, str(FILE), timeout=500).check()
    with aqrec.sync.ExperimentManager(str(tmp_path / "lab")) as manager:
        runs = manager.get_exp(experiment_name="lightgbm").list_recorders("list")
        assert [run.status for run in runs] == ["FINISHED"] * 4
        first, *others = [run.list_metrics() for run in runs]
        assert len(first) > 20
        assert others == [first] * 3
        for run in runs:
            assert len(run.metric_history("l2.valid")) == 12
            assert len(run.load_object("pred.pkl")) > 1000
