"""Prices from a table file or a provider folder, on this machine or elsewhere."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aqrec.errors import CorruptError, InvalidInputError, ObjectNotFoundError
from aqrec.stores._urls import local_root

from ._days import as_day
from ._files import Files, file_name, open_files
from ._market import Market, part_of
from ._provider import has_prices, is_provider, read_provider

__all__ = ["FIELDS", "lacking", "read_quotes"]

FIELDS = ("$open", "$close", "$volume", "$factor", "$change")
"""What a backtest may need unless it is told otherwise"""

_MISSING = ["", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "#N/A", "<NA>"]
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
        Path or URL (any that fsspec knows, chained ones too, such as ``simplecache::s3://…``; its driver has to be installed) of

        - a Parquet or CSV file (``.parquet``, ``.csv``, ``.csv.gz``…) or a folder of Parquet files: one row for each instrument
          and day, columns ``instrument``, ``datetime`` and the fields, with or without ``$``;
        - a data folder of Qlib: ``calendars/day.txt``, ``instruments/``, ``features/NAME/close.day.bin``. Qlib is not
          needed.
    instruments
        Names; or, of a data folder, the name of one of its lists, whose ranges of days become `Market.listed`: outside of them an
        instrument is not traded. "all" are all.
    fields
        Which fields to read of a data folder. Tables are read whole.
    start_time, end_time
        First and last day to keep, both included. Default: all. A date, Timestamp or datetime64, text such as
        "2024-01-31", or the number 20240131.
    also
        Further instruments to compare with, such as an index: they become `Market.references`. Of a data folder, those that are not listed
        are not traded; the ranges of those that are stay as they are.
    storage_options
        Arguments of the fsspec file system: credentials, endpoint.

    Returns
    -------
    Market
        float32 from a data folder, otherwise as in the file.

    Raises
    ------
    ObjectNotFoundError
        There is no such file, folder or instrument.
    InvalidInputError
        The file is of another kind, or lacks a column or list; or a day is none.
    CorruptError
        It cannot be decoded.
    StorageError
        It cannot be reached.
    """
    first = None if start_time is None else as_day(start_time, "start_time")
    last = None if end_time is None else as_day(end_time, "end_time")
    if not isinstance(instruments, str):
        instruments = _names("instruments", instruments)
    further = _names("also", [also] if isinstance(also, str) else also)
    files = open_files(source, storage_options)
    if is_provider(files):
        wanted = _names("fields", [fields] if isinstance(fields, str) else fields)
        names = [field if field.startswith("$") else f"${field}" for field in wanted]
        market = read_provider(files, instruments=instruments, fields=names, also=further)
    else:
        if isinstance(instruments, str) and instruments != "all":
            raise InvalidInputError(
                f"instruments must be 'all' or names; a table has no list {instruments!r}, only a data folder of Qlib has"
            )
        named = [] if isinstance(instruments, str) else instruments
        market = Market.from_frame(_frame(files, os.fspath(source)))
        _check_known(market, files.name, [*named, *further])
        market = market.comparing({*further}.difference(named))
        if not isinstance(instruments, str):
            market = part_of(market, slice(None), sorted({*named, *further}))
    return part_of(
        market,
        slice(
            None if first is None else int(np.searchsorted(market.days, first)),
            None if last is None else int(np.searchsorted(market.days, last, side="right")),
        ),
    )


def lacking(source: str, names: Sequence[str]) -> list[str]:
    """Return which instruments a file or folder on this machine has no prices of; of a table, reads that column only.

    Raises
    ------
    ObjectNotFoundError
        There is no such file or folder.
    InvalidInputError
        It is no table and no data folder.
    CorruptError
        It cannot be decoded.
    """
    files = open_files(source)
    if is_provider(files):
        return [name for name in names if not has_prices(files, name)]
    root = Path(local_root(source))
    parts = [root]
    if files.is_folder():
        parts = [root / name for name in _parquet_files(files)]
    elif not root.is_file():
        raise ObjectNotFoundError(f"there is no file or folder {source!r}")
    elif not _kind(root.name):
        raise InvalidInputError(f"{source!r} is neither .parquet nor .csv, nor a data folder of Qlib")
    if not names:
        return []
    known: set[Any] = set()
    for part in parts:
        try:
            known |= _instruments(part)
        except (ValueError, OSError, EOFError) as error:
            raise CorruptError(f"the instruments of {str(part)!r} cannot be read: {error}") from error
    return [name for name in names if name not in known]


def _instruments(path: Path) -> set[Any]:
    if _kind(path.name) == "csv":
        column = pd.read_csv(path, usecols=["instrument"], dtype=str, keep_default_na=False)
    else:
        column = pd.read_parquet(path, columns=["instrument"]).reset_index()
    return set(column["instrument"].unique())


def _parquet_files(files: Files) -> list[str]:
    found = [name for name in files.names("") if _kind(name) == "parquet"]
    if not found:
        raise InvalidInputError(
            f"the folder {files.name} has no Parquet files, and no calendars/ and features/ as a data folder of Qlib"
        )
    return found


def _names(what: str, given: Any) -> list[str]:
    try:
        names = list(given)
    except TypeError as error:
        raise InvalidInputError(f"{what} must be names, not {given!r}") from error
    for name in names:
        if not isinstance(name, str):
            raise InvalidInputError(f"{what} must be names, not {name!r}")
    return names


def _frame(files: Files, source: str) -> pd.DataFrame:
    if files.is_folder():
        return pd.concat([_parsed(files.read(name), name, files.name) for name in _parquet_files(files)])
    return _parsed(files.read(), file_name(source), files.name)


def _kind(name: str) -> str:
    stem = name.lower()
    for ending in _COMPRESSIONS:
        stem = stem.removesuffix(ending)
    return {"parquet": "parquet", "pq": "parquet", "csv": "csv"}.get(stem.rsplit(".", 1)[-1], "")


def _parsed(content: bytes, name: str, place: str) -> pd.DataFrame:
    kind = _kind(name)
    if not kind:
        raise InvalidInputError(f"{place}: {name!r} is neither .parquet nor .csv")
    try:
        if kind == "parquet":
            return pd.read_parquet(io.BytesIO(content))
        return _csv(content, name.lower().rsplit(".", 1)[-1])
    except (ValueError, OSError, EOFError) as error:
        raise CorruptError(f"{place}: {name!r} cannot be read: {error}") from error


def _csv(content: bytes, packed: str) -> pd.DataFrame:
    methods = {"gz": "gzip", "bz2": "bz2", "xz": "xz", "zst": "zstd", "zip": "zip"}
    compression: Any = methods.get(packed)
    header = pd.read_csv(io.BytesIO(content), compression=compression, nrows=0)
    # "NA" and "NAN" are tickers; elsewhere they stand for what is missing.
    missing = {name: _MISSING for name in header.columns if name != "instrument"}
    return pd.read_csv(
        io.BytesIO(content),
        compression=compression,
        dtype={"instrument": str},
        keep_default_na=False,
        na_values=missing,
    )


def _check_known(market: Market, place: str, names: Iterable[str]) -> None:
    unknown = sorted(set(names).difference(market.columns))
    if unknown:
        raise ObjectNotFoundError(
            f"{place} has no {', '.join(unknown[:5])} among its {len(market.columns)} instruments"
        )
