"""Habits of three markets."""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["REGIONS", "Region", "RegionDefaults"]

Region = Literal["cn", "us", "tw"]


class RegionDefaults(NamedTuple):
    """What holds where nothing else is said."""

    trade_unit: int
    limit_threshold: float | None
    deal_price: str = "close"


REGIONS = {
    "cn": RegionDefaults(100, 0.095),
    "us": RegionDefaults(1, None),
    "tw": RegionDefaults(1000, 0.1),
}
