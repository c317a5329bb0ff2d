"""A Qlib provider folder made of price tables."""

from pathlib import Path

import numpy as np
import pandas as pd

__all__ = ["write_provider"]


def write_provider(folder: Path, fields: dict[str, pd.DataFrame], members: list[str]) -> Path:
    """Write ``calendars``, ``instruments`` and ``features``: one table a field, days by instruments.

    `members` are the instruments of the market ``all``.
    """
    days = next(iter(fields.values())).index
    names = next(iter(fields.values())).columns
    for part in ("calendars", "instruments"):
        (folder / part).mkdir(parents=True)
    (folder / "calendars" / "day.txt").write_text("".join(f"{day:%Y-%m-%d}\n" for day in days))
    rows: list[str] = []
    for name in names:
        place = folder / "features" / str(name).lower()
        place.mkdir(parents=True)
        for field, table in fields.items():
            # float32, little-endian; the first number is the position of the first value in the calendar.
            np.hstack([0, table[name].to_numpy()]).astype("<f").tofile(place / f"{field}.day.bin")
        if name in members:
            rows.append(f"{name}\t{days[0]:%Y-%m-%d}\t{days[-1]:%Y-%m-%d}\n")
    (folder / "instruments" / "all.txt").write_text("".join(rows))
    return folder
