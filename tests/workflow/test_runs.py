"""Tasks and workflows, run by both faces: what they leave is what Qlib's leave."""

import asyncio
import inspect
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import aqrec
import aqrec.sync
import aqrec.sync.workflow as blocking
from aqrec import workflow
from aqrec.errors import InvalidInputError, InvalidWorkflowError
from aqrec.tasks import task_params
from aqrec.tasks._reading import read
from tests.workflow import parts

DATA = Path(__file__).parent / "data"
PARTS = "tests.workflow.parts"
QLIB = "qlib.workflow.record_temp"

TASK: dict[str, Any] = {
    "model": {"class": "Mean", "module_path": PARTS, "kwargs": {"factor": 2.0}},
    "dataset": {"class": "Panel", "module_path": PARTS, "kwargs": {"days": 7}},
    "record": [
        {
            "class": "SignalRecord",
            "module_path": QLIB,
            "kwargs": {"model": "<MODEL>", "dataset": "<DATASET>"},
        },
        {"class": "SigAnaRecord", "module_path": QLIB, "kwargs": {"ann_scaler": 252, "model": "<MODEL>"}},
        {"class": "LastDay", "module_path": PARTS},
        {"class": "AsyncNote", "module_path": PARTS},
    ],
}

Call = Callable[..., Any]


async def _awaited(call: Call, *args: Any, **kwargs: Any) -> Any:
    return await call(*args, **kwargs)


class Face:
    """Calls of one face, and the way to look at a run afterwards."""

    def __init__(self, name: str, uri: str) -> None:
        self.name, self.uri = name, uri
        self.module: Any = workflow if name == "async" else blocking

    def __call__(self, name: str, *args: Any, **kwargs: Any) -> aqrec.sync.Recorder:
        """Call a function of the module; return the run's recorder, blocking."""
        function = getattr(self.module, name)
        if self.name == "blocking":
            return function(*args, **kwargs)  # type: ignore[no-any-return]
        made = asyncio.run(_awaited(function, *args, **kwargs))
        return self.find(made.id)

    def find(self, run_id: str) -> aqrec.sync.Recorder:
        with aqrec.sync.R.uri_context(self.uri):
            return aqrec.sync.R.get_recorder(recorder_id=run_id)

    def own(self, recorder: aqrec.sync.Recorder) -> Any:
        """Return the recorder of this face."""
        return aqrec.Recorder(recorder._run) if self.name == "async" else recorder


@pytest.fixture(params=["async", "blocking"])
def face(request: pytest.FixtureRequest, memory_url: str) -> Face:
    return Face(request.param, memory_url)


def tree(recorder: aqrec.sync.Recorder) -> set[str]:
    """Return the paths of all artifacts that are no provenance."""
    found: set[str] = set()
    folders = [""]
    for folder in folders:
        for path in recorder.list_artifacts(folder):
            (folders.append if path in {"sig_analysis", "last"} else found.add)(path)
    return {path for path in found if not path.startswith(("code_", "environment"))}


def test_a_task_leaves_what_it_leaves_in_qlib(face: Face) -> None:
    task = json.loads(json.dumps(TASK))
    recorder = face("task_train", TASK, "alpha", "one", uri=face.uri)
    assert (recorder.status, recorder.name) == ("FINISHED", "one")
    assert task == TASK, "the caller's task is changed"
    assert tree(recorder) == {
        *("task", "params.pkl", "dataset", "pred.pkl", "label.pkl", "note.json"),
        *("sig_analysis/ic.pkl", "sig_analysis/ric.pkl", "last/last.pkl"),
    }
    params = recorder.list_params()
    params.pop("cmd-sys.argv")
    assert params == {
        "model.class": "Mean",
        "model.module_path": PARTS,
        "model.kwargs.factor": 2.0,
        "dataset.class": "Panel",
        "dataset.module_path": PARTS,
        "dataset.kwargs.days": 7,
        "record": TASK["record"],
    }
    assert recorder.load_object("task") == TASK
    model, dataset = (recorder.load_object(name, trust="trusted") for name in ("params.pkl", "dataset"))
    assert (model.factor, model.fitted) == (2.0, True)
    assert dataset.days == 7
    assert not hasattr(dataset, "_rows"), "the data set's rows belong to no pickle"
    metrics = recorder.list_metrics()
    assert metrics["train"] == 0.5, "what a model logs through R goes into the run"
    assert metrics["Rank IC"] == pytest.approx(1.0)
    assert "hostname" in recorder.list_tags()
    assert recorder.load_object("last/last.pkl")["factor"] == 2.0
    assert recorder.load_object("note.json") == 35


