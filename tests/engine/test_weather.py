"""A store in any weather: requests that fail in every way, outages that come and go, an end in the middle of one."""

import asyncio
import random
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import aqrec
from aqrec.errors import FlushTimeoutError, StorageError
from aqrec.format._frames import POINTS, Damage, decode_frames
from aqrec.format._points import decode_points
from aqrec.options import SpoolOptions
from aqrec.recording._spools import send_spools
from aqrec.stores import FaultyStore, LatencyStore, LostResponse, MemoryStore, Store, Torn
from tests.engine.support import history, options, serve

OPERATIONS = {"put", "create", "put_stream", "get", "get_stream", "head", "list", "delete"}
BOUND = 1.0
"""Seconds that a log call may take on a machine whose processors belong to others: it does not wait for the store"""
BOUND_OF_SAVES = 20.0
"""Seconds in which the spool has what the store does not take, however slow its disk is"""


class Weather:
    """A bucket in memory; with probability `p` a request fails in one of six ways, and every one while it is `away`."""

    def __init__(self, seed: int, p: float) -> None:
        self.p = p
        self.away = False
        self.name = uuid.uuid4().hex
        self._random = random.Random(seed)
        self.url = serve(self._make)

    def _make(self) -> Store:
        return FaultyStore(LatencyStore(MemoryStore(self.name, append=False), self._delay), self._plan)

    async def _delay(self, operation: str, key: str) -> None:
        if self._random.random() < self.p / 6:
            await asyncio.sleep(0.02)

    def _plan(self, operation: str, key: str, n: int) -> Any:
        if operation not in OPERATIONS:
            return None
        if self.away:
            return StorageError("connection refused")
        if self._random.random() >= self.p:
            return None
        error = StorageError(
            self._random.choice(["500 InternalError", "503 SlowDown", "timed out", "reset by peer"])
        )
        return self._random.choice([error, LostResponse(error), Torn(self._random.randrange(100), error)])

    async def frames(self) -> Counter[tuple[str, int]]:
        """Return how often each points frame is stored, by (writer, number).

        Segments that are in a merged one as well, because they could not be deleted, do not count.
        """
        store, found = MemoryStore(self.name, append=False), Counter[tuple[str, int]]()
        for key in without_merged([info.key async for info in store.list("journal")]):
            for frame in decode_frames(await store.get(key)):
                if not isinstance(frame, Damage) and frame.kind == POINTS:
                    found[key.split("/")[1], decode_points(frame.payload).seq] += 1
        await store.aclose()
        return found


def without_merged(keys: list[str]) -> list[str]:
    """Return the keys of segments whose frames are in no other one."""
    ranges: dict[str, tuple[str, int, int]] = {}
    for key in keys:
        _, writer, name = key.split("/")
        last, _, count = name.removesuffix(".seg").partition("_")
        ranges[key] = writer, int(last) - int(count or 1) + 1, int(last)
    return [
        key
        for key, (writer, first, last) in ranges.items()
        if not any(
            other != key and writer == by and low <= first and last <= high
            for other, (by, low, high) in ranges.items()
        )
    ]


async def _insist(call: Callable[[], Awaitable[None]]) -> None:
    """Call until it is acknowledged, as a user does whose disk took longer than `flush_timeout`; no other error will do."""
    async with asyncio.timeout(BOUND_OF_SAVES):
        while True:
            try:
                return await call()
            except FlushTimeoutError:
                continue


STEP = st.sampled_from(["log"] * 6 + ["flush", "save", "tag", "away", "back", "wait", "end"])


@pytest.mark.parametrize("p", [0.1, 0.3])
@given(seed=st.integers(0, 2**31), steps=st.lists(STEP, min_size=5, max_size=60))
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_logged_is_stored_once_in_any_weather(
    tmp_path: Path, p: float, seed: int, steps: list[str]
) -> None:
    asyncio.run(_record(tmp_path / uuid.uuid4().hex, Weather(seed, p), steps))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(300))
def test_what_was_logged_is_stored_once_for_long(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    choices = ["log"] * 6 + ["flush", "save", "tag", "away", "back", "wait", "end"]
    steps = chance.choices(choices, k=chance.randrange(20, 300))
    asyncio.run(_record(tmp_path, Weather(seed, chance.uniform(0, 0.4)), steps))


async def _record(folder: Path, weather: Weather, steps: list[str]) -> None:
    chosen = options(
        segment=0.02,
        sync=0.02,
        flush_timeout=0.2,
        close_timeout=1.5,
        seal="never" if len(steps) % 2 else "run",
        spool=SpoolOptions(folder=str(folder), away_after=0.03),
    )
    p, weather.p = weather.p, 0.0
    points: list[tuple[int | None, float]] = []
    saved: dict[str, list[int]] = {}
    slowest = 0.0
    async with aqrec.ExperimentManager(weather.url, options=chosen) as manager:
        experiment = await manager.get_exp(experiment_name="e")
        recorder = await experiment.create_recorder("r")
        await recorder.start_run()
        weather.p = p
        for number, step in enumerate(steps):
            if step == "log":
                for _ in range(20):
                    began = time.monotonic()
                    await recorder.log_metrics(step=len(points), loss=number)
                    slowest = max(slowest, time.monotonic() - began)
                    points.append((len(points), float(number)))
            elif step == "flush":
                try:
                    await recorder.flush()
                except FlushTimeoutError:
                    assert weather.away or p
            elif step == "save":
                name = f"a{number % 3}.json"
                await _insist(partial(recorder.save_objects, **{name: [number]}))
                saved[name] = [number]
            elif step == "tag":
                await recorder.set_tags(latest=number)
            elif step == "wait":
                await asyncio.sleep(0.05)
            elif step == "end":
                await recorder.end_run()
                await recorder.start_run()
            else:
                weather.away = step == "away"
    weather.away = False
    await _sync(weather, folder)
    weather.p = 0.0
    assert slowest < BOUND
    assert not any(path.is_file() for path in folder.rglob("*"))
    async with aqrec.ExperimentManager(weather.url, options=options()) as manager:
        again = await manager.get_recorder(recorder_id=recorder.id)
        assert again.status == "FINISHED"
        if points:
            assert await history(again, "loss") == points
        assert {name: await again.load_object(name, trust="trusted") for name in saved} == saved
    assert set((await weather.frames()).values()) <= {1}


async def _sync(weather: Weather, folder: Path) -> None:
    """Send what is left, twice at once, until nothing is."""
    while True:
        reports = await asyncio.gather(*(_send(weather.url, folder) for _ in range(2)))
        if not any(reports):
            return


async def _send(url: str, folder: Path) -> list[Any]:
    from aqrec.engine import current_runtime
    from aqrec.options import RetryOptions

    runtime = current_runtime()
    runtime.acquire()
    quick = RetryOptions(first=0.001, longest=0.01)
    try:
        return await runtime.run(send_spools(url, None, folder, dry_run=False, progress=None, retry=quick))
    finally:
        await runtime.arelease()
