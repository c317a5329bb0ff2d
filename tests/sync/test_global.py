"""`R`, blocking: the recorder of this task or thread, and the store that is meant."""

from pathlib import Path

import pytest

from aqrec.errors import ClosedError, InvalidInputError, RecorderInitializationError
from aqrec.options import Options
from aqrec.recording._default import defaults
from aqrec.sync import STATUS_FA, STATUS_FI, STATUS_R, ExperimentManager, R
from tests._support import no_thread_left

pytestmark = pytest.mark.usefixtures("clean_r")


def test_a_run_through_r(store_url: str) -> None:
    R.set_uri(store_url)
    with R.start(experiment_name="alpha", recorder_name="lgb") as experiment:
        assert experiment.name == "alpha"
        recorder = R.get_recorder()
        assert (recorder.name, recorder.status) == ("lgb", STATUS_R)
        assert R.get_exp() == experiment
        R.log_params(lr=0.02)
        R.log_metrics(step=0, loss=1.0)
        R.log_batch({"ic": 0.1}, step=0)
        R.set_tags(owner="me", stage="x")
        R.delete_tags("stage")
        R.save_objects(artifact_path="out", **{"a.json": {"a": 1}})
        assert R.load_object("out/a.json") == {"a": 1}
        assert R.list_artifacts("out") == ["out/a.json"]
        assert Path(R.download_artifact("out/a.json")).read_text().strip().startswith("{")
        R.flush()
        assert R.statistics().points == 2
        assert recorder.id in repr(R)
    assert recorder.status == STATUS_FI
    assert recorder.list_metrics() == {"ic": 0.1, "loss": 1.0}
    assert recorder.list_tags()["owner"] == "me"
    assert "active=None" in repr(R)
    assert set(R.list_experiments()) == {"alpha"}
    assert R.list_recorders(experiment_name="alpha") == {recorder.id: recorder}
    assert R.search_records(filter_string="params.lr > 0.01")["run_id"].tolist() == [recorder.id]
    assert R.get_recorder(recorder_id=recorder.id) == recorder
    R.delete_recorder(recorder_id=recorder.id)
    assert R.list_recorders(experiment_name="alpha") == {}
    assert R.restore_recorder(recorder.id) == recorder
    R.delete_exp(experiment_name="alpha")
    assert R.list_experiments() == {}
    assert R.restore_exp(experiment_name="alpha").name == "alpha"
    assert R.create_exp("beta").name == "beta"


@pytest.mark.parametrize("raised", [ValueError, KeyboardInterrupt, SystemExit])
def test_what_is_raised_decides_the_status(raised: type[BaseException], memory_url: str) -> None:
    def run() -> None:
        with R.start(uri=memory_url, recorder_id="r"):
            raise raised

    with pytest.raises(raised):
        run()
    status = STATUS_FI if raised is SystemExit else STATUS_FA
    with R.uri_context(memory_url):
        assert R.get_recorder(recorder_id="r").status == status


def test_start_exp_and_end_exp(memory_url: str) -> None:
    experiment = R.start_exp(experiment_name="alpha", uri=memory_url)
    recorder = R.get_recorder()
    assert experiment.active_recorder == recorder
    R.end_exp(STATUS_FA)
    assert recorder.status == STATUS_FA
    R.end_exp()
    assert recorder.status == STATUS_FA


def test_nested_runs_are_children_and_come_off_in_turn(memory_url: str) -> None:
    R.set_uri(memory_url)
    with R.start(experiment_name="alpha"):
        outer = R.get_recorder()
        with R.start(experiment_name="beta", parent=None):
            inner = R.get_recorder()
            R.log_metrics(step=0, inner=1.0)
        R.log_metrics(step=0, outer=1.0)
        assert R.get_recorder() == outer
    assert inner.parent == outer.id
    assert (inner.list_metrics(), outer.list_metrics()) == ({"inner": 1.0}, {"outer": 1.0})


def test_a_run_ended_inside_its_block_is_not_ended_again(memory_url: str) -> None:
    with R.start(uri=memory_url):
        recorder = R.get_recorder()
        recorder.end_run(STATUS_FA)
        with pytest.raises(RecorderInitializationError):
            R.get_recorder()
    assert recorder.status == STATUS_FA


def test_logging_without_a_start_begins_a_default_run(memory_url: str) -> None:
    R.set_uri(memory_url)
    R.log_params(lr=1)
    recorder = R.get_recorder()
    R.log_metrics(step=0, loss=1.0)
    R.set_tags(a="b")
    assert R.get_exp().name == "Experiment"
    assert recorder.list_metrics() == {"loss": 1.0}
    R.end_exp()
    assert recorder.status == STATUS_FI


