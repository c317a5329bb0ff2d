"""A provider folder of real prices, made harder: opens, volumes, splits, suspensions, late listings, an index without factor."""

from pathlib import Path

import numpy as np
import pandas as pd

from tests.qlib.provider import write_provider

__all__ = ["BENCHMARK", "hard_provider", "scores"]

BENCHMARK = "SP500"


def hard_provider(folder: Path) -> tuple[pd.DatetimeIndex, list[str]]:
    """Write the folder; return its days and the listed names."""
    from aqrec.demo import load_index, load_prices

    close = load_prices().loc["2013-01":"2013-08"]
    rng = np.random.default_rng(7)
    shape = close.shape
    names = list(close.columns)
    days = close.index
    factor = np.where(np.arange(shape[0])[:, None] < rng.integers(20, 2 * shape[0], shape[1]), 1.0, 0.25)
    factor *= rng.uniform(0.2, 2.0, shape[1])
    tables = {
        "open": close * rng.uniform(0.985, 1.015, shape),
        "close": close,
        "volume": close * 0 + rng.integers(0, 40_000, shape),
        "turnover": close * 0 + rng.integers(0, 40_000, shape),
        "factor": close * 0 + factor,
        "change": close.pct_change(),
    }
    suspended = rng.random(shape) < 0.04
    tables = {field: table.mask(suspended) for field, table in tables.items()}
    tables["open"] = tables["open"].mask(rng.random(shape) < 0.03).mask(rng.random(shape) < 0.03, 0.0)
    # Unknown volumes, but no unknown turnovers: a cap that is not known ends Qlib's backtest.
    tables["volume"] = tables["volume"].mask(rng.random(shape) < 0.03)
    index = load_index().loc[days]
    tables = {
        field: table.assign(**{BENCHMARK: index if field == "close" else np.nan})
        for field, table in tables.items()
    }
    spans = dict.fromkeys(names, (days[0], days[-1]))
    spans[names[3]] = (days[60], days[-1])
    spans[names[4]] = (days[0], days[70])
    spans[names[5]] = (days[40], days[80])
    write_provider(folder, tables, spans)
    return days, names


def scores(days: pd.DatetimeIndex, names: list[str], seed: int) -> pd.DataFrame:
    """Return scores without ties; some days have none, on others a name is missing.

    Not two of them, as Qlib ranks several holdings without a score by the hashes of their names: its own runs differ.
    """
    rng = np.random.default_rng(seed)
    index = pd.MultiIndex.from_product([days, names], names=["datetime", "instrument"])
    # Some lasting preference, so that not everything is sold after a day.
    lasting = np.tile(rng.normal(size=len(names)), len(days))
    made = pd.DataFrame({"score": lasting + 0.5 * rng.normal(size=len(index))}, index=index)
    kept = np.ones((len(days), len(names)), dtype=bool)
    kept[np.arange(len(days)), rng.integers(0, len(names), len(days))] = rng.random(len(days)) < 0.4
    kept[rng.random(len(days)) < 0.05] = False
    return made[kept.ravel()]