def test_models_block_no_loop_and_blocking_ones_stay_in_their_thread(face: Face) -> None:
    parts.places.clear()
    face("task_train", TASK, "alpha", uri=face.uri)
    here = threading.main_thread()
    assert {place is here for place in parts.places.values()} == {face.name == "blocking"}
    assert set(parts.places) == {"Panel", "fit", "predict", "LastDay"}


def test_async_models_and_data_sets_are_awaited(face: Face) -> None:
    task = {**TASK, "model": f"{PARTS}.AsyncMean", "dataset": f"{PARTS}.AsyncPanel"}
    recorder = face("task_train", task, "alpha", uri=face.uri)
    assert recorder.list_metrics()["Rank IC"] == pytest.approx(1.0)


def test_objects_may_stand_for_their_configs(face: Face) -> None:
    """One record may stand alone; a reweighter goes to a model that takes one."""
    model, dataset = parts.Mean(3.0), parts.Panel()
    task = {
        "model": model,
        "dataset": dataset,
        "record": {"class": parts.LastDay, "kwargs": {"count": 2}},
        "reweighter": {"class": "NotARecord", "module_path": PARTS, "kwargs": {"size": 4}},
    }
    with pytest.raises(InvalidWorkflowError, match=r"LastDay needs 'pred\.pkl', which SignalRecord makes"):
        face("task_train", task, "alpha", uri=face.uri)
    assert not model.fitted, "what is missing is told before anything is trained"
    task["record"] = [{"class": "SignalRecord"}, task["record"]]
    recorder = face("task_train", task, "alpha", uri=face.uri)
    assert model.weights.size == 4
    assert recorder.list_params()["model"] == f"{PARTS}.Mean"
    assert recorder.list_metrics()["last"] == pytest.approx(3 * dataset._rows["x"].iloc[-2])


@pytest.mark.parametrize(
    ("record", "folder"),
    [
        ("PortAnaRecord", "portfolio_analysis"),
        (f"{PARTS}.Portfolio", "mine"),
        (f"{PARTS}.OwnPrices", "own"),
    ],
)
def test_a_data_set_may_tell_the_prices_to_trade_on(face: Face, record: str, folder: str) -> None:
    """A record of one's own may hand its arguments on, or have prices of its own."""
    config = {
        "class": record,
        "kwargs": {
            "config": {
                "strategy": {
                    "class": "TopkDropoutStrategy",
                    "module_path": "qlib.contrib.strategy",
                    "kwargs": {"signal": "<PRED>", "topk": 2, "n_drop": 1},
                },
                "backtest": {
                    "start_time": "2024-01-02",
                    "end_time": "2024-01-05",
                    "account": 1e6,
                    "benchmark": ["S0"],
                    "exchange_kwargs": {"deal_price": "close"},
                },
            }
        },
    }
    task = {**TASK, "dataset": f"{PARTS}.PricedPanel", "record": [TASK["record"][0], config]}
    recorder = face("task_train", task, "alpha", uri=face.uri)
    report = recorder.load_object(f"{folder}/report_normal_1day.pkl")
    assert len(report) == 4
    assert report["value"].iloc[-1] > 0


def test_a_benchmark_that_the_data_set_has_no_prices_of_is_told_before_the_training(face: Face) -> None:
    model = parts.Mean()
    strategy = {"class": "TopkDropoutStrategy", "kwargs": {"signal": "<PRED>", "topk": 2, "n_drop": 1}}
    config = {"strategy": strategy, "backtest": {"benchmark": ["S0", "S9"]}}
    records = ["SignalRecord", {"class": "PortAnaRecord", "kwargs": {"config": config}}]
    task = {"model": model, "dataset": f"{PARTS}.PricedPanel", "record": records}
    with pytest.raises(InvalidInputError, match="benchmark 'S9' is not in the quotes of the data set"):
        face("task_train", task, "alpha", uri=face.uri)
    assert not model.fitted


