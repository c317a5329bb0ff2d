"""Ends that are refused, and closings by several threads."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aqrec.errors import InvalidInputError
from aqrec.options import Options
from aqrec.sync import STATUS_FI, STATUS_R, ExperimentManager, R

pytestmark = pytest.mark.usefixtures("clean_r")


def test_a_refused_end_changes_nothing(memory_url: str) -> None:
    with R.start(uri=memory_url, experiment_name="alpha"):
        recorder = R.get_recorder()
        for end in (R.end_exp, recorder.end_run, R.get_exp().end):
            with pytest.raises(InvalidInputError, match="status 'DONE'"):
                end("DONE")
            assert (recorder.status, R.get_recorder()) == (STATUS_R, recorder)
        R.log_metrics(step=1, loss=0.5)
    assert recorder.status == STATUS_FI
    assert recorder.list_metrics() == {"loss": 0.5}
    with ExperimentManager(memory_url) as manager:
        assert list(manager.list_experiments()) == ["alpha"]


def test_threads_that_close_one_manager_all_wait_until_it_is_closed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manager = ExperimentManager(str(tmp_path), options=Options(provenance=False))
    recorder = manager.start_exp(experiment_name="e").get_recorder()
    for n in range(1000):
        recorder.log_metrics(step=n, x=n)
    with ThreadPoolExecutor(3) as pool:
        closings = [pool.submit(manager.close) for _ in range(3)]
        for closing in closings:
            closing.result(20)
            assert (tmp_path / "runs" / recorder.id / "run.json").exists()
    assert recorder.status == STATUS_FI
    assert caplog.text == ""
