"""A provider folder of the prices that come with aqrec, and what happens where Qlib is not installed."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from tests._support import ROOT
from tests.qlib.provider import write_provider


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Put one skipped test in the place of a module that cannot be imported without Qlib."""
    if importlib.util.find_spec("qlib") is not None:
        return None
    return NotRun.from_parent(parent, path=module_path)


class NotRun(pytest.File):
    # Not a skip while collecting: with several processes nobody would hear of that.
    def collect(self) -> Iterator[pytest.Item]:
        yield Skipped.from_parent(self, name="needs_qlib")


class Skipped(pytest.Item):
    def runtest(self) -> None:
        pytest.skip("Qlib is not installed here: nox -s qlib")

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, self.name


@pytest.fixture(scope="session")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four years of 20 companies and their index, every price of a day being its close."""
    from aqrec.demo import load_index, load_prices

    prices = load_prices()
    prices = prices.assign(SP500=load_index()).loc["2011":"2014"]
    one = prices * 0 + 1
    fields = dict.fromkeys(("open", "close", "high", "low", "vwap"), prices)
    return write_provider(
        tmp_path_factory.mktemp("provider") / "us",
        {**fields, "volume": one * 1e6, "factor": one, "change": prices.pct_change()},
        {name: (prices.index[0], prices.index[-1]) for name in prices.columns if name != "SP500"},
    )


@pytest.fixture(scope="session")
def golden_provider(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The forty generated stocks that the recorded figures of Qlib are from."""
    inputs = ROOT / "tests" / "data" / "golden" / "inputs" / "syn40"
    quotes = pd.read_parquet(inputs / "quote.parquet")
    days = pd.DatetimeIndex((inputs / "calendar.txt").read_text().split())
    fields = {
        name.removeprefix("$"): quotes.pivot(index="datetime", columns="instrument", values=name).reindex(
            days
        )
        for name in quotes.columns
        if name.startswith("$")
    }
    listed = quotes.groupby("instrument")["datetime"].agg(["min", "max"])
    spans = {str(name): (row["min"], row["max"]) for name, row in listed.iterrows()}
    return write_provider(tmp_path_factory.mktemp("provider") / "syn40", fields, spans)
