"""Every call of Qlib's ``R``, its experiments and recorders, on an aqrec store."""

import pickle
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from qlib.utils.exceptions import ExpAlreadyExistError, LoadObjectError, RecorderInitializationError
from qlib.utils.serial import Serializable

import aqrec.sync
from aqrec.errors import ExperimentNotFoundError, InvalidInputError, ParamConflictError
from aqrec.options import Options
from tests._support import run_script
from tests.qlib.lab import MANAGER, exp_manager, qlib_on

pytestmark = pytest.mark.filterwarnings("default")
QUICK = {"provenance": False}


class Kept(Serializable):
    """What is not plain data."""

    def __init__(self, shown: int, hidden: int) -> None:
        self.shown = shown
        self._hidden = hidden


@pytest.fixture
def R(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.chdir(tmp_path)
    with qlib_on("lab", options=QUICK) as recorder:
        yield recorder


# --- R ------------------------------------------------------------------------------------------------------


def test_a_block_records_and_its_results_are_there_for_aqrec(R: Any, tmp_path: Path) -> None:
    """The run Qlib's code has recorded is an ordinary one, with typed params and a history."""
    with R.start(experiment_name="alpha", recorder_name="lgb") as experiment:
        R.log_params(lr=0.1, layers=[64, 32], when=pd.Timestamp("2020-01-02"), kind=object, none=None)
        for step in range(3):
            R.log_metrics(step=step, loss=1 / (step + 1))
        R.set_tags(owner="me", number=3)
        R.save_objects(**{"pred.pkl": [1, 2]}, artifact_path="a/b")
        recorder = R.get_recorder()
        assert recorder.status == "RUNNING"
        assert recorder.list_metrics() == {"loss": pytest.approx(1 / 3)}  # reads see own writes
    assert experiment.name == "alpha"
    assert recorder.status == "FINISHED"
    with aqrec.sync.ExperimentManager(str(tmp_path / "lab")) as manager:
        run = manager.get_recorder(recorder_id=recorder.id)
        assert (run.name, run.status, run.experiment_id) == ("lgb", "FINISHED", experiment.id)
        assert run.list_params() == {
            "lr": 0.1,
            "layers": [64, 32],
            "when": "2020-01-02T00:00:00",
            "kind": "<class 'object'>",
            "none": None,
        }
        assert run.metric_history("loss")["step"].tolist() == [0, 1, 2]
        assert run.list_tags()["number"] == 3
        assert run.load_object("a/b/pred.pkl") == [1, 2]


def test_what_reads_give_are_texts_as_with_mlflow(R: Any) -> None:
    with R.start():
        R.log_params(a=1, b=None, c=[1, "x"], d="t")
        R.set_tags(n=2)
        recorder = R.get_recorder()
    assert recorder.list_params() == {"a": "1", "b": "None", "c": "[1, 'x']", "d": "t"}
    assert recorder.list_tags()["n"] == "2"
    recorder.delete_tags("n", "never")
    assert "n" not in recorder.list_tags()


@pytest.mark.parametrize("end", [KeyError("x"), SystemExit(2), KeyboardInterrupt()])
def test_whatever_is_raised_through_the_block_fails_the_run_and_passes(R: Any, end: BaseException) -> None:
    block = R.start()
    recorder = block.__enter__().active_recorder
    assert not block.__exit__(type(end), end, None)
    assert recorder.status == "FAILED"
    assert R.exp_manager.active_experiment is None


def test_start_exp_and_end_exp(R: Any) -> None:
    experiment = R.start_exp(experiment_name="e", recorder_name="r")
    assert experiment.active_recorder.name == "r"
    assert experiment.info["active_recorder"] == experiment.active_recorder.id
    recorder = R.get_recorder()
    R.end_exp()
    R.end_exp()  # nothing is active: no error
    assert recorder.status == "FINISHED"
    R.start_exp(experiment_name="e")
    recorder = R.get_recorder()
    R.end_exp("FAILED")
    assert recorder.status == "FAILED"


def test_every_way_to_end_means_finished_unless_told_otherwise(R: Any) -> None:
    for end in (
        lambda: R.exp_manager.end_exp(),
        lambda: R.get_exp().end(),
        lambda: R.get_recorder().end_run(),
    ):
        R.start_exp()
        recorder = R.get_recorder()
        end()
        assert (recorder.status, R.exp_manager.active_experiment) == ("FINISHED", None)


def test_a_block_inside_a_block_is_its_child(R: Any) -> None:
    with R.start(experiment_name="outer"):
        outer = R.get_recorder()
        with R.start(experiment_name="inner"):
            inner = R.get_recorder()
            R.log_metrics(m=1)
        assert R.get_recorder() == outer
        R.log_metrics(n=2)
    assert (inner.status, outer.status) == ("FINISHED", "FINISHED")
    assert (inner.list_metrics(), outer.list_metrics()) == ({"m": 1.0}, {"n": 2.0})
    assert inner.list_tags()["mlflow.parentRunId"] == outer.id


def test_threads_do_not_disturb_each_other(R: Any) -> None:
    """Each thread's block is its own; a thread that started nothing logs into the only run there is."""
    barrier = threading.Barrier(4, timeout=30)
    found: dict[int, tuple[str, dict[str, float], str]] = {}

    def work(number: int) -> None:
        with R.start(experiment_name=f"e{number}"):
            recorder = R.get_recorder()
            barrier.wait()
            for step in range(50):
                R.log_metrics(step=step, m=number)
            R.log_params(number=number)
            barrier.wait()
        found[number] = (
            R.list_recorders(experiment_name=f"e{number}")[recorder.id].status,
            recorder.list_metrics(),
            recorder.list_params()["number"],
        )

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: ("FINISHED", {"m": float(n)}, str(n)) for n in range(4)}
    with R.start():
        thread = threading.Thread(target=lambda: R.log_metrics(of_the_main_thread=1))
        thread.start()
        thread.join()
        assert R.get_recorder().list_metrics() == {"of_the_main_thread": 1.0}


