"""Experiments and runs of one store through the blocking face."""

from pathlib import Path

import pytest

from aqrec.errors import (
    ClosedError,
    ExpAlreadyExistError,
    ExperimentNotFoundError,
    InvalidInputError,
    RecorderInitializationError,
    RecorderNotFoundError,
    StorageError,
)
from aqrec.options import BufferOptions, Options
from aqrec.sync import STATUS_FA, STATUS_FI, STATUS_R, ExperimentManager, Recorder, open_recorder
from tests._support import no_thread_left


def test_experiments_are_made_found_hidden_and_shown_again(store_url: str, quick: Options) -> None:
    with ExperimentManager(store_url, options=quick) as manager:
        alpha = manager.create_exp("alpha")
        assert manager.list_experiments() == {"alpha": alpha}
        with pytest.raises(ExpAlreadyExistError):
            manager.create_exp("alpha")
        assert manager.get_exp(experiment_name="alpha") == alpha
        assert manager.get_exp(experiment_id=alpha.id) == alpha
        with pytest.raises(ExperimentNotFoundError):
            manager.get_exp(experiment_name="beta", create=False)
        beta = manager.get_exp(experiment_name="beta")
        assert set(manager.list_experiments()) == {"alpha", "beta"}
        assert (beta.name, beta.id in repr(beta)) == ("beta", True)
        manager.delete_exp(experiment_name="alpha")
        assert set(manager.list_experiments()) == {"beta"}
        with pytest.raises(ExperimentNotFoundError):
            manager.get_exp(experiment_id=alpha.id)
        assert manager.restore_exp(experiment_id=alpha.id) == alpha
        assert set(manager.list_experiments()) == {"alpha", "beta"}


def test_without_a_name_the_default_experiment_is_meant(memory_url: str, quick: Options) -> None:
    with ExperimentManager(memory_url, default_exp_name="lab", options=quick) as manager:
        assert manager.default_exp_name == "lab"
        assert manager.get_exp().name == "lab"
        manager.start_exp()
        assert manager.active_experiment == manager.get_exp(experiment_name="lab")
        manager.end_exp()
        assert manager.active_experiment is None
        assert len(manager.list_recorders()) == 1


def test_runs_are_listed_latest_first(memory_url: str, quick: Options) -> None:
    with ExperimentManager(memory_url, options=quick) as manager:
        ids = []
        for number, status in enumerate((STATUS_FI, STATUS_FA, STATUS_FI)):
            manager.start_exp(experiment_name="alpha", recorder_name=f"r{number}")
            manager.get_recorder().log_metrics(step=0, ic=number / 10)
            ids.append(manager.get_recorder().id)
            manager.end_exp(status)
        experiment = manager.get_exp(experiment_name="alpha")
        assert list(manager.list_recorders(experiment_name="alpha")) == ids[::-1]
        assert list(experiment.list_recorders()) == ids[::-1]
        assert [recorder.id for recorder in experiment.list_recorders("list", max_results=2)] == ids[:0:-1]
        assert [recorder.id for recorder in experiment.list_recorders("list", status=STATUS_FA)] == [ids[1]]
        assert list(experiment.list_recorders(filter_string="metrics.ic > 0.05")) == ids[:0:-1]
        assert experiment.info() == {
            "class": "Experiment",
            "id": experiment.id,
            "name": "alpha",
            "active_recorder": None,
            "recorders": ids[::-1],
        }
        with pytest.raises(InvalidInputError, match="rtype"):
            experiment.list_recorders("tuple")  # type: ignore[call-overload]
        with pytest.raises(ExperimentNotFoundError):
            manager.list_recorders(experiment_name="beta")


def test_runs_are_found_hidden_and_shown_again(memory_url: str, quick: Options) -> None:
    with ExperimentManager(memory_url, options=quick) as manager:
        experiment = manager.get_exp(experiment_name="alpha")
        first, second = (experiment.create_recorder("same") for _ in range(2))
        for recorder in (first, second):
            with recorder:
                recorder.log_metrics(step=0, ic=0.1)
        assert manager.get_recorder(recorder_name="same", experiment_name="alpha") == second
        assert experiment.get_recorder(recorder_name="same") == second
        assert manager.get_recorder(recorder_id=first.id) == first
        experiment.delete_recorder(recorder_name="same")
        assert set(experiment.list_recorders()) == {first.id}
        manager.delete_recorder(recorder_id=first.id)
        assert experiment.list_recorders() == {}
        assert experiment.restore_recorder(second.id) == second
        assert manager.restore_recorder(first.id) == first
        assert set(experiment.list_recorders()) == {first.id, second.id}
        with pytest.raises(RecorderNotFoundError):
            manager.get_recorder(recorder_id="nobody")
        with pytest.raises(RecorderNotFoundError):
            experiment.get_recorder(recorder_name="other")
        with pytest.raises(InvalidInputError):
            manager.delete_recorder()


