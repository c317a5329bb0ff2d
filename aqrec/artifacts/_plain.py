"""Codecs of plain data: JSON and YAML."""

from __future__ import annotations

import datetime as dt
import json
import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec
import yaml

from aqrec.artifacts._codec import Codec, writing

if TYPE_CHECKING:
    from collections.abc import Callable

    from aqrec.artifacts._trust import TrustPolicy

_Loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: type[Any] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


_MAX_BITS = 4096


class _UnfitError(Exception):
    """Some part of the object has no faithful form."""


class _PlainCodec(Codec):
    """Shared by both: what an object is made of, down to the leaves."""

    finite_only: bool
    dates: bool

    def accepts(self, obj: object) -> bool:
        return (
            obj is None
            or isinstance(obj, bool | int | float | str | Mapping | list | tuple)
            or _is_numpy(obj)
            or (self.dates and isinstance(obj, dt.date))
        )

    def encode(self, obj: object) -> Callable[[BinaryIO], None]:
        try:
            data = self.text(self._plain(obj, "$")).encode("utf-8")
        except _UnfitError as error:
            self.refuse(obj, str(error))
        except RecursionError:
            self.refuse(obj, "an object that contains itself or is nested too deeply")
        except UnicodeEncodeError as error:
            self.refuse(obj, f"text that UTF-8 cannot hold ({error})")
        return writing(data)

    @abstractmethod
    def text(self, plain: Any) -> str:
        """Write plain data down."""

    def _plain(self, obj: Any, path: str) -> Any:
        """Copy the object as dicts, lists and scalars, or say where the trouble is."""
        if _is_numpy(obj):
            obj = obj.tolist()
        if obj is None or isinstance(obj, bool):
            return obj
        if isinstance(obj, int):
            return _integer(obj, path)
        if isinstance(obj, float):
            if self.finite_only and not math.isfinite(obj):
                raise _UnfitError(f"{obj} at {path} (JSON has no such number; use None, text, or .yaml)")
            return float(obj)
        if isinstance(obj, str):
            return str(obj)
        if isinstance(obj, list | tuple):
            return [self._plain(item, f"{path}[{position}]") for position, item in enumerate(obj)]
        if isinstance(obj, Mapping):
            return {_key(key, path): self._plain(item, f"{path}.{key}") for key, item in obj.items()}
        if self.dates and type(obj) in (dt.date, dt.datetime):
            return _date(obj, path)
        raise _UnfitError(f"{type(obj).__module__}.{type(obj).__qualname__} at {path}")


class JsonCodec(_PlainCodec):
    """Standard JSON that any reader takes, indented; it loads as dicts, lists and scalars.

    Tuples load as lists, numpy scalars and arrays of numbers as Python's numbers and lists. NaN and
    infinities are refused, because JSON has none and every way around that changes the value for some
    reader. So are keys that are not text, which JSON would turn into text.
    """

    name = "json"
    suffixes = (".json",)
    takes = "None, bool, finite numbers, text, and lists and dicts (text keys) of these"
    finite_only = True
    dates = False

    def text(self, plain: Any) -> str:
        compact = json.dumps(plain, allow_nan=False, ensure_ascii=False)
        return msgspec.json.format(compact, indent=2) + "\n"

    def decode(self, file: BinaryIO, _: TrustPolicy, /) -> object:
        return json.loads(file.read())


class YamlCodec(_PlainCodec):
    """YAML 1.1 of plain data, keys in their order; it loads by the safe loader.

    As JSON, but NaN and infinities, dates and datetimes are kept.
    """

    name = "yaml"
    suffixes = (".yaml", ".yml")
    takes = "None, bool, numbers, text, dates, and lists and dicts (text keys) of these"
    finite_only = False
    dates = True

    def text(self, plain: Any) -> str:
        # PyYAML's dumper in Python writes U+0085 in a way that its loader reads as a line break.
        readable = _Dumper is not yaml.SafeDumper
        text: str = yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=readable)
        return text

    def decode(self, file: BinaryIO, _: TrustPolicy, /) -> object:
        return yaml.load(file.read(), Loader=_Loader)  # noqa: S506 - one of the safe loaders


def _is_numpy(obj: object) -> bool:
    # Arrays and scalars of numbers, truth values and text, told without importing numpy.
    return type(obj).__module__ == "numpy" and getattr(getattr(obj, "dtype", None), "kind", "") in tuple(
        "biufU"
    )


def _key(key: object, path: str) -> str:
    if not isinstance(key, str):
        raise _UnfitError(f"the key {key!r} at {path}, which would come back as text")
    return str(key)


def _integer(number: int, path: str) -> int:
    # Python refuses to read back decimal numbers beyond its limit of digits.
    if number.bit_length() > _MAX_BITS:
        raise _UnfitError(f"an integer of {number.bit_length()} bits at {path}")
    return int(number)


def _date(moment: Any, path: str) -> Any:
    offset = moment.utcoffset() if isinstance(moment, dt.datetime) else None
    if offset is not None and offset % dt.timedelta(minutes=1):
        raise _UnfitError(f"the time zone of {moment} at {path}, which is not a whole number of minutes")
    return moment


CODECS = (JsonCodec(), YamlCodec())
