"""Whatever raises between the buffer and the logs costs nothing but time."""

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import aqrec
from aqrec.engine import _batch, _intake, _log, _spool_log, _summary
from aqrec.engine._alive import Alive
from aqrec.engine._batch import Batch
from aqrec.engine._buffer import Buffer
from aqrec.engine._engine import Engine
from aqrec.engine._intake import Intake
from aqrec.engine._opening import Opening
from aqrec.engine._outage import Outage
from aqrec.engine._pace import Pace
from aqrec.engine._sealer import Sealer
from aqrec.engine._summary import RunState
from aqrec.errors import FlushTimeoutError
from aqrec.format._ids import HybridClock
from aqrec.options import SpoolOptions
from aqrec.stores import MemoryStore
from tests.engine.support import history, options, serve

CALLS: list[tuple[Any, str]] = [
    *((_batch, name) for name in ("take", "_counted", "_in_milliseconds", "_Group")),
    *((_intake, name) for name in ("PointsFrame", "encode_points", "encode_frame", "encode_events")),
    *((_intake, name) for name in ("MetricsSummarised", "PointsDropped")),
    *((_summary, name) for name in ("summarise", "merge_summary")),
    *((Batch, name) for name in ("fill", "first")),
    *((Intake, name) for name in ("take", "_take_events", "_write_points", "_summarise")),
    *((Intake, name) for name in ("add_routine", "_tell_drops", "write_events")),
    *((RunState, name) for name in ("expect", "add", "changes")),
    *((Log, name) for Log in (_log.AppendLog, _log.SegmentLog) for name in ("hand_over",)),
    (_log.Log, "write"),
    *((_spool_log.SpooledLog, name) for name in ("write", "hand_over", "_begin", "_cut")),
    (_log.Log, "header"),
    (_log.Segment, "footer"),
    (_log, "_Pending"),
    *((Outage, name) for name in ("note", "take", "step", "attempt", "over")),
    *((Pace, name) for name in ("summary_due", "heartbeat_due", "commit_due", "flush_publishes")),
    *((Sealer, name) for name in ("told", "committed")),
    *((Alive, name) for name in ("heartbeat", "heard")),
    (HybridClock, "now"),
    (Buffer, "changed"),
    (Opening, "hand_over"),
    (Engine, "_cycle"),
    (Engine, "_advance"),
]
"""What the engine calls between taking a record and having served who waits for it"""


