"""Starts that are interrupted."""

import contextlib
import linecache
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import aqrec
from aqrec.options import Options
from aqrec.sync import STATUS_FA, STATUS_S, ExperimentManager, R, open_recorder

pytestmark = pytest.mark.usefixtures("clean_r")

_OURS = tuple(str(Path(aqrec.__file__).parent / face) for face in ("sync", "recording"))


def _of_r(url: str, _: Options) -> AbstractContextManager[object]:
    return R.start(uri=url)


def _of_open_recorder(url: str, options: Options) -> AbstractContextManager[object]:
    return open_recorder(url, options=options)


@contextlib.contextmanager
def _struck_at(line: int) -> Any:
    """Raise KeyboardInterrupt at the n-th line that this thread runs of either face, as a Ctrl-C would.

    Lines that take or leave a lock do not count: a tracer may strike between a block's end and the release, a signal cannot.
    """
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.startswith(_OURS):
            return None
        if event == "line" and not linecache.getline(frame.f_code.co_filename, frame.f_lineno).endswith(
            "_lock:\n"
        ):
            count += 1
            if count == line:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


# The interrupt may come between making a coroutine and handing it over.
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.parametrize("block", [_of_r, _of_open_recorder])
def test_wherever_ctrl_c_meets_a_start_the_run_failed_or_is_none(
    block: Callable[[str, Options], AbstractContextManager[object]], memory_url: str, quick: Options
) -> None:
    entered, line = False, 0
    with ExperimentManager(memory_url, options=quick) as manager:
        R.start_exp(
            uri=memory_url, experiment_name="warm"
        )  # so that entering asks the store for nothing else
        while not entered:
            line += 1
            with contextlib.suppress(KeyboardInterrupt), _struck_at(line), block(memory_url, quick):
                sys.settrace(None)
                entered = True
                raise KeyboardInterrupt
        R.end_exp()
        assert line > 50
        found = manager.search_records(experiment_names=["Experiment"])["status"]
        assert set(found) == {STATUS_FA}
        assert len(found) > 10


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_wherever_ctrl_c_meets_the_entry_of_a_recorder_it_failed_or_has_not_begun(
    memory_url: str, quick: Options
) -> None:
    entered, line = False, 0
    with ExperimentManager(memory_url, options=quick) as manager:
        experiment = manager.get_exp()
        while not entered:
            line += 1
            recorder = experiment.create_recorder()
            with contextlib.suppress(KeyboardInterrupt), _struck_at(line), recorder:
                sys.settrace(None)
                entered = True
                raise KeyboardInterrupt
            assert recorder.status in {STATUS_S, STATUS_FA}
        assert recorder.status == STATUS_FA
        assert set(manager.search_records()["status"]) == {STATUS_S, STATUS_FA}
