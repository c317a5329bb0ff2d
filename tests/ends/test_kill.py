"""What a SIGKILL leaves: all that was acknowledged, all but the last milliseconds of the rest, and nothing else."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from aqrec.options import Options
from aqrec.sync import ExperimentManager, Recorder, sync_spool
from tests._support import ROOT, run_script
from tests._support.services import Location
from tests.ends.victim import BIG, POINTS

PROMISE = 0.020
"""Seconds after which a call is with the operating system."""
ALLOWANCE = 0.030
"""Seconds that three kills in four may add: the interpreter's switch interval (5 ms a switch) and the scheduler."""
WORST = 1.0
"""Seconds that any kill may add: a machine whose disk or processors belong to somebody else for a while."""

METRICS = {"step": {"step_": 1}, "plain": {"plain": 1}, "pair": {"left": 1, "right": -1}}
"""Key and sign of the values that the victim's calls of a kind log; the n-th call logs n."""


class Entry(NamedTuple):
    at: int
    kind: str
    run: str
    n: int


class Killed(NamedTuple):
    """A child's own account and the moment it was killed, in ns of CLOCK_MONOTONIC."""

    url: str
    storage: dict[str, Any] | None
    spool: str
    entries: list[Entry]
    at: int
    alive: bool

    def opened(self) -> ExperimentManager:
        """Return the store as another process would open it."""
        return ExperimentManager(self.url, options=Options(provenance=False), storage_options=self.storage)


class Template:
    """The forking process; `kill` does a number of jobs while their results are judged."""

    def __init__(self, folder: Path, *modules: str) -> None:
        self._folder = folder
        # One thread, or forking would not be safe.
        env = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.ends.victim", *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=env,
        )
        self._jobs = 0

    def kill(
        self, mode: str, times: int, seed: int, longest: float, bucket: Location | None = None
    ) -> Iterator[Killed]:
        """Kill `times` children, each up to `longest` seconds after it began in earnest."""
        chance = random.Random(f"{mode} {seed}")
        jobs: list[dict[str, Any]] = []
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        for _ in range(times):
            self._jobs += 1
            folder = self._folder / f"{self._jobs}"
            folder.mkdir()
            job = {
                "mode": mode,
                "url": str(folder / "store") if bucket is None else f"{bucket.url}/{self._jobs}",
                "storage": None if bucket is None else bucket.storage_options,
                "spool": str(folder / "spool"),
                "log": str(folder / "log"),
                "seed": chance.randrange(2**31),
                "delay": chance.uniform(0, longest),
            }
            jobs.append(job)
            self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        for job in jobs:
            answer = json.loads(self._process.stdout.readline())
            account = _entries(Path(job["log"]))
            yield Killed(job["url"], job["storage"], job["spool"], account, answer["killed"], answer["alive"])

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def _entries(path: Path) -> list[Entry]:
    lines = path.read_text().splitlines(keepends=True)
    parts = [line.split() for line in lines if line.endswith("\n")]
    return [Entry(int(at), kind, run, int(n)) for at, kind, run, n in parts]


@pytest.fixture
def template(tmp_path: Path) -> Iterator[Template]:
    template = Template(tmp_path)
    yield template
    template.close()


class Account:
    """What a child says it did, by run: how many calls of each kind, and how many of them were acknowledged."""

    def __init__(self, killed: Killed) -> None:
        self.killed = killed
        self.made: dict[tuple[str, str], list[int]] = {}
        self.acknowledged: dict[tuple[str, str], int] = {}
        self.ended: set[str] = set()
        self.runs: dict[str, int] = {}
        self.ending = ""
        for entry in killed.entries:
            if entry.kind == "begun":
                self.runs[entry.run] = entry.at
            elif entry.kind in ("flushed", "saved", "ended"):
                # All are acknowledged by the same commit, whichever run it was asked for.
                self.acknowledged.update({key: len(times) for key, times in self.made.items()})
                if entry.kind == "ended":
                    self.ended.add(entry.run)
                if entry.kind == "saved":
                    self.acknowledged["object", entry.run] = entry.n + 1
            elif entry.kind == "ends":
                self.ending = entry.run
            else:
                self.made.setdefault((entry.kind, entry.run), []).append(entry.at)

    def was_acknowledged(self, run: str) -> bool:
        return any(key[1] == run for key in self.acknowledged)

    def judge(self, kind: str, run: str, found: int) -> float:
        """Check the number of calls found; return the age of the oldest that is lost, in seconds, or 0."""
        made = self.made.get((kind, run), [])
        where = f"{kind} of run {run} in {self.killed.url}"
        assert found >= self.acknowledged.get((kind, run), 0), f"acknowledged and lost: {where}"
        assert found <= len(made) + 1, f"invented: {where}"
        return (self.killed.at - made[found]) / 1e9 if found < len(made) else 0.0


