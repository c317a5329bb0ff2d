"""Finding runs: a store of many runs is recorded, folded, and searched; histories are read and thinned out.

Each run has 10 params, 10 metrics and 5 tags. Searches are measured in processes of their own, from their start: what a script pays
for its imports counts. The peer of a cold search is a process that imports pandas and pyarrow and reads the same columns of the same
Parquet file; that of a search beside MLflow is MLflow on SQLite (``python benchmarks/peers.py --install``), with the same 10,000 runs
and the same filter.

``--quick`` takes 10,000 runs instead of 100,000; ``--runs`` any number. A row of ``build`` tells what recording and folding took, with
the requests that a bucket would have had.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks._table import Row, show

ROOT = Path(__file__).resolve().parents[1]
PEER = ROOT / ".cache" / "peers" / "bin" / "python"
FILTER = "metrics.m1 > 0.9 AND params.model = 'lgb'"
MODELS = ("lgb", "ridge", "mlp")
OWN_FILES = "catalog/snapshots/*.parquet"

OURS = f"""
import resource, sys, time
from aqrec.sync import ExperimentManager
with ExperimentManager(sys.argv[1]) as manager:
    began = time.perf_counter()
    frame = manager.search_records(filter_string={FILTER!r})
    first = time.perf_counter()
    print(len(frame), first - began, end=" ")
    for text in ({FILTER!r}, "metrics.m2 > 0.95", {FILTER!r}):
        began = time.perf_counter()
        manager.search_records(filter_string=text)
        warm = time.perf_counter() - began
    print(warm, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""
BARE = """
import sys
import pandas
import pyarrow.parquet as pq
columns = ["run_id", "experiment_id", "status", "start_time", "end_time", "params", "tags", "metrics"]
for path in sys.argv[1:]:
    table = pq.read_table(path, columns=columns)
print(table.num_rows)
"""
MLFLOW = f"""
import sys, time
import mlflow
mlflow.set_tracking_uri("sqlite:///" + sys.argv[1])
client = mlflow.MlflowClient()
for _ in range(3):
    began = time.perf_counter()
    frame = mlflow.search_runs(search_all_experiments=True, filter_string={FILTER!r}, max_results=50000)
    print(len(frame), time.perf_counter() - began)
"""
FILL = """
import random, sqlite3, sys, uuid
import mlflow
path, count = sys.argv[1], int(sys.argv[2])
mlflow.set_tracking_uri("sqlite:///" + path)
experiment = mlflow.set_experiment("exp0").experiment_id
with mlflow.start_run():
    mlflow.log_metric("m0", 0.0)
rng = random.Random(0)
runs, params, metrics, latest, tags = [], [], [], [], []
for number in range(count):
    run = uuid.uuid4().hex
    runs.append((run, f"trial-{number}", "LOCAL", "me", "FINISHED", number, number + 1, "active", "file:///x", experiment))
    for key in range(10):
        value = rng.random()
        metrics.append((f"m{key}", value, number, run, 1, 0))
        latest.append((f"m{key}", value, number, 1, 0, run))
    params += [(f"p{key}", str(round(rng.random(), 3)), run) for key in range(8)]
    params += [("model", rng.choice(["lgb", "ridge", "mlp"]), run), ("depth", str(rng.randrange(10)), run)]
    tags += [(f"t{key}", f"value {rng.randrange(5)}", run) for key in range(5)]
base = sqlite3.connect(path)
with base:
    base.executemany(
        "insert into runs (run_uuid, name, source_type, user_id, status, start_time, end_time, lifecycle_stage,"
        " artifact_uri, experiment_id) values (?,?,?,?,?,?,?,?,?,?)", runs)
    base.executemany("insert into metrics (key, value, timestamp, run_uuid, step, is_nan) values (?,?,?,?,?,?)", metrics)
    base.executemany(
        "insert into latest_metrics (key, value, timestamp, step, is_nan, run_uuid) values (?,?,?,?,?,?)", latest)
    base.executemany("insert into params (key, value, run_uuid) values (?,?,?)", params)
    base.executemany("insert into tags (key, value, run_uuid) values (?,?,?)", tags)
"""


def record(url: str, count: int) -> float:
    """Record runs; return the seconds."""
    from aqrec.options import Options
    from aqrec.sync import ExperimentManager

    rng = random.Random(0)
    options = Options(provenance=False, seal="never", upkeep="never", close_timeout=600)
    began = time.perf_counter()
    with ExperimentManager(url, options=options) as manager:
        experiments = [manager.create_exp(f"exp{number}") for number in range(10)]
        for number in range(count):
            recorder = experiments[number % 10].create_recorder(f"trial-{number}")
            recorder.log_batch(
                {f"m{key}": rng.random() for key in range(10)},
                {
                    **{f"p{key}": round(rng.random(), 3) for key in range(8)},
                    "model": rng.choice(MODELS),
                    "depth": rng.randrange(10),
                },
                {f"t{key}": f"value {rng.randrange(5)}" for key in range(5)},
                step=1,
            )
    return time.perf_counter() - began


def fold(url: str) -> float:
    """Fold the catalog completely; return the seconds."""
    from aqrec.sync import ExperimentManager

    with ExperimentManager(url) as manager:
        began = time.perf_counter()
        manager.compact(grace=0)
        return time.perf_counter() - began


async def requests(count: int) -> list[Row]:
    """Count the requests of a bucket while runs are recorded, folded and searched."""
    import aqrec
    from aqrec.options import Options
    from aqrec.stores import CountingStore, MemoryStore
    from tests.engine.support import serve

    opened: list[CountingStore] = []

    def open_it() -> CountingStore:
        opened.append(CountingStore(MemoryStore("benchmark", append=False)))
        return opened[-1]

    def taken() -> float:
        total = sum((store.requests for store in opened), Counter[str]())
        for store in opened:
            store.reset()
        return float(total.total() - total["probe_create"])

    url = serve(open_it)
    await asyncio.to_thread(record, url, count)
    rows = [Row(what=f"requests to record {count:,} runs on a bucket", unit="", ours=taken(), better="lower")]
    await asyncio.to_thread(fold, url)
    rows.append(Row(what="requests to fold them", unit="", ours=taken(), better="lower"))
    async with aqrec.ExperimentManager(url, options=Options(upkeep="never")) as manager:
        for what, peer in (("cold", 10.0), ("warm", 1.0)):
            await manager.search_records(filter_string=FILTER)
            name = f"requests of a {what} search; peer: what is allowed"
            rows.append(Row(what=name, unit="", ours=taken(), peer=peer, bar=1, better="lower"))
    return rows


def run(code: str, *arguments: str, python: str = sys.executable) -> tuple[float, list[str]]:
    """Return the seconds of a process from its start, and what it printed."""
    began = time.perf_counter()
    done = subprocess.run(
        [python, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true"},
    )
    return time.perf_counter() - began, done.stdout.split()


def best(code: str, *arguments: str, python: str = sys.executable, times: int = 3) -> tuple[float, list[str]]:
    """Return the fastest of several processes."""
    return min((run(code, *arguments, python=python) for _ in range(times)), key=lambda one: one[0])


def searches(url: str, count: int) -> list[Row]:
    """Search in processes of their own."""
    files = sorted(map(str, Path(url).glob(OWN_FILES)))
    bare, _ = best(BARE, *files)
    cold, (found, first, warm, peak) = best(OURS, url)
    what = f"{count:,} runs, {found} found"
    return [
        Row(
            what=f"cold search, {what}; peer: imports and a bare read",
            unit="s",
            ours=cold,
            peer=bare,
            bar=0.5,
            better="lower",
        ),
        Row(
            what="of that the search itself, with the import of pandas",
            unit="s",
            ours=float(first),
            better="lower",
        ),
        Row(what="warm search; peer: cold", unit="s", ours=float(warm), peer=cold, bar=5, better="lower"),
        Row(what="peak memory of both", unit="B", ours=float(peak), better="lower"),
    ]


def beside_mlflow(folder: Path, python: Path, times: int) -> list[Row]:
    """Search the same 10,000 runs."""
    what = "search of 10,000 runs, first in its process; peer: MLflow on SQLite"
    if not python.exists():
        return [Row(what=what, unit="s", bar=20, better="lower", not_run=f"no {python}")]
    url = str(folder / "beside")
    record(url, 10_000)
    fold(url)
    base = str(folder / "mlflow.db")
    run(FILL, base, "10000", python=str(python))
    seconds, told = best(MLFLOW, base, python=str(python), times=times)
    cold, ours = best(OURS, url, times=times)
    return [
        Row(what=what, unit="s", ours=float(ours[1]), peer=float(told[1]), better="lower"),
        Row(
            what="the same again; peer: MLflow",
            unit="s",
            ours=float(ours[2]),
            peer=float(told[5]),
            bar=20,
            better="lower",
        ),
        Row(what="the same, whole processes", unit="s", ours=cold, peer=seconds, better="lower"),
    ]


def histories(folder: Path, points: int) -> list[Row]:
    """Read a long history, whole and thinned out."""
    import pyarrow.parquet as pq

    from aqrec.options import Options
    from aqrec.reading import thinned
    from aqrec.reading._history import read_points
    from aqrec.sync import open_recorder

    url = str(folder / "long")
    with open_recorder(url, options=Options(provenance=False, close_timeout=600)) as recorder:
        for step in range(points):
            recorder.log_metrics(step=step, loss=step % 977)
        run_id = recorder.id
    path = Path(url) / "runs" / run_id / "metrics.parquet"
    from aqrec.sync import ExperimentManager

    ours, peers, thin = [], [], []
    with ExperimentManager(url) as manager:
        found = manager.get_recorder(recorder_id=run_id)
        for _ in range(4):
            began = time.perf_counter()
            frame = found.metric_history("loss")
            ours.append(time.perf_counter() - began)
            assert len(frame) == points
            began = time.perf_counter()
            pq.read_table(path, columns=["key", "step", "timestamp", "value"]).to_pandas()
            peers.append(time.perf_counter() - began)
        read = read_points(found._run.engine.store, found._run.document, ["loss"])
        (whole,) = found._run.session.call(read).values()
        for _ in range(4):
            began = time.perf_counter()
            few = thinned(whole, 1000)
            thin.append(time.perf_counter() - began)
            assert len(few.values) <= 1000
    return [
        Row(
            what=f"history of {points:,} points; peer: pyarrow and pandas",
            unit="s",
            ours=min(ours),
            peer=min(peers),
            bar=0.7,
            better="lower",
        ),
        Row(
            what="thinned out to 1,000 points; peer: reading it",
            unit="s",
            ours=min(thin),
            peer=min(ours),
            bar=3,
            better="lower",
        ),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="10,000 runs, 200,000 points")
    parser.add_argument("--full", action="store_true", help="100,000 runs, the default")
    parser.add_argument("--runs", type=int, help="any number of runs")
    parser.add_argument(
        "--mlflow", type=Path, default=PEER, metavar="PYTHON", help="interpreter that has MLflow"
    )
    chosen = parser.parse_args()
    count = chosen.runs or (10_000 if chosen.quick else 100_000)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = str(folder / "lab")
        recorded, folded = record(url, count), fold(url)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
        size = float(sum(path.stat().st_size for path in Path(url).glob(OWN_FILES)))
        rows += [
            Row(what=f"record {count:,} runs", unit="runs/s", ours=count / recorded),
            Row(what="fold them into snapshots", unit="runs/s", ours=count / folded),
            Row(what="the snapshots", unit="B", ours=size, better="lower"),
            Row(what="peak memory of recording and folding", unit="B", ours=peak, better="lower"),
        ]
        rows += searches(url, count)
        rows += asyncio.run(requests(min(count, 10_000)))
        rows += histories(folder, 200_000 if chosen.quick else 1_000_000)
        rows += beside_mlflow(folder, chosen.mlflow, 1 if chosen.quick else 3)
    return 0 if show("Finding runs", rows) else 1


if __name__ == "__main__":
    sys.exit(main())
