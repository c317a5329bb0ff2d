"""A run in a bucket of each service, through each driver: recorded, read elsewhere, left open at the exit."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

import aqrec
from tests._support import run_script
from tests._support.services import Location, Service

DRIVERS: dict[str, tuple[str, dict[str, Any]]] = {
    "s3": ("s3_server", {}),
    "gcs": ("gcs_server", {}),
    "azure": ("azure_server", {}),
    "obstore-s3": ("s3_server", {"driver": "obstore"}),
    "obstore-gs": ("gcs_xml_server", {"driver": "obstore"}),
    "obstore-az": ("azure_server", {"driver": "obstore"}),
}

READER = """
import asyncio, json, sys
import aqrec

async def main(url, options):
    async with aqrec.ExperimentManager(url, storage_options=json.loads(options)) as manager:
        runs = await manager.search_records(filter_string="params.lr = 0.02")
        recorder = await manager.get_recorder(recorder_id=runs.run_id[0])
        history = await recorder.metric_history("loss")
        print(json.dumps([runs.status.tolist(), history.value.tolist(), await recorder.load_object("weights.json")]))

asyncio.run(main(*sys.argv[1:]))
"""

LEAVER = """
import json, sys
from aqrec.sync import ExperimentManager

manager = ExperimentManager(sys.argv[1], storage_options=json.loads(sys.argv[2]))
exp = manager.start_exp(experiment_name="alpha", recorder_name="ridge")
recorder = exp.get_recorder()
recorder.log_params(lr=0.02)
recorder.save_objects(**{"weights.json": [0.5]})
recorder.log_metrics(step=0, loss=7.0)
"""


pytestmark = pytest.mark.timeout(1200)  # the first may have to install a server


@pytest.fixture(params=DRIVERS)
def where(request: pytest.FixtureRequest) -> tuple[Location, dict[str, Any]]:
    server, driver = DRIVERS[request.param]
    service: Service = request.getfixturevalue(server)
    place = service.location()
    return place, {**place.storage_options, **driver}


def run(code: str, url: str, options: dict[str, Any]) -> str:
    """Run code in a fresh process, which must have nothing to complain about."""
    ended = run_script(code, url, json.dumps(options), options=("-W", "error")).check()
    assert ended.stderr == ""
    return ended.stdout


async def test_what_was_recorded_is_read_by_another_process(
    where: tuple[Location, dict[str, Any]], tmp_path: Path
) -> None:
    place, options = where
    data = os.urandom(1 << 20) * 11  # two parts
    (tmp_path / "large.bin").write_bytes(data)
    async with aqrec.open_recorder(
        place.url, experiment="alpha", name="ridge", storage_options=options
    ) as recorder:
        for step in range(50):
            recorder.log_metrics(step=step, loss=float(step))
        await recorder.log_params(lr=0.02)
        await recorder.save_objects(**{"weights.json": [0.5]})
        await recorder.log_artifact(str(tmp_path / "large.bin"))
        await recorder.flush()
        running = await asyncio.to_thread(run, READER, place.url, options)
        await recorder.download_artifact("large.bin", str(tmp_path / "copy"))
    ended = await asyncio.to_thread(run, READER, place.url, options)
    losses = [float(step) for step in range(50)]
    assert json.loads(running) == [["RUNNING"], losses, [0.5]]
    assert json.loads(ended) == [["FINISHED"], losses, [0.5]]
    copies = [path for path in (tmp_path / "copy").rglob("*") if path.is_file()] or [tmp_path / "copy"]
    assert [path.read_bytes() == data for path in copies] == [True]


def test_a_run_left_open_is_kept_when_the_interpreter_ends(
    where: tuple[Location, dict[str, Any]],
) -> None:
    place, options = where
    run(LEAVER, place.url, options)
    assert json.loads(run(READER, place.url, options)) == [["FINISHED"], [7.0], [0.5]]
