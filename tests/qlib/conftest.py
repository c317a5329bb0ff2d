"""A provider folder of the prices that come with aqrec."""

import importlib.util
from pathlib import Path

import pytest

from tests.qlib.provider import write_provider

collect_ignore_glob = [] if importlib.util.find_spec("qlib") else ["test_*.py"]


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
        members=[name for name in prices.columns if name != "SP500"],
    )
