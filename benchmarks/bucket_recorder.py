"""Recording to a bucket: durable rate, starts, stalls of the loop and requests, on a real S3 server, near and far.

usage: python benchmarks/bucket_recorder.py [--quick] [--driver s3fs|obstore]

The server (moto) runs on this machine and takes its share of the processors; "far" is the same server behind a proxy that
delays every request by 30 ms. Where the peer is a budget, the peer's column shows the budget and the bar is 1 x.
"""

import argparse
import asyncio
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

TEN = {f"m{i}": 0.1 * i for i in range(10)}
DELAY = 0.03


def _options(**others: Any) -> Any:
    from aqrec import Options

    return Options(provenance=False, **others)


def durable(url: str, storage_options: dict[str, Any], calls: int) -> float:
    """Points a second from the first call until all are acknowledged by the bucket."""
    from aqrec.sync import open_recorder

    options = _options(seal="never")
    with open_recorder(url, options=options, storage_options=storage_options) as recorder:
        recorder.log_metrics(step=0, **TEN)
        recorder.flush()
        log = recorder.log_batch
        start = time.perf_counter()
        for step in range(calls):
            log(TEN, step=step)
        recorder.flush()
        return calls * 10 / (time.perf_counter() - start)


def start_of_run(url: str, storage_options: dict[str, Any], runs: int) -> float:
    """Median seconds that ``start`` of a run takes in a store that is open."""
    import statistics

    from aqrec.sync import ExperimentManager

    seconds = []
    with ExperimentManager(url, options=_options(seal="bulk"), storage_options=storage_options) as manager:
        for number in range(runs + 1):
            begun = time.perf_counter()
            manager.start_exp(experiment_name="starts", recorder_name=f"run-{number}")
            seconds.append(time.perf_counter() - begun)
            manager.end_exp()
    return statistics.median(seconds[1:])


def stall(url: str, storage_options: dict[str, Any], duration: float) -> dict[str, float]:
    """Longest delay of a 1 ms heartbeat: an idle loop, then with 100,000 points a second logged on it."""
    from _beat import beat

    import aqrec

    async def main() -> dict[str, float]:
        options = _options(seal="never")
        async with aqrec.open_recorder(url, options=options, storage_options=storage_options) as recorder:
            recorder.log_metrics(step=0, **TEN)
            await recorder.flush()
            step = [0]

            def log() -> None:
                for _ in range(10):
                    step[0] += 1
                    recorder.log_metrics(step=step[0], **TEN)

            idle = await beat(duration, lambda: None)
            busy = await beat(duration, log)
            assert (await recorder.statistics()).dropped == 0
        return {"idle": max(idle), "busy": max(busy), "rate": step[0] * 10 / duration}

    return asyncio.run(main())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--driver", choices=["s3fs", "obstore"], action="append")
    arguments = parser.parse_args()
    from _table import Row, show

    from tests._support.services import FaultProxy, Moto, Rule

    calls = 50_000 if arguments.quick else 500_000
    rows: list[Row] = []

    def budget(what: str, unit: str, ours: float, limit: float, better: Any = "lower") -> None:
        rows.append(
            Row(what=f"{what} (budget)", unit=unit, ours=max(ours, 1e-6), peer=limit, bar=1, better=better)
        )

    def measure(label: str, url: str, storage_options: dict[str, Any], trip: float) -> None:
        rate = durable(url, storage_options, calls)
        budget(
            f"{label}: {calls * 10 / 1e6:g} M points, ten a call, all durable",
            "points/s",
            rate,
            3e5,
            "higher",
        )
        took = start_of_run(url, storage_options, 10)
        budget(f"{label}: start of a run in an open store, median", "s", took, trip)
        late = stall(url, storage_options, 3 if arguments.quick else 15)
        budget(
            f"{label}: longest stall of the loop at {late['rate'] / 1e3:.0f} k points/s over its own jitter "
            f"({late['idle'] * 1e3:.1f} ms)",
            "s",
            late["busy"] - late["idle"],
            0.01,
        )

    with Moto() as server, FaultProxy(server.endpoint) as proxy:
        proxy.add(Rule("delay", seconds=DELAY))
        for driver in arguments.driver or ["s3fs", "obstore"]:
            chosen = {"driver": "obstore"} if driver == "obstore" else {}
            near = server.location()
            measure(f"{driver}, near", near.url, {**near.storage_options, **chosen}, 0.02)
            far = server.location().through(proxy.endpoint)
            delay = f"{DELAY * 1e3:.0f} ms"
            measure(f"{driver}, far ({delay})", far.url, {**far.storage_options, **chosen}, DELAY + 0.02)
    return 0 if show("aqrec: recording to a bucket", rows) else 1


if __name__ == "__main__":
    sys.exit(main())
