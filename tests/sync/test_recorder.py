"""One run through the blocking face."""

import copy
import datetime as dt
import math
import pickle
from pathlib import Path

import pytest

import aqrec
from aqrec.errors import (
    ClosedError,
    InvalidInputError,
    InvalidValueError,
    LoadObjectError,
    ParamConflictError,
    UntrustedObjectError,
)
from aqrec.options import Options
from aqrec.sync import (
    STATUS_FA,
    STATUS_FI,
    STATUS_R,
    STATUS_S,
    ExperimentManager,
    Recorder,
    open_recorder,
)


def stored(url: str, recorder_id: str, options: Options) -> Recorder:
    """Return the recorder as a manager that has never seen it reads it."""
    with ExperimentManager(url, options=options) as manager:
        return manager.get_recorder(recorder_id=recorder_id).refresh()


def test_a_whole_life(store_url: str, quick: Options) -> None:
    with ExperimentManager(store_url, options=quick) as manager:
        recorder = manager.get_exp(experiment_name="alpha").create_recorder("lgb")
        assert (recorder.name, recorder.status, recorder.start_time) == ("lgb", STATUS_S, None)
        with recorder as entered:
            assert entered is recorder
            assert recorder.status == STATUS_R
            for step in range(3):
                recorder.log_metrics(step=step, loss=1 / (step + 1), ic=math.nan)
            recorder.log_metrics(total=7)
            recorder.log_params(lr=0.02, layers=[64, 32], bias=True, note=None)
            recorder.set_tags(owner="me", stage="old")
            recorder.set_tags(stage="new")
            recorder.delete_tags("owner", "unknown")
            assert recorder.list_metrics()["loss"] == 1 / 3
        assert recorder.status == STATUS_FI
        assert recorder.end_time is not None
    with ExperimentManager(store_url, options=quick) as manager:
        again = manager.get_recorder(recorder_id=recorder.id)
        assert again == recorder
        assert again.status == STATUS_FI
        assert again.list_params() == {"lr": 0.02, "layers": [64, 32], "bias": True, "note": None}
        assert again.list_tags() == {"mlflow.runName": "lgb", "stage": "new"}
        metrics = again.list_metrics()
        assert math.isnan(metrics.pop("ic"))
        assert metrics == {"loss": 1 / 3, "total": 7.0}
        history = again.metric_history("loss")
        assert history["step"].tolist() == [0, 1, 2]
        assert history["value"].tolist() == [1.0, 0.5, 1 / 3]
        assert again.metric_history("total")["step"].isna().tolist() == [True]
        assert again.metric_history("unknown").empty


def test_open_recorder_is_the_short_way(store_url: str, quick: Options) -> None:
    with open_recorder(store_url, experiment="alpha", name="lgb", options=quick) as recorder:
        recorder.log_metrics(step=1, loss=0.5)
        assert recorder.status == STATUS_R
    again = stored(store_url, recorder.id, quick)
    assert (again.name, again.status) == ("lgb", STATUS_FI)


def test_what_a_recorder_says_of_itself(memory_url: str, quick: Options) -> None:
    with open_recorder(memory_url, experiment="alpha", name="lgb", options=quick) as recorder:
        assert recorder.info == {
            "class": "Recorder",
            "id": recorder.id,
            "name": "lgb",
            "experiment_id": recorder.experiment_id,
            "start_time": recorder.start_time,
            "end_time": None,
            "status": STATUS_R,
        }
        assert recorder.start_time is not None
        assert abs(dt.datetime.now(dt.UTC) - recorder.start_time) < dt.timedelta(minutes=5)
        assert recorder.uri == memory_url
        assert recorder.artifact_uri == recorder.get_artifact_uri()
        assert recorder.artifact_uri.startswith(f"{memory_url}/runs/{recorder.id}/")
        assert recorder.parent is None
        for text in (recorder.id, "'lgb'", recorder.experiment_id, STATUS_R):
            assert text in repr(recorder)
        recorder.set_recorder_name("xgb")
        assert (recorder.name, recorder.list_tags()["mlflow.runName"]) == ("xgb", "xgb")
        assert recorder.statistics().dropped == 0


def test_a_batch_has_points_of_its_own(memory_url: str, quick: Options) -> None:
    with open_recorder(memory_url, options=quick) as recorder:
        recorder.log_batch({"a b": 1.0}, {"p q": 1}, {"t u": "x"}, step=3, timestamp=1_700_000_000_000)
        recorder.log_batch([("a b", 2.0, 4, 1_700_000_001_000), ("other", 5.0, None, None)])
        history = recorder.metric_history("a b")
        assert history["step"].tolist() == [3, 4]
        assert [stamp.timestamp() for stamp in history["timestamp"]] == [1_700_000_000, 1_700_000_001]
        assert recorder.list_params()["p q"] == 1
        assert recorder.list_tags()["t u"] == "x"
        assert recorder.list_metrics()["other"] == 5.0