class Injection:
    """Raises in place of the calls of `name` number `at` and following, `times` of them; counts the calls of all names."""

    def __init__(self, name: str, at: int, times: int, error: Callable[[], Exception]) -> None:
        self.name = name
        self.at = at
        self.times = times
        self.error = error
        self.armed = False
        self.calls: Counter[str] = Counter()

    def wrap(self, owner: Any, name: str) -> Any:
        original = owner.__dict__[name]

        def call(*args: Any, **kwargs: Any) -> Any:
            if self.armed and _writing():
                self.calls[name] += 1
                if name == self.name and self.at <= self.calls[name] < self.at + self.times:
                    raise self.error()
            return called(*args, **kwargs)

        if isinstance(original, staticmethod):
            called: Any = original.__func__
            return staticmethod(call)
        called = original
        return call

    @contextmanager
    def active(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for owner, name in CALLS:
                patch.setattr(owner, name, self.wrap(owner, name))
            yield


def _writing() -> bool:
    """Whether the engine calls, on its way from the buffer to the store."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return False
    return task is not None and task.get_name() in ("aqrec-pump", "aqrec-commit")


async def record(kind: str, folder: Path, injection: Injection) -> None:
    """Record two runs while calls raise; check that all of it is read back once, whatever was acknowledged when."""
    name = uuid.uuid4().hex
    url = serve(lambda: MemoryStore(name, append=kind == "appends"))
    used = options(
        spool=SpoolOptions(folder=str(folder)) if kind == "spooled" else None,
        flush_timeout=10,
        close_timeout=10,
        sync=0.02,
    )
    expected: list[tuple[int | None, float]] = []
    async with aqrec.ExperimentManager(url, options=used) as manager:
        experiment = await manager.get_exp(experiment_name="e")
        recorder, other = [await experiment.create_recorder(text) for text in ("r", "other")]
        await recorder.start_run()
        await other.start_run()
        injection.armed = True
        for part in range(2):
            for step in range(100 * part, 100 * part + 70):
                recorder.log_metrics(step=step, loss=float(step))
                expected.append((step, float(step)))
            other.log_metrics(step=part, acc=float(part), loss=2.0)
            recorder.log_params(**{f"p{part}": part})
            await recorder.flush()
            assert (await acknowledged(url, recorder.id)) == (len(expected), part + 1)
        recorder.log_metrics(step=1000, loss=0.0)
        expected.append((1000, 0.0))
        await recorder.end_run()
        await other.end_run()
        injection.armed = False
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        found = await manager.get_recorder(recorder_id=recorder.id)
        assert await history(found, "loss") == expected
        assert (await found.list_metrics()) == {"loss": 0.0}
        assert (await found.list_params()) == {"p0": 0, "p1": 1}
        assert found.status == "FINISHED"
        found = await manager.get_recorder(recorder_id=other.id)
        assert await history(found, "acc") == [(0, 0.0), (1, 1.0)]
        assert (await found.list_metrics()) == {"acc": 1.0, "loss": 2.0}


async def acknowledged(url: str, run_id: str) -> tuple[int, int]:
    """Return how many points and params of a run others can read."""
    async with aqrec.ExperimentManager(url, options=options()) as manager:
        found = await manager.get_recorder(recorder_id=run_id)
        return len(await history(found, "loss")), len(await found.list_params())


def inject(kind: str, folder: Path, at: int, caplog: pytest.LogCaptureFixture) -> None:
    """Let the call number `at` of each name raise, once or three times; of those that are so often called."""
    counting = Injection("", 0, 0, OSError)
    with counting.active():
        asyncio.run(record(kind, folder, counting))
    assert set(counting.calls) >= {"take", "_in_milliseconds", "encode_frame", "write", "_advance"}
    caplog.set_level(logging.CRITICAL, logger="aqrec")
    for number, name in enumerate(name for name, calls in counting.calls.items() if calls >= at):
        times, error = (1, 3)[number % 2], (MemoryError, OSError)[number // 2 % 2]
        injection = Injection(name, at, times, error)
        try:
            with injection.active():
                asyncio.run(record(kind, folder / name, injection))
        except BaseException as failure:
            failure.add_note(f"{error.__name__} in call {at} of {name}, {times} times")
            raise


@pytest.mark.parametrize(("kind", "at"), [("appends", 1), ("appends", 2), ("puts", 1), ("spooled", 1)])
def test_whatever_raises_between_buffer_and_log_loses_and_doubles_nothing(
    kind: str, at: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    inject(kind, tmp_path, at, caplog)


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["appends", "puts", "spooled"])
@pytest.mark.parametrize("at", [3, 6, 12, 24])
def test_whatever_raises_at_any_time_loses_and_doubles_nothing(
    kind: str, at: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    inject(kind, tmp_path, at, caplog)


async def test_a_flush_that_cannot_be_written_tells_why_and_all_of_it_is_kept(
    local_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Any) -> bytes:
        raise MemoryError

    async with aqrec.open_recorder(local_url, options=options(flush_timeout=0.2)) as recorder:
        with monkeypatch.context() as patch:
            patch.setattr(_intake, "encode_points", fail)
            for step in range(100):
                recorder.log_metrics(step=step, loss=1.0)
            recorder.set_tags(colour="red")
            for _ in range(2):
                with pytest.raises(FlushTimeoutError, match=r"100 buffered calls, .*MemoryError"):
                    await recorder.flush()
            statistics = await recorder.statistics()
            assert "MemoryError" in statistics.last_error
            assert not statistics.storing
            assert statistics.buffered == 100
        await recorder.flush()
        assert [step for step, _ in await history(recorder, "loss")] == list(range(100))
        assert (await recorder.list_tags())["colour"] == "red"
        assert (await recorder.statistics()).storing
    told = [record for record in caplog.records if "MemoryError" in record.getMessage()]
    assert len(told) == 1