def test_what_needs_a_run_does_not_begin_one(memory_url: str) -> None:
    R.set_uri(memory_url)
    for call in (
        R.get_recorder,
        R.flush,
        R.list_artifacts,
        lambda: R.save_objects(a=1),
        lambda: R.load_object("a"),
        lambda: R.download_artifact("a"),
        lambda: R.delete_tags("a"),
    ):
        with pytest.raises(RecorderInitializationError):
            call()
    assert R.list_experiments() == {}


def test_the_order_of_uris(memory_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert R.get_uri() == R.uri == (tmp_path / "aqruns").as_uri()
    monkeypatch.setenv("AQREC_URI", f"{memory_url}-env")
    assert R.uri == f"{memory_url}-env"
    R.set_uri(f"{memory_url}-set")
    assert R.uri == f"{memory_url}-set"
    with R.uri_context(f"{memory_url}-context"):
        assert R.uri == f"{memory_url}-context"
        with R.start(uri=f"{memory_url}-given"):
            assert R.uri == R.get_recorder().uri == f"{memory_url}-given"
            with R.start():
                assert R.uri == f"{memory_url}-given"
        assert R.uri == f"{memory_url}-context"
        R.start_exp()
    assert R.uri == f"{memory_url}-context"
    R.end_exp()
    R.set_uri(None)
    assert R.uri == f"{memory_url}-env"


def test_uri_context_is_undone_by_an_error(memory_url: str) -> None:
    before = R.uri
    with pytest.raises(ValueError, match="out"), R.uri_context(memory_url):
        raise ValueError("out")
    assert R.uri == before
    with pytest.raises(InvalidInputError):
        R.set_uri("file:///lab?part=1")
    assert R.uri == before


def test_configure_sets_what_is_opened_next(memory_url: str) -> None:
    options = Options(provenance=False, seal="never")
    R.configure(memory_url, default_exp_name="lab", options=options)
    with R.start() as experiment:
        assert experiment.name == "lab"
        with pytest.raises(RecorderInitializationError, match="active"):
            R.configure(options=Options())
        R.configure(f"{memory_url}-next")
        assert R.uri == memory_url
    assert R.uri == f"{memory_url}-next"
    assert defaults.options == options
    with pytest.raises(InvalidInputError):
        R.configure(default_exp_name="")


def test_closing_ends_stores_and_opens_again(store_url: str) -> None:
    R.set_uri(store_url)
    with no_thread_left():
        R.start_exp(experiment_name="alpha")
        recorder = R.get_recorder()
        R.log_metrics(step=0, loss=1.0)
        R.close()
        with pytest.raises(RecorderInitializationError):
            R.get_recorder()
        with pytest.raises(ClosedError):
            recorder.log_metrics(step=1, loss=0.5)
        again = R.get_recorder(recorder_id=recorder.id)
        assert (again.status, again.list_metrics()) == (STATUS_FI, {"loss": 1.0})
        R.close()
        R.close()


def test_the_default_folder_is_made_by_writing_only(tmp_path: Path) -> None:
    assert R.list_experiments() == {}
    assert not (tmp_path / "aqruns").exists()
    with R.start():
        R.log_metrics(step=0, loss=1.0)
    assert (tmp_path / "aqruns" / "aqrec.json").exists()


def test_r_sees_the_runs_of_managers_and_recorders(memory_url: str, quick: Options) -> None:
    with ExperimentManager(memory_url, default_exp_name="lab", options=quick) as manager:
        with manager.get_exp(experiment_name="alpha").create_recorder() as recorder:
            assert R.get_recorder() == recorder
            assert R.uri == memory_url
            R.log_metrics(step=0, loss=1.0)
            assert R.get_exp(experiment_name="lab") == manager.get_exp(experiment_name="lab")
        assert recorder.list_metrics() == {"loss": 1.0}
        R.end_exp()


def test_a_relative_uri_starts_where_it_was_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    R.set_uri("./lab")
    with R.uri_context("file:other"):
        monkeypatch.chdir(tmp_path / "there")
        assert R.uri == (tmp_path / "here" / "other").as_uri()
    assert R.uri == (tmp_path / "here" / "lab").as_uri()
    with R.start():
        R.log_metrics(loss=0.5)
    assert (tmp_path / "here" / "lab" / "aqrec.json").exists()
    assert list((tmp_path / "there").iterdir()) == []