def test_a_model_that_fails_ends_its_run_failed_and_keeps_the_task(face: Face) -> None:
    task = {**TASK, "model": {"class": "Failing", "module_path": PARTS}}
    with pytest.raises(ZeroDivisionError):
        face("task_train", task, "alpha", "bad", uri=face.uri)
    with aqrec.sync.R.uri_context(face.uri):
        recorder = aqrec.sync.R.get_recorder(recorder_name="bad", experiment_name="alpha")
    assert recorder.status == "FAILED"
    assert recorder.load_object("task") == task
    with pytest.raises(ZeroDivisionError):
        face("rerun", recorder.id, uri=face.uri)


def test_a_wrong_task_writes_nothing(face: Face) -> None:
    with pytest.raises(InvalidWorkflowError, match="did you mean Mean"):
        face("task_train", {**TASK, "model": {"class": "Meen", "module_path": PARTS}}, "alpha", uri=face.uri)
    with aqrec.sync.R.uri_context(face.uri):
        assert aqrec.sync.R.list_experiments() == {}


def test_a_task_may_be_begun_here_and_ended_there(face: Face) -> None:
    begun = face("begin_task_train", TASK, "alpha", "split", uri=face.uri)
    assert tree(begun) == {"task"}
    assert parts.Mean().fitted is False
    ended = face("end_task_train", face.own(begun), "alpha")
    assert (ended.id, ended.name, ended.status) == (begun.id, "split", "FINISHED")
    assert "sig_analysis/ic.pkl" in tree(ended)
    assert ended.list_params()["dataset.kwargs.days"] == 7