def test_logging_without_a_run_starts_the_default_one(R: Any) -> None:
    R.log_params(a=1)
    R.log_metrics(b=2)
    recorder = R.get_recorder()
    assert (R.get_exp().name, recorder.name, recorder.status) == ("Experiment", "mlflow_recorder", "RUNNING")
    R.save_objects(c=3)
    assert R.load_object("c") == 3
    with R.start(experiment_name="other"):  # the default run does not stand in the way
        assert R.get_recorder() != recorder
    R.end_exp()
    assert (recorder.status, list(R.list_recorders())) == ("FINISHED", [recorder.id])


def test_saving_without_a_run_leaves_nothing_that_blocks(R: Any) -> None:
    R.save_objects(a=1)
    with R.start() as experiment:
        pass
    R.end_exp()
    assert {recorder.status for recorder in experiment.list_recorders().values()} == {"FINISHED"}


def test_resume_by_id_by_name_and_of_nothing(R: Any) -> None:
    with R.start(experiment_name="e", recorder_name="r"):
        first = R.get_recorder()
        R.log_metrics(step=0, m=0)
    with R.start(experiment_name="e", recorder_name="r"):
        second = R.get_recorder()
    assert first != second
    with R.start(experiment_name="e", recorder_name="r", resume=True):
        assert R.get_recorder() == second  # the latest of the name
    with R.start(experiment_name="e", recorder_id=first.id, resume=True):
        assert R.get_recorder() == first
        R.log_metrics(step=1, m=1)
    assert first.list_metrics() == {"m": 1.0}
    with R.start(experiment_name="e", recorder_name="new", resume=True):
        third = R.get_recorder()
    assert (third.name, len(R.list_recorders(experiment_name="e"))) == ("new", 3)
    with R.start(experiment_name="e", recorder_id=first.id):  # without resume always a new one
        assert R.get_recorder() not in (first, second, third)
    with R.start(experiment_name="e", resume=True):
        default = R.get_recorder()
    with R.start(experiment_name="e", resume=True):
        assert R.get_recorder() == default