def _check_many(killed: Killed) -> float:
    """Check all runs of a killed process; return the age of the oldest call that was lost."""
    account = Account(killed)
    oldest = 0.0
    with killed.opened() as manager:
        recorders = manager.get_exp(experiment_name="kill").list_recorders()
        # A run whose beginning was not noted any more may be there, too.
        assert len(set(recorders) - set(account.runs)) <= 1
        for run, begun in account.runs.items():
            if run not in recorders:
                assert not account.was_acknowledged(run), f"run {run} is lost"
                oldest = max(oldest, (killed.at - begun) / 1e9)
                continue
            recorder = recorders[run]
            if run in account.ended:
                assert recorder.status == "FINISHED"
            elif recorder.status != "RUNNING":
                assert recorder.status == "FINISHED"
                assert account.ending == run, f"nobody ended run {run}"
            for kind, keys in METRICS.items():
                found = [_calls(recorder, key, sign, kind) for key, sign in keys.items()]
                assert len(set(found)) == 1, f"{kind}: a call is torn: {found}"
                oldest = max(oldest, account.judge(kind, run, found[0]))
            params = recorder.list_params()
            assert params == {f"p{n:04}": n for n in range(len(params))}
            oldest = max(oldest, account.judge("param", run, len(params)))
            tag = recorder.list_tags().get("tag", -1)
            oldest = max(oldest, account.judge("tag", run, tag + 1))
            names = recorder.list_artifacts()
            assert names == [f"o{n:04}.json" for n in range(len(names))]
            for n, name in enumerate(names):
                assert recorder.load_object(name)["n"] == n
            account.judge("object", run, len(names))
    return oldest


def _calls(recorder: Recorder, key: str, sign: int, kind: str) -> int:
    """Return how many calls are in a history that must be the whole beginning of what was logged."""
    frame = recorder.metric_history(key)
    count = len(frame)
    assert np.array_equal(frame["value"].to_numpy(), sign * np.arange(count, dtype=np.float64)), key
    if kind == "plain":
        assert frame["step"].isna().all()
    else:
        steps = np.arange(count) // (2 if kind == "step" else 1)
        assert np.array_equal(frame["step"].to_numpy(np.int64), steps), key
    return count


