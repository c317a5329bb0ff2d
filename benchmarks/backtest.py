"""How fast the backtest is, against real Qlib on the same prices.

    python benchmarks/backtest.py --install   # once: pyqlib and aqrec, into .cache/qlib
    python benchmarks/backtest.py             # --quick for a rough answer

Times are seconds of a processor, so that what else the machine does weighs little; with two processes, those of the
slower one. Both sides run Topk-Dropout (50 names, 5 replaced a day) with limits, lots, suspensions and costs on the same
generated prices, and must agree in every column of the report. Qlib runs in an environment of its own, once; neither
side's time contains the reading of prices, which has a row of its own. ``--qlib PYTHON`` names another interpreter
that has pyqlib.

Several passes are those of ``MultiPassPortAnaRecord``: the scores of the first day are shuffled before each. Qlib's
time for them is that of its one run, times their number.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _table import Row, show

from aqrec.backtest import Exchange, backtest
from aqrec.quotes import Market, read_quotes

ROOT = Path(__file__).resolve().parents[1]
INSTALLED = ROOT / ".cache" / "qlib"
PASSES = 10
STRATEGY = {"topk": 50, "n_drop": 5}
EXCHANGE = {
    "limit_threshold": 0.095,
    "deal_price": "close",
    "open_cost": 0.0005,
    "close_cost": 0.0015,
    "min_cost": 5,
}
ACCOUNT = 1e8


def sample(days: int, names: int) -> tuple[Market, pd.DataFrame]:
    """Return prices with 2 % suspensions and some moves to the limit, and scores without ties."""
    rng = np.random.default_rng(0)
    calendar = pd.bdate_range("2014-01-01", periods=days + 2)
    codes = [f"SH{600000 + i}" for i in range(names)]
    change = np.clip(rng.normal(0, 0.03, (days + 2, names)), -0.1, 0.1)
    close = 20 * np.exp(np.cumsum(change - change.mean(), axis=0))
    fields = {
        "$open": close * (1 + rng.normal(0, 0.005, close.shape)),
        "$close": close,
        "$volume": rng.integers(100_000, 10_000_000, close.shape).astype(np.float64),
        "$factor": np.tile(rng.uniform(0.2, 3, names), (days + 2, 1)),
        "$change": change,
    }
    suspended = rng.random(close.shape) < 0.02
    suspended[:, 0] = False
    for values in fields.values():
        values[suspended] = np.nan
    index = pd.MultiIndex.from_product([calendar[:days], codes], names=["datetime", "instrument"])
    pred = pd.DataFrame({"score": rng.permutation(days * names).astype(float)}, index=index)
    return Market(calendar, codes, {name: values.astype(np.float32) for name, values in fields.items()}), pred


def write_provider(folder: Path, market: Market) -> None:
    """Write a data folder of Qlib."""
    (folder / "calendars").mkdir(parents=True)
    (folder / "instruments").mkdir()
    days = [f"{day:.10}" for day in market.days]
    (folder / "calendars" / "day.txt").write_text("\n".join(days) + "\n")
    listed = "".join(f"{name}\t{days[0]}\t{days[-1]}\n" for name in market.instruments)
    (folder / "instruments" / "all.txt").write_text(listed)
    for name, column in market.columns.items():
        place = folder / "features" / name.lower()
        place.mkdir(parents=True)
        for field, values in market.fields.items():
            np.append(np.float32(0), values[:, column]).astype("<f4").tofile(place / f"{field[1:]}.day.bin")


def ours(quotes: Market, pred: pd.DataFrame, days: int, exchange: Exchange | None = None) -> pd.DataFrame:
    portfolio, _ = backtest(
        quotes.days[0],
        quotes.days[days - 1],
        {
            "class": "TopkDropoutStrategy",
            "module_path": "qlib.contrib.strategy",
            "kwargs": {"signal": "<PRED>", **STRATEGY},
        },
        benchmark=quotes.instruments[0],
        account=ACCOUNT,
        exchange_kwargs=EXCHANGE if exchange is None else {"exchange": exchange},
        quotes=quotes,
        pred=pred,
    )
    return portfolio["1day"][0]


def shuffled(pred: pd.DataFrame, seed: int) -> pd.DataFrame:
    changed = pred.copy()
    first = pred.index.get_level_values("datetime") == pred.index[0][0]
    changed.loc[first, "score"] = np.random.default_rng(seed).permutation(pred.loc[first, "score"].to_numpy())
    return changed


def several(quotes: Market, pred: pd.DataFrame, days: int, seeds: list[int]) -> list[float]:
    exchange = Exchange(quotes, start_time=quotes.days[0], end_time=quotes.days[days - 1], **EXCHANGE)  # type: ignore[arg-type]
    return [float(ours(quotes, shuffled(pred, seed), days, exchange)["account"].iloc[-1]) for seed in seeds]


def qlib_python(given: str | None) -> str | None:
    """Return an interpreter that has pyqlib."""
    candidates = [given] if given else [str(INSTALLED / "bin" / "python"), sys.executable]
    for python in candidates:
        try:
            code = "import importlib.util as u, sys; sys.exit(u.find_spec('qlib') is None)"
            if subprocess.run([python, "-c", code], check=False).returncode == 0:
                return python
        except OSError:
            continue
    return None


def peer(python: str, folder: Path, market: Market, pred: pd.DataFrame, days: int) -> dict[str, Any]:
    pred.reset_index().to_parquet(folder / "pred.parquet")
    case = {
        "start_time": f"{market.days[0]:.10}",
        "end_time": f"{market.days[days - 1]:.10}",
        "strategy": STRATEGY,
        "benchmark": market.instruments[0],
        "account": ACCOUNT,
        "exchange_kwargs": EXCHANGE,
    }
    (folder / "case.json").write_text(json.dumps(case))
    script = str(Path(__file__).with_name("_qlib_peer.py"))
    done = subprocess.run(
        [python, script, str(folder)], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(
            done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "it ended with an error"
        )
    times: dict[str, Any] = json.loads((folder / "times.json").read_text())
    return times


def agree(report: pd.DataFrame, folder: Path) -> None:
    expected = pd.read_parquet(folder / "report.parquet").set_index("datetime")
    if list(report.columns) != list(expected.columns) or not report.index.equals(expected.index):
        raise AssertionError("the reports have other rows or columns than those of Qlib")
    for column in expected:
        np.testing.assert_allclose(
            report[column].astype(float),
            expected[column].astype(float),
            rtol=1e-9,
            atol=1e-6 if column == "cash" else 1e-10,
            err_msg=column,
        )


def best_of(rounds: int, job: Any) -> tuple[float, Any]:
    best, result = float("inf"), None
    for _ in range(rounds):
        started = time.process_time()
        result = job()
        best = min(best, time.process_time() - started)
    return best, result


def timed(*arguments: Any) -> tuple[float, list[float]]:
    """Do some of the passes, in a process of its own."""
    return best_of(1, lambda: several(*arguments))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--install", action="store_true", help="install pyqlib and aqrec into .cache/qlib and stop"
    )
    parser.add_argument("--qlib", metavar="PYTHON", help="an interpreter that has pyqlib")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="100 names x 200 days instead of 300 x 1,000")
    size.add_argument("--full", action="store_true", help="300 names x 1,000 days, which is the default")
    options = parser.parse_args()
    if options.install:
        subprocess.run([sys.executable, "-m", "venv", str(INSTALLED)], check=True)
        # Qlib imports pkg_resources, which newer setuptools do not have.
        packages = ["pyqlib==0.9.7", "setuptools<81", "--editable", str(ROOT)]
        subprocess.run(
            [str(INSTALLED / "bin" / "python"), "-m", "pip", "install", "--quiet", *packages], check=True
        )
        return 0

    days, names = (200, 100) if options.quick else (1_000, 300)
    market, pred = sample(days, names)
    title = f"{names} names x {days:,} days"
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_provider(folder / "provider", market)
        reading, read = best_of(3, lambda: read_quotes(folder / "provider"))
        running, report = best_of(5, lambda: ours(read, pred, days))
        passing, accounts = best_of(1, lambda: several(read, pred, days, list(range(PASSES))))
        workers = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=workers) as pool:
            list(pool.map(abs, range(2)))
            halves = [list(range(start, PASSES, 2)) for start in range(2)]
            parts = list(pool.map(timed, [read] * 2, [pred] * 2, [days] * 2, halves))
        parallel = max(seconds for seconds, _ in parts)
        assert sorted(accounts) == sorted(account for _, part in parts for account in part)
        python = qlib_python(options.qlib)
        times, why = None, "pyqlib is not installed; run: python benchmarks/backtest.py --install"
        if python is not None:
            try:
                times = peer(python, folder, market, pred, days)
            except RuntimeError as error:
                why = f"Qlib failed: {error}"
        if times:
            why = ""
            agree(report, folder)
    one = times and times["runs"][0]
    rows = [
        Row(what=f"one run, {title}", unit="s", ours=running, peer=one, bar=20, better="lower", not_run=why),
        Row(
            what=f"{PASSES} passes, one process",
            unit="s",
            ours=passing,
            peer=one and PASSES * one,
            bar=20,
            better="lower",
            not_run=why,
        ),
        Row(
            what=f"{PASSES} passes, two processes",
            unit="s",
            ours=parallel,
            peer=one and PASSES * one,
            bar=None if options.quick else 50,
            better="lower",
            not_run=why,
        ),
        Row(
            what="reading the prices from a data folder of Qlib",
            unit="s",
            ours=reading,
            peer=times and times["quotes"],
            better="lower",
            not_run=why,
        ),
    ]
    passed = show("Backtest of Topk-Dropout against Qlib 0.9.7", rows)
    if times:
        print("every column of the report agrees with Qlib's to 1e-9")
    tracemalloc.start()
    ours(read, pred, days)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(f"memory beyond prices and scores: {peak / (8 * days * names):.1f} float64 columns of names x days")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
