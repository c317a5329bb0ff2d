"""Stores that real MLflow has written are imported, and real MLflow reads what is exported."""

import math
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from aqrec.integrations.mlflow import export_mlruns, import_mlruns
from aqrec.options import Options
from aqrec.sync import ExperimentManager

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.timeout(300)]
VALUES = [0.5, math.nan, math.inf, 0.25, -math.inf]


def record(client: Any, folder: Path) -> str:
    """Record a run with every kind of thing in it."""
    from mlflow.entities import Metric, Param, RunTag

    (folder / "file.txt").write_text("text")
    experiment = client.create_experiment("alpha beta", artifact_location=(folder / "artifacts").as_uri())
    run = client.create_run(experiment, run_name="first", start_time=1_700_000_000_000)
    run_id: str = run.info.run_id
    points = [Metric("loss/train", value, 1_700_000_000_000 + n, n - 2) for n, value in enumerate(VALUES)]
    params = [Param("lr", "0.1"), Param("long", "x" * 3000)]
    client.log_batch(run_id, points, params, [RunTag("note", "a\nb")])
    client.log_artifact(run_id, str(folder / "file.txt"), "sub")
    client.set_terminated(run_id, "FAILED", end_time=1_700_000_001_000)
    return run_id


def shown(client: Any, run_id: str) -> dict[str, Any]:
    """Return what MLflow's client says of a run."""
    run = client.get_run(run_id)
    history = client.get_metric_history(run_id, "loss/train")
    tags = {key: value for key, value in run.data.tags.items() if key != "mlflow.user"}
    return {
        "facts": (run.info.run_name, run.info.status, run.info.start_time, run.info.end_time),
        "experiment": client.get_experiment(run.info.experiment_id).name,
        "params": run.data.params,
        "tags": tags,
        "history": sorted((point.step, point.timestamp, repr(point.value)) for point in history),
        "artifacts": [item.path for item in client.list_artifacts(run_id, "sub")],
        "text": Path(client.download_artifacts(run_id, "sub/file.txt")).read_text(),
    }


@pytest.mark.parametrize("kind", ["folder", "sqlite"])
def test_real_mlflow_writes_and_reads(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient

    uri = (tmp_path / "mlruns").as_uri() if kind == "folder" else f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(uri)
    run_id = record(client, tmp_path)
    theirs = shown(client, run_id)
    # A data base of MLflow's holds the greatest number where infinity was logged.
    greatest = repr(sys.float_info.max)
    theirs["history"] = [(*at, value.replace(greatest, "inf")) for *at, value in theirs["history"]]
    deleted = client.create_run(client.get_experiment_by_name("alpha beta").experiment_id).info.run_id
    client.delete_run(deleted)
    done = import_mlruns(uri, str(tmp_path / "lab"))
    assert (done.runs, done.deleted, done.failed) == (1, 1, {})
    assert import_mlruns(uri, str(tmp_path / "lab")).unchanged == 1
    with ExperimentManager(str(tmp_path / "lab"), options=Options(provenance=False)) as manager:
        run = manager.get_recorder(recorder_id=run_id)
        assert run.status == "FAILED"
        assert [repr(value) for value in run.metric_history("loss/train")["value"]] == list(map(repr, VALUES))
        assert run.list_params() == theirs["params"]
    export_mlruns(tmp_path / "out", str(tmp_path / "lab"))
    back = MlflowClient((tmp_path / "out").as_uri())
    assert shown(back, run_id) == theirs
    found = back.search_runs([back.get_experiment_by_name("alpha beta").experiment_id], "params.lr = '0.1'")
    assert [each.info.run_id for each in found] == [run_id]
    assert time.time() * 1000 > found[0].info.end_time
