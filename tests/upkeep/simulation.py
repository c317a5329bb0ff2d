"""Many processes on one bucket, as a program that a seed determines: real engines, folds and readers on a store and a clock of ours.

The loop's time is virtual: it jumps to the next timer, so that hours take milliseconds and nothing depends on the machine. The store answers
late, sometimes very late, lists a page at a time while others write, and loses answers to writes that had their effect.
"""

from __future__ import annotations

import asyncio
import copy
import io
import random
import selectors
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from types import SimpleNamespace
from typing import Any, BinaryIO

import pytest

import aqrec.engine._engine as engine_module
import aqrec.engine._merge as merge_module
import aqrec.engine._outage as outage_module
import aqrec.engine._pace as pace_module
from aqrec.engine import Engine
from aqrec.errors import AlreadyExistsError, AqrecError, ObjectNotFoundError, StorageError
from aqrec.format import _ids as ids
from aqrec.format import _layout as layout
from aqrec.format import _values as values
from aqrec.format._document import RunDocument
from aqrec.format._records import (
    ArtifactPart,
    ArtifactRef,
    ArtifactSaved,
    ParamsLogged,
    RunCreated,
    StatusSet,
)
from aqrec.options import FlushOptions, Options, RetryOptions
from aqrec.reading import Catalog, read_metric_history
from aqrec.stores import ObjectInfo, Store
from aqrec.upkeep import Policy, Work, collect, fold, purge, reap, retain
from aqrec.upkeep._gc import LEAST_GRACE
from aqrec.upkeep._merging import merge_histories, read_notes, sweep
from tests.engine.support import serve

__all__ = ["Clock", "SimulatedStore", "Simulation", "VirtualLoop", "simulate"]

EPOCH = 1_760_000_000


class _Selector(selectors.DefaultSelector):
    """Where a loop would sleep, its clock is put forward."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("everybody waits and nobody will wake them")
        if not ready and timeout is not None and timeout > 0:
            self.loop.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose time passes only where all tasks wait, and whose executor works at once."""

    def __init__(self) -> None:
        self.now = 0.0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future


class Clock:
    """Makes engines and ids go by a loop's time; a context manager.

    `fanout`: how many segments of a journal become one, if not as many as usual.
    """

    def __init__(self, loop: VirtualLoop, fanout: int = merge_module.FANOUT) -> None:
        self._loop = loop
        self._fanout = fanout
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> None:
        clock = SimpleNamespace(monotonic=self._loop.time)
        for module in (engine_module, outage_module, pace_module):
            self._patch.setattr(module, "time", clock)
        self._patch.setattr(merge_module, "FANOUT", self._fanout)
        self._patch.setattr(ids, "now_ms", lambda: int((EPOCH + self._loop.time()) * 1000))

    def __exit__(self, *_: object) -> None:
        self._patch.undo()


