"""MLflow's runs into an aqrec store and back: nothing is lost, nothing comes twice."""

import math
import pickle
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aqrec.errors import AqrecError, CorruptError, InvalidInputError, NotFoundError, ObjectNotFoundError
from aqrec.integrations.mlflow import _importing as importing
from aqrec.integrations.mlflow import export_mlruns, import_mlruns
from aqrec.options import Options
from aqrec.recording._run import Run
from aqrec.sync import ExperimentManager, open_recorder
from tests.integrations.mlflow.stores import Given, content, write_file_store, write_sqlite

QUICK = Options(provenance=False)
T0 = 1_600_000_000_000
POINTS = [(T0 + n, 1 / (n + 1), n // 3) for n in range(40)]
RUN = Given(
    "a" * 32,
    params={"lr": "0.1", "model.kwargs/x": "", "long": "x" * 7000, "lines": "a\nb\r\n"},
    tags={"mlflow.user": "u", "mlflow.note.content": "é\n"},
    metrics={"loss": POINTS, "a/b": [(T0, math.nan, 0), (T0, math.inf, 1), (T0, -math.inf, -2)]},
    artifacts={"pred.pkl": pickle.dumps([1]), "sig/ic.txt": b"text"},
)
OTHERS = [
    Given("b" * 32, status="FAILED", start=T0 + 5, end=T0 + 6),
    Given("c" * 32, "beta", "", "KILLED", T0 + 7, T0 + 8),
    Given("d" * 32, "beta", "open", "RUNNING", T0 + 9, None, metrics={"m": [(T0, 1.0, 0)]}),
    Given("e" * 32, "beta", deleted=True),
    Given("f" * 32, tags={"mlflow.parentRunId": "a" * 32}),
]
WRITERS = {"mlruns": write_file_store, "mlflow.db": write_sqlite}
Writer = Callable[[Path, list[Given]], Path]


@pytest.fixture(params=WRITERS, ids=["folder", "sqlite"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    write: Writer = WRITERS[request.param]
    return write(tmp_path / request.param, [RUN, *OTHERS])


def test_runs_keep_all_that_mlflow_has(source: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    done = import_mlruns(str(source), str(tmp_path / "lab"), on_progress=lambda *at: seen.append(at))
    assert (done.runs, done.unchanged, done.deleted, done.failed) == (5, 0, 1, {})
    assert (done.points, done.referenced, done.empty, done.tags_left) == (44, 0, 0, [])
    assert seen[-1][0] == 5
    with ExperimentManager(str(tmp_path / "lab"), options=QUICK) as manager:
        assert set(manager.list_experiments()) == {"alpha", "beta"}
        run = manager.get_recorder(recorder_id="a" * 32)
        assert (run.name, run.status) == ("r", "FINISHED")
        times = [time.timestamp() * 1000 for time in (run.start_time, run.end_time) if time is not None]
        assert times == [T0, T0 + 60_000]
        assert run.list_params() == RUN.params
        tags = run.list_tags()
        assert {key: tags[key] for key in RUN.tags} == RUN.tags
        history = run.metric_history("loss")
        assert history["step"].tolist() == [point[2] for point in POINTS]
        assert history["value"].tolist() == [point[1] for point in POINTS]
        assert history["timestamp"].astype("int64").tolist() == [point[0] for point in POINTS]
        values = run.metric_history("a/b")["value"].tolist()
        assert values[0] == -math.inf
        assert math.isnan(values[1])
        assert values[2] == math.inf
        assert run.load_object("pred.pkl") == [1]
        assert run.list_artifacts() == ["pred.pkl", "sig"]
        statuses = {name * 32: manager.get_recorder(recorder_id=name * 32).status for name in "bcd"}
        assert list(statuses.values()) == ["FAILED", "FAILED", "RUNNING"]
        assert manager.get_recorder(recorder_id="c" * 32).name == "c" * 32  # it had no name
        assert manager.get_recorder(recorder_id="f" * 32).parent == "a" * 32
        with pytest.raises(NotFoundError):
            manager.get_recorder(recorder_id="e" * 32)


def test_a_second_import_finds_nothing_to_do(source: Path, tmp_path: Path) -> None:
    import_mlruns(str(source), str(tmp_path / "lab"))
    before = _objects(tmp_path / "lab" / "runs")
    done = import_mlruns(str(source), str(tmp_path / "lab"))
    assert (done.runs, done.unchanged, done.points) == (0, 5, 0)
    assert _objects(tmp_path / "lab" / "runs") == before


def test_what_was_added_since_is_added(tmp_path: Path) -> None:
    """A run that went on: its new points, params and files come, the others do not come again."""
    root, lab = tmp_path / "mlruns", str(tmp_path / "lab")
    open_run = RUN._replace(status="RUNNING", end=None, metrics={"loss": POINTS[:25]})
    write_file_store(root, [open_run])
    import_mlruns(str(root), lab)
    write_file_store(
        root, [RUN._replace(artifacts={**RUN.artifacts, "new": b"x"}, params={**RUN.params, "p": "1"})]
    )
    done = import_mlruns(str(root), lab)
    assert (done.runs, done.points) == (1, 18)
    with ExperimentManager(lab, options=QUICK) as manager:
        run = manager.get_recorder(recorder_id=RUN.run_id)
        assert run.status == "FINISHED"
        assert run.metric_history("loss")["value"].tolist() == [point[1] for point in POINTS]
        assert run.list_params()["p"] == "1"
        assert "new" in run.list_artifacts()


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [(importing, "fingerprint", 3), (Run, "log_at", 21), (importing._Import, "_finish", 2)],
    ids=["between runs", "among points", "before the end of some"],
)
def test_an_interrupted_import_goes_on(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int
) -> None:
    """Nothing is missing, nothing is there twice, and in between nothing that is incomplete looks finished."""
    lab = str(tmp_path / "lab")
    real: Callable[..., Any] = getattr(owner, name)
    calls: list[object] = []

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        if len(calls) == call:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, interrupted)
    monkeypatch.setattr(importing, "_AT_ONCE", 2)
    with pytest.raises(KeyboardInterrupt):
        import_mlruns(str(source), lab)
    monkeypatch.undo()
    with ExperimentManager(lab, options=QUICK) as manager:
        for run in (
            run for each in manager.list_experiments().values() for run in each.list_recorders("list")
        ):
            assert run.status == "SCHEDULED" or run.list_tags()["aqrec.import"] != "begun"
    done = import_mlruns(str(source), lab)
    assert done.failed == {}
    assert done.runs + done.unchanged == 5
    export_mlruns(tmp_path / "out", lab)
    _same(content(tmp_path / "out"), content(source))


def test_artifacts_may_stay_where_they_are(source: Path, tmp_path: Path) -> None:
    done = import_mlruns(str(source), str(tmp_path / "lab"), artifacts="reference")
    assert done.referenced == 1  # the others have none
    with ExperimentManager(str(tmp_path / "lab"), options=QUICK) as manager:
        run = manager.get_recorder(recorder_id=RUN.run_id)
        assert run.list_artifacts() == []
        assert run.list_tags()["mlflow.artifact_uri"].startswith("file:///")
    done = import_mlruns(str(source), str(tmp_path / "lab"))  # copied after all
    assert done.runs == 5
    with ExperimentManager(str(tmp_path / "lab"), options=QUICK) as manager:
        assert manager.get_recorder(recorder_id=RUN.run_id).load_object("pred.pkl") == [1]


@pytest.mark.parametrize("place", ["s3://bucket/x/artifacts", "file:///on/another/machine/x/artifacts"])
def test_artifacts_elsewhere_are_referenced(place: str, tmp_path: Path) -> None:
    path = write_sqlite(tmp_path / "mlflow.db", [RUN])
    with sqlite3.connect(path) as base:
        base.execute("UPDATE runs SET artifact_uri = ?", (place,))
    base.close()
    assert import_mlruns(f"sqlite:///{path}", str(tmp_path / "lab")).referenced == 1
    with ExperimentManager(str(tmp_path / "lab"), options=QUICK) as manager:
        run = manager.get_recorder(recorder_id=RUN.run_id)
        assert run.list_tags()["mlflow.artifact_uri"] == place


def test_experiments_without_runs_come_too_and_their_tags_are_told(source: Path, tmp_path: Path) -> None:
    lab = str(tmp_path / "lab")
    if source.is_dir():
        for number, stage in (("7", "idle"), (".trash/8", "gone")):
            home = source / number
            (home / "tags").mkdir(parents=True)
            (home / "meta.yaml").write_text(f"experiment_id: '{number[-1]}'\nname: {stage}\n")
            (home / "tags" / "team").write_text("a")
    else:
        with sqlite3.connect(source) as base:
            base.execute("CREATE TABLE experiment_tags (key VARCHAR, value VARCHAR, experiment_id INTEGER)")
            base.execute(
                "INSERT INTO experiments VALUES (7, 'idle', '', 'active'), (8, 'gone', '', 'deleted')"
            )
            base.execute("INSERT INTO experiment_tags VALUES ('team', 'a', 7), ('team', 'a', 8)")
        base.close()
    done = import_mlruns(str(source), lab)
    assert (done.empty, done.tags_left, done.failed) == (1, ["idle"], {})
    with ExperimentManager(lab, options=QUICK) as manager:
        assert set(manager.list_experiments()) == {"alpha", "beta", "idle"}
        manager.delete_exp(experiment_name="idle")
    assert import_mlruns(str(source), lab).empty == 0
    with ExperimentManager(lab, options=QUICK) as manager:
        assert set(manager.list_experiments()) == {"alpha", "beta"}


def test_only_some_experiments(source: Path, tmp_path: Path) -> None:
    done = import_mlruns(str(source), str(tmp_path / "lab"), experiments=["beta"])
    assert done.runs == 2
    with pytest.raises(ObjectNotFoundError, match="gamma"):
        import_mlruns(str(source), str(tmp_path / "lab"), experiments=["gamma"])


def test_a_run_of_ones_own_is_not_written_over(tmp_path: Path) -> None:
    lab = str(tmp_path / "lab")
    with open_recorder(lab, experiment="alpha", recorder_id=RUN.run_id, options=QUICK):
        pass
    done = import_mlruns(str(write_file_store(tmp_path / "mlruns", [RUN, OTHERS[0]])), lab)
    assert done.runs == 1
    assert list(done.failed) == [RUN.run_id]
    assert "not imported" in done.failed[RUN.run_id]


def test_damage_is_named_and_the_rest_is_imported(tmp_path: Path) -> None:
    root = write_file_store(tmp_path / "mlruns", [RUN, OTHERS[0]])
    (root / "0" / RUN.run_id / "metrics" / "loss").write_text("1 0.5 0\nrubbish\n2 0.25 1\n")
    (root / "0" / OTHERS[0].run_id / "meta.yaml").write_text("[")
    late = OTHERS[-1]._replace(start=2**70)
    write_file_store(root, [late])
    done = import_mlruns(str(root), str(tmp_path / "lab"))
    assert done.runs == 1
    assert sorted(Path(place).name for place in done.failed) == [late.run_id, "loss", "meta.yaml"]
    with ExperimentManager(str(tmp_path / "lab"), options=QUICK) as manager:
        assert len(manager.get_recorder(recorder_id=RUN.run_id).metric_history("loss")) == 2


@pytest.mark.parametrize(
    ("location", "error"),
    [
        ("absent", ObjectNotFoundError),
        ("sqlite:///absent.db", ObjectNotFoundError),
        ("sqlite://absent.db", InvalidInputError),
        ("postgresql://host/mlflow", InvalidInputError),
        ("http://localhost:5000", InvalidInputError),
        ("empty", ObjectNotFoundError),
        ("sqlite:///other.db", CorruptError),
    ],
)
def test_what_is_no_mlflow_store_is_refused_before_anything_is_written(
    location: str, error: type[AqrecError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "other.db").write_bytes(b"SQLite format 3\0 and no more")
    with pytest.raises(error, match=r"absent|postgresql|http|empty|other"):
        import_mlruns(location, "lab")
    assert not (tmp_path / "lab").exists()


def test_exporting_again_replaces_and_leaves_others_alone(tmp_path: Path) -> None:
    lab, out = str(tmp_path / "lab"), tmp_path / "out"
    with open_recorder(lab, experiment="e", options=QUICK) as run:
        run.log_params(lr=0.1, layers=[1, 2], none=None)
        run.log_batch({"a": 1, "a/b": 2, "odd?key": 3})
        run.save_objects(**{"x.pkl": [1]}, artifact_path="y")
    done = export_mlruns(out, lab)
    assert (done.runs, done.renamed) == (1, {"a/b": "a_b", "odd?key": "odd_key"})
    (home,) = (path for path in out.iterdir() if path.is_dir())
    (home / "mine").mkdir()
    assert export_mlruns(out, lab).runs == 1
    assert sorted(path.name for path in home.iterdir()) == sorted([run.id, "meta.yaml", "mine"])
    ((run_id, left),) = content(out).items()
    assert run_id == run.id
    assert left["params"] == {"lr": "0.1", "layers": "[1, 2]", "none": "None"}
    assert left["metrics"].keys() == {"a", "a_b", "odd_key"}
    assert list(left["artifacts"]) == ["y/x.pkl"]
    with pytest.raises(NotFoundError, match="gone"):
        export_mlruns(out, lab, experiments=["gone"])
    with pytest.raises(NotFoundError, match="no aqrec store"):
        export_mlruns(out, str(tmp_path / "nothing"))


def test_many_runs_take_a_bounded_time_each(tmp_path: Path) -> None:
    """An import of many is finished and complete; the second one only looks."""
    runs = [Given(f"{n:032x}", f"e{n % 3}", params={"n": str(n)}, metrics={"m": POINTS}) for n in range(200)]
    root = write_file_store(tmp_path / "mlruns", runs)
    assert import_mlruns(str(root), str(tmp_path / "lab")).runs == 200
    assert import_mlruns(str(root), str(tmp_path / "lab")).unchanged == 200
    with ExperimentManager(str(tmp_path / "lab"), options=QUICK) as manager:
        frame = manager.search_records(filter_string="status = 'FINISHED'")
        assert len(frame) == 200
        assert frame["metrics.m"].tolist() == [POINTS[-1][1]] * 200


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
keys = st.from_regex(r"[a-z][a-z0-9 ._:-]{0,8}[a-z](/[a-z]{1,3})?", fullmatch=True)
points = st.tuples(st.integers(0, 2**42), st.floats(), st.integers(-(2**40), 2**40))
given_runs = st.builds(
    Given,
    run_id=st.uuids().map(lambda each: each.hex),
    experiment=st.sampled_from(["alpha", "beta"]),
    name=st.text("abc é", min_size=1, max_size=5).filter(str.strip),
    status=st.sampled_from(["FINISHED", "FAILED", "KILLED"]),
    start=st.integers(0, 2**42),
    end=st.integers(0, 2**42),
    params=st.dictionaries(keys, texts, max_size=3),
    tags=st.dictionaries(keys, texts, max_size=3),
    metrics=st.dictionaries(keys, st.lists(points, min_size=1, max_size=6), max_size=3),
    artifacts=st.dictionaries(keys, st.binary(max_size=30), max_size=2),
    deleted=st.just(value=False),
)


def _fits(run: Given) -> bool:
    """No name is a file and a folder at once."""
    maps: list[dict[str, Any]] = [run.params, run.tags, run.metrics, run.artifacts]
    return all(not any(other.startswith(key + "/") for other in each for key in each) for each in maps)


@settings(
    max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much]
)
@given(runs=st.lists(given_runs.filter(_fits), min_size=1, max_size=3, unique_by=lambda run: run.run_id))
def test_in_and_out_again_nothing_changes(
    runs: list[Given], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("round")
    root = write_file_store(folder / "mlruns", runs)
    done = import_mlruns(str(root), f"memory://{folder.name}")
    assert done.failed == {}
    export_mlruns(folder / "out", f"memory://{folder.name}")
    _same(content(folder / "out"), content(root))


def _same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert ours.keys() == theirs.keys()
    for run_id, run in theirs.items():
        experiment, name, *times = run["facts"]
        wanted = {**run, "facts": (experiment, name or run_id, *times)}
        assert ours[run_id] == wanted


def _objects(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}
