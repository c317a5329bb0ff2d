"""Models, data sets and records that the workflows of the tests name."""

import asyncio
import threading
from typing import Any

import numpy as np
import pandas as pd

import aqrec.sync.templates
from aqrec.serialization import Serializable
from aqrec.templates import ACRecordTemp, PortAnaRecord, SignalRecord

__all__ = [
    "AsyncMean",
    "AsyncNote",
    "AsyncPanel",
    "Failing",
    "LastDay",
    "Mean",
    "NoPrices",
    "NotARecord",
    "OwnPrices",
    "Panel",
    "Portfolio",
    "PricedPanel",
    "Waiting",
    "mean",
    "places",
]

places: dict[str, Any] = {}
"""Where each part ran, by its name: a thread and the active recorder"""


def seen(part: str) -> None:
    places[part] = threading.current_thread()


class Panel(Serializable):
    """A few days of a few names; leaves its rows out of its pickle."""

    def __init__(self, days: int = 6, names: int = 5, seed: int = 1) -> None:
        seen("Panel")
        rows = pd.MultiIndex.from_product(
            [pd.date_range("2024-01-01", periods=days), [f"S{i}" for i in range(names)]],
            names=["datetime", "instrument"],
        )
        self.days = days
        self._rows = pd.DataFrame({"x": np.random.default_rng(seed).normal(size=len(rows))}, rows)

    def labels(self) -> pd.DataFrame:
        return self._rows.rename(columns={"x": "LABEL0"}) ** 3


class AsyncPanel(Panel):
    async def labels(self) -> pd.DataFrame:  # type: ignore[override]
        return super().labels()


class PricedPanel(Panel):
    """Knows what its names cost."""

    def quotes(self) -> pd.DataFrame:
        rows = pd.MultiIndex.from_product(
            [pd.date_range("2023-12-25", periods=30), [f"S{i}" for i in range(5)]],
            names=["datetime", "instrument"],
        )
        close = 10 + np.arange(len(rows)) / 100
        return pd.DataFrame(
            {"$close": close, "$change": 0.001, "$volume": 1e9, "$factor": 1.0}, rows
        ).reset_index()


class Mean:
    """Predicts the data itself times a factor."""

    def __init__(self, factor: float = 1.0, *, noise: float = 0.0, when: Any = None) -> None:
        self.factor = factor
        self.noise = noise
        self.fitted = False
        self.weights: Any = None

    def fit(self, dataset: Panel, reweighter: Any = None) -> None:
        seen("fit")
        self.fitted, self.weights = True, reweighter
        aqrec.sync.R.log_metrics(step=1, train=0.5)

    def predict(self, dataset: Panel) -> "pd.Series[float]":
        seen("predict")
        assert self.fitted
        return self.factor * dataset._rows["x"]


class AsyncMean(Mean):
    async def fit(self, dataset: Panel) -> None:  # type: ignore[override]
        super().fit(dataset)

    async def predict(self, dataset: Panel) -> "pd.Series[float]":  # type: ignore[override]
        return super().predict(dataset)


class Waiting(Mean):
    """Begins to fit and never ends."""

    begun: asyncio.Event

    async def fit(self, dataset: Panel) -> None:  # type: ignore[override]
        type(self).begun.set()
        await asyncio.Event().wait()


class Failing(Mean):
    def fit(self, dataset: Panel, reweighter: Any = None) -> None:
        raise ZeroDivisionError("no data of that kind")


class LastDay(aqrec.sync.templates.ACRecordTemp):
    """A record that blocks."""

    artifact_path = "last"
    depend_cls = aqrec.sync.templates.SignalRecord

    def __init__(self, recorder: Any, model: Any = None, count: int = 1) -> None:
        super().__init__(recorder)
        self.model, self.count = model, count

    def list(self) -> list[str]:
        return ["last.pkl"]

    def _generate(self) -> Any:
        seen("LastDay")
        pred = self.load("pred.pkl")
        self.recorder.log_metrics(last=float(pred["score"].iloc[-self.count]))
        return {"last.pkl": {"factor": self.model.factor, "score": float(pred["score"].iloc[-self.count])}}


class AsyncNote(ACRecordTemp):
    """A record that awaits, and hands on what it is given."""

    depend_cls = SignalRecord

    def __init__(self, recorder: Any, **keywords: Any) -> None:
        super().__init__(recorder, **keywords)

    def list(self) -> list[str]:
        return ["note.json"]

    async def _generate(self) -> Any:
        return {"note.json": len(await self.load("pred.pkl"))}


class Portfolio(aqrec.sync.templates.PortAnaRecord):
    """Takes the model, and hands on what else it is given."""

    artifact_path = "mine"

    def __init__(self, recorder: Any, model: Any, **keywords: Any) -> None:
        super().__init__(recorder, **keywords)
        self.model = model


class OwnPrices(PortAnaRecord):
    """Hands on what it is given beside prices of its own."""

    artifact_path = "own"

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, quotes=PricedPanel(days=6).quotes(), **keywords)


class NoPrices(PortAnaRecord):
    def __init__(self, recorder: Any, config: Any = None) -> None:
        super().__init__(recorder, config)


class NotARecord:
    def __init__(self, size: int) -> None:
        self.size = size


def mean(factor: float) -> Mean:
    return Mean(factor)