class _Runtime:
    """Stands for the engine thread: the loop is the engine's own."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def soon(self, function: Callable[..., object], *args: Any) -> None:
        self._loop.call_soon(function, *args)


def begin(engine: Engine, loop: asyncio.AbstractEventLoop) -> Engine:
    """Let an engine run on `loop`."""
    runtime: Any = _Runtime(loop)
    engine.runtime = runtime
    engine._begin()
    return engine


class SimulatedStore(Store):
    """See the module's text. All stores of one `space` show the same objects."""

    PAGE = 4

    def __init__(
        self, space: dict[str, tuple[bytes, int]], chance: random.Random | None, requests: Counter[str]
    ) -> None:
        self._space = space
        self._chance = chance
        self._requests = requests
        self.made: set[str] = set()
        """Keys of all objects that were ever put"""
        self.asleep = False
        """Whether the machine it is used on sleeps: what is under way goes on when it wakes"""

    @property
    def url(self) -> str:
        return "memory://simulated"

    async def _pass(self, stall: float) -> None:
        while self.asleep:
            await asyncio.sleep(60)
        chance = self._chance
        if chance is None:
            await asyncio.sleep(0.03)
            return
        await asyncio.sleep(chance.expovariate(20))
        if chance.random() < stall:
            await asyncio.sleep(chance.expovariate(1 / 60))

    def _set(self, key: str, data: bytes) -> None:
        now = int((EPOCH + asyncio.get_running_loop().time()) * 1000)
        self._space[key] = bytes(data), now
        self.made.add(key)

    def _lose(self, probability: float, *errors: Exception) -> None:
        if self._chance is not None and self._chance.random() < probability:
            raise self._chance.choice(errors)

    def _find(self, key: str) -> tuple[bytes, int]:
        if key not in self._space:
            raise ObjectNotFoundError(f"there is no object {key!r}")
        return self._space[key]

    async def get(self, key: str, *, start: int = 0, end: int | None = None) -> bytes:
        self._requests["get"] += 1
        await self._pass(0.01)
        return self._find(key)[0][start:end]

    async def put(self, key: str, data: bytes) -> None:
        self._requests["put"] += 1
        await self._pass(0.01)
        self._lose(0.03, StorageError(f"put of {key} failed"))
        self._set(key, data)
        await self._pass(0.01)
        self._lose(0.03, StorageError(f"the answer to the put of {key} was lost"))

    async def create(self, key: str, data: bytes) -> None:
        self._requests["create"] += 1
        await self._pass(0.15)
        if key in self._space:
            raise AlreadyExistsError(f"{key} exists")
        self._set(key, data)
        await self._pass(0.01)
        self._lose(0.1, StorageError("lost"), AlreadyExistsError("the retry met the first attempt"))

    async def head(self, key: str) -> ObjectInfo:
        self._requests["head"] += 1
        await self._pass(0.01)
        data, modified = self._find(key)
        return ObjectInfo(key, len(data), modified)

    async def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
        after = ""
        while True:
            self._requests["list"] += 1
            await self._pass(0.01)
            below = f"{prefix}/" if prefix else ""
            page = sorted(key for key in self._space if key.startswith(below) and key > after)[: self.PAGE]
            for key in page:
                data, modified = self._space[key]
                yield ObjectInfo(key, len(data), modified)
            if len(page) < self.PAGE:
                return
            after = page[-1]

    async def list_dir(self, prefix: str = "") -> Any:
        raise NotImplementedError

    async def delete(self, keys: Iterable[str]) -> None:
        self._requests["delete"] += 1
        for key in list(keys):
            await self._pass(0.005)
            self._space.pop(key, None)
            self._lose(0.02, StorageError("a deletion failed"))

    async def put_stream(self, key: str, write: Callable[[BinaryIO], Any]) -> Any:
        file = io.BytesIO()
        result = write(file)
        await self.put(key, file.getvalue())
        return result

    async def get_stream(self, key: str, read: Callable[[BinaryIO], Any]) -> Any:
        self._requests["get_stream"] += 1
        await self._pass(0.01)
        return read(io.BytesIO(self._find(key)[0]))

    async def aclose(self) -> None:
        pass


