"""A bucket feels like a folder, on both faces and in the commands."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aqrec
from aqrec.sync import ExperimentManager as BlockingManager
from aqrec.sync import R as BlockingR
from tests._support import ROOT, run_script
from tests._support.services import Location, Service, s3_client


def queried(location: Location) -> str:
    """Return the location's URL with what is no secret of its options."""
    options = location.storage_options
    return f"{location.url}?endpoint_url={options['endpoint_url']}&region={options['region']}"


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch, s3_location: Location) -> None:
    """Put the credentials where AWS's tools look for them."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_location.storage_options["key"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_location.storage_options["secret"])


def command(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "from aqrec.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


READER = """
import asyncio, json, sys
import aqrec

async def main(url, options):
    async with aqrec.ExperimentManager(url, storage_options=json.loads(options)) as manager:
        runs = await manager.search_records(filter_string="params.lr = 0.02")
        recorder = await manager.get_recorder(recorder_id=runs.run_id[0])
        history = await recorder.metric_history("loss")
        print(json.dumps({
            "status": runs.status.tolist(),
            "loss": history.value.tolist(),
            "steps": history.step.tolist(),
            "weights": await recorder.load_object("model/weights.json"),
        }))

asyncio.run(main(*sys.argv[1:]))
"""


def read_elsewhere(location: Location) -> Any:
    """Return what a fresh process finds."""
    options = json.dumps(location.storage_options)
    done = run_script(READER, location.url, options, options=("-W", "error"), timeout=110)
    return json.loads(done.check().stdout)


async def test_what_was_recorded_is_read_by_another_process_and_resumed(s3_location: Location) -> None:
    where: dict[str, Any] = {"storage_options": s3_location.storage_options}
    async with aqrec.open_recorder(s3_location.url, experiment="alpha", name="ridge", **where) as recorder:
        for step in range(100):
            recorder.log_metrics(step=step, loss=float(step))
        await recorder.log_params(lr=0.02, layers=[64, 32])
        await recorder.save_objects(**{"weights.json": [0.5, 1.5]}, artifact_path="model")
        await recorder.flush()
        run_id = recorder.id
        assert recorder.uri == s3_location.url
        assert s3_location.storage_options["secret"] not in repr(recorder)
        running = await asyncio.to_thread(read_elsewhere, s3_location)
    assert running["status"] == ["RUNNING"]
    assert running["loss"] == [float(step) for step in range(100)]
    async with aqrec.ExperimentManager(s3_location.url, **where) as manager:
        recorder = await manager.get_recorder(recorder_id=run_id)
        async with recorder:
            recorder.log_metrics(step=100, loss=100.0)
    ended = await asyncio.to_thread(read_elsewhere, s3_location)
    assert ended["status"] == ["FINISHED"]
    assert ended["loss"] == [float(step) for step in range(101)]
    assert ended["steps"] == list(range(101))
    assert running["weights"] == ended["weights"] == [0.5, 1.5]


async def test_an_ended_run_stands_under_readable_names(s3_location: Location) -> None:
    async with aqrec.open_recorder(
        s3_location.url, experiment="alpha", storage_options=s3_location.storage_options
    ) as recorder:
        recorder.log_metrics(step=1, loss=0.5)
        await recorder.save_objects(**{"pred.npy": np.arange(5)})
        run_id = recorder.id
    listed = s3_client(s3_location).list_objects_v2(
        Bucket=s3_location.bucket, Prefix=f"{s3_location.prefix}/runs/"
    )
    names = {one["Key"].removeprefix(f"{s3_location.prefix}/runs/{run_id}/") for one in listed["Contents"]}
    assert {"metrics.parquet", "run.json", "artifacts/pred.npy"} <= names


async def test_files_go_up_and_come_down(s3_location: Location, tmp_path: Path) -> None:
    data = os.urandom(1 << 20) * 11  # two parts
    (tmp_path / "large.bin").write_bytes(data)
    async with aqrec.open_recorder(
        s3_location.url, experiment="alpha", storage_options=s3_location.storage_options
    ) as recorder:
        await recorder.log_artifact(str(tmp_path / "large.bin"), "files")
        await recorder.download_artifact("files/large.bin", str(tmp_path / "copy"))
    copies = [path for path in (tmp_path / "copy").rglob("*") if path.is_file()] or [tmp_path / "copy"]
    assert [path.read_bytes() == data for path in copies] == [True]


@pytest.mark.usefixtures("credentials")
def test_scripts_and_commands_take_the_way_from_the_url_and_the_environment(s3_location: Location) -> None:
    url = queried(s3_location)
    with BlockingR.start(experiment_name="alpha", recorder_name="ridge", uri=url):
        BlockingR.log_params(lr=0.02)
        BlockingR.log_metrics(step=0, loss=0.3)
        BlockingR.save_objects(**{"weights.json": [1]}, artifact_path="model")
    BlockingR.close()
    with BlockingManager(url) as manager:
        assert manager.search_records(experiment_names=["alpha"])["metrics.loss"].tolist() == [0.3]
        assert manager.uri == s3_location.url
    assert "0.3" in command("show", "alpha/ridge", "--store", url)


async def test_ways_that_differ_lead_to_engines_of_their_own(s3_location: Location) -> None:
    """One that cannot get there does not stand in for one that can."""
    options = s3_location.storage_options
    astray = {**options, "endpoint_url": "http://127.0.0.1:1", "retries": 0}
    async with aqrec.ExperimentManager(s3_location.url, storage_options=options) as manager:
        await manager.create_exp("alpha")
        with pytest.raises(aqrec.errors.StorageError, match="Could not connect"):
            async with aqrec.ExperimentManager(s3_location.url, storage_options=astray):
                pytest.fail("nobody is there")
        assert list(await manager.list_experiments()) == ["alpha"]


LEAVER = """
import atexit, json, sys
from aqrec.sync import R

def record_late():
    with R.start(experiment_name="alpha", recorder_name="late"):
        R.log_metrics(step=0, loss=0.25)

R.configure(uri=sys.argv[1], storage_options=json.loads(sys.argv[2]))
atexit.register(record_late)
if sys.argv[3] == "open":
    R.start(experiment_name="alpha", recorder_name="left open").__enter__()
    R.log_metrics(step=0, loss=0.5)
"""


@pytest.mark.parametrize("left", ["open", "nothing"])
def test_an_ending_interpreter_still_reaches_the_bucket(s3_server: Service, left: str) -> None:
    """Though nothing of the driver may be imported yet."""
    place = s3_server.location()
    options = json.dumps(place.storage_options)
    run_script(LEAVER, place.url, options, left, options=("-W", "error"), timeout=110).check()
    with BlockingManager(place.url, storage_options=place.storage_options) as manager:
        runs = manager.search_records(experiment_names=["alpha"])
    expected = {"late": 0.25, "left open": 0.5} if left == "open" else {"late": 0.25}
    assert dict(zip(runs["tags.mlflow.runName"], runs["metrics.loss"], strict=True)) == expected
    assert set(runs.status) == {"FINISHED"}
