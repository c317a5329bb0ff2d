"""Prices from a table file or a provider folder, on this machine or elsewhere."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from aqrec.errors import CorruptError, InvalidInputError, ObjectNotFoundError

from ._files import Files, open_files
from ._market import Market
from ._provider import is_provider, read_provider

__all__ = ["FIELDS", "read_quotes"]

FIELDS = ("$open", "$close", "$volume", "$factor", "$change")
"""What a backtest may need unless it is told otherwise"""

_COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst", ".zip")


def read_quotes(
    source: str | os.PathLike[str],
    *,
    instruments: str | Iterable[str] = "all",
    fields: Sequence[str] = FIELDS,
    start_time: Any = None,
    end_time: Any = None,
    also: Iterable[str] = (),
    storage_options: Mapping[str, Any] | None = None,
) -> Market:
    """Read daily prices.

    It blocks while it reads; on an event loop, call it in a worker thread.

    Parameters
    ----------
    source
        Path or URL (any that fsspec knows; its driver has to be installed) of

        - a Parquet or CSV file (``.parquet``, ``.csv``, ``.csv.gz``…) or a folder of Parquet files: one row for each instrument
          and day, columns ``instrument``, ``datetime`` and the fields, with or without ``$``;
        - a data folder of Qlib: ``calendars/day.txt``, ``instruments/``, ``features/NAME/close.day.bin``. Qlib is not
          needed.
    instruments
        Names; or, of a data folder, the name of one of its lists, whose ranges of days hold. "all" are all.
    fields
        Which fields to read of a data folder. Tables are read whole.
    start_time, end_time
        First and last day to keep, both included. Default: all.
    also
        Further instruments of a data folder, over all days, such as an index to compare with.
    storage_options
        Arguments of the fsspec file system: credentials, endpoint.

    Returns
    -------
    Market
        float32 from a data folder, otherwise as in the file.

    Raises
    ------
    ObjectNotFoundError
        There is no such file or folder.
    InvalidInputError
        The file is of another kind, or lacks a column or list.
    CorruptError
        It cannot be decoded.
    StorageError
        It cannot be reached.
    """
    files = open_files(source, storage_options)
    if is_provider(files):
        names = [field if field.startswith("$") else f"${field}" for field in fields]
        market = read_provider(files, instruments=instruments, fields=names, also=also)
    else:
        market = Market.from_frame(_frame(files, os.fspath(source)))
        if not isinstance(instruments, str):
            market = _only(market, {*map(str, instruments), *map(str, also)})
        elif instruments != "all":
            raise InvalidInputError(
                f"instruments must be 'all' or names; a table has no list {instruments!r}, only a data folder of Qlib has"
            )
    return _between(market, start_time, end_time)


def _frame(files: Files, source: str) -> pd.DataFrame:
    if files.is_folder():
        parts = [name for name in files.names("") if _kind(name) == "parquet"]
        if not parts:
            raise InvalidInputError(
                f"the folder {files.name} has no Parquet files, and no calendars/ and features/ as a data folder of Qlib"
            )
        return pd.concat([_parsed(files.read(name), name, files.name) for name in parts])
    return _parsed(files.read(), source.split("?", maxsplit=1)[0].rsplit("/", 1)[-1], files.name)


def _kind(name: str) -> str:
    stem = name.lower()
    for ending in _COMPRESSIONS:
        stem = stem.removesuffix(ending)
    return {"parquet": "parquet", "pq": "parquet", "csv": "csv"}.get(stem.rsplit(".", 1)[-1], "")


def _parsed(content: bytes, name: str, place: str) -> pd.DataFrame:
    kind = _kind(name)
    if not kind:
        raise InvalidInputError(f"{place}: {name!r} is neither .parquet nor .csv")
    buffer = io.BytesIO(content)
    try:
        if kind == "parquet":
            return pd.read_parquet(buffer)
        packed = name.lower().rsplit(".", 1)[-1]
        methods = {"gz": "gzip", "bz2": "bz2", "xz": "xz", "zst": "zstd", "zip": "zip"}
        return pd.read_csv(buffer, compression=methods.get(packed), dtype={"instrument": str})  # type: ignore[arg-type]
    except (ValueError, OSError, EOFError) as error:
        raise CorruptError(f"{place}: {name!r} cannot be read: {error}") from error


def _only(market: Market, names: set[str]) -> Market:
    unknown = sorted(names.difference(market.columns))
    if unknown:
        raise ObjectNotFoundError(f"the quotes have no {', '.join(unknown[:5])}")
    kept = sorted(names)
    columns = [market.columns[name] for name in kept]
    return Market(market.days, kept, {field: values[:, columns] for field, values in market.fields.items()})


def _between(market: Market, start: Any, end: Any) -> Market:
    first = (
        0 if start is None else int(np.searchsorted(market.days, np.datetime64(pd.Timestamp(start), "ns")))
    )
    last = (
        len(market.days)
        if end is None
        else int(np.searchsorted(market.days, np.datetime64(pd.Timestamp(end), "ns"), side="right"))
    )
    if first == 0 and last == len(market.days):
        return market
    return Market(
        market.days[first:last],
        market.instruments,
        {field: values[first:last] for field, values in market.fields.items()},
    )