def test_a_recorder_is_resumed_from_another_command_line_without_losing_a_thing(
    R: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with R.start(experiment_name="e"):
        recorder = R.get_recorder()
    monkeypatch.setattr("sys.argv", ["another", "line"])
    with R.start(experiment_name="e", recorder_id=recorder.id, resume=True):
        R.log_params(after=1)
        R.log_metrics(m=1)
    assert recorder.list_params()["after"] == "1"
    assert recorder.list_metrics() == {"m": 1.0}


def test_what_cannot_be_recorded_is_refused_at_the_call_and_nothing_else_is_lost(R: Any) -> None:
    with R.start():
        R.log_params(lr=1)
        with pytest.raises(ParamConflictError, match="lr"):
            R.log_params(lr=2)
        with pytest.raises(InvalidInputError, match="text"):
            R.log_metrics(text="no number")
        R.log_params(long="x" * 50_000)
        R.log_metrics(inf=float("inf"), m=1)
        R.log_metrics(m=2.0)
        R.log_metrics(m=1.5)
        recorder = R.get_recorder()
    assert recorder.list_params() == {"lr": "1", "long": "x" * 50_000}
    assert recorder.list_metrics() == {"inf": float("inf"), "m": 1.5}  # the last one logged


def test_get_exp_and_get_recorder(R: Any) -> None:
    with pytest.raises(ValueError, match="Experiment"):
        R.get_exp(create=False)
    with pytest.raises(ValueError, match="never"):
        R.get_exp(experiment_name="never", create=False)
    assert R.get_exp().name == "Experiment"
    named = R.get_exp(experiment_name="named")
    assert R.get_exp(experiment_id=named.id, create=False) == named
    assert set(R.list_experiments()) == {"Experiment", "named"}
    with pytest.raises(ExperimentNotFoundError, match="feed"):
        R.get_exp(experiment_id="feed")
    with pytest.raises(ValueError, match="mlflow_recorder"):
        R.get_recorder()
    with R.start(experiment_name="named", recorder_name="r") as experiment:
        recorder = R.get_recorder()
        assert R.get_exp() == experiment
        assert R.get_exp(experiment_name="Experiment") != experiment
    assert R.get_recorder(recorder_id=recorder.id, experiment_name="named") == recorder
    assert R.get_recorder(recorder_name="r", experiment_name="named") == recorder
    elsewhere = R.get_recorder(recorder_id=recorder.id)  # of the default experiment, says Qlib
    assert elsewhere.experiment_id == named.id
    with pytest.raises(ValueError, match="q"):
        R.get_recorder(recorder_name="q", experiment_name="named")


def test_an_experiment_makes_recorders_that_exist_once_they_are_started(R: Any) -> None:
    experiment = R.get_exp(experiment_name="e")
    recorder = experiment.get_recorder(recorder_name="r")
    assert (recorder.id, recorder.status, recorder.info["start_time"]) == (None, "SCHEDULED", None)
    with pytest.raises(ValueError, match="start_run"):
        recorder.log_metrics(m=1)
    assert experiment.list_recorders() == {}
    with recorder.start_run() as started:
        assert started.status == "RUNNING"
        assert R.get_recorder() == recorder
        assert experiment.get_recorder() == recorder
    assert recorder.status == "FINISHED"
    assert experiment.get_recorder(recorder_name="r") == recorder
    again = experiment.get_recorder(recorder_name="other", start=True)
    assert again.status == "RUNNING"
    experiment.end()
    assert again.status == "FINISHED"
    with pytest.raises(ValueError, match="absent"):
        experiment.get_recorder(recorder_id="absent", create=False)


def test_info_has_qlibs_names_and_forms(R: Any) -> None:
    with R.start(experiment_name="e", recorder_name="r") as experiment:
        recorder = R.get_recorder()
    assert list(recorder.info) == ["class", "id", "name", "experiment_id", "start_time", "end_time", "status"]
    assert recorder.info["class"] == "Recorder"
    for name in ("start_time", "end_time"):
        seconds = time.mktime(time.strptime(recorder.info[name], "%Y-%m-%d %H:%M:%S"))
        assert abs(seconds - time.time()) < 60
    assert experiment.info == {
        "class": "Experiment",
        "id": experiment.id,
        "name": "e",
        "active_recorder": None,
        "recorders": [recorder.id],
    }
    assert recorder.id in repr(recorder)
    assert len({recorder, R.get_recorder(recorder_id=recorder.id, experiment_name="e")}) == 1
    recorder.set_recorder_name("renamed")
    assert R.get_recorder(recorder_name="renamed", experiment_name="e").name == recorder.name == "renamed"


def test_listing_the_latest_first_with_status_and_filter(R: Any) -> None:
    for number in range(4):
        with suppress(ValueError), R.start(experiment_name="e"):
            R.log_params(number=number)
            R.log_metrics(m=number)
            if number == 1:
                raise ValueError
    experiment = R.get_exp(experiment_name="e")
    listed = experiment.list_recorders(rtype=experiment.RT_L)
    assert [recorder.list_params()["number"] for recorder in listed] == ["3", "2", "1", "0"]
    assert list(experiment.list_recorders()) == [recorder.id for recorder in listed]
    assert list(R.list_recorders(experiment_name="e").values()) == listed
    assert experiment.list_recorders(rtype="list", status="FAILED") == [listed[2]]
    assert experiment.list_recorders(rtype="list", max_results=1) == listed[:1]
    assert experiment.list_recorders(rtype="list", filter_string="metrics.m > 1") == listed[:2]
    with pytest.raises(ValueError, match="rtype"):
        experiment.list_recorders(rtype="tuple")


def test_search_returns_the_table_that_qlib_documents(R: Any) -> None:
    for number in range(3):
        with R.start(experiment_name="e") as experiment:
            R.log_metrics(m=number)
    found = R.search_records([experiment.id], order_by=["metrics.m DESC"])
    assert found["metrics.m"].tolist() == [2.0, 1.0, 0.0]
    assert len(R.search_records([experiment.id], filter_string="metrics.m > 0", max_results=1)) == 1
    experiment.delete_recorder(recorder_id=found["run_id"][0])
    assert experiment.search_records(order_by=["metrics.m"])["metrics.m"].tolist() == [0.0, 1.0]
    assert experiment.search_records(run_view_type=2)["metrics.m"].tolist() == [2.0]
    assert len(R.search_records(None, run_view_type=3)) == 3
    with pytest.raises(ValueError, match="run_view_type"):
        R.search_records(None, run_view_type=7)


def test_deleting(R: Any) -> None:
    with R.start(recorder_name="r"):
        recorder = R.get_recorder()
    R.delete_recorder(recorder_name="r")
    assert R.list_recorders() == {}
    with pytest.raises(ValueError, match="r"):
        R.delete_recorder(recorder_name="r")
    with pytest.raises(ValueError, match="absent"):
        R.delete_recorder(recorder_id="absent")
    with R.start(experiment_name="e"):
        recorder = R.get_recorder()
    with pytest.raises(ExpAlreadyExistError, match="e"):
        R.exp_manager.create_exp("e")
    R.delete_exp(experiment_name="e")
    assert "e" not in R.list_experiments()
    with pytest.raises(ValueError, match="e"):
        R.delete_exp(experiment_name="e")
    with R.start(experiment_name="e") as experiment:  # the name may be used again
        pass
    assert recorder.id not in experiment.list_recorders()


def test_uris(R: Any, tmp_path: Path) -> None:
    """A start's own URI wins while it is active; the context swaps the default one, also on an error."""
    home = R.get_uri()
    assert home == (tmp_path / "lab").as_uri()
    with suppress(KeyError), R.uri_context(str(tmp_path / "other")):
        assert R.get_uri() == (tmp_path / "other").as_uri()
        with R.start(experiment_name="there"):
            other = R.get_recorder()
        raise KeyError
    assert R.get_uri() == home
    assert R.list_experiments() == {}
    with R.start(experiment_name="third", uri=str(tmp_path / "third")):
        assert R.get_uri() == str(tmp_path / "third")
        assert set(R.list_experiments()) == {"third"}
        R.log_metrics(m=1)
        third = R.get_recorder()
    assert third.list_metrics() == {"m": 1.0}
    R.set_uri(str(tmp_path / "other"))
    assert set(R.list_experiments()) == {"there"}
    assert R.get_recorder(recorder_id=other.id, experiment_name="there").uri == other.uri
    assert [recorder.uri for recorder in (other, third)] == [
        (tmp_path / n).as_uri() for n in ("other", "third")
    ]


def test_a_start_that_fails_leaves_nothing_behind(R: Any, tmp_path: Path) -> None:
    home = R.get_uri()
    (tmp_path / "file").write_text("no store")
    with pytest.raises(OSError, match="file"):
        R.start_exp(uri=str(tmp_path / "file"))
    assert (R.get_uri(), R.exp_manager.active_experiment) == (home, None)
    with R.start():
        assert R.get_recorder().uri == home


def test_a_relative_folder_stays_the_same_one(
    R: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with R.start():
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"elsewhere", "lab"}
    assert list((tmp_path / "elsewhere").iterdir()) == []


# --- artifacts ----------------------------------------------------------------------------------------------


def test_objects_are_pickles_under_any_name(R: Any) -> None:
    """What comes back is the object, a fresh one each time."""

    class Plain:
        pass

    with R.start():
        R.save_objects(
            **{"a.csv": {1: (2, 3)}, "b.json": {1: 2}, "c.txt": b"x", "d": [1]}, artifact_path="x/y"
        )
        R.save_objects(s=Kept(1, 2))
        with pytest.raises(ValueError, match="Plain"):
            R.save_objects(bad=Plain())
        recorder = R.get_recorder()
    assert recorder.load_object("x/y/a.csv") == {1: (2, 3)}
    assert recorder.load_object("x/y/b.json") == {1: 2}
    assert recorder.load_object("x/y/c.txt") == b"x"
    assert recorder.load_object("x/y/d") is not recorder.load_object("x/y/d")
    kept = recorder.load_object("s")
    assert isinstance(kept, Serializable)
    assert vars(kept) == {"shown": 1}
    assert recorder.list_artifacts() == recorder.list_artifacts("") == ["s", "x"]
    assert recorder.list_artifacts("x") == ["x/y"]


def test_loading_fails_in_one_way_only(R: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.pkl").write_bytes(b"\x80\x04 no pickle")
    with R.start():
        R.log_artifact(str(tmp_path / "broken.pkl"))
        for name in ("absent", "broken.pkl", "../up"):
            with pytest.raises(LoadObjectError):
                R.load_object(name)


def test_an_unpickler_of_the_callers(R: Any) -> None:
    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            raise pickle.UnpicklingError(f"no {name}")

    with R.start():
        R.save_objects(frame=pd.DataFrame({"a": [1]}), plain=[1])
        recorder = R.get_recorder()
    assert recorder.load_object("plain", unpickler=Unpickler) == [1]
    with pytest.raises(LoadObjectError, match="no "):
        recorder.load_object("frame", unpickler=Unpickler)


def test_files_and_folders(R: Any, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "f.txt").write_text("text")
    (folder / "o.pkl").write_bytes(pickle.dumps([1]))
    with R.start():
        R.log_artifact(str(folder))
        R.log_artifact(str(folder / "o.pkl"), "below")
        R.save_objects(local_path=str(folder), artifact_path="content")
        with pytest.raises(ValueError, match="local_path"):
            R.save_objects(local_path=str(folder), x=1)
        R.get_recorder().save_objects(local_path=str(folder / "o.pkl"))
        recorder = R.get_recorder()
    assert recorder.list_artifacts() == ["below", "content", "made", "o.pkl"]
    assert recorder.load_object("below/o.pkl") == recorder.load_object("made/o.pkl") == [1]
    place = recorder.download_artifact("content", str(tmp_path / "down"))
    assert (Path(place) / "sub" / "f.txt").read_text() == "text"
    assert Path(recorder.get_local_dir(), "artifacts", "made", "sub", "f.txt").read_text() == "text"
    assert (
        recorder.get_artifact_uri()
        == recorder.artifact_uri
        == Path(recorder.get_local_dir(), "artifacts").as_uri()
    )


def test_a_store_that_is_no_folder_has_no_local_dir(memory_url: str, tmp_path: Path) -> None:
    with qlib_on(memory_url, provider=tmp_path, options=QUICK) as R:
        with R.start():
            recorder = R.get_recorder()
        with pytest.raises(RuntimeError, match="not on this machine"):
            recorder.get_local_dir()


def test_the_state_of_the_code_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess

    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q", "."], check=True)
    with qlib_on("lab") as R:
        with R.start():
            recorder = R.get_recorder()
        assert {"code_diff.txt", "code_status.txt", "code_cached.txt"} <= set(recorder.list_artifacts())
        (tmp_path / "new.py").write_text("")
        recorder._log_uncommitted_code()
        assert "new.py" in Path(recorder.download_artifact("code_status.txt")).read_text()
        assert "cmd-sys.argv" in recorder.list_params()


# --- initialising -------------------------------------------------------------------------------------------


def test_reinitialising_while_a_run_is_active_is_refused(R: Any, tmp_path: Path) -> None:
    import qlib

    with R.start():
        with pytest.raises(RecorderInitializationError):
            qlib.init(provider_uri=".", exp_manager=exp_manager(tmp_path / "second"))
        R.log_metrics(m=1)


def test_init_says_what_is_wrong_with_its_arguments(tmp_path: Path) -> None:
    import qlib

    for wrong, named in (
        ({"options": {"durabilty": "local"}}, "durabilty"),
        ({"options": {"durability": "cloud"}}, "cloud"),
        ({"options": {"transfers": "many"}}, "transfers"),
        ({"trust": "all"}, "all"),
    ):
        with pytest.raises(InvalidInputError, match=named):
            qlib.init(provider_uri=".", exp_manager=exp_manager(tmp_path, **wrong))
    with pytest.raises(InvalidInputError, match="ftp"):
        qlib.init(provider_uri=".", exp_manager={**MANAGER, "kwargs": {"uri": "ftp://host/x"}})


def test_options_and_credentials_reach_the_store_and_no_text(tmp_path: Path) -> None:
    """Other stores of the scheme get the storage options; folders, which have none, do not."""
    import qlib
    from qlib.config import C

    secret = "se" + "cret-key"
    with qlib_on(
        "s3://bucket/lab",
        provider=tmp_path,
        storage_options={"key": "k", "secret": secret},
        options={"transfers": 3, "flush": {"segment_interval": 2.5}, "allow": ["a.b"]},
    ) as R:
        manager = R.exp_manager
        assert C.exp_manager["kwargs"]["uri"] == "s3://bucket/lab"
        home, other, folder = (
            manager._stores.open(u) for u in (R.get_uri(), "s3://else/x", str(tmp_path / "f"))
        )
        assert (
            home.session.target.storage_options
            == other.session.target.storage_options
            == {"key": "k", "secret": secret}
        )
        assert folder.session.target.storage_options == {}
        options = home.session.options
        assert (options.transfers, options.flush.segment_interval, options.allow) == (3, 2.5, ("a.b",))
        assert secret not in repr(manager) + repr(R) + repr(manager._stores)
        with R.start(uri=str(tmp_path / "f")):
            R.save_objects(config={"qlib_init": {"exp_manager": C.exp_manager}, "task": {}})
            recorder = R.get_recorder()
        saved = recorder.load_object("config")["qlib_init"]["exp_manager"]["kwargs"]
        assert saved["storage_options"] == {"key": "***", "secret": "***"}
        assert C.exp_manager["kwargs"]["storage_options"]["secret"] == secret
        assert secret.encode() not in pickle.dumps(recorder)
    assert qlib.__version__


def test_naming_a_store_trusts_its_writers_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Objects of Qlib's classes that another process saved load; `trust` and AQREC_TRUST can forbid it."""
    with aqrec.sync.open_recorder(
        str(tmp_path / "lab"), experiment="Experiment", options=Options(provenance=False)
    ) as run:
        run.save_objects(kept=Kept(1, 2), plain=[1])

    def load(name: str, **kwargs: Any) -> Any:
        with qlib_on(tmp_path / "lab", **kwargs) as R:
            return R.get_exp().list_recorders()[run.id].load_object(name)

    assert load("kept").shown == 1
    with pytest.raises(LoadObjectError, match="Kept"):
        load("kept", trust="restricted")
    assert load("kept", options={"trust": "restricted", "allow": ["tests.qlib.test_manager.Kept"]}).shown == 1
    monkeypatch.setenv("AQREC_TRUST", "never")
    with pytest.raises(LoadObjectError, match="never"):
        load("plain")
    assert load("plain", trust="trusted") == [1]


# --- travelling ---------------------------------------------------------------------------------------------


def test_recorders_experiments_and_managers_are_pickled_also_while_they_run(R: Any, tmp_path: Path) -> None:
    with R.start(experiment_name="e", recorder_name="r") as experiment:
        R.log_metrics(m=1)
        recorder = R.get_recorder()
        copies = pickle.loads(pickle.dumps([recorder, experiment, R.exp_manager]))
        assert copies[0] == recorder
        assert (copies[0].name, copies[0].status, copies[1].name) == ("r", "RUNNING", "e")
        copies[0].log_metrics(n=2)
    assert recorder.list_metrics() == {"m": 1.0, "n": 2.0}
    assert list(copies[1].list_recorders()) == [recorder.id]
    assert copies[2].uri == R.get_uri()
    elsewhere = run_script(
        f"""
        import pickle, sys
        recorder = pickle.loads({pickle.dumps(recorder)!r})
        print(recorder.list_metrics(), recorder.info["status"], hash(recorder) == hash(recorder.id))
        """
    ).check()
    assert elsewhere.stdout.strip() == "{'m': 1.0, 'n': 2.0} FINISHED True"


def test_a_listing_shows_what_another_process_did_to_a_run_that_is_known_here(R: Any, tmp_path: Path) -> None:
    with R.start(experiment_name="e"):
        recorder = R.get_recorder()
    with aqrec.sync.ExperimentManager(
        str(tmp_path / "lab"), options=Options(provenance=False, strict=True)
    ) as other:
        run = other.get_recorder(recorder_id=recorder.id)
        run.set_recorder_name("theirs")
        run.end_run("FAILED")
    (listed,) = R.list_recorders(experiment_name="e").values()
    assert (listed.status, listed.name, recorder.status) == ("FAILED", "theirs", "FAILED")