def test_a_bad_batch_records_nothing(memory_url: str, quick: Options) -> None:
    with open_recorder(memory_url, options=quick) as recorder:
        recorder.log_params(lr=1)
        with pytest.raises(ParamConflictError):
            recorder.log_batch({"loss": 1.0}, {"lr": 2, "new": 1}, {"t": 1})
        assert (recorder.list_metrics(), recorder.list_params()) == ({}, {"lr": 1})
        assert "t" not in recorder.list_tags()


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (None, STATUS_FI),
        (ValueError("bad"), STATUS_FA),
        (KeyboardInterrupt(), STATUS_FA),
        (SystemExit(), STATUS_FI),
        (SystemExit(0), STATUS_FI),
        (SystemExit(3), STATUS_FA),
        (SystemExit("no data"), STATUS_FA),
    ],
    ids=repr,
)
@pytest.mark.parametrize("way", ["open_recorder", "recorder", "manager"])
def test_what_leaves_the_block_decides_the_status(
    way: str, raised: BaseException | None, status: str, memory_url: str, quick: Options
) -> None:
    def run() -> None:
        if way == "open_recorder":
            with open_recorder(memory_url, options=quick, recorder_id="r"):
                fall()
        with ExperimentManager(memory_url, options=quick) as manager:
            if way == "recorder":
                with manager.get_exp(experiment_name="alpha").create_recorder(recorder_id="r"):
                    fall()
            elif way == "manager":
                manager.start_exp(recorder_id="r")
                fall()

    def fall() -> None:
        if raised is not None:
            raise raised

    if raised is None:
        run()
    else:
        with pytest.raises(type(raised)):
            run()
    assert stored(memory_url, "r", quick).status == status


def test_a_status_given_inside_the_block_stays(memory_url: str, quick: Options) -> None:
    with open_recorder(memory_url, options=quick, recorder_id="short") as recorder:
        recorder.end_run(STATUS_FA)
    with ExperimentManager(memory_url, options=quick) as manager:
        with manager.get_exp().create_recorder(recorder_id="long") as recorder:
            recorder.end_run(STATUS_FA)
            assert manager.active_experiment is None
        assert recorder.status == STATUS_FA
    assert stored(memory_url, "short", quick).status == STATUS_FA
    assert stored(memory_url, "long", quick).status == STATUS_FA


def test_start_and_end_without_a_block(memory_url: str, quick: Options) -> None:
    with ExperimentManager(memory_url, options=quick) as manager:
        recorder = manager.get_exp(experiment_name="alpha").create_recorder()
        assert recorder.start_run() is recorder
        assert manager.get_recorder() == recorder
        recorder.end_run()
        assert recorder.status == STATUS_FI
        with pytest.raises(InvalidInputError, match="status"):
            recorder.end_run("DONE")


def test_objects_come_back_fresh_and_equal(store_url: str, quick: Options) -> None:
    with open_recorder(store_url, options=quick) as recorder:
        value = {"weights": [1.0, 2.0]}
        recorder.save_objects(**{"model.pkl": value, "config.json": {"a": 1}}, artifact_path="deep/er")
        assert recorder.list_artifacts() == ["deep"]
        assert recorder.list_artifacts("deep/er") == ["deep/er/config.json", "deep/er/model.pkl"]
        first, second = recorder.load_object("deep/er/model.pkl"), recorder.load_object("deep/er/model.pkl")
        assert first == second == value
        assert first is not second
        with pytest.raises(LoadObjectError, match="nothing"):
            recorder.load_object("nothing.pkl")
        with pytest.raises(InvalidInputError):
            recorder.save_objects("a.txt", more=1)


def test_a_stranger_s_pickle_needs_trust(memory_url: str, quick: Options) -> None:
    with open_recorder(memory_url, options=quick, recorder_id="r") as recorder:
        recorder.save_objects(where=Path("a/b"))
        assert recorder.load_object("where") == Path("a/b")
    with ExperimentManager(memory_url, options=quick) as manager:
        again = manager.get_recorder(recorder_id="r")
        with pytest.raises(UntrustedObjectError):
            again.load_object("where", trust="never")
        assert again.load_object("where", trust="trusted") == Path("a/b")


def test_files_go_in_and_come_out(store_url: str, quick: Options, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "a.txt").write_text("a")
    (source / "sub" / "b.bin").write_bytes(b"\0b")
    with open_recorder(store_url, options=quick) as recorder:
        recorder.log_artifact(source, "in")
        recorder.save_objects(local_path=source, artifact_path="content")
        assert recorder.list_artifacts("in/source") == ["in/source/a.txt", "in/source/sub"]
        assert recorder.list_artifacts("content") == ["content/a.txt", "content/sub"]
        place = Path(recorder.download_artifact("in", tmp_path / "out"))
        assert (place / "source" / "a.txt").read_text() == "a"
        assert (place / "source" / "sub" / "b.bin").read_bytes() == b"\0b"


def test_local_dir_is_where_the_artifacts_are(tmp_path: Path, memory_url: str, quick: Options) -> None:
    with open_recorder(str(tmp_path / "lab"), options=quick) as recorder:
        recorder.save_objects(**{"note.txt": "hello"})
        assert Path(recorder.get_local_dir(), "note.txt").read_text() == "hello"
    with open_recorder(memory_url, options=quick) as recorder, pytest.raises(InvalidInputError):
        recorder.get_local_dir()


