"""Models, data sets and runs for the tests of templates."""

import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import aqrec
import aqrec.sync

__all__ = [
    "GOLDEN",
    "QRUN",
    "AsyncModel",
    "Labelled",
    "Model",
    "QlibDataset",
    "artifacts",
    "panel",
    "read",
    "run",
    "run_blocking",
]

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
QRUN = Path(__file__).parent / "data" / "qrun"


def panel(days: int = 12, names: int = 10, seed: int = 3) -> tuple["pd.Series[Any]", pd.DataFrame]:
    """Return a prediction and labels that it tells something about."""
    random = np.random.default_rng(seed)
    rows = pd.MultiIndex.from_product(
        [pd.date_range("2024-01-01", periods=days), [f"S{i:02}" for i in range(names)]],
        names=["datetime", "instrument"],
    )
    pred = pd.Series(random.normal(size=len(rows)), rows)
    label = pd.DataFrame({"LABEL0": 0.3 * pred + random.normal(size=len(rows)), "LABEL1": -pred}, rows)
    return pred, label


class Model:
    """Predicts what it was told."""

    def __init__(self, pred: Any) -> None:
        self.pred = pred

    def predict(self, dataset: Any) -> Any:
        return self.pred


class AsyncModel(Model):
    """The same, as a coroutine function."""

    async def predict(self, dataset: Any) -> Any:
        return self.pred


class Labelled:
    """A `LabelledDataset`."""

    def __init__(self, label: Any) -> None:
        self.label = label

    def labels(self) -> Any:
        return self.label


class QlibDataset:
    """Answers as Qlib's DatasetH does, and nothing else."""

    def __init__(self, label: Any) -> None:
        self.label = label

    def prepare(self, segments: Any, col_set: Any = "__all", data_key: str = "infer", **kwargs: Any) -> Any:
        assert (segments, col_set, data_key, kwargs) == ("test", "label", "raw", {})
        return self.label


@contextlib.asynccontextmanager
async def run(url: str) -> AsyncIterator[aqrec.Recorder]:
    """Open a run that collects nothing about its surroundings."""
    options = aqrec.Options(provenance=False)
    async with aqrec.open_recorder(url, experiment="alpha", options=options) as recorder:
        yield recorder


@contextlib.contextmanager
def run_blocking(url: str) -> Iterator[aqrec.sync.Recorder]:
    """The same for the blocking face."""
    options = aqrec.sync.Options(provenance=False)
    with aqrec.sync.open_recorder(url, experiment="alpha", options=options) as recorder:
        yield recorder


async def artifacts(recorder: Any) -> list[str]:
    """Return all artifacts two levels deep."""
    top = await recorder.list_artifacts()
    below = [await recorder.list_artifacts(path) for path in top]
    return sorted(
        itertools.chain.from_iterable(files or [path] for path, files in zip(top, below, strict=True))
    )


def read(path: Path) -> pd.DataFrame:
    """Read a table of rows (datetime, instrument), or of days."""
    table = pd.read_parquet(path)
    return table.set_index(["datetime", *(["instrument"] if "instrument" in table else [])])
