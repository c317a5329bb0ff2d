"""A store that is gone for minutes, with the options that everybody has: nobody is held up beyond the bounds told."""

import asyncio
import os
import time
from pathlib import Path

import pytest

import aqrec
from aqrec.options import Options
from tests._support.bucket import bucket_url
from tests.engine.support import read

MINUTES = 3
RATE = 20_000
"""Points a second"""
HELD = 0.5
"""Seconds that a log call may take on a machine whose processors belong to others"""
GROWN = 96 * 2**20
"""Bytes by which memory may grow, far fewer than what is logged"""

QUIET = Options(provenance=False)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("how", ["", "hang"], ids=["refused", "hanging"])
async def test_an_outage_of_minutes_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Logging goes on at once, saving and the end of a run within seconds, memory is bounded, and in the end all is there."""
    monkeypatch.setenv("AQREC_SPOOL", str(tmp_path / "spool"))
    url, switch = bucket_url(tmp_path / "bucket"), tmp_path / "bucket.away"
    slowest = saving = ending = 0.0
    runs: list[tuple[str, int]] = []
    async with aqrec.ExperimentManager(url, options=QUIET) as manager:
        experiment = await manager.get_exp(experiment_name="e")
        warm = await experiment.start(recorder_name="before")
        warm.log_metrics(step=0, loss=0)
        await warm.flush()
        await warm.end_run()
        before = resident()
        switch.write_text(how)
        until = time.monotonic() + 60 * MINUTES
        while time.monotonic() < until:  # a run of half a minute after the other
            recorder = await experiment.start(recorder_name=f"{len(runs)}")
            step, begun = 0, time.monotonic()
            half = min(begun + 30, until)
            while (now := time.monotonic()) < half:
                while step < (now - begun) * RATE:
                    asked = time.monotonic()
                    await recorder.log_metrics(step=step, loss=step)
                    slowest = max(slowest, time.monotonic() - asked)
                    step += 1
                await asyncio.sleep(0.01)
            asked = time.monotonic()
            await recorder.save_objects(**{"a.json": [step]})
            saving = max(saving, time.monotonic() - asked)
            asked = time.monotonic()
            await recorder.end_run()
            ending = max(ending, time.monotonic() - asked)
            assert (await recorder.statistics()).dropped == 0
            runs.append((recorder.id, step))
        grown = resident() - before
        switch.unlink()
    assert slowest < HELD
    assert saving < 10
    assert ending < 15
    assert grown < GROWN
    await aqrec.sync_spool(url)
    for run_id, count in runs:
        points = await read(url, run_id, "loss")
        assert len(points) == count
        assert points == [(at, float(at)) for at in range(count)]
    async with aqrec.ExperimentManager(url, options=QUIET) as manager:
        for run_id, count in runs:
            again = await manager.get_recorder(recorder_id=run_id)
            assert again.status == "FINISHED"
            assert await again.load_object("a.json") == [count]
    assert not [path for path in (tmp_path / "spool").rglob("*") if path.is_file()]
