"""A data folder of Qlib, read without Qlib: ``calendars/``, ``instruments/``, ``features/<name>/<field>.day.bin``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from aqrec.errors import CorruptError, InvalidInputError, InvalidValueError, ObjectNotFoundError

from ._days import day_array
from ._files import Files
from ._market import Market

__all__ = ["has_prices", "is_provider", "read_provider"]

Ranges = list[tuple[np.datetime64, np.datetime64]]

_CALENDARS = ("calendars/day_future.txt", "calendars/day.txt")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)", re.IGNORECASE)


def is_provider(files: Files) -> bool:
    """Tell whether a folder is one of Qlib's."""
    return files.is_folder("calendars") and files.is_folder("features")


def has_prices(files: Files, name: str) -> bool:
    """Tell whether a folder has closes of an instrument."""
    folder = f"features/{_folder(name)}"
    return "close.day.bin" in files.names(folder)


def read_provider(
    files: Files, *, instruments: str | Iterable[str], fields: Sequence[str], also: Iterable[str]
) -> Market:
    """Return the daily values of a provider folder.

    Parameters
    ----------
    files
        The folder.
    instruments
        A list of the folder ``instruments`` by its name, whose ranges of days say when each is listed, or names.
    fields
        With their ``$``. One that no instrument has is left out.
    also
        Further instruments. Those that are not listed are references, listed on no day.
    """
    days = _calendar(files)
    by_list = isinstance(instruments, str)
    listed: dict[str, Ranges | None] = (
        dict(_listed(files, instruments))
        if isinstance(instruments, str)
        else dict.fromkeys(map(str, instruments))
    )
    references = {str(name) for name in also}.difference(listed)
    names = sorted({*listed, *references})
    paths: dict[str, tuple[int, list[str]]] = {}
    for column, name in enumerate(names):
        for field in fields:
            path = f"features/{_folder(name)}/{field[1:].lower()}.day.bin"
            paths.setdefault(path, (column, []))[1].append(field)
    found = files.read_many(list(paths))
    arrays: dict[str, npt.NDArray[np.float32]] = {}
    for path, content in found.items():
        column, named = paths[path]
        for field in named:
            if field not in arrays:
                arrays[field] = np.full((len(days), len(names)), np.nan, dtype=np.float32)
            _fill(arrays[field][:, column], content, f"{path} of {files.name}")
    close = {name for name in names if f"features/{_folder(name)}/close.day.bin" in found}
    # A list may have names without prices, as in Qlib; who names an instrument wants it.
    lacking = sorted((references if by_list else set(names)) - close) if close else names
    if lacking:
        raise ObjectNotFoundError(
            f"{files.name} has no close of {', '.join(lacking[:5])}{'…' * (len(lacking) > 5)} ({len(lacking)} of {len(names)} "
            "instruments asked for)"
        )
    inside = np.ones((len(days), len(names)), dtype=bool)
    for column, name in enumerate(names):
        if name in references:
            inside[:, column] = False
        elif (ranges := listed[name]) is not None:
            inside[:, column] = _inside(days, ranges)
    return Market(
        days,
        names,
        {field: arrays[field] for field in fields if field in arrays},
        listed=None if inside.all() else inside,
        references=references,
    )


def _calendar(files: Files) -> npt.NDArray[np.datetime64]:
    for path in _CALENDARS:
        try:
            lines = files.read(path).decode().split("\n")
        except ObjectNotFoundError:
            continue
        try:
            return day_array([line.strip() for line in lines if line.strip()], "its lines")
        except InvalidValueError as error:
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
    # Compared as days, not nanoseconds, which do not reach a last day such as 9999-12-31.
    dates = days.astype("datetime64[D]")
    for first, last in ranges:
        inside |= (dates >= first) & (dates <= last)
    return inside
