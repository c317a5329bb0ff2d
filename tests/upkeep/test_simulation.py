"""Whatever the interleaving of writers, folds and readers: what was acknowledged is found by every reader, once."""

import logging
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from aqrec.engine import Engine, _merge
from aqrec.format._document import RunDocument
from aqrec.format._records import RunCreated, StatusSet
from aqrec.options import Options
from aqrec.reading import _history
from aqrec.upkeep import _fold, _gc, _merging
from tests.engine.support import serve
from tests.upkeep.simulation import Clock, SimulatedStore, VirtualLoop, begin, simulate

SEEDS = 40 if os.environ.get("CI") else 24
MERGING_SEEDS = 16 if os.environ.get("CI") else 8
UPKEEP_SEEDS = 8 if os.environ.get("CI") else 4


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Failures are the point, and each is logged."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def _violations(seeds: range, **shape: Any) -> tuple[dict[int, list[str]], Counter[str]]:
    found: dict[int, list[str]] = {}
    counts: Counter[str] = Counter()
    for seed in seeds:
        simulation = simulate(seed, **shape)
        counts += simulation.counts
        if simulation.violations:
            found[seed] = simulation.violations
    return found, counts


def test_no_interleaving_loses_or_doubles_anything() -> None:
    found, counts = _violations(range(SEEDS))
    assert not found
    for what in ("folded", "overtaken", "died", "failed", "reads", "histories", "ends", "merges"):
        assert counts[what] > SEEDS / 10, f"the simulation has hardly {what}"


JOURNAL = {"writers": 1, "folders": 0, "flushes": 12, "curious": 1.0}
"""Readers look at a journal that is merged all the time"""


def test_merged_journals_lose_and_double_nothing() -> None:
    found, counts = _violations(range(SEEDS), **JOURNAL)
    assert not found
    assert counts["merges"] > 5 * SEEDS
    assert counts["histories"] > 10 * SEEDS


def test_points_are_missed_where_originals_go_before_the_merged_segment_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    merge = _merge.Merger._merge

    async def hasty(merger: _merge.Merger) -> None:
        merger._gone = [segment.key for segment in merger._group]
        await merger._delete()
        await merge(merger)

    monkeypatch.setattr(_merge.Merger, "_merge", hasty)
    found, _ = _violations(range(20), **JOURNAL)
    assert any("lacks points" in text for texts in found.values() for text in texts)


def test_points_are_doubled_where_their_numbers_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = _history._scan
    monkeypatch.setattr(_history, "_scan", lambda *work: scan(*work[:6], set(), *work[7:]))
    found, _ = _violations(range(20), **JOURNAL)
    assert any("twice" in text for texts in found.values() for text in texts)


MERGING = {"writers": 4, "folders": 1, "rounds": 6, "mergers": 3, "curious": 1.0, "rest": 5.0}
"""Histories are merged, and what was merged deleted, all the time"""


def test_merged_histories_lose_and_double_nothing() -> None:
    found, counts = _violations(range(MERGING_SEEDS), **MERGING)
    assert not found
    for what in ("merged histories", "swept", "histories"):
        assert counts[what] > MERGING_SEEDS / 2, f"the simulation has hardly {what}"


def test_points_are_missed_where_sources_go_that_somebody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_merging, "_reads", lambda *_: False)
    assert any(simulate(seed, **MERGING).violations for seed in range(20))


UPKEEP = {
    "writers": 2,
    "folders": 1,
    "rounds": 5,
    "reapers": 2,
    "collectors": 2,
    "rest": 1_200.0,
    "mortal": 0.2,
    "sleepy": 0.2,
}
"""Hours in which writers die, sleep and save slowly, while others give up runs and collect garbage"""


def test_nobody_who_lives_is_given_up_for_good_and_nothing_needed_is_collected() -> None:
    found, counts = _violations(range(UPKEEP_SEEDS), **UPKEEP)
    assert not found
    for what in ("deaths", "sleeps", "saves", "reaped", "purged", "collected part", "collected journal"):
        assert counts[what] > UPKEEP_SEEDS / 10, f"the simulation has hardly {what}"


def test_parts_are_missed_where_references_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_gc, "keys_of", lambda _: set())
    found, _ = _violations(range(2), **UPKEEP)
    assert any("lacks" in text for texts in found.values() for text in texts)


@pytest.mark.soak
@pytest.mark.timeout(6 * 3600)
def test_thousands_of_interleavings_lose_and_double_nothing() -> None:
    found, _ = _violations(range(SEEDS, SEEDS + 5_000))
    assert not found
    found, _ = _violations(range(SEEDS, SEEDS + 5_000), **JOURNAL)
    assert not found
    found, _ = _violations(range(MERGING_SEEDS, MERGING_SEEDS + 5_000), **MERGING)
    assert not found
    found, _ = _violations(range(UPKEEP_SEEDS, UPKEEP_SEEDS + 1_000), **UPKEEP, mergers=1)
    assert not found


def test_a_seed_determines_what_happens() -> None:
    assert simulate(7).counts == simulate(7).counts


def test_without_looking_at_the_heads_again_events_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulation is able to fail: it finds what the rule is there for."""
    monkeypatch.setattr(_fold, "_counts", lambda *_: True)
    assert any(simulate(seed).violations for seed in range(60))


def test_a_day_of_recording_takes_two_thousand_requests_at_most() -> None:
    loop = VirtualLoop()
    requests: Counter[str] = Counter()
    url = serve(lambda: SimulatedStore({}, None, requests))

    async def day() -> None:
        import asyncio

        engine = begin(Engine(url, Options(provenance=False, spool=None)), loop)
        await engine.open()
        state = engine.run_state(RunDocument(run_id="r"), made_id=True)
        engine.run_started(state)
        clock = engine.clock.now
        engine.post(
            RunCreated(clock=clock(), run_id="r", experiment_id="e", experiment_name="alpha", name="n")
        )
        engine.post(StatusSet(clock=clock(), run_id="r", status="RUNNING", time=1))
        for step in range(24 * 360):
            state.points.log(step, {f"m{number}": float(step) for number in range(10)})
            await asyncio.sleep(10)
        engine.post(StatusSet(clock=clock(), run_id="r", status="FINISHED", time=2))
        await engine.seal_early(state)
        await engine.acknowledge()
        await engine.run_ended(state)
        await engine.close()

    with Clock(loop):
        loop.run_until_complete(day())
    loop.close()
    assert requests.total() <= 2_000, requests
    assert requests["put"] > 500, "somebody who looks finds news every few minutes"