def test_an_id_is_looked_for_in_the_experiment_that_is_named_only(memory_url: str, quick: Options) -> None:
    with ExperimentManager(memory_url, options=quick) as manager:
        alpha, beta = manager.get_exp(experiment_name="alpha"), manager.get_exp(experiment_name="beta")
        theirs = beta.create_recorder("theirs")
        theirs.flush()
        for look in (alpha.get_recorder, alpha.delete_recorder, alpha.restore_recorder):
            with pytest.raises(RecorderNotFoundError, match="of experiment 'beta', not of 'alpha'"):
                look(recorder_id=theirs.id)
        for call in (manager.get_recorder, manager.delete_recorder):
            for name in ("alpha", "nowhere"):
                with pytest.raises(RecorderNotFoundError, match=f"not of '{name}'"):
                    call(recorder_id=theirs.id, experiment_name=name)
            with pytest.raises(RecorderNotFoundError, match=alpha.id):
                call(recorder_id=theirs.id, experiment_id=alpha.id)
        assert manager.get_recorder(recorder_id=theirs.id) == theirs
        assert manager.get_recorder(recorder_id=theirs.id, experiment_name="beta") == theirs
    with ExperimentManager(memory_url, options=quick) as reader:  # which knows no run of its own
        with pytest.raises(RecorderNotFoundError, match="of experiment 'beta', not of 'alpha'"):
            reader.get_exp(experiment_name="alpha").delete_recorder(recorder_id=theirs.id)
        assert list(reader.list_recorders(experiment_name="beta")) == [theirs.id]
        reader.get_exp(experiment_name="beta").delete_recorder(recorder_id=theirs.id)
        assert reader.list_recorders(experiment_name="beta") == {}


def test_nothing_is_active_until_it_is_started(memory_url: str, quick: Options) -> None:
    with ExperimentManager(memory_url, options=quick) as manager:
        experiment = manager.get_exp(experiment_name="alpha")
        for get in (manager.get_recorder, experiment.get_recorder):
            with pytest.raises(RecorderInitializationError):
                get()
        recorder = experiment.start(recorder_name="lgb")
        assert experiment.active_recorder == manager.get_recorder() == experiment.get_recorder() == recorder
        assert manager.get_exp() == manager.active_experiment == experiment
        assert experiment.info()["active_recorder"] == recorder.id
        experiment.end()
        assert experiment.active_recorder is None
        assert recorder.status == STATUS_FI
        experiment.end()
        started = manager.get_exp(experiment_name="beta", start=True)
        assert started.get_recorder().status == STATUS_R
        assert manager.get_exp(experiment_name="gamma", start=True).active_recorder is None


def test_search_gives_a_row_for_each_matching_run(memory_url: str, quick: Options) -> None:
    with ExperimentManager(memory_url, options=quick) as manager:
        for number in range(3):
            with manager.get_exp(experiment_name=f"e{number % 2}").create_recorder() as recorder:
                recorder.log_metrics(step=0, ic=number / 10)
                recorder.log_params(number=number)
        everything = manager.search_records(order_by=["metrics.ic ASC"])
        assert everything["metrics.ic"].tolist() == [0.0, 0.1, 0.2]
        good = manager.search_records(experiment_names=["e0"], filter_string="metrics.ic > 0.05")
        assert good["params.number"].tolist() == [2]
        experiment = manager.get_exp(experiment_name="e1")
        assert experiment.search_records()["params.number"].tolist() == [1]
        assert manager.search_records([experiment.id], max_results=1)["metrics.ic"].tolist() == [0.1]
        manager.delete_recorder(recorder_id=recorder.id)
        assert manager.search_records(view="deleted")["run_id"].tolist() == [recorder.id]
        assert len(manager.search_records(view="all")) == 3
        with pytest.raises(InvalidInputError):
            manager.search_records(filter_string="metrics.ic >")
        with pytest.raises(InvalidInputError):
            manager.search_records(view="some")


