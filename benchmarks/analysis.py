"""How fast the signal analyses are, against the algorithm that Qlib uses: one pandas call per day.

    python benchmarks/analysis.py [--quick]

The peer groups the joined frame by day and applies a function to each group, as Qlib does. Both sides get
the same float64 predictions and float32 labels, each with an index of its own, in the same process, and must
agree. The best of several rounds counts on either side. ``--quick`` leaves out the large size.

Below the table: what other shapes of input cost, how much memory is taken beyond the inputs, and how late an
event loop wakes up while a thread of its own runs an analysis.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from _table import Row, show

from aqrec.analysis import calc_ic, calc_long_short_prec, calc_long_short_return

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Pair = tuple[pd.Series, pd.Series]

SMALL, LARGE = (500, 500), (2_500, 3_000)
BARS = {
    "calc_ic": {SMALL: 20, LARGE: 6},
    "calc_long_short_return": {SMALL: 50, LARGE: 15},
    "calc_long_short_prec": {SMALL: 50, LARGE: 25},
}
OURS: dict[str, Callable[[pd.Series, pd.Series], Pair]] = {
    "calc_ic": calc_ic,
    "calc_long_short_return": calc_long_short_return,
    "calc_long_short_prec": calc_long_short_prec,
}


def sample(days: int, names: int) -> Pair:
    def index() -> pd.MultiIndex:
        dates = pd.date_range("2010-01-01", periods=days, freq="B")
        codes = pd.Index([f"SH{i:06d}" for i in range(names)])
        return pd.MultiIndex.from_product([dates, codes], names=["datetime", "instrument"])

    rng = np.random.default_rng(0)
    pred = rng.standard_normal(days * names)
    label = (0.02 * (rng.standard_normal(pred.size) + 0.05 * pred)).astype(np.float32)
    return pd.Series(pred, index(), name="score"), pd.Series(label, index(), name="LABEL0")


def grouped(pred: pd.Series, label: pd.Series) -> Any:
    return pd.DataFrame({"pred": pred, "label": label}).groupby(level="datetime", group_keys=False)


def rank_correlation(day: pd.DataFrame) -> float:
    try:
        return day["pred"].corr(day["label"], method="spearman")
    except ImportError:  # pandas leaves this one to scipy
        both = day.dropna()
        return both["pred"].rank().corr(both["label"].rank())


def peer_ic(pred: pd.Series, label: pd.Series) -> Pair:
    days = grouped(pred, label)
    return days.apply(lambda day: day["pred"].corr(day["label"])), days.apply(rank_correlation)


def share(day: pd.DataFrame) -> int:
    return int(len(day) * 0.2)


def peer_return(pred: pd.Series, label: pd.Series) -> Pair:
    days = grouped(pred, label)
    best = days.apply(lambda day: day.nlargest(share(day), columns="pred")["label"].mean())
    worst = days.apply(lambda day: day.nsmallest(share(day), columns="pred")["label"].mean())
    return (best - worst) / 2, days["label"].mean()


def peer_precision(pred: pd.Series, label: pd.Series) -> Pair:
    def hits(chosen: pd.Series, is_hit: Callable[[pd.Series], pd.Series]) -> pd.Series:
        days = chosen.groupby("datetime", group_keys=False)
        return days.apply(is_hit).groupby("datetime", group_keys=False).sum() / days.count()

    days = grouped(pred, label)
    best = days.apply(lambda day: day.nlargest(share(day), columns="pred")["label"])
    worst = days.apply(lambda day: day.nsmallest(share(day), columns="pred")["label"])
    return hits(best, lambda labels: labels > 0), hits(worst, lambda labels: labels < 0)


PEERS = {
    "calc_ic": peer_ic,
    "calc_long_short_return": peer_return,
    "calc_long_short_prec": peer_precision,
}


def timed(function: Callable[..., Any], pair: Pair, rounds: int) -> tuple[float, Any]:
    best, result = float("inf"), None
    for _ in range(rounds):
        start = time.perf_counter()
        result = function(*pair)
        best = min(best, time.perf_counter() - start)
    return best, result


def compare(size: tuple[int, int], rounds: int) -> Iterator[Row]:
    pair = sample(*size)
    for name, function in OURS.items():
        peer, expected = timed(PEERS[name], pair, rounds)
        ours, actual = timed(function, pair, 2 * rounds + 1)
        for mine, theirs in zip(actual, expected, strict=True):
            # Means of float32 labels are float32 here; in some versions of pandas float64.
            tolerance = 1e-12 if name != "calc_long_short_return" else 1e-8
            np.testing.assert_allclose(mine.to_numpy(), theirs.to_numpy(), rtol=0, atol=tolerance)
        yield Row(
            what=f"{name}, {size[0]:,} days x {size[1]:,} names",
            ours=ours,
            peer=peer,
            unit="s",
            bar=BARS[name][size],
            better="lower",
        )


def shapes(pred: pd.Series, label: pd.Series) -> Iterator[tuple[str, Pair]]:
    rows = np.arange(len(pred))
    yield "as above", (pred, label)
    yield "float32 predictions", (pred.astype(np.float32), label)
    yield "2 % NaN on either side", (pred.where(rows % 50 != 0), label.where(rows % 50 != 1))
    yield "1 % of the rows on one side only", (pred[rows % 100 != 0], label[rows % 100 != 1])
    yield "80 distinct predictions", (pred.round(1), label)
    yield "sorted by instrument", (pred.swaplevel().sort_index(), label.swaplevel().sort_index())
    shuffled = np.random.default_rng(1).permutation(rows)
    yield "shuffled", (pred.iloc[shuffled], label.iloc[shuffled])


def memory(function: Callable[..., Any], pair: Pair) -> float:
    """Peak of what is allocated beyond the inputs, in bytes."""
    tracemalloc.start()
    try:
        function(*pair)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


async def lateness(job: Callable[[], Any]) -> list[float]:
    """How much later than asked for the loop wakes up, again and again, while a thread does the job."""
    loop = asyncio.get_running_loop()
    late = []
    with ThreadPoolExecutor(1) as pool:
        working = loop.run_in_executor(pool, job)
        while not working.done():
            start = time.perf_counter()
            await asyncio.sleep(0.001)
            late.append(time.perf_counter() - start - 0.001)
        await working
    return sorted(late)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="only the small size (15 s instead of 2 min)")
    size.add_argument("--full", action="store_true", help="both sizes, which is the default")
    quick = parser.parse_args().quick
    warnings.simplefilter("ignore")  # pandas' own, about the peer's way of grouping

    rows = list(compare(SMALL, 3))
    if not quick:
        rows += compare(LARGE, 1)
    passed = show("Signal analyses against one pandas call per day", rows)

    days, names = SMALL if quick else LARGE
    plain = sample(days, names)
    rounds = 5 if quick else 2
    print(
        f"\nother inputs, {days:,} x {names:,} (ms; memory beyond them, in float64 columns of their length)"
    )
    column = 8 * days * names
    for what, pair in shapes(*plain):
        taken = [f"{timed(function, pair, rounds)[0] * 1e3:7.1f}" for function in OURS.values()]
        spent = [f"{memory(function, pair) / column:4.1f}" for function in OURS.values()]
        print(f"  {what:34s}{' '.join(taken)}    memory{' '.join(spent)}")
    print("\nan event loop beside it wakes up late by (ms; median, 99 %, worst)")
    jobs: dict[str, Callable[[], Any]] = {"nothing": lambda: time.sleep(0.5)}
    jobs |= {name: lambda function=function: function(*plain) for name, function in OURS.items()}
    for name, job in jobs.items():
        late = [1e3 * seconds for seconds in asyncio.run(lateness(job))]
        figures = f"{late[len(late) // 2]:6.2f} {late[len(late) * 99 // 100]:6.2f} {late[-1]:6.2f}"
        print(f"  {name:34s}{figures}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