def test_a_workflow_file_is_run_and_recorded_as_it_was_read(
    face: Face, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACTOR", "4.0")
    path = tmp_path / "w.yaml"
    path.write_text(
        "experiment_name: from_file\n"
        f"task:\n  model: {{class: {PARTS}.Mean, kwargs: {{factor: {{{{ FACTOR }}}}, when: 2024-01-02}}}}\n"
        f"  dataset: {PARTS}.Panel\n  record: [{{class: SignalRecord}}]\n"
    )
    steps: list[tuple[str, int, int]] = []
    recorder = face(
        "run", path, recorder_name="n", uri=face.uri, on_progress=lambda *step: steps.append(step)
    )
    assert steps == [("data set", 0, 3), ("model", 1, 3), ("SignalRecord", 2, 3), ("done", 3, 3)]
    assert tree(recorder) == {"task", "config", "params.pkl", "dataset", "pred.pkl", "label.pkl"}
    assert recorder.list_params()["model.kwargs.when"] == "2024-01-02"
    config = recorder.load_object("config")
    assert config["task"]["model"]["kwargs"]["factor"] == 4.0
    assert config["task"] == recorder.load_object("task")
    with aqrec.sync.R.uri_context(face.uri):
        assert list(aqrec.sync.R.list_experiments()) == ["from_file"]
    named = face("run", path, experiment_name="mine", uri=face.uri)
    assert named.experiment_id != recorder.experiment_id


def test_a_recorded_run_is_run_again_from_its_record(face: Face, tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    path.write_text(json.dumps({"experiment_name": "first", "task": TASK}))
    first = face("run", path, recorder_name="n", uri=face.uri)
    path.unlink()
    second = face("rerun", face.own(first))
    third = face("rerun", second.id, uri=face.uri, experiment_name="other", recorder_name="again")
    assert second.id != first.id
    assert (second.experiment_id, second.name) == (first.experiment_id, "n")
    assert third.name == "again"
    assert [one.list_tags().get("rerun_of") for one in (first, second, third)] == [None, first.id, second.id]
    assert first.list_metrics() == second.list_metrics() == third.list_metrics()
    by_hand = face("task_train", TASK, "alpha", uri=face.uri)
    assert face("rerun", by_hand.id, uri=face.uri).list_metrics() == first.list_metrics()


def test_what_a_base_file_said_is_recorded_and_not_merged_again(face: Face, tmp_path: Path) -> None:
    base, path = tmp_path / "base.yaml", tmp_path / "w.yaml"
    base.write_text(
        f"task:\n  model: {{class: Mean, module_path: {PARTS}, kwargs: {{factor: 3.0, noise: 1.0}}}}\n"
        f"  dataset: {PARTS}.Panel\n  record: [SignalRecord]\n"
    )
    path.write_text("BASE_CONFIG_PATH: base.yaml\ntask: {model: {kwargs: {noise: __DROP__}}}\n")
    first = face("run", path, uri=face.uri)
    config = first.load_object("config")
    assert "BASE_CONFIG_PATH" not in config
    # Qlib's runs, and older ones, have the path in what is merged already.
    named = {**config, "BASE_CONFIG_PATH": str(base)}
    with aqrec.sync.R.start(experiment_name="older", uri=face.uri) as experiment:
        older = experiment.get_recorder()
        older.save_objects(config=named)
    again = face("rerun", older.id, uri=face.uri)
    base.unlink()
    assert face("rerun", older.id, uri=face.uri).status == "FINISHED"
    for run in (again, face("rerun", first.id, uri=face.uri)):
        assert run.load_object("config") == config


def test_keys_with_anchors_of_their_own_do_not_hinder_a_second_run(face: Face, tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    path.write_text(
        f"experiment_nam: &days {{days: 3}}\ntask:\n  model: {PARTS}.Mean\n"
        f"  dataset: {{class: Panel, module_path: {PARTS}, kwargs: *days}}\n"
    )
    first = face("run", path, uri=face.uri)
    assert face("rerun", first.id, uri=face.uri).status == "FINISHED"


def test_a_run_without_a_workflow_cannot_be_run_again(face: Face) -> None:
    with aqrec.sync.R.start(experiment_name="plain", uri=face.uri) as experiment:
        recorder = experiment.get_recorder()
    with pytest.raises(InvalidInputError, match="neither 'config' nor 'task'"):
        face("rerun", recorder.id, uri=face.uri)


async def test_a_cancelled_run_ends_failed(memory_url: str) -> None:
    parts.Waiting.begun = asyncio.Event()
    task = {"model": f"{PARTS}.Waiting", "dataset": f"{PARTS}.Panel"}
    work = asyncio.create_task(workflow.task_train(task, "alpha", "slow", uri=memory_url))
    await asyncio.wait_for(parts.Waiting.begun.wait(), 30)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    with aqrec.R.uri_context(memory_url):
        recorder = await aqrec.R.get_recorder(recorder_name="slow", experiment_name="alpha")
    assert recorder.status == "FAILED"


async def test_many_tasks_run_at_once_in_one_loop(memory_url: str) -> None:
    tasks = [{**TASK, "model": parts.Mean(float(n))} for n in range(1, 5)]
    runs = await asyncio.gather(*(workflow.task_train(task, "alpha", uri=memory_url) for task in tasks))
    last = [(await run.list_metrics())["last"] for run in runs]
    assert last == pytest.approx([last[0] * n for n in range(1, 5)])


def test_params_are_those_that_qlib_logs() -> None:
    """The golden file holds them as MLflow's text."""
    config = read(DATA / "qrun.yaml").tree.plain()
    golden = json.loads((DATA / "qrun.json").read_text())["params"]
    golden.pop("cmd-sys.argv")
    flat = workflow.flatten_dict(config["task"])
    assert {key: str(value) for key, value in flat.items()} == golden
    params = task_params(config["task"])
    assert params["model.kwargs.alpha"] == 0.05
    assert params["dataset.kwargs.segments.train"] == ["2017-02-01", "2017-04-28"]


def test_both_faces_have_the_same_calls() -> None:
    assert workflow.__all__ == blocking.__all__
    for name in workflow.__all__:
        one, other = getattr(workflow, name), getattr(blocking, name)
        assert inspect.signature(one) == inspect.signature(other)
        assert not inspect.iscoroutinefunction(other)
