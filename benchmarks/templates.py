"""How fast the record templates are, what they take, and whether the event loop stays free meanwhile.

    python benchmarks/templates.py            # --quick for a rough answer

1. Stalls: how late an event loop wakes up while a template is awaited on it, at worst, in the best of some rounds. The
   control is a thread that counts in pure Python for as long, right behind it; the bar is the larger of it and 10 ms.
2. Ten passes of ``MultiPassPortAnaRecord`` by two processes through ``generate_all``, processes started and ended within
   the time, against Qlib's own backtest (its one run, times ten). See ``backtest.py``, which also installs Qlib.
3. A grid of backtests by threads, by processes and by a Dask cluster of this machine.
4. Memory of a backtest at two sizes: bytes for each name and day must not grow.
5. One large backtest, and the reading of prices.

Times of 2 and 3 are those of a clock: run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from _table import Row, show
from backtest import ACCOUNT, EXCHANGE, PASSES, STRATEGY, peer, qlib_python, sample, write_provider

import aqrec
from aqrec.quotes import read_quotes
from aqrec.templates import (
    HFSignalRecord,
    MultiPassPortAnaRecord,
    PortAnaRecord,
    SigAnaRecord,
    SignalMseRecord,
    SignalRecord,
    generate_all,
)
from aqrec.templates._backtest_figures import portfolio_figures

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from aqrec.quotes import Market

STALL = 0.010
GRID = 4


class Told:
    """Predicts what it was told, and knows the labels."""

    def __init__(self, pred: pd.DataFrame, label: pd.DataFrame) -> None:
        self.pred, self.label = pred, label

    def predict(self, _: Any) -> pd.DataFrame:
        """Return the scores."""
        return self.pred

    def labels(self) -> pd.DataFrame:
        """Return the labels."""
        return self.label


class Sample:
    """Prices, scores and labels of one size."""

    def __init__(self, days: int, names: int) -> None:
        self.days, self.names = days, names
        self.market, self.pred = sample(days, names)
        noise = np.random.default_rng(1).normal(0, 0.02, len(self.pred))
        self.label = pd.DataFrame({"LABEL0": noise}, self.pred.index)

    @property
    def title(self) -> str:
        """Its size."""
        return f"{self.names:,} names x {self.days:,} days"

    def config(self, topk: int = STRATEGY["topk"]) -> dict[str, Any]:
        """Return a backtest of all its days."""
        return {
            "strategy": {
                "class": "TopkDropoutStrategy",
                "module_path": "qlib.contrib.strategy",
                "kwargs": {"signal": "<PRED>", "topk": topk, "n_drop": STRATEGY["n_drop"]},
            },
            "backtest": {
                "start_time": str(self.market.days[0])[:10],
                "end_time": str(self.market.days[self.days - 1])[:10],
                "account": ACCOUNT,
                "benchmark": self.market.instruments[0],
                "exchange_kwargs": EXCHANGE,
            },
        }


# --- 1. stalls --------------------------------------------------------------------------------------------------


async def worst_stall(work: Awaitable[Any]) -> float:
    """Return how much later than asked for the loop woke up, at worst, until the work was done."""
    task = asyncio.ensure_future(work)
    worst = 0.0
    while not task.done():
        begun = time.perf_counter()
        await asyncio.sleep(0.001)
        worst = max(worst, time.perf_counter() - begun - 0.001)
    await task
    return worst


async def count(seconds: float) -> None:
    def spin() -> None:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            pass

    await asyncio.get_running_loop().run_in_executor(None, spin)


async def stalls(case: Sample, rounds: int) -> list[Row]:
    """Measure each template on a run of its own, in a folder."""
    told = Told(case.pred, case.label)
    trading: dict[str, Any] = {"quotes": case.market}
    makers: dict[str, Callable[[aqrec.Recorder], Any]] = {
        "SignalRecord": lambda r: SignalRecord(told, told, r),
        "SigAnaRecord, long-short": lambda r: SigAnaRecord(r, True),
        "SigAnaRecord, plots": lambda r: SigAnaRecord(r, True, plots=True),
        "HFSignalRecord": HFSignalRecord,
        "SignalMseRecord": SignalMseRecord,
        "PortAnaRecord": lambda r: PortAnaRecord(r, case.config(), **trading),
        "PortAnaRecord, plots": lambda r: PortAnaRecord(r, case.config(), plots=True, **trading),
        "MultiPassPortAnaRecord, 2 passes": lambda r: MultiPassPortAnaRecord(
            r, 2, config=case.config(), **trading
        ),
    }
    worst = dict.fromkeys(makers, float("inf"))
    control = dict(worst)
    collections = Collections()
    with tempfile.TemporaryDirectory() as folder:
        async with aqrec.open_recorder(
            folder, experiment="stalls", options=aqrec.Options(provenance=False)
        ) as r:
            await makers["SignalRecord"](r).generate()
            for number in range(rounds + 1):
                for name, maker in makers.items():
                    gc.collect()
                    with collections, timed() as taken:
                        late = await worst_stall(maker(r).generate())
                    beside = await worst_stall(count(min(taken[0], 2.0)))
                    if number:  # the first round imports
                        worst[name] = min(worst[name], late)
                        control[name] = min(control[name], beside)
    print(
        "the garbage collector, set off by what the templates allocate, stopped everything for "
        f"{collections.longest * 1e3:.0f} ms at most"
    )
    return [
        Row(
            what=f"stall of the loop by {name}; beside a thread that counts as long: {control[name] * 1e3:.1f} ms",
            unit="s",
            ours=late,
            peer=max(control[name], STALL),
            bar=1,
            better="lower",
        )
        for name, late in worst.items()
    ]


class Collections:
    """How long the garbage collector stops everything, which is a matter of what else the process holds."""

    longest = 0.0
    _begun = 0.0

    def __enter__(self) -> None:
        gc.callbacks.append(self._tell)

    def __exit__(self, *error: object) -> None:
        gc.callbacks.remove(self._tell)

    def _tell(self, phase: str, info: dict[str, int]) -> None:
        del info
        if phase == "start":
            self._begun = time.perf_counter()
        else:
            self.longest = max(self.longest, time.perf_counter() - self._begun)


# --- 2. passes, 3. executors --------------------------------------------------------------------------------------


@contextlib.contextmanager
def timed() -> Iterator[list[float]]:
    taken: list[float] = []
    begun = time.perf_counter()
    yield taken
    taken.append(time.perf_counter() - begun)


async def passes(case: Sample, provider: Path) -> float:
    """Return the seconds of ten passes by two processes, which read the prices themselves."""
    told = Told(case.pred, case.label)
    with tempfile.TemporaryDirectory() as folder:
        async with aqrec.open_recorder(
            folder, experiment="passes", options=aqrec.Options(provenance=False)
        ) as r:
            await SignalRecord(told, None, r).generate()
            market = await asyncio.to_thread(read_quotes, provider)
            record = MultiPassPortAnaRecord(r, PASSES, config=case.config(), quotes=market)
            with timed() as taken:
                await generate_all([record], executor="processes", workers=2, progress=False)
            table = await record.load("multi_pass_port_analysis_1day.pkl")
            assert (table["std"] > 0).all()
    return taken[0]


async def grid(case: Sample, provider: Path, executor: Any) -> float:
    """Return the seconds of a grid of backtests."""
    told = Told(case.pred, case.label)
    with tempfile.TemporaryDirectory() as folder:
        async with aqrec.ExperimentManager(folder, options=aqrec.Options(provenance=False)) as manager:
            experiment = await manager.create_exp("grid")
            records = []
            for topk in range(20, 20 + GRID):
                recorder = await experiment.create_recorder(f"topk={topk}")
                await SignalRecord(told, None, recorder).generate()
                records.append(PortAnaRecord(recorder, case.config(topk), quotes=str(provider)))
            with timed() as taken:
                await generate_all(records, executor=executor, workers=2, progress=False)
    return taken[0]


async def executors(case: Sample, provider: Path) -> list[Row]:
    threads = await grid(case, provider, "threads")
    rows = [
        Row(
            what=f"{GRID} backtests of {case.title} by two processes, against two threads",
            unit="s",
            ours=await grid(case, provider, "processes"),
            peer=threads,
            better="lower",
        )
    ]
    what = f"{GRID} backtests by a Dask cluster of two processes, started before, against two threads"
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        return [*rows, Row(what=what, unit="s", not_run="distributed is not installed: aqrec[dask]")]
    cluster: Any = LocalCluster(
        n_workers=2, threads_per_worker=1, asynchronous=True, dashboard_address=None, silence_logs=50
    )
    async with cluster, Client(cluster, asynchronous=True) as client:
        await grid(Sample(20, 60), provider, client)  # imports
        taken = await grid(case, provider, client)
    return [*rows, Row(what=what, unit="s", ours=taken, peer=threads, better="lower")]


# --- 4. memory, 5. size -------------------------------------------------------------------------------------------


def figures(case: Sample) -> None:
    from aqrec.templates._backtest_plan import backtest_plan

    plan = backtest_plan(case.config(), None, None, None, quotes=case.market, region="cn", qlib_compat=False)
    portfolio_figures(plan, case.pred)


def memory(case: Sample) -> float:
    """Return the peak of bytes for each name and day, beyond prices and scores."""
    tracemalloc.start()
    try:
        figures(case)
        return tracemalloc.get_traced_memory()[1] / (case.days * case.names)
    finally:
        tracemalloc.stop()


def best_of(rounds: int, job: Callable[[], Any]) -> float:
    taken: list[float] = []
    for _ in range(rounds):
        begun = time.perf_counter()
        job()
        taken.append(time.perf_counter() - begun)
    return min(taken)


def reading(case: Sample, provider: Path, folder: Path) -> list[Row]:
    """Compare the readers of prices with what pandas or numpy take for the same bytes and do nothing with them."""
    frame = long_table(case.market)
    frame.to_csv(folder / "prices.csv", index=False)
    frame.to_parquet(folder / "prices.parquet", index=False)
    bins = sorted((provider / "features").glob("*/*.bin"))
    whole = {
        "csv": (folder / "prices.csv", lambda: pd.read_csv(folder / "prices.csv")),
        "parquet": (folder / "prices.parquet", lambda: pd.read_parquet(folder / "prices.parquet")),
        "data folder of Qlib": (provider, lambda: [np.fromfile(path, "<f4") for path in bins]),
    }
    rows = []
    for kind, (path, plain) in whole.items():
        size = sum(file.stat().st_size for file in ([path] if path.is_file() else bins))
        ours, theirs = best_of(3, lambda path=path: read_quotes(path)), best_of(3, plain)
        rows.append(
            Row(
                what=f"reading prices, {kind} of {size / 1e6:,.0f} MB, against only loading them",
                unit="B/s",
                ours=size / ours,
                peer=size / theirs,
            )
        )
    return rows


def long_table(market: Market) -> pd.DataFrame:
    shape = len(market.days), len(market.instruments)
    table = {name: values.ravel() for name, values in market.fields.items()}
    days = np.repeat(market.days, shape[1])
    names = np.tile(np.array(market.instruments, dtype=object), shape[0])
    return pd.DataFrame({"datetime": days, "instrument": names, **table}).dropna(subset="$close")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--qlib", metavar="PYTHON", help="an interpreter that has pyqlib")
    parser.add_argument("--only", metavar="PART", help="stalls, passes, executors, memory, large or reading")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="100 names x 200 days instead of 300 x 1,000")
    size.add_argument("--full", action="store_true", help="300 names x 1,000 days, which is the default")
    options = parser.parse_args()

    case = Sample(200, 100) if options.quick else Sample(1_000, 300)
    wanted = (
        [options.only] if options.only else ["stalls", "passes", "executors", "memory", "large", "reading"]
    )
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        provider = folder / "provider"
        write_provider(provider, case.market)
        if "stalls" in wanted:
            rows += asyncio.run(stalls(case, 2 if options.quick else 4))
        if "passes" in wanted:
            ours = asyncio.run(passes(case, provider))
            python = qlib_python(options.qlib)
            one, why = None, "pyqlib is not installed; run: python benchmarks/backtest.py --install"
            if python is not None:
                try:
                    one, why = peer(python, folder, case.market, case.pred, case.days)["runs"][0], ""
                except RuntimeError as error:
                    why = f"Qlib failed: {error}"
            rows.append(
                Row(
                    what=f"{PASSES} passes of {case.title} by two processes, with starting them",
                    unit="s",
                    ours=ours,
                    peer=one and PASSES * one,
                    bar=None if options.quick else 50,
                    better="lower",
                    not_run=why,
                )
            )
        if "executors" in wanted:
            rows += asyncio.run(executors(case, provider))
        if "memory" in wanted:
            small = case if options.quick else Sample(500, 300)
            large = Sample(2 * small.days, 2 * small.names)
            figures(small)
            rows.append(
                Row(
                    what=f"memory of a backtest for each name and day, {large.title} against {small.title}",
                    unit="B",
                    ours=memory(large),
                    peer=memory(small),
                    bar=0.9,
                    better="lower",
                )
            )
        if "large" in wanted and not options.quick:
            large = Sample(2_500, 3_000)
            taken = best_of(1, lambda: figures(large)) / large.days
            rows.append(
                Row(
                    what=f"a day of a backtest, {large.title} against {case.title}",
                    unit="s",
                    ours=taken,
                    peer=best_of(3, lambda: figures(case)) / case.days,
                    better="lower",
                )
            )
        if "reading" in wanted:
            rows += reading(case, provider, folder)
    passed = show("Record templates", rows)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
