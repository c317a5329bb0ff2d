"""The recorder's hot paths, each in a process of its own, against a physical limit or a stated budget in the same run.

usage: python benchmarks/recorder.py [--quick]

Where the peer is a budget (a time, an amount of memory), the peer's column shows the budget and the bar is 1 x.
"""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

TEN = {f"m{i}": 0.1 * i for i in range(10)}
_TEN_ROW = struct.Struct("<qq10d").pack


def _folder() -> str:
    return tempfile.mkdtemp(prefix="aqrec-bench-", dir=os.environ.get("AQREC_BENCH_DIR"))


def _per_call(function, calls: int, rounds: int, between) -> float:
    """Return the median over rounds of the mean seconds a call."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        function(calls)
        seconds.append((time.perf_counter() - start) / calls)
        between()
    return statistics.median(seconds)


def calls_sync(quick: bool) -> dict:
    from aqrec import Options
    from aqrec.sync import open_recorder

    folder = _folder()
    with open_recorder(folder, options=Options(provenance=False)) as recorder:
        log = recorder.log_metrics

        def one(calls: int) -> None:
            for step in range(calls):
                log(step=step, loss=0.5)

        def ten(calls: int) -> None:
            for step in range(calls):
                log(step=step, a=0.1, b=0.2, c=0.3, d=0.4, e=0.5, f=0.6, g=0.7, h=0.8, i=0.9, j=1.0)

        rounds = 10 if quick else 50
        result = {
            "one": _per_call(one, 2_000, rounds, recorder.flush),
            "ten": _per_call(ten, 2_000, rounds, recorder.flush) / 10,
        }
    shutil.rmtree(folder)
    return result


def calls_async(quick: bool) -> dict:
    import aqrec

    folder = _folder()

    async def main() -> dict:
        options = aqrec.Options(provenance=False)
        async with aqrec.open_recorder(folder, options=options) as recorder:
            log = recorder.log_metrics

            async def measure(body, points: int) -> float:
                seconds = []
                for _ in range(10 if quick else 50):
                    start = time.perf_counter()
                    await body()
                    seconds.append((time.perf_counter() - start) / 2_000 / points)
                    await recorder.flush()
                return statistics.median(seconds)

            async def one() -> None:
                for step in range(2_000):
                    await log(step=step, loss=0.5)

            async def ten() -> None:
                for step in range(2_000):
                    await log(step=step, a=0.1, b=0.2, c=0.3, d=0.4, e=0.5, f=0.6, g=0.7, h=0.8, i=0.9, j=1.0)

            return {"one": await measure(one, 1), "ten": await measure(ten, 10)}

    result = asyncio.run(main())
    shutil.rmtree(folder)
    return result


def _rows(steps: range) -> list[bytes]:
    """Encode ten metrics a step, from a dict."""
    rows: list[bytes] = []
    for step in steps:
        rows.append(_TEN_ROW(step, time.time_ns() // 1_000_000, *TEN.values()))  # noqa: PERF401 - a job's loop
    return rows


def _keyword_rows(steps: range) -> list[bytes]:
    """Encode ten metrics a step, each step behind a call with keywords."""
    rows: list[bytes] = []

    def add(step: int, **metrics: float) -> None:
        rows.append(_TEN_ROW(step, time.time_ns() // 1_000_000, *metrics.values()))

    for step in steps:
        add(step=step, m0=0.0, m1=0.1, m2=0.2, m3=0.3, m4=0.4, m5=0.5, m6=0.6, m7=0.7, m8=0.8, m9=0.9)
    return rows


def _write_alone(folder: str, calls: int, rows_of) -> None:
    """Encode, write and fdatasync, 16,384 rows at a time, with nothing around it."""
    path = Path(folder, "bare")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for first in range(0, calls, 16_384):
        payload = b"".join(rows_of(range(first, min(first + 16_384, calls))))
        os.write(descriptor, struct.pack("<II", len(payload), zlib.crc32(payload)) + payload)
        os.fdatasync(descriptor)
    os.close(descriptor)
    path.unlink()


def durable(quick: bool) -> dict:
    """Points a second, all acknowledged; and encode + write + fdatasync of the same rows alone.

    Three ways to pass ten metrics: a dict as it is, keywords, and a dict unpacked into keywords. What Python takes for calls of
    the last two kinds is in peers of their own: encoding behind a call with keywords, and calls that do nothing. All take
    turns of 200,000 calls, so that each meets the same weather.
    """
    from aqrec import Options
    from aqrec.sync import open_recorder

    calls = 200_000
    folder = _folder()
    with open_recorder(folder, options=Options(provenance=False, seal="never")) as recorder:
        log, log_batch = recorder.log_metrics, recorder.log_batch

        def mapping() -> None:
            for step in range(calls):
                log_batch(TEN, step=step)
            recorder.flush()

        def keywords() -> None:
            for step in range(calls):
                log(step=step, m0=0.0, m1=0.1, m2=0.2, m3=0.3, m4=0.4, m5=0.5, m6=0.6, m7=0.7, m8=0.8, m9=0.9)
            recorder.flush()

        def unpacked() -> None:
            for step in range(calls):
                log(step=step, **TEN)
            recorder.flush()

        def nothing(step: int, **metrics: float) -> None:
            pass

        def no_op_calls() -> None:
            for step in range(calls):
                nothing(step=step, **TEN)

        ways = {
            "bare": lambda: _write_alone(folder, calls, _rows),
            "mapping": mapping,
            "bare_keywords": lambda: _write_alone(folder, calls, _keyword_rows),
            "keywords": keywords,
            "unpacked": unpacked,
            "no_op_calls": no_op_calls,
        }
        mapping()
        found: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(7 if quick else 15):
            for name, way in ways.items():
                start = time.perf_counter()
                way()
                found[name].append(time.perf_counter() - start)
    shutil.rmtree(folder)
    rates = {name: calls * 10 / statistics.median(seconds) for name, seconds in found.items()}
    ratios = sorted(base / ours for base, ours in zip(found["bare"], found["mapping"], strict=True))
    return {**rates, "points": calls * 10, "low": ratios[0], "high": ratios[-1]}


def sealed(quick: bool) -> dict:
    """Bytes a point of a sealed history: six float32-like losses, two rates of four digits, a step-wise lr, a random walk."""
    import numpy as np

    from aqrec.sync import open_recorder

    folder = _folder()
    steps = 20_000 if quick else 100_000
    rng = np.random.default_rng(0)
    columns = {}
    for key in range(6):
        noise = rng.normal(0, 0.05, steps)
        columns[f"train/loss_{key}"] = (
            (2 / np.sqrt(np.arange(1, steps + 1)) + noise).astype(np.float32).tolist()
        )
    columns["rate/a"], columns["rate/b"] = (np.round(rng.random(steps), 4).tolist() for _ in range(2))
    columns["lr"] = [1e-3] * (steps // 2) + [1e-4] * (steps - steps // 2)
    columns["walk"] = np.cumsum(rng.normal(0, 1, steps)).tolist()
    clock = 1_760_000_000_000
    pauses = rng.integers(9, 12, steps).cumsum().tolist()
    with open_recorder(folder) as recorder:
        for step, row in enumerate(zip(*columns.values(), strict=True)):
            recorder.log_batch(
                dict(zip(columns, row, strict=True)), step=step, timestamp=clock + pauses[step]
            )
        identity = recorder.id
    size = Path(folder, "runs", identity, "metrics.parquet").stat().st_size
    shutil.rmtree(folder)
    return {"bytes": size / (steps * 10), "points": steps * 10}


def large(quick: bool) -> dict:
    """Record 50 million points (quick: 5): log, end, read one key; peak memory over what is there before and the result."""
    import psutil

    from aqrec import Options
    from aqrec.sync import ExperimentManager, open_recorder

    calls = 500_000 if quick else 5_000_000
    folder = _folder()
    process, peak, stop = psutil.Process(), [0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.005):
            peak[0] = max(peak[0], process.memory_info().rss)

    threading.Thread(target=watch, daemon=True).start()
    start = time.perf_counter()
    with open_recorder(folder, options=Options(provenance=False)) as recorder:
        log, identity = recorder.log_metrics, recorder.id
        for step in range(calls):
            log(step=step, **TEN)
        recorder.flush()
        logged = time.perf_counter()
    ended = time.perf_counter()
    with ExperimentManager(folder) as manager:
        history = manager.get_recorder(recorder_id=identity).metric_history("m7")
    read = time.perf_counter()
    stop.set()
    result_bytes = int(history.memory_usage(index=False).sum())
    assert len(history) == calls
    shutil.rmtree(folder)
    return {
        "over": peak[0] - result_bytes,
        "log": logged - start,
        "seal": ended - logged,
        "read": read - ended,
        "points": calls * 10,
    }


def stall(quick: bool) -> dict:
    """Longest delay of a 1 ms heartbeat: an idle loop, then 100,000 points a second logged on it (10 calls of 10 every ms)."""
    from _beat import beat

    import aqrec

    folder = _folder()
    duration = 5.0 if quick else 20.0

    async def main() -> dict:
        options = aqrec.Options(provenance=False)
        async with aqrec.open_recorder(folder, options=options) as recorder:
            recorder.log_metrics(step=0, **TEN)
            await recorder.flush()
            step = [0]

            def log() -> None:
                for _ in range(10):
                    step[0] += 1
                    recorder.log_metrics(step=step[0], **TEN)

            idle = await beat(duration, lambda: None)
            busy = await beat(duration, log)
            statistics_ = await recorder.statistics()
            assert statistics_.dropped == 0
            rate = step[0] * 10 / duration
        return {
            "idle": max(idle),
            "busy": max(busy),
            "rate": rate,
            "p99": sorted(busy)[int(len(busy) * 0.999)],
        }

    result = asyncio.run(main())
    shutil.rmtree(folder)
    return result


def short_runs(quick: bool) -> dict:
    """1,000 runs one after the other: two params, 20 calls of two metrics, each end durable.

    In a process that has loaded pandas and pyarrow, as the job that trains a thousand models has.
    """
    import pandas as pd
    import pyarrow.parquet as pq

    assert pd
    assert pq
    from aqrec import Options
    from aqrec.sync import ExperimentManager

    runs = 1_000
    result = {}
    for seal in ("bulk", "run"):
        folder = _folder()
        start = time.perf_counter()
        with ExperimentManager(folder, options=Options(provenance=False, seal=seal)) as manager:
            experiment = manager.get_exp(experiment_name="sweep")
            for number in range(runs if seal == "bulk" or not quick else runs // 4):
                with experiment.create_recorder(f"trial-{number}") as recorder:
                    recorder.log_params(lr=0.1 * number, depth=number)
                    for step in range(20):
                        recorder.log_metrics(step=step, loss=1 / (step + 1), accuracy=float(step))
        seconds = time.perf_counter() - start
        count = number + 1
        result[seal] = seconds / count * 1_000
        result[f"{seal}_files"] = sum(len(files) for _, _, files in os.walk(folder)) / count
        shutil.rmtree(folder)
    return result


def import_time(quick: bool) -> dict:
    """Whole-process time of ``from aqrec import R`` less that of a bare interpreter, medians of alternating runs."""
    # As installed: an environment that forbids bytecode would measure the compiler.
    compiled = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def once(code: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, env=compiled)
        return time.perf_counter() - start

    def median_of(code: str) -> float:
        return statistics.median(once(code) - once("pass") for _ in range(10 if quick else 30))

    once("import aqrec")
    return {"import": median_of("import aqrec"), "r": median_of("from aqrec.sync import R")}


MEASURES = (calls_sync, calls_async, durable, sealed, large, stall, short_runs, import_time)


def _measure(name: str, quick: bool) -> dict:
    command = [sys.executable, __file__, "--measure", name, *(["--quick"] if quick else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--measure", choices=[each.__name__ for each in MEASURES])
    arguments = parser.parse_args()
    if arguments.measure:
        (function,) = (each for each in MEASURES if each.__name__ == arguments.measure)
        print(json.dumps(function(arguments.quick)))
        return 0

    from _table import Row, show

    found = {each.__name__: _measure(each.__name__, arguments.quick) for each in MEASURES}
    rows = []

    def budget(what: str, unit: str, ours: float, limit: float) -> None:
        rows.append(Row(what=what, unit=unit, ours=ours, peer=limit, bar=1, better="lower"))

    for face in ("sync", "async"):
        calls = found[f"calls_{face}"]
        budget(f"log_metrics, one metric, {face} face, median (budget)", "s", calls["one"], 2e-6)
        budget(f"log_metrics, ten metrics, {face} face, median per metric (budget)", "s", calls["ten"], 1e-6)
    rate = found["durable"]
    size = f"{rate['points'] / 1e6:g} M points, ten a call, all durable"
    alone = "encode + write + fdatasync alone"

    def against(how: str, ours: str, peer: str, bar: float | None = None) -> None:
        rows.append(Row(what=f"{size}, {how}", unit="points/s", ours=rate[ours], peer=rate[peer], bar=bar))

    rows.append(
        Row(what=f"{size}, as keywords (budget)", unit="points/s", ours=rate["keywords"], peer=1.5e6, bar=1)
    )
    spread = f"single turns: {rate['low']:.2f} to {rate['high']:.2f}"
    against(f"as a dict, against {alone} ({spread})", "mapping", "bare", 0.5)
    against(f"as keywords, against {alone}", "keywords", "bare")
    against("as keywords, against the same behind a call with keywords", "keywords", "bare_keywords", 0.5)
    against("as a dict unpacked into keywords, against calls that do nothing", "unpacked", "no_op_calls")
    budget(
        f"sealed history, {found['sealed']['points'] / 1e6:g} M points (budget)",
        "bytes/point",
        found["sealed"]["bytes"],
        6,
    )
    big = found["large"]
    budget(
        f"run of {big['points'] / 1e6:g} M points: peak memory over the result (budget); log {big['log']:.1f} s, "
        f"seal {big['seal']:.1f} s, read one key {big['read']:.2f} s",
        "B",
        big["over"],
        500e6,
    )
    loop = found["stall"]
    budget(
        f"longest stall of the loop at {loop['rate'] / 1e3:.0f} k points/s over its own jitter "
        f"({loop['idle'] * 1e3:.1f} ms); 99.9 % below {loop['p99'] * 1e3:.2f} ms (budget)",
        "s",
        max(loop["busy"] - loop["idle"], 1e-6),
        5e-3,
    )
    runs = found["short_runs"]
    budget(
        f"1,000 short runs, bulk sealing, {runs['bulk_files']:.3f} files a run (budget)", "s", runs["bulk"], 2
    )
    rows.append(
        Row(
            what=f"1,000 short runs, each sealed by itself, {runs['run_files']:.1f} files a run",
            unit="s",
            ours=runs["run"],
        )
    )
    budget("import aqrec, over a bare interpreter (budget)", "s", found["import_time"]["import"], 60e-3)
    rows.append(
        Row(
            what="from aqrec.sync import R, over a bare interpreter",
            unit="s",
            ours=found["import_time"]["r"],
        )
    )
    return 0 if show("aqrec: the recorder", rows) else 1


if __name__ == "__main__":
    sys.exit(main())
