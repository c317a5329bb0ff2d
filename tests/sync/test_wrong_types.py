"""Arguments of a wrong type: refused by errors that say what to give, before anything is written."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aqrec.errors import InvalidInputError, InvalidNameError, InvalidValueError
from aqrec.options import Options
from aqrec.sync import ExperimentManager, R, open_recorder

pytestmark = pytest.mark.usefixtures("clean_r")

FOUR = r"\(key, value, step, timestamp\)"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"metrics": 5}, f"metrics=5: give a dict .* {FOUR}"),
        ({"metrics": "loss"}, "metrics='loss': give a dict"),
        ({"metrics": [("a", 1.0, 0, None), ("b", 1.0)]}, rf"metrics\[1\]=\('b', 1.0\): give a tuple {FOUR}"),
        ({"metrics": [5]}, rf"metrics\[0\]=5: give a tuple {FOUR}"),
        ({"metrics": [(["a"], 1.0, 0, None)]}, rf"metrics\[0\]=.*: give a tuple {FOUR}"),
        ({"metrics": [("a", 1.0, "x", None)]}, "step"),
        ({"metrics": [("a", 1.0, 0, None)], "step": 3}, "step=3, .* are for a dict of metrics"),
        ({"metrics": [("a", 1.0, 0, None)], "timestamp": 3}, "timestamp=3 are for a dict of metrics"),
        ({"params": [("a", 1)]}, r"params=\[\('a', 1\)\]: give a dict"),
        ({"params": "lr"}, "params='lr': give a dict"),
        ({"tags": ["a"]}, r"tags=\['a'\]: give a dict"),
        ({"tags": ""}, "tags='': give a dict"),
    ],
)
def test_a_batch_of_a_wrong_shape_records_nothing(
    given: dict[str, Any], message: str, memory_url: str, quick: Options
) -> None:
    with open_recorder(memory_url, options=quick) as recorder:
        before = recorder.list_tags()
        with pytest.raises(InvalidInputError, match=message):
            recorder.log_batch(**({"metrics": {"good": 1.0}, "params": {"p": 1}, "tags": {"t": 1}} | given))
        assert (recorder.list_metrics(), recorder.list_params(), recorder.list_tags()) == ({}, {}, before)


@pytest.mark.parametrize(
    ("timestamp", "message"),
    [
        (1_795_600_000_000_000, "got 1795600000000000, which is the year 58870; divide microseconds by 1000"),
        (253_402_300_800_000, "the year 10000"),
        (-1, r"timestamp -1 \(int\): give whole milliseconds"),
        (True, r"timestamp True \(bool\)"),
        (1.5e12, r"\(float\): give whole milliseconds"),
        ("now", r"timestamp 'now' \(str\)"),
    ],
)
def test_a_timestamp_is_in_milliseconds(
    timestamp: Any, message: str, memory_url: str, quick: Options
) -> None:
    with open_recorder(memory_url, options=quick) as recorder:
        for log in (
            lambda: recorder.log_batch({"a": 1.0}, {"p": 1}, timestamp=timestamp),
            lambda: recorder.log_batch([("a", 1.0, 0, 5), ("a", 1.0, 0, timestamp)], {"p": 1}),
            lambda: R.log_batch({"a": 1.0}, timestamp=timestamp),
        ):
            with pytest.raises(InvalidValueError, match=message):
                log()
        assert (recorder.list_metrics(), recorder.list_params()) == ({}, {})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1j, r"1j \(complex\); a metric is a number"),
        (np.complex64(1 + 2j), r"\(complex64\); a metric is a number"),
        (np.array(1j), r"\(ndarray\); a metric is a number"),
        (10**400, r"too large for a float64 \(int\)"),
        (-np.longdouble("1e400"), r"too large for a float64 \(longdouble\)"),
        (Decimal("1e400"), r"too large for a float64 \(Decimal\)"),
        (np.array([1, 2]), "a ndarray, which is no single number"),
    ],
)
def test_a_metric_is_a_number_that_a_float_holds(
    value: Any, message: str, memory_url: str, quick: Options
) -> None:
    with open_recorder(memory_url, options=quick) as recorder:
        for log in (
            lambda: recorder.log_metrics(z=value),
            lambda: recorder.log_metrics(step=1, a=1.0, z=value),
            lambda: recorder.log_batch([("a", 1.0, 0, None), ("z", value, 0, None)]),
        ):
            with pytest.raises(InvalidValueError, match=f"metric 'z' is .*{message}"):
                log()
        assert recorder.list_metrics() == {}
        recorder.log_metrics(z=np.longdouble("inf"))
        assert recorder.list_metrics() == {"z": float("inf")}


def test_timestamps_and_steps_may_be_numpy_s(memory_url: str, quick: Options) -> None:
    with open_recorder(memory_url, options=quick) as recorder:
        recorder.log_batch({"a": 1.0}, step=np.int32(3), timestamp=np.int64(253_402_300_799_999))  # type: ignore[arg-type]
        recorder.log_batch([("a", 1.0, np.int64(4), np.uint16(5))])  # type: ignore[list-item]
        with pytest.raises(InvalidValueError, match="step"):
            recorder.log_metrics(step=np.array([1, 2]), a=1.0)  # type: ignore[arg-type]
        history = recorder.metric_history("a")
        assert history["step"].tolist() == [3, 4]
        assert history["timestamp"].astype("int64").tolist() == [253_402_300_799_999, 5]


@pytest.mark.parametrize("names", ["nn", b"nn", 5, [5]])
def test_a_list_of_experiments_is_no_text(
    names: Any, memory_url: str, tmp_path: Path, quick: Options
) -> None:
    with ExperimentManager(memory_url, options=quick) as manager:
        with manager.get_exp(experiment_name="n").create_recorder() as recorder:
            recorder.log_metrics(loss=0.5)
        for call in (
            manager.search_records,
            manager.search_page,
            lambda **given: manager.export(tmp_path, **given),
            lambda **given: manager.retain(keep_last=0, dry_run=False, **given),
            lambda **given: manager.archive(str(tmp_path / "archive"), dry_run=False, **given),
        ):
            with pytest.raises(InvalidInputError, match=r"experiment_names=.*give a list"):
                call(experiment_names=names)
        with pytest.raises(InvalidInputError, match=r"experiment_ids=.*give a list"):
            manager.search_records(names)
        assert len(manager.search_records(experiment_names=["n"])) == 1
        assert list(tmp_path.iterdir()) == []


def test_so_are_lists_of_metrics_and_runs(memory_url: str, quick: Options) -> None:
    with open_recorder(memory_url, options=quick) as recorder, ExperimentManager(memory_url) as manager:
        recorder.log_metrics(loss=0.5)
        with pytest.raises(InvalidInputError, match=r"keys='loss' is one text; give a list: keys=\['loss'\]"):
            recorder.metric_histories("loss")  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError, match="key=3: give the name of a metric"):
            recorder.metric_history(3)  # type: ignore[arg-type]
        for runs in (recorder, recorder.id, 5):
            for call in (manager.metric_histories, manager.compare):
                with pytest.raises(InvalidInputError, match=r"recorders=.*give a list"):
                    call(runs)  # type: ignore[operator]


@pytest.mark.parametrize("uri", [5, b"lab", ["lab"], {"key": "secret"}])
def test_a_store_is_named_by_text_or_a_path(uri: Any, tmp_path: Path) -> None:
    for call in (
        ExperimentManager,
        open_recorder,
        R.set_uri,
        R.configure,
        lambda uri: R.start(uri=uri),
        lambda uri: R.start_exp(uri=uri),
        lambda uri: R.uri_context(uri).__enter__(),
    ):
        with pytest.raises(InvalidInputError, match="URL or path") as told:
            call(uri)
        assert "secret" not in str(told.value)
    assert list(tmp_path.iterdir()) == []
    with ExperimentManager(tmp_path / "lab") as manager:  # type: ignore[arg-type]
        assert manager.uri == (tmp_path / "lab").as_uri()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"resume": "yes"}, "resume must be True or False, not 'yes'"),
        ({"resume": 1}, "resume must be True or False"),
        ({"name": 5}, "recorder name must be text, not int"),
        ({"recorder_id": 5}, "recorder id 5"),
        ({"experiment": 5}, "experiment name must be text, not int"),
        ({"parent": 5}, "parent=5"),
    ],
)
def test_a_run_is_not_started_by_wrong_types(
    given: dict[str, Any], message: str, tmp_path: Path, quick: Options
) -> None:
    with (
        pytest.raises(InvalidInputError, match=message),
        open_recorder(str(tmp_path / "lab"), options=quick, **given),
    ):
        raise AssertionError("entered")
    assert list(tmp_path.iterdir()) == []


def test_a_recorder_is_not_created_by_wrong_types(tmp_path: Path, quick: Options) -> None:
    with ExperimentManager(str(tmp_path / "lab"), options=quick) as manager:
        experiment = manager.get_exp(experiment_name="alpha")
        for name, run_id in ((5, None), ("n", 5)):
            with pytest.raises(InvalidNameError):
                experiment.create_recorder(name, recorder_id=run_id)  # type: ignore[arg-type]
        assert experiment.list_recorders() == {}