def test_reads_see_own_writes_at_once(store_url: str, quick: Options) -> None:
    with open_recorder(store_url, options=quick) as recorder:
        for step in range(200):
            recorder.log_metrics(step=step, loss=float(step))
            recorder.log_params(**{f"p{step}": step})
            if step % 50 == 49:
                assert recorder.list_metrics() == {"loss": float(step)}
                assert len(recorder.list_params()) == step + 1
                assert len(recorder.metric_history("loss")) == step + 1


def test_flushed_is_what_others_see(store_url: str, quick: Options) -> None:
    with open_recorder(store_url, options=quick) as recorder:
        recorder.log_metrics(step=1, loss=0.5)
        recorder.flush()
        other = stored(store_url, recorder.id, quick)
        assert other.status == STATUS_R


def test_a_closed_store_takes_nothing_more(memory_url: str, quick: Options) -> None:
    with open_recorder(memory_url, options=quick) as recorder:
        recorder.log_metrics(step=1, loss=0.5)
    for call in (
        lambda: recorder.log_metrics(step=2, loss=0.25),
        lambda: recorder.log_batch({"new": 1.0}),
        lambda: recorder.log_params(a=1),
        lambda: recorder.set_tags(a=1),
        lambda: recorder.delete_tags("a"),
        lambda: recorder.set_recorder_name("n"),
        recorder.flush,
        recorder.list_metrics,
        recorder.list_artifacts,
        lambda: recorder.save_objects(a=1),
        recorder.start_run,
    ):
        with pytest.raises(ClosedError):
            call()
    assert stored(memory_url, recorder.id, quick).status == STATUS_FI


def test_the_faces_mean_the_same_run_and_experiment(memory_url: str, quick: Options) -> None:
    with ExperimentManager(memory_url, options=quick) as manager:
        experiment = manager.get_exp(experiment_name="alpha")
        recorder = experiment.create_recorder()
        twin, twins = aqrec.Recorder(recorder._run), aqrec.Experiment(experiment._ref)
        assert recorder == twin
        assert hash(recorder) == hash(twin)
        assert experiment == twins
        assert hash(experiment) == hash(twins)
        assert experiment.create_recorder() != recorder
        assert manager.get_exp(experiment_name="beta") != experiment
        with ExperimentManager(memory_url, options=quick) as other:
            assert other.get_exp(experiment_name="alpha") == experiment


def test_recorders_and_experiments_stay_in_their_process(memory_url: str, quick: Options) -> None:
    with ExperimentManager(memory_url, options=quick) as manager:
        experiment = manager.get_exp(experiment_name="alpha")
        recorder = experiment.create_recorder(recorder_id="mine")
        twins = aqrec.Recorder(recorder._run), aqrec.Experiment(experiment._ref)
        for held, told in (
            (recorder, "'mine' cannot be pickled.*get_recorder"),
            (twins[0], "'mine' cannot be pickled.*get_recorder"),
            (experiment, "'alpha' cannot be pickled.*get_exp"),
            (twins[1], "'alpha' cannot be pickled.*get_exp"),
        ):
            with pytest.raises(InvalidInputError, match=told):
                pickle.dumps({"held": held})
            assert copy.copy(held) is held
            assert copy.deepcopy([held])[0] is held
        with pytest.raises(InvalidInputError, match="'mine' cannot be pickled"):
            recorder.save_objects(**{"me.pkl": {"held": recorder}})


def test_a_batch_with_one_bad_point_records_none_of_it(memory_url: str) -> None:
    with open_recorder(memory_url) as recorder:
        with pytest.raises(InvalidInputError, match="'bad'"):
            recorder.log_batch([("good", 1.0, 0, None), ("bad", "x", 1, None)])  # type: ignore[list-item]
        assert recorder.list_metrics() == {}


def test_listing_runs_leaves_nothing_behind_in_the_engine(memory_url: str) -> None:
    with ExperimentManager(memory_url) as manager:
        experiment = manager.get_exp(experiment_name="many")
        for _ in range(5):
            with experiment.create_recorder() as recorder:
                recorder.log_metrics(loss=1.0)
    with ExperimentManager(memory_url) as manager:
        assert len(manager.list_recorders(experiment_name="many")) == 5
        assert not recorder_states(manager)


def recorder_states(manager: ExperimentManager) -> dict[str, object]:
    return dict(manager._workspace.session.engine.runs)


def test_a_batch_with_values_that_are_too_large_records_no_part_of_it(memory_url: str) -> None:
    with open_recorder(memory_url, experiment="e", options=Options(provenance=False)) as recorder:
        large = {f"k{number}": "v" * 9_000_000 for number in range(5)}
        for given in ({"params": large}, {"tags": large}):
            with pytest.raises(InvalidValueError):
                recorder.log_batch({"a": 1.0}, step=1, **given)  # type: ignore[arg-type]
        assert recorder.list_metrics() == {}
        assert recorder.list_params() == {}