@pytest.mark.parametrize("by", ["id", "name"])
def test_a_run_is_resumed(by: str, store_url: str, quick: Options) -> None:
    with open_recorder(store_url, experiment="alpha", name="lgb", recorder_id="mine", options=quick) as first:
        first.log_metrics(step=0, loss=1.0)
        first.log_params(lr=1)
    named = {"recorder_id": "mine"} if by == "id" else {"name": "lgb"}
    with open_recorder(store_url, experiment="alpha", resume=True, options=quick, **named) as second:
        assert second == first
        assert second.status == STATUS_R
        second.log_metrics(step=1, loss=0.5)
    with ExperimentManager(store_url, options=quick) as manager:
        again = manager.get_recorder(recorder_id="mine")
        assert (again.status, again.list_params()["lr"]) == (STATUS_FI, 1)
        assert again.metric_history("loss")["value"].tolist() == [1.0, 0.5]
        assert list(manager.list_recorders(experiment_name="alpha")) == ["mine"]


def test_resuming_what_nobody_knows_makes_it_new(memory_url: str, quick: Options) -> None:
    with open_recorder(memory_url, name="new", resume=True, options=quick) as recorder:
        assert recorder.name == "new"
    with open_recorder(memory_url, recorder_id="new-id", resume=True, options=quick) as recorder:
        assert recorder.id == "new-id"
    with open_recorder(memory_url, name="new", options=quick) as recorder:
        assert recorder.name == "new"
    with ExperimentManager(memory_url, options=quick) as manager:
        assert len(manager.list_recorders()) == 3


@pytest.mark.parametrize("with_its_experiment", [False, True])
def test_nothing_is_recorded_in_a_deleted_run(
    with_its_experiment: bool, memory_url: str, quick: Options
) -> None:
    with open_recorder(memory_url, experiment="alpha", recorder_id="gone", options=quick) as recorder:
        recorder.log_metrics(ic=0.1)
    with ExperimentManager(memory_url, options=quick) as manager:
        if with_its_experiment:
            manager.delete_exp(experiment_name="alpha")
        else:
            manager.delete_recorder(recorder_id="gone")
        for resume in (True, False):
            with pytest.raises(InvalidInputError, match="bring it back by restore_"):
                manager.start_exp(experiment_name="alpha", recorder_id="gone", resume=resume)
        assert manager.active_experiment is None
        gone = manager.get_recorder(recorder_id="gone")
        assert gone.status == STATUS_FI
        if with_its_experiment:
            manager.restore_exp(experiment_name="alpha")
        else:
            with pytest.raises(InvalidInputError, match="restore_recorder"):
                gone.start_run()
            with ExperimentManager(memory_url, options=quick) as other:
                other.restore_recorder("gone")
            gone.refresh()
        with gone:
            gone.log_metrics(ic=0.2)
        assert manager.search_records()["metrics.ic"].tolist() == [0.2]


@pytest.mark.parametrize("parent", ["../x", "", "a b", "same"])
def test_a_parent_that_cannot_be_is_refused_before_anything_is_written(
    parent: str, memory_url: str, quick: Options
) -> None:
    with ExperimentManager(memory_url, options=quick) as manager:
        experiment = manager.get_exp(experiment_name="alpha")
        for start in (experiment.start, experiment.create_recorder, manager.start_exp):
            with pytest.raises(InvalidInputError, match="parent"):
                start(recorder_id="same", parent=parent)
        assert manager.search_records().empty
        assert experiment.create_recorder(parent="recorded-elsewhere").parent == "recorded-elsewhere"


def test_an_own_id_is_taken_once(store_url: str, quick: Options) -> None:
    with open_recorder(store_url, recorder_id="run-7", options=quick):
        pass
    with pytest.raises(InvalidInputError, match="run-7"), open_recorder(store_url, recorder_id="run-7"):
        pass
    with ExperimentManager(store_url, options=quick) as manager:
        with pytest.raises(InvalidInputError, match="run-7"):
            manager.get_exp().create_recorder(recorder_id="run-7")
        with pytest.raises(InvalidInputError):
            manager.get_exp().create_recorder(recorder_id="../x")


def test_the_inner_run_is_the_outer_s_child(memory_url: str, quick: Options) -> None:
    with ExperimentManager(memory_url, options=quick) as manager:
        manager.start_exp(experiment_name="alpha")
        outer = manager.get_recorder()
        manager.start_exp(experiment_name="beta")
        inner = manager.get_recorder()
        assert (inner.parent, inner.list_tags()["mlflow.parentRunId"]) == (outer.id, outer.id)
        manager.end_exp()
        assert manager.get_recorder() == outer
        manager.end_exp()
        manager.start_exp()
        assert manager.get_recorder().parent is None
        manager.end_exp()
        experiment = manager.get_exp(experiment_name="alpha")
        assert experiment.create_recorder(parent=outer).parent == outer.id
        assert experiment.create_recorder(parent=outer.id).parent == outer.id
        with pytest.raises(InvalidInputError, match="parent"):
            experiment.create_recorder(parent=3)  # type: ignore[arg-type]


