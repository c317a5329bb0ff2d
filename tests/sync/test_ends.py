"""Ends that are refused."""

import pytest

from aqrec.errors import InvalidInputError
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
