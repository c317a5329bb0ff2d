"""Codecs of numpy arrays: ``.npy`` and ``.npz``, never with pickles inside."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from aqrec.artifacts._codec import Codec

if TYPE_CHECKING:
    from collections.abc import Callable

    from aqrec.artifacts._trust import TrustPolicy

# Kinds of dtype that are bytes and nothing else: bool, numbers, times, fixed-width text and bytes, records.
_PLAIN_KINDS = "biufcmMSUV"

# Records of many fields have long headers; numpy's own limit guards an evaluation that is not made here.
_MAX_HEADER = 1 << 20


class NpyCodec(Codec):
    """One array; it loads as an ``ndarray`` of its shape, data type and memory order."""

    name = "npy"
    suffixes = (".npy",)
    takes = "a numpy array of numbers, times, fixed-width text or records"

    def accepts(self, obj: object) -> bool:
        return isinstance(obj, np.ndarray)

    def encode(self, obj: object) -> Callable[[BinaryIO], None]:
        array = _checked(self, obj)
        return lambda file: _write_array(file, array)

    def decode(self, file: BinaryIO, _: TrustPolicy, /) -> object:
        return _read_array(file)


class NpzCodec(Codec):
    """Several arrays by name; they load as a ``dict``."""

    name = "npz"
    suffixes = (".npz",)
    takes = "a dict of numpy arrays with text keys, or a list or tuple of arrays (saved as arr_0, arr_1, …)"
    random_access = True

    def accepts(self, obj: object) -> bool:
        return isinstance(obj, Mapping | list | tuple)

    def encode(self, obj: object) -> Callable[[BinaryIO], None]:
        if isinstance(obj, list | tuple):
            obj = {f"arr_{position}": value for position, value in enumerate(obj)}
        if not isinstance(obj, Mapping):
            self.refuse(obj)
        arrays: dict[str, Any] = {}
        for key, value in obj.items():
            if not isinstance(key, str) or "\0" in key or key.encode("utf-8", "replace").decode() != key:
                self.refuse(obj, f"the key {key!r}")
            arrays[key] = _checked(self, value, f" under the key {key!r}")
        return lambda file: _write_archive(file, arrays)

    def decode(self, file: BinaryIO, _: TrustPolicy, /) -> object:
        arrays: dict[str, Any] = {}
        with zipfile.ZipFile(file) as archive:
            for member in archive.namelist():
                with archive.open(member) as part:
                    arrays[member.removesuffix(".npy")] = _read_array(part)
        return arrays


def _checked(codec: Codec, obj: object, where: str = "") -> Any:
    if not isinstance(obj, np.ndarray):
        codec.refuse(obj, f"{type(obj).__qualname__}{where}")
    if isinstance(obj, np.ma.MaskedArray):
        codec.refuse(obj, f"a masked array{where}, whose mask would be lost")
    if obj.dtype.kind not in _PLAIN_KINDS or obj.dtype.hasobject:
        codec.refuse(obj, f"an array{where} of dtype {obj.dtype}, which needs a pickle")
    try:
        np.lib.format.header_data_from_array_1_0(obj)
    except ValueError as error:
        codec.refuse(obj, f"an array{where} of dtype {obj.dtype}: {error}")
    return obj


def _write_array(file: Any, array: Any) -> None:
    np.lib.format.write_array(file, array, version=_version(array), allow_pickle=False)


def _version(array: Any) -> tuple[int, int]:
    """Choose the oldest version of the format that holds the header; numpy does so with a warning."""
    header = np.lib.format.header_data_from_array_1_0(array)
    for version, write in (
        ((1, 0), np.lib.format.write_array_header_1_0),
        ((2, 0), np.lib.format.write_array_header_2_0),
    ):
        with suppress(ValueError):
            write(io.BytesIO(), header)
            return version
    return (3, 0)


def _read_array(file: Any) -> Any:
    return np.lib.format.read_array(file, allow_pickle=False, max_header_size=_MAX_HEADER)


def _write_archive(file: BinaryIO, arrays: dict[str, Any]) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for key, array in arrays.items():
            # A ZipInfo of its own: no time of day, so equal arrays give equal bytes.
            with archive.open(zipfile.ZipInfo(f"{key}.npy"), "w", force_zip64=True) as part:
                _write_array(part, array)


CODECS = (NpyCodec(), NpzCodec())
