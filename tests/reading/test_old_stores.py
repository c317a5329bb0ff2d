"""Stores of every released format version stay readable, also where nothing may be written."""

import json
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from tests.data.stores import make_folded, make_v1
from tests.data.stores.make_v1 import STORE, read


@pytest.mark.parametrize("sample", [make_v1, make_folded], ids=["v1", "folded"])
def test_the_sample_stores_read_as_they_were_written(tmp_path: Path, sample: ModuleType) -> None:
    copy = tmp_path / "store"
    shutil.copytree(sample.STORE, copy)
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    for path in copy.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert read(str(copy)) == json.loads(sample.EXPECTED.read_text())
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("run", ["sealed", "child"])
def test_a_runs_folder_alone_tells_the_whole_run(tmp_path: Path, run: str) -> None:
    """A sealed run is copied with any tool into another store, and read there."""
    (tmp_path / "runs").mkdir()
    shutil.copy(STORE / "aqrec.json", tmp_path)
    shutil.copytree(STORE / "runs" / run, tmp_path / "runs" / run)
    from aqrec.sync import ExperimentManager

    with ExperimentManager(str(tmp_path)) as manager:
        recorder = manager.get_recorder(recorder_id=run)
        assert recorder.status == "FINISHED"
        assert len(recorder.metric_history("loss")) == {"sealed": 51, "child": 1}[run]
        for path in recorder.list_artifacts("out"):
            recorder.load_object(path)
