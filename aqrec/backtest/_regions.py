"""Habits of three markets."""

from __future__ import annotations

from typing import Literal, NamedTuple

from aqrec.errors import InvalidInputError

__all__ = ["Region", "RegionDefaults", "region_of"]

Region = Literal["cn", "us", "tw"]


class RegionDefaults(NamedTuple):
    """What holds where nothing else is said."""

    trade_unit: int
    limit_threshold: float | None
    deal_price: str = "close"


_REGIONS = {
    "cn": RegionDefaults(100, 0.095),
    "us": RegionDefaults(1, None),
    "tw": RegionDefaults(1000, 0.1),
}


def region_of(name: str) -> RegionDefaults:
    """Return the defaults of a region."""
    try:
        return _REGIONS[name]
    except KeyError:
        raise InvalidInputError(f"region must be one of {', '.join(_REGIONS)}, not {name!r}") from None
