"""A short life of an installed aqrec, run by ``nox -s wheel`` in an empty folder."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
import tempfile
from importlib import metadata, resources
from pathlib import Path

import aqrec
from aqrec.sync import R


def main() -> None:
    """Record on both faces, read back, call the command; raise on anything unexpected."""
    tree = Path(__file__).resolve().parents[2]
    assert Path(aqrec.__path__[0]) != tree / "aqrec", "the tree is tested, not the wheel"
    assert resources.files("aqrec").joinpath("py.typed").is_file(), "the wheel ships no py.typed"
    command = Path(sys.executable).with_name("aqrec")
    with tempfile.TemporaryDirectory() as folder:
        uri = Path(folder, "store").as_uri()
        with R.start(experiment_name="smoke", uri=uri) as experiment:
            R.log_params(lr=0.02)
            R.log_metrics(step=1, loss=0.5, bad=math.nan)
            R.save_objects(**{"answer.pkl": 42})
            run_id = R.get_recorder().id
            assert experiment.name == "smoke"
        assert asyncio.run(_read(uri, run_id)) == 42
        listing = subprocess.run(
            [command, "ls", uri], capture_output=True, text=True, timeout=60, check=True
        ).stdout
        assert "smoke" in listing, listing
        subprocess.run([command, "demo"], cwd=folder, timeout=300, check=True, stdout=subprocess.DEVNULL)
    print(f"aqrec {metadata.version('aqrec')} records, reads and lists from {aqrec.__path__[0]}")


async def _read(uri: str, run_id: str) -> object:
    async with aqrec.ExperimentManager(uri) as manager:
        recorder = await manager.get_recorder(recorder_id=run_id)
        assert (await recorder.list_params())["lr"] == 0.02
        assert len(await recorder.metric_history("loss")) == 1
        return await recorder.load_object("answer.pkl")


if __name__ == "__main__":
    main()