def _kill_many(template: Template, times: int, seed: int) -> None:
    lost = sorted(_check_many(killed) for killed in template.kill("many", times, seed, 0.15))
    assert lost[len(lost) * 3 // 4] <= PROMISE + ALLOWANCE, lost
    assert lost[-1] <= PROMISE + WORST, lost


def _kill_bucket(template: Template, bucket: Location, times: int, seed: int) -> None:
    """What a bucket has not got of a killed process lies in its spool, as young as on a folder, until `sync` sends it."""
    lost: list[float] = []
    sent = 0
    for killed in template.kill("many", times, seed, 0.4, bucket):
        for _ in range(2):
            reports = sync_spool(storage_options=killed.storage, folder=killed.spool)
            assert [report.reason for report in reports if report.state != "sent"] == []
            sent += sum(report.objects for report in reports)
        assert reports == [], "nothing is left to be sent again"
        lost.append(_check_many(killed))
    lost.sort()
    assert sent > 0
    assert lost[len(lost) * 3 // 4] <= PROMISE + ALLOWANCE, lost
    assert lost[-1] <= PROMISE + WORST, lost


def _kill_ending(template: Template, times: int, seed: int) -> None:
    for killed in template.kill("end", times, seed, 0.3):
        account = Account(killed)
        (run,) = account.runs
        with killed.opened() as manager:
            recorder = manager.get_recorder(recorder_id=run)
            assert _calls(recorder, "step_", 1, "step") == POINTS
            assert recorder.list_metrics() == {"step_": POINTS - 1}
            assert recorder.status in ({"FINISHED"} if run in account.ended else {"RUNNING", "FINISHED"})
        _check_no_litter(killed.url)


def _kill_saving(template: Template, times: int, seed: int) -> None:
    for killed in template.kill("save", times, seed, 0.25):
        saved, arrays = _arrays(killed)
        # The last one may be there without the acknowledgement having been noted.
        assert list(arrays) in (_names(saved), _names(saved + 1))
        for n, array in enumerate(arrays.values()):
            assert np.array_equal(array, np.full(BIG, n, np.float64))
        _check_no_litter(killed.url)


def _names(count: int) -> list[str]:
    return [f"big{n}.npy" for n in range(count)]


def _arrays(killed: Killed) -> tuple[int, dict[str, Any]]:
    """Return how many arrays were acknowledged, and those that are there, in the order they were saved."""
    (run,) = Account(killed).runs
    saved = sum(entry.kind == "saved" for entry in killed.entries)
    with killed.opened() as manager:
        recorder = manager.get_recorder(recorder_id=run)
        assert recorder.status == "RUNNING"
        names = sorted(recorder.list_artifacts(), key=lambda name: (len(name), name))
        return saved, {name: recorder.load_object(name) for name in names}


def _check_no_litter(url: str) -> None:
    """Check that all names in the folder are the format's own: nothing temporary, nothing half-written."""
    root = Path(url)
    files = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
    assert {path.parts[0] for path in files} <= {"aqrec.json", "catalog", "journal", "runs"}, files
    assert not [path for path in files if path.suffix in (".tmp", ".part")], files


def test_a_kill_while_recording_loses_nothing_acknowledged_and_at_most_the_last_moment(template):
    """Two or three runs at once, killed at any moment: prefixes of each history, and no more than was logged."""
    _kill_many(template, 40, 1)


def test_a_kill_while_recording_to_a_bucket_loses_no_more_once_its_spool_is_sent(tmp_path, s3_server):
    """Flushes, ends and seals of some runs are under way when it comes, and most rows have not been put yet."""
    template = Template(tmp_path, "s3fs", "aiobotocore.session")
    try:
        _kill_bucket(template, s3_server.location(), 5, 1)
    finally:
        template.close()


def test_a_kill_while_a_run_ends_keeps_every_point_once(template):
    """Sealing moves 200,000 points from the journal to Parquet; at no moment are they nowhere or twice."""
    _kill_ending(template, 6, 1)


def test_a_kill_while_a_large_artifact_is_saved_leaves_it_whole_or_absent(template):
    """20 MB arrays are there from their first to their last byte, or not at all, and no temporary name is left."""
    _kill_saving(template, 6, 1)


KILLED_EARLY = """
    import glob, os, signal, sys, time
    from aqrec.options import Options
    from aqrec.sync import R

    url = sys.argv[1]

    class Slow:
        def find_spec(self, name, path=None, target=None):
            while name == "numpy":
                time.sleep(1)

    sys.meta_path.insert(0, Slow())
    R.configure(uri=url, options=Options(provenance=False))
    R.start_exp(experiment_name="kill")
    for n in range(1000):
        R.log_metrics(step=n, loss=n)
    assert "numpy" not in sys.modules
    while not (glob.glob(f"{url}/catalog/events/*") and glob.glob(f"{url}/journal/*/*")):
        time.sleep(0.001)
    time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_loses_nothing_for_numpy_not_being_loaded_yet(tmp_path):
    """Loading it takes seconds on a busy machine; here it never ends."""
    assert run_script(KILLED_EARLY, str(tmp_path)).returncode == -signal.SIGKILL
    with ExperimentManager(str(tmp_path), options=Options(provenance=False)) as manager:
        (recorder,) = manager.list_recorders(experiment_name="kill").values()
        assert recorder.metric_history("loss")["value"].tolist() == list(range(1000))


KILLED_BETWEEN = """
    import os, signal, sys
    from aqrec.options import Options
    from aqrec.stores import WrapperStore, open_store, register_store
    from aqrec.sync import ExperimentManager

    class Deadly(WrapperStore):
        puts = 0

        async def put_stream(self, key, write):
            result = await super().put_stream(key, write)
            if key.endswith("thing.json"):
                Deadly.puts += 1
                if Deadly.puts == 2:
                    os.kill(os.getpid(), signal.SIGKILL)
            return result

    register_store("deadly", lambda url, _: Deadly(open_store(sys.argv[1])))
    manager = ExperimentManager("deadly://store", options=Options(provenance=False))
    recorder = manager.create_exp("kill").create_recorder()
    recorder.start_run()
    recorder.save_objects(**{"thing.json": "old"})
    recorder.save_objects(**{"thing.json": "new"})
"""


def test_a_kill_while_an_artifact_is_replaced_leaves_the_old_or_the_new_one(local_url):
    """What was acknowledged under a name stays until something else is."""
    assert run_script(KILLED_BETWEEN, local_url).returncode == -signal.SIGKILL
    with ExperimentManager(local_url, options=Options(provenance=False)) as manager:
        (recorder,) = manager.list_recorders(experiment_name="kill").values()
        assert recorder.load_object("thing.json") in ("old", "new")


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_hundreds_of_kills_while_recording_to_a_bucket(tmp_path, s3_server):
    template = Template(tmp_path, "s3fs", "aiobotocore.session")
    try:
        for seed in range(2, 12):
            _kill_bucket(template, s3_server.location(), 40, seed)
    finally:
        template.close()


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_two_thousand_kills(template):
    """The same, long enough to meet rare moments."""
    for seed in range(2, 12):
        _kill_many(template, 170, seed)
        _kill_ending(template, 15, seed)
        _kill_saving(template, 15, seed)
