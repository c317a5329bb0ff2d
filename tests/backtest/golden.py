"""What Qlib made of the recorded cases, and how to run them."""

import functools
import json
from pathlib import Path
from typing import Any

import pandas as pd

from aqrec.quotes import Market

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
CASES = ("g01_syn40_default", "g02_syn40_expr_vol", "g03_real4_open_lots", "g05_qrun")


def table(path: str) -> pd.DataFrame:
    return pd.read_parquet(GOLDEN / path)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple(value["__tuple__"]) if "__tuple__" in value else {k: _plain(v) for k, v in value.items()}
    return value


def case(name: str) -> dict[str, Any]:
    facts: dict[str, Any] = _plain(json.loads((GOLDEN / name / "case.json").read_text(encoding="utf-8")))
    return facts


def prediction(name: str) -> pd.DataFrame:
    return table(case(name)["files"]["pred"]).set_index(["datetime", "instrument"])


@functools.cache
def calendar(dataset: str) -> tuple[str, ...]:
    return tuple((GOLDEN / "inputs" / dataset / "calendar.txt").read_text(encoding="utf-8").split())


def quotes(dataset: str) -> pd.DataFrame:
    return table(f"inputs/{dataset}/quote.parquet")


@functools.cache
def market(dataset: str) -> Market:
    return Market.from_frame(quotes(dataset), list(calendar(dataset)))
