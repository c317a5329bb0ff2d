"""Template process of the kill tests: forks a child a job, lets it record, and kills it.

It has imported all that recording needs and started nothing, so a child costs a fork. A job is a line of JSON on standard
input, ``{"mode", "url", "storage", "spool", "log", "seed", "delay"}``; the answer is a line ``{"killed": CLOCK_MONOTONIC in ns, "alive": bool}``,
where `alive` says that the signal met a living child.

A child writes what it did to ``log``, one line each, behind the call: ``ns kind run n``. Lines of kind ``flushed``, ``saved``,
``ended`` acknowledge. Nothing else of it is promised, so the parent can tell what was lost and how old it was.
"""

import json
import os
import random
import select
import signal
import sys
import time
import traceback
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd  # noqa: F401 - imported here, not in each child
import pyarrow.parquet  # noqa: F401
import yaml  # noqa: F401

import aqrec.artifacts
import aqrec.recording._artifacts  # noqa: F401
from aqrec.options import Options
from aqrec.sync import ExperimentManager, Recorder

POINTS = 200_000
BIG = 2_500_000
"""Numbers of a 20 MB array."""


class Victim:
    """A process that records until it is killed."""

    def __init__(self, url: str, storage: dict[str, Any] | None, log: int, seed: int) -> None:
        self.random = random.Random(seed)
        self.log = log
        self.counters: dict[tuple[str, str], int] = {}
        self.manager = ExperimentManager(url, options=Options(provenance=False), storage_options=storage)
        self.experiment = self.manager.create_exp("kill")

    def note(self, kind: str, run: str = "-", n: int = 0) -> None:
        os.write(self.log, b"%d %s %s %d\n" % (time.monotonic_ns(), kind.encode(), run.encode(), n))

    def next(self, kind: str, run: str) -> int:
        """Return the number of this call of a kind: 0, 1, …"""
        n = self.counters.get((kind, run), 0)
        self.counters[kind, run] = n + 1
        return n

    def begin(self) -> Recorder:
        recorder = self.experiment.create_recorder()
        recorder.start_run()
        self.note("begun", recorder.id)
        return recorder

    def do(self, recorder: Recorder, kind: str) -> None:
        run = recorder.id
        n = self.next(kind, run)
        if kind == "step":
            recorder.log_metrics(step=n // 2, step_=n)
        elif kind == "plain":
            recorder.log_metrics(plain=n)
        elif kind == "pair":
            recorder.log_metrics(step=n, left=n, right=-n)
        elif kind == "param":
            recorder.log_params(**{f"p{n:04}": n})
        elif kind == "tag":
            recorder.set_tags(tag=n)
        elif kind == "object":
            recorder.save_objects(**{f"o{n:04}.json": {"n": n, "text": "x" * self.random.randrange(5_000)}})
            self.note("saved", run, n)
        self.note(kind, run, n)

    def many(self) -> None:
        """Record into two or three runs at once; end some, begin others."""
        runs = [self.begin() for _ in range(self.random.choice((2, 3)))]
        kinds = ["step", "plain", "pair", "param", "tag", "object", "flush", "end", "pause"]
        weights = [40, 40, 40, 4, 4, 1, 1, 0.3, 20]
        os.write(1, b"r")
        while True:
            (kind,) = self.random.choices(kinds, weights)
            recorder = self.random.choice(runs)
            if kind == "flush":
                recorder.flush()
                self.note("flushed")
            elif kind == "end":
                self.note("ends", recorder.id)
                recorder.end_run()
                self.note("ended", recorder.id)
                runs.remove(recorder)
                runs.append(self.begin())
            elif kind == "pause":
                time.sleep(0.0005)
            else:
                self.do(recorder, kind)

    def end(self) -> None:
        """End a run of many points, which seals them."""
        recorder = self.begin()
        for n in range(POINTS):
            recorder.log_metrics(step=n // 2, step_=n)
        recorder.flush()
        self.note("step", recorder.id, POINTS - 1)
        self.note("flushed", recorder.id)
        os.write(1, b"r")
        recorder.end_run()
        self.note("ended", recorder.id)

    def save(self) -> None:
        """Save large arrays, one after another."""
        recorder = self.begin()
        os.write(1, b"r")
        for n in range(1_000):
            recorder.save_objects(**{f"big{n}.npy": np.full(BIG, n, np.float64)})
            self.note("saved", recorder.id, n)


def serve() -> None:
    """Do the jobs on standard input; the arguments are modules that their stores need."""
    for name in sys.argv[1:]:
        import_module(name)
    for line in sys.stdin:
        job = json.loads(line)
        ready, tell = os.pipe()
        child = os.fork()
        if child == 0:
            os.dup2(tell, 1)
            log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.environ["AQREC_SPOOL"] = job["spool"]
                getattr(Victim(job["url"], job["storage"], log, job["seed"]), job["mode"])()
                signal.pause()
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        os.close(tell)
        if not (select.select([ready], [], [], 60)[0] and os.read(ready, 1)):
            raise RuntimeError(f"no sign of life from {job}")
        time.sleep(job["delay"])
        killed = time.monotonic_ns()
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        os.close(ready)
        alive = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print(json.dumps({"killed": killed, "alive": alive}), flush=True)


if __name__ == "__main__":
    serve()
