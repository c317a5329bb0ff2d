"""Qlib's trainers, collectors, rolling and online tools on an aqrec store."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.qlib.lab import qlib_on

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.timeout(600)]
OPTIONS = {"provenance": False}


@pytest.fixture
def R(provider: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.chdir(tmp_path)
    with qlib_on("lab", provider=provider, options=OPTIONS) as recorder:
        yield recorder


def tasks(count: int = 2) -> list[dict[str, Any]]:
    from tests.qlib.parts import linear_task

    ends = ("2012-08-31", "2012-09-28", "2012-10-31")
    return [linear_task(test=("2012-07-02", end)) for end in ends[:count]]


def last_days(recorders: list[Any]) -> list[str]:
    days = (
        recorder.load_object("pred.pkl").index.get_level_values("datetime").max() for recorder in recorders
    )
    return [f"{day:%Y-%m-%d}" for day in days]


def check_trained(R: Any, recorders: list[Any], experiment: str) -> None:
    assert last_days(recorders) == ["2012-08-31", "2012-09-28"]
    assert [recorder.status for recorder in recorders] == ["FINISHED"] * 2
    assert [recorder.list_tags()["train_status"] for recorder in recorders] == ["end_task_train"] * 2
    assert list(R.list_recorders(experiment_name=experiment).values()) == recorders[::-1]


def test_trainer_and_collector(R: Any) -> None:
    from qlib.model.ens.ensemble import RollingEnsemble
    from qlib.model.trainer import TrainerR
    from qlib.workflow.task.collect import RecorderCollector

    trainer = TrainerR(experiment_name="r")
    recorders = trainer(tasks())
    check_trained(R, recorders, "r")
    R.start_exp(experiment_name="r")  # neither trained nor ended: not to be collected
    collected = RecorderCollector("r")()
    R.end_exp("FAILED")
    assert set(collected["pred"]) == {recorder.id for recorder in recorders}
    keyed = RecorderCollector(
        R.get_exp(experiment_name="r"),
        process_list=[RollingEnsemble()],
        rec_key_func=lambda recorder: recorder.load_object("task")["dataset"]["kwargs"]["segments"]["test"][
            1
        ],
        rec_filter_func=lambda recorder: "model.class" in recorder.list_params(),
    )
    assert keyed()["pred"].index.get_level_values("datetime").max() == pd.Timestamp("2012-09-28")


def test_delayed_trainer(R: Any) -> None:
    from qlib.model.trainer import DelayTrainerR

    trainer = DelayTrainerR(experiment_name="d")
    begun = trainer.train(tasks())
    assert [recorder.list_artifacts() for recorder in begun] == [["task"]] * 2
    check_trained(R, trainer.end_train(begun), "d")


def test_trainer_with_a_process_a_task(R: Any) -> None:
    """The recorders come back pickled from children, which opened the store by Qlib's configuration."""
    from qlib.model.trainer import TrainerR

    check_trained(R, TrainerR(experiment_name="s", call_in_subproc=True)(tasks()), "s")


def test_trainers_with_a_task_manager(R: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorders are pickled into the data base, and out of it by whoever goes on."""
    import mongomock
    from qlib.model.trainer import DelayTrainerRM, TrainerRM

    data_base = mongomock.MongoClient().get_database("tasks")
    monkeypatch.setattr("qlib.workflow.task.manage.get_mongodb", lambda: data_base)
    check_trained(R, TrainerRM("m", "pool")(tasks()), "m")
    delayed = DelayTrainerRM("dm", "delayed")
    check_trained(R, delayed.end_train(delayed.train(tasks())), "dm")


def test_rolling(R: Any, tmp_path: Path) -> None:
    """The combined predictions cover all rolled segments; a second round deletes what the first has left."""
    import yaml
    from qlib.contrib.rolling.base import Rolling

    task = tasks(1)[0]
    segments = {"train": ["2012-01-03", "2012-05-31"], "test": ["2012-07-02", "2012-09-28"]}
    task["dataset"]["kwargs"]["segments"] = segments
    task["dataset"]["kwargs"]["handler"]["kwargs"]["end_time"] = "2012-10-31"
    task["record"] = [
        {"class": "SignalRecord", "module_path": "qlib.workflow.record_temp"},
        {"class": "SigAnaRecord", "module_path": "qlib.workflow.record_temp"},
    ]
    (tmp_path / "conf.yaml").write_text(yaml.safe_dump({"task": task}))
    for _ in range(2):
        Rolling(tmp_path / "conf.yaml", exp_name="combined", horizon=1, step=30, rolling_exp="rolled").run()
    assert len(R.list_recorders(experiment_name="rolled")) == 3
    combined = list(R.list_recorders(experiment_name="combined").values())
    assert last_days(combined) == ["2012-10-31"] * 2  # the last segment is as long as the others
    assert combined[0].list_metrics()["IC"] == combined[1].list_metrics()["IC"]
    assert combined[0].list_params()["exp_name"] == "rolled"


def test_online_manager(R: Any, tmp_path: Path) -> None:
    """Train, go on at a later day, update the predictions of what is online; the manager itself can be put away."""
    from qlib.workflow.online.manager import OnlineManager
    from qlib.workflow.online.strategy import RollingStrategy
    from qlib.workflow.task.gen import RollingGen

    task = copy.deepcopy(tasks(1)[0])
    task["dataset"]["kwargs"]["handler"]["kwargs"]["end_time"] = None
    rolling = RollingGen(step=40, rtype=RollingGen.ROLL_SD, ds_extra_mod_func=None)
    manager = OnlineManager(RollingStrategy("online", task, rolling), begin_time="2012-08-31")
    manager.first_train()
    first = manager.strategies[0].tool.online_models()
    manager.to_pickle(tmp_path / "manager.pkl")
    manager = OnlineManager.load(tmp_path / "manager.pkl")
    manager.routine("2012-12-31")
    online = manager.strategies[0].tool.online_models()
    assert first
    assert online
    assert not set(first) & set(online)
    assert {recorder.list_tags()["online_status"] for recorder in first} == {"offline"}
    assert last_days(online[:1]) == ["2014-12-31"]
    assert len(manager.get_signals().dropna()) > 1000