def test_open_recorder_inside_another_is_its_child(memory_url: str, quick: Options) -> None:
    with open_recorder(memory_url, options=quick) as outer, open_recorder(memory_url, options=quick) as inner:
        assert inner.parent == outer.id
    with (
        open_recorder(memory_url, options=quick),
        open_recorder(f"{memory_url}-other", options=quick) as stranger,
    ):
        assert stranger.parent is None


def test_closing_ends_what_is_still_active(memory_url: str, quick: Options) -> None:
    manager = ExperimentManager(memory_url, options=quick)
    manager.start_exp(experiment_name="alpha", recorder_id="open")
    recorder = manager.get_recorder()
    recorder.log_metrics(step=0, loss=1.0)
    manager.close()
    manager.close()
    assert manager.active_experiment is None
    with ExperimentManager(memory_url, options=quick) as again:
        assert again.get_recorder(recorder_id="open").status == STATUS_FI
        assert again.get_recorder(recorder_id="open").list_metrics() == {"loss": 1.0}


def test_closing_one_manager_leaves_the_other_s_runs(memory_url: str, quick: Options) -> None:
    with ExperimentManager(memory_url, options=quick) as one:
        one.start_exp(experiment_name="alpha")
        recorder: Recorder = one.get_recorder()
        with ExperimentManager(memory_url, options=quick) as two:
            two.start_exp(experiment_name="beta")
        assert recorder.status == STATUS_R
        assert one.get_recorder() == recorder
        recorder.log_metrics(step=0, loss=1.0)
        recorder.flush()


def test_a_closed_manager_says_so(memory_url: str, quick: Options) -> None:
    manager = ExperimentManager(memory_url, options=quick)
    manager.get_exp()
    manager.close()
    for call in (manager.list_experiments, manager.start_exp, manager.search_records, manager.get_exp):
        with pytest.raises(ClosedError, match="closed"):
            call()
    untouched = ExperimentManager(memory_url)
    untouched.close()
    with pytest.raises(ClosedError):
        untouched.list_experiments()


def test_a_failing_start_leaves_nothing_open(memory_url: str, quick: Options) -> None:
    with no_thread_left():
        with pytest.raises(ExperimentNotFoundError), ExperimentManager(memory_url, options=quick) as manager:
            manager.start_exp(experiment_id="unknown")
        with pytest.raises(InvalidInputError), open_recorder(memory_url, recorder_id="a/b", options=quick):
            pass
        assert manager.active_experiment is None


@pytest.mark.parametrize("provenance", [False, True])
def test_no_thread_is_left(store_url: str, provenance: bool) -> None:
    with no_thread_left():
        with ExperimentManager(store_url, options=Options(provenance=provenance)) as manager:
            manager.start_exp()
            manager.get_recorder().log_metrics(step=0, loss=1.0)
        with open_recorder(store_url, options=Options(provenance=provenance)) as recorder:
            recorder.save_objects(a=1)


def test_a_manager_that_only_reads_writes_nothing(tmp_path: Path, quick: Options) -> None:
    with ExperimentManager(str(tmp_path / "lab"), options=quick) as manager:
        assert manager.list_experiments() == {}
        assert manager.search_records().empty
        with pytest.raises(ExperimentNotFoundError):
            manager.list_recorders()
        with pytest.raises(RecorderNotFoundError):
            manager.get_recorder(recorder_id="nobody")
    assert list(tmp_path.iterdir()) == []


def test_the_repr_hides_credentials() -> None:
    assert repr(ExperimentManager("memory://lab")) == "ExperimentManager('memory://lab')"
    assert "secret" not in repr(ExperimentManager("s3://bucket/lab", storage_options={"secret": "secret"}))


def test_a_url_with_credentials_is_refused_without_showing_them() -> None:
    with pytest.raises(InvalidInputError, match="storage_options") as refused:
        ExperimentManager("s3://key:secret@bucket/lab")
    assert "secret" not in str(refused.value)


def test_strict_recording_says_at_the_closing_what_went_wrong(memory_url: str) -> None:
    buffer = BufferOptions(capacity=1, overflow="drop_oldest")
    manager = ExperimentManager(memory_url, options=Options(provenance=False, strict=True, buffer=buffer))
    with no_thread_left():
        manager.start_exp(recorder_id="r")
        recorder = manager.get_recorder()
        while not recorder.statistics().dropped:
            recorder.log_metrics(step=0, loss=1.0)
        with pytest.raises(StorageError, match="dropped"):
            manager.close()
    with ExperimentManager(memory_url) as again:
        assert again.get_recorder(recorder_id="r").status == STATUS_FI