class Simulation:
    """One interleaving.

    Parameters
    ----------
    seed
        Determines it.
    writers, folders
        How many processes record, and fold the catalog.
    rounds, flushes
        How often each writer works, and flushes points at most before it rests.
    curious
        How likely a reader reads a history.
    reapers, collectors, mergers
        How many give up runs, collect garbage, and merge histories.
    rest
        Seconds that a writer rests between two rounds, on average.
    mortal, sleepy
        How likely a writer dies in a round, and its machine sleeps for an hour or two.

    Attributes
    ----------
    violations
        What a reader should have found and did not, or found twice.
    counts
        How often something happened.
    """

    def __init__(
        self,
        seed: int,
        *,
        writers: int = 3,
        folders: int = 3,
        rounds: int = 4,
        flushes: int = 1,
        curious: float = 0.4,
        reapers: int = 0,
        collectors: int = 0,
        mergers: int = 0,
        rest: float = 5.0,
        mortal: float = 0.0,
        sleepy: float = 0.0,
    ) -> None:
        self._chance = random.Random(seed)
        self._writers, self._folders, self._rounds = writers, folders, rounds
        self._flushes, self._curious = flushes, curious
        self._reapers, self._collectors, self._mergers = reapers, collectors, mergers
        self._rest, self._mortal, self._sleepy = rest, mortal, sleepy
        self._saved: dict[str, list[str]] = {}
        self._dead: set[str] = set()
        self._purged: set[str] = set()
        self._space: dict[str, tuple[bytes, int]] = {}
        self._requests: Counter[str] = Counter()
        self._stores: list[SimulatedStore] = []
        self._url = serve(self._store)
        self._params: dict[str, set[str]] = {}
        self._steps: dict[str, set[int]] = {}
        self._ended: set[str] = set()
        self._stopped = False
        self.violations: list[str] = []
        self.counts: Counter[str] = Counter()

    def _store(self) -> SimulatedStore:
        store = SimulatedStore(self._space, self._chance, self._requests)
        self._stores.append(store)
        return store

    async def run(self) -> None:
        """Let everybody work until the writers are done; then look once more."""
        others = [asyncio.create_task(self._folder()) for _ in range(self._folders)]
        others += [asyncio.create_task(self._reader(long=number == 0)) for number in range(2)]
        others += [asyncio.create_task(self._reaper()) for _ in range(self._reapers)]
        others += [asyncio.create_task(self._collector()) for _ in range(self._collectors)]
        others += [asyncio.create_task(self._merger()) for _ in range(self._mergers)]
        others += [asyncio.create_task(self._purger()) for _ in range(min(self._collectors, 1))]
        await asyncio.gather(*(self._writer(number) for number in range(self._writers)))
        await asyncio.sleep(6 * 3600 if self._reapers else 10)
        self._stopped = True
        for result in await asyncio.gather(*others, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
        await self._look(Catalog(self._store()), last=True)
        made = {key for store in self._stores for key in store.made}
        self.counts["merges"] = sum(_merged(key) for key in made)

    async def _writer(self, number: int) -> None:
        chance = self._chance
        options = Options(
            provenance=False,
            spool=None,
            seal=chance.choice(["run", "run", "bulk", "never"]),
            flush=FlushOptions(segment_interval=2.0, **({"hand_over_interval": 5.0} if self._sleepy else {})),
            retry=RetryOptions(first=0.5, longest=5.0),
            flush_timeout=1e6,
            close_timeout=1e6,
        )
        engine = begin(Engine(self._url, options), asyncio.get_running_loop())
        store = self._stores[-1]
        await _until(engine.open)
        run_id = ""
        for turn in range(self._rounds):
            if self._mortal and chance.random() < self._mortal:
                await self._work_of_a_mortal(engine, run_id)
                self._dead.add(run_id)
                self.counts["deaths"] += 1
                engine = begin(Engine(self._url, options), asyncio.get_running_loop())
                store = self._stores[-1]
                await _until(engine.open)
                run_id = ""
            if not run_id:
                run_id = f"w{number}r{turn}"
                await self._start(engine, run_id)
            if self._sleepy and chance.random() < self._sleepy:
                self.counts["sleeps"] += 1
                asyncio.get_running_loop().call_later(chance.expovariate(1 / 3), self._sleep, store)
            await self._log(engine, run_id, turn)
            if self._collectors and chance.random() < 0.5:
                await self._save(engine, store, run_id)
            if chance.random() < 0.3:
                await self._end(engine, run_id)
                run_id = ""
            await asyncio.sleep(chance.expovariate(1 / self._rest))
        await engine.close()

    def _sleep(self, store: SimulatedStore) -> None:
        store.asleep = True
        asyncio.get_running_loop().call_later(
            self._chance.uniform(3600, 3 * 3600), lambda: setattr(store, "asleep", False)
        )

    async def _work_of_a_mortal(self, engine: Engine, run_id: str) -> None:
        """Do some work and die in the middle of it."""
        work = []
        if run_id:
            work = [
                asyncio.create_task(self._log(engine, run_id, 99)),
                asyncio.create_task(self._save(engine, self._store(), run_id)),
            ]
        await asyncio.sleep(self._chance.expovariate(1 / 5))
        sealer = engine._sealer
        tasks = [*work, engine._pump_task, engine._commit_task]
        tasks += [sealer._task, sealer._merger._task] if sealer is not None else []
        for task in tasks:
            if task is not None:
                task.cancel()
        await asyncio.gather(*(task for task in tasks if task is not None), return_exceptions=True)

    async def _save(self, engine: Engine, store: SimulatedStore, run_id: str) -> None:
        """Save an artifact in parts, slowly, as a recorder does: after long it looks whether they are there."""
        path = f"big {self._chance.random()}"
        parts: list[ArtifactPart] = []
        while not parts or not all(part.key in self._space for part in parts):
            parts = []
            folder = f"{layout.artifact_parts_folder(run_id, path)}/{ids.new_id()}"
            with engine.alive.saving(run_id):
                for number in range(3):
                    key = layout.artifact_part_key(folder, number)
                    await _until(lambda key=key: store.put(key, b"part"))
                    parts.append(ArtifactPart(key=key, size=4, checksum=""))
                    await asyncio.sleep(self._chance.expovariate(1 / self._rest))
                ref = ArtifactRef(path=path, key=folder, size=12, checksum="", parts=parts)
                engine.post(ArtifactSaved(clock=engine.clock.now(), run_id=run_id, ref=ref))
                await engine.flush()
        self._saved.setdefault(run_id, []).extend(part.key for part in parts)
        self.counts["saves"] += 1

    async def _reaper(self) -> None:
        engine = begin(Engine(self._url, Options(provenance=False, spool=None)), asyncio.get_running_loop())
        await _until(engine.open)
        while not self._stopped:
            await asyncio.sleep(self._chance.expovariate(1 / 900))
            try:
                done = await reap(Work(self._store(), self._url), engine, horizon=900, dry_run=False)
            except AqrecError:
                self.counts["failed"] += 1
            else:
                self.counts["reaped"] += sum(run.ended for run in done.runs)
        await engine.close()

    async def _purger(self) -> None:
        """Delete ended runs, and purge what is deleted."""
        engine = begin(Engine(self._url, Options(provenance=False, spool=None)), asyncio.get_running_loop())
        await _until(engine.open)
        policy = Policy(older_than=0, keep_last=2)
        while not self._stopped:
            await asyncio.sleep(self._chance.expovariate(1 / 1800))
            try:
                await retain(Work(self._store(), self._url), engine, policy, dry_run=False)
                done = await purge(Work(self._store(), self._url), engine, older_than=0, dry_run=False)
            except AqrecError:
                self.counts["failed"] += 1
            else:
                self._purged.update(run.run_id for run in done.runs)
                self.counts["purged"] += len(done.runs)
        await engine.close()

    async def _collector(self) -> None:
        while not self._stopped:
            await asyncio.sleep(self._chance.expovariate(1 / 900))
            try:
                done = await collect(Work(self._store(), self._url), grace=LEAST_GRACE, dry_run=False)
            except AqrecError:
                self.counts["failed"] += 1
            else:
                for orphan in done.orphans:
                    self.counts[f"collected {orphan.kind}"] += 1

    async def _merger(self) -> None:
        chance = self._chance
        while not self._stopped:
            await asyncio.sleep(chance.expovariate(1 / (0.4 * self._rest)))
            work = asyncio.create_task(self._merge(Catalog(self._store())))
            if chance.random() < 0.1:  # its process dies
                await asyncio.wait([work], timeout=chance.expovariate(1))
                work.cancel()
            try:
                self.counts["merged histories"] += await work
            except asyncio.CancelledError:
                self.counts["died"] += 1
            except AqrecError:
                self.counts["failed"] += 1

    async def _merge(self, catalog: Catalog) -> int:
        done = await merge_histories(
            catalog, steps=self._chance.randint(1, 3), own=self._chance.random() < 0.7
        )
        notes = await read_notes(catalog.store)
        await catalog.refresh()
        now = int((EPOCH + asyncio.get_running_loop().time()) * 1000)
        self.counts["swept"] += await sweep(catalog, notes, now - self._chance.choice([0, 0, 5_000]))
        return done.sources

    async def _start(self, engine: Engine, run_id: str) -> None:
        state = engine.run_state(RunDocument(run_id=run_id), made_id=True)
        self._state = getattr(self, "_state", {}) | {run_id: state}
        engine.run_started(state)
        clock = engine.clock.now
        engine.post(
            RunCreated(
                clock=clock(), run_id=run_id, experiment_id="e", experiment_name="alpha", name="n", created=1
            )
        )
        engine.post(StatusSet(clock=clock(), run_id=run_id, status="RUNNING", time=1))

    async def _log(self, engine: Engine, run_id: str, turn: int) -> None:
        import msgspec

        key = f"p{turn}"
        packed = msgspec.Raw(values.pack({key: turn}))
        engine.post(ParamsLogged(clock=engine.clock.now(), run_id=run_id, params=packed))
        for part in range(self._chance.randint(1, self._flushes)):
            first = 10 * (turn * self._flushes + part)
            steps = [first + more for more in range(self._chance.randint(0, 3))]
            for step in steps:
                self._state[run_id].points.log(step, {"m": float(step)})
            if self._chance.random() < 0.7:
                await engine.flush()
                self._params.setdefault(run_id, set()).add(key)
                self._steps.setdefault(run_id, set()).update(steps)
                self.counts["flushes"] += 1

    async def _end(self, engine: Engine, run_id: str) -> None:
        state = self._state[run_id]
        engine.run_stopped(state)
        engine.post(StatusSet(clock=engine.clock.now(), run_id=run_id, status="FINISHED", time=2))
        await engine.seal_early(state)
        await engine.acknowledge()
        self._ended.add(run_id)
        await _until(lambda: engine.run_ended(state))
        self.counts["ends"] += 1

    async def _folder(self) -> None:
        chance = self._chance
        catalog = Catalog(self._store())
        while not self._stopped:
            await asyncio.sleep(chance.expovariate(1 / (0.8 * self._rest)))
            if chance.random() < 0.3:
                catalog = Catalog(self._store())
            work = asyncio.create_task(
                fold(catalog, most=chance.randint(1, 4), grace=chance.choice([0.0, 0.0, 5.0]))
            )
            if chance.random() < 0.1:  # its process dies
                await asyncio.wait([work], timeout=chance.expovariate(1))
                work.cancel()
            try:
                done = await work
            except asyncio.CancelledError:
                self.counts["died"] += 1
                catalog = Catalog(self._store())
            except AqrecError:
                self.counts["failed"] += 1
            else:
                self.counts["overtaken" if done is None else "folded"] += 1

    async def _reader(self, *, long: bool) -> None:
        catalog = Catalog(self._store())
        while not self._stopped:
            await asyncio.sleep(self._chance.expovariate(1 / (0.8 * self._rest)))
            await self._look(catalog if long else Catalog(self._store()))

    async def _look(self, catalog: Catalog, *, last: bool = False) -> None:
        params = {run_id: set(keys) for run_id, keys in self._params.items()}
        steps = {run_id: set(known) for run_id, known in self._steps.items()}
        purged = set(self._purged)
        ended, saved = set(self._ended), {run_id: list(known) for run_id, known in self._saved.items()}
        try:
            await catalog.refresh()
        except ObjectNotFoundError as error:
            self.violations.append(str(error))
            return
        self.counts["reads"] += 1
        for run_id, keys in params.items():
            doc = catalog.runs.get(run_id)
            if run_id in purged and (doc is None or doc.known or doc.params):
                self.violations.append(f"{run_id} has come back")
            if doc is not None and doc.purged:
                steps.pop(
                    run_id, None
                )  # it had ended, by itself or because its writer slept, and was deleted
                continue
            if doc is None or not doc.known or not keys <= doc.params.keys():
                self.violations.append(f"{run_id} lacks params of {sorted(keys)}")
            elif run_id in ended and doc.status != "FINISHED":
                self.violations.append(f"{run_id} has not ended")
            elif last and self._reapers and run_id in self._dead and doc.status != "FAILED":
                self.violations.append(f"{run_id} was not given up, it is {doc.status}")
            if doc is not None:
                held = {part.key for ref in doc.artifacts.values() for part in ref.parts}
                if lost := [key for key in saved.get(run_id, ()) if key not in held & self._space.keys()]:
                    await catalog.refresh()
                    if not catalog.runs[run_id].purged:  # while it was looked at
                        self.violations.append(f"{run_id} lacks {lost}")
        if self.violations or not steps or self._chance.random() >= self._curious:
            return
        run_id = self._chance.choice(sorted(steps))

        async def document() -> RunDocument:
            await catalog.refresh()
            return copy.deepcopy(catalog.runs[run_id])

        try:
            frame = await read_metric_history(catalog.store, document, "m")
        except ObjectNotFoundError as error:
            self.violations.append(str(error))
            return
        found = Counter(int(step) for step in frame["step"])
        self.counts["histories"] += 1
        if not steps[run_id] <= found.keys():
            self.violations.append(f"{run_id} lacks points {sorted(steps[run_id] - found.keys())}")
        if found and max(found.values()) > 1:
            self.violations.append(f"{run_id} has points twice: {found}")


def _merged(key: str) -> bool:
    return key.startswith("journal/") and "_" in key


async def _until(work: Callable[[], Awaitable[object]]) -> None:
    """Try again until the store takes it."""
    while True:
        try:
            await work()
        except StorageError:
            await asyncio.sleep(1)
        else:
            return


def simulate(seed: int, **shape: Any) -> Simulation:
    """Run one interleaving, a `Simulation` of the given shape, to its end."""
    loop = VirtualLoop()
    try:
        with Clock(loop, fanout=2):
            simulation = Simulation(seed, **shape)
            loop.run_until_complete(simulation.run())
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
    return simulation
