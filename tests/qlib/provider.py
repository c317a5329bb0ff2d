"""A Qlib provider folder made of price tables."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

__all__ = ["write_provider"]


def write_provider(
    folder: Path, fields: Mapping[str, pd.DataFrame], spans: Mapping[str, tuple[pd.Timestamp, pd.Timestamp]]
) -> Path:
    """Write ``calendars``, ``instruments`` and ``features``: one table a field, days by instruments.

    `spans` are the instruments of the market ``all``, with their first and last day in it.
    """
    days = next(iter(fields.values())).index
    names = next(iter(fields.values())).columns
    for part in ("calendars", "instruments"):
        (folder / part).mkdir(parents=True)
    (folder / "calendars" / "day.txt").write_text("".join(f"{day:%Y-%m-%d}\n" for day in days))
    for name in names:
        place = folder / "features" / str(name).lower()
        place.mkdir(parents=True)
        for field, table in fields.items():
            # float32, little-endian; the first number is the position of the first value in the calendar.
            np.hstack([0, table[name].to_numpy()]).astype("<f").tofile(place / f"{field}.day.bin")
    rows = [f"{name}\t{first:%Y-%m-%d}\t{last:%Y-%m-%d}\n" for name, (first, last) in spans.items()]
    (folder / "instruments" / "all.txt").write_text("".join(rows))
    return folder
