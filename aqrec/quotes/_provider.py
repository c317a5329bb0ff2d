"""A data folder of Qlib, read without Qlib: ``calendars/``, ``instruments/``, ``features/<name>/<field>.day.bin``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from aqrec.errors import CorruptError, InvalidInputError, ObjectNotFoundError

from ._files import Files
from ._market import Market

__all__ = ["is_provider", "read_provider"]

Ranges = list[tuple[np.datetime64, np.datetime64]]

_CALENDARS = ("calendars/day_future.txt", "calendars/day.txt")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)", re.IGNORECASE)


def is_provider(files: Files) -> bool:
    """Tell whether a folder is one of Qlib's."""
    return files.is_folder("calendars") and files.is_folder("features")


def read_provider(
    files: Files, *, instruments: str | Iterable[str], fields: Sequence[str], also: Iterable[str]
) -> Market:
    """Return the daily values of a provider folder.

    Parameters
    ----------
    files
        The folder.
    instruments
        A list of the folder ``instruments`` by its name, whose ranges of days hold, or names.
    fields
        With their ``$``. One that no instrument has is left out.
    also
        Further instruments, over all days.
    """
    days = _calendar(files)
    listed: dict[str, Ranges | None] = (
        dict(_listed(files, instruments))
        if isinstance(instruments, str)
        else dict.fromkeys(map(str, instruments))
    )
    for name in also:
        listed[str(name)] = None
    names = sorted(listed)
    paths = {
        f"features/{_folder(name)}/{field[1:].lower()}.day.bin": (field, column)
        for column, name in enumerate(names)
        for field in fields
    }
    found = files.read_many(list(paths))
    arrays: dict[str, npt.NDArray[np.float32]] = {}
    for path, content in found.items():
        field, column = paths[path]
        if field not in arrays:
            arrays[field] = np.full((len(days), len(names)), np.nan, dtype=np.float32)
        _fill(arrays[field][:, column], content, f"{path} of {files.name}")
    for column, name in enumerate(names):
        ranges = listed[name]
        if ranges is not None:
            outside = ~_inside(days, ranges)
            for array in arrays.values():
                array[outside, column] = np.nan
    if "$close" not in arrays:
        raise ObjectNotFoundError(
            f"{files.name} has no close of any of the {len(names)} instruments asked for ({', '.join(names[:3])}…)"
        )
    return Market(days, names, {field: arrays[field] for field in fields if field in arrays})


def _calendar(files: Files) -> npt.NDArray[np.datetime64]:
    for path in _CALENDARS:
        try:
            lines = files.read(path).decode().split("\n")
        except ObjectNotFoundError:
            continue
        days = [line.strip() for line in lines if line.strip()]
        try:
            return np.asarray(pd.to_datetime(days).to_numpy().astype("datetime64[ns]"))
        except ValueError as error:
            raise CorruptError(f"{path} of {files.name} is no list of days: {error}") from error
    raise ObjectNotFoundError(f"{files.name} has no {' and no '.join(_CALENDARS)}")


def _listed(files: Files, name: str) -> dict[str, Ranges]:
    path = f"instruments/{name.lower()}.txt"
    try:
        text = files.read(path).decode()
    except ObjectNotFoundError as error:
        known = [entry.removesuffix(".txt") for entry in files.names("instruments")]
        raise InvalidInputError(
            f"{files.name} has no list {name!r} of instruments; it has {', '.join(known) or 'none'}"
        ) from error
    ranges: dict[str, Ranges] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            code, first, last = line.rstrip().split("\t")[:3]
            span = (np.datetime64(first.strip()[:10]), np.datetime64(last.strip()[:10]))
        except ValueError as error:
            raise CorruptError(
                f"{path} of {files.name}, line {number}: expected name, first day and last day, got {line!r}"
            ) from error
        ranges.setdefault(code.upper(), []).append(span)
    return ranges


def _folder(name: str) -> str:
    return f"_qlib_{name.lower()}" if _RESERVED.fullmatch(name) else name.lower()


def _fill(target: npt.NDArray[Any], content: bytes, what: str) -> None:
    """Put the values of a file, which begins with the number of their first day, in their places."""
    if len(content) % 4 or not content:
        raise CorruptError(f"{what} has {len(content)} bytes, not some float32 numbers")
    values = np.frombuffer(content, dtype="<f4")
    first = values[0]
    if not 0 <= first < 2**24 or first != int(first):
        raise CorruptError(f"{what} does not begin with the number of a day, but with {first}")
    start = int(first)
    if start + len(values) - 1 > len(target):
        raise CorruptError(
            f"{what} has values of {start + len(values) - 1} days, the calendar only {len(target)}"
        )
    target[start : start + len(values) - 1] = values[1:]


def _inside(days: npt.NDArray[np.datetime64], ranges: Ranges) -> npt.NDArray[np.bool_]:
    inside = np.zeros(len(days), dtype=bool)
    for first, last in ranges:
        inside |= (days >= first) & (days <= last)
    return inside
