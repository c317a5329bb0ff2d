"""Param and tag values: typed, of any length, the same after reading as before writing."""

from __future__ import annotations

import datetime as dt
import enum
import math
import os
from typing import Any, Final

import msgspec

from aqrec.errors import InvalidValueError

__all__ = ["Value", "ext_hook", "from_json", "normalise", "pack", "to_json", "unpack"]

Value = str | int | float | bool | None | list["Value"] | dict[str, "Value"]

_BIG_INT: Final = 1
_INT64_MIN, _UINT64_MAX = -(2**63), 2**64 - 1
_MAX_DEPTH: Final = 200
_MAX_JSON_BITS: Final = 2048
"""Python refuses to print or parse longer integers at some length that each process may set."""
_MARKS: Final = ("$float", "$int", "$dict")


def normalise(what: str, value: object, _depth: int = 0) -> Value:  # noqa: PLR0912 - one branch a type
    """Return `value` as the plain value that is stored, or raise `InvalidValueError`.

    Kept as they are: str, int, float (NaN and infinities too), bool, None, and lists and dicts of them. Turned into those:
    numpy scalars and 0-d arrays, tuples, sets of text, mappings, paths, dates and times (ISO 8601), enum members (their value).
    """
    kind = type(value)
    if kind in (int, float, bool) or value is None:
        return value  # type: ignore[return-value]
    if kind is str:
        return _text(what, value)  # type: ignore[arg-type]
    if _depth > _MAX_DEPTH:
        raise InvalidValueError(
            f"{what} is nested deeper than {_MAX_DEPTH} levels; save it as an artifact instead"
        )
    if isinstance(value, enum.Enum):
        return normalise(what, value.value, _depth + 1)
    if isinstance(value, (list, tuple)):
        return [normalise(f"{what}[{i}]", item, _depth + 1) for i, item in enumerate(value)]
    if isinstance(value, dict):
        plain = {_key(what, k): normalise(f"{what}[{k!r}]", v, _depth + 1) for k, v in value.items()}
        if len(plain) < len(value):
            raise InvalidValueError(
                f"{what} has keys that are one text once stored, such as 1 and '1'; use text keys"
            )
        return plain
    if isinstance(value, (set, frozenset)):
        try:
            return [normalise(what, item, _depth + 1) for item in sorted(value)]
        except TypeError:
            raise InvalidValueError(
                f"{what}: a set of unlike items has no order to store; give a list"
            ) from None
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, os.PathLike):
        return _text(what, os.fsdecode(value))
    if isinstance(value, bool):
        return bool(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return _text(what, str(value))
    item = getattr(value, "item", None)  # numpy scalars and 0-d arrays, torch scalars
    if callable(item) and getattr(value, "shape", None) == ():
        plain = item()
        if type(plain) is not kind:
            return normalise(what, plain, _depth + 1)
    raise InvalidValueError(
        f"{what} is a {kind.__module__}.{kind.__qualname__}; a param or tag takes text, numbers, booleans, None, lists "
        "and dicts of them. Convert it (for example with str()), or keep the object with save_objects()"
    )


def _text(what: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidValueError(f"{what} is text that has no UTF-8 form ({error.reason})") from None
    return text


def _key(what: str, key: object) -> str:
    if isinstance(key, str):
        return _text(what, key)
    if isinstance(key, (int, float, bool)) or key is None:
        return str(key)
    raise InvalidValueError(
        f"{what} has a key {key!r} of type {type(key).__name__}; keys of a stored dict are text"
    )


def _wrap(value: Any) -> Any:
    """Return `value` with integers that msgpack cannot hold as extension values."""
    if type(value) is int and not _INT64_MIN <= value <= _UINT64_MAX:
        return msgspec.msgpack.Ext(_BIG_INT, hex(value).encode())
    if type(value) is list:
        return [_wrap(item) for item in value]
    if type(value) is dict:
        return {key: _wrap(item) for key, item in value.items()}
    return value


def ext_hook(code: int, data: memoryview) -> Any:
    """Return the value of a msgpack extension; a decoder of values needs it."""
    if code == _BIG_INT:
        return int(bytes(data), 16)
    return msgspec.msgpack.Ext(code, bytes(data))


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ext_hook=ext_hook)


def pack(values: dict[str, Value]) -> bytes:
    """Return normalised values as msgpack."""
    try:
        return _encoder.encode(values)
    except OverflowError:
        return _encoder.encode(_wrap(values))


def unpack(data: bytes | memoryview) -> dict[str, Any]:
    """Return values written by `pack`."""
    return _decoder.decode(data)  # type: ignore[no-any-return]


def to_json(value: Value) -> Any:
    """Return `value` in a form strict JSON can hold.

    NaN and infinities become ``{"$float": "nan"}``, integers of thousands of digits ``{"$int": "0x…"}``.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(value)}
    if isinstance(value, int) and value.bit_length() > _MAX_JSON_BITS:
        return {"$int": hex(value)}
    if isinstance(value, list):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        plain = {key: to_json(item) for key, item in value.items()}
        return {"$dict": plain} if len(plain) == 1 and next(iter(plain)) in _MARKS else plain
    return value


def from_json(value: Any) -> Any:
    """Return the value that `to_json` was given."""
    if isinstance(value, list):
        return [from_json(item) for item in value]
    if isinstance(value, dict):
        if len(value) == 1:
            if "$float" in value:
                return float(value["$float"])
            if "$int" in value:
                return int(value["$int"], 16)
            if "$dict" in value:
                return {key: from_json(item) for key, item in value["$dict"].items()}
        return {key: from_json(item) for key, item in value.items()}
    return value
