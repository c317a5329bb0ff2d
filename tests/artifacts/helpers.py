"""Saving to and loading from memory, and telling whether two objects are the same."""

import io
from typing import Any

import numpy as np
import pandas as pd

from aqrec.artifacts import Digest, TrustPolicy, read_object, write_object

TRUSTED = TrustPolicy("trusted")
RESTRICTED = TrustPolicy("restricted")


def save(obj: object, codec: str, **options: Any) -> tuple[bytes, Digest]:
    file = io.BytesIO()
    digest = write_object(file, obj, codec=codec, **options)
    return file.getvalue(), digest


def load(data: bytes, codec: str, digest: Digest | None = None, **options: Any) -> Any:
    if digest is not None:
        options |= {"size": digest.size, "checksum": digest.checksum}
    options.setdefault("trust", TRUSTED)
    return read_object(io.BytesIO(data), codec=codec, **options)


def round_trip(
    obj: object, codec: str, *, compression: str | None = None, trust: TrustPolicy = TRUSTED
) -> Any:
    data, digest = save(obj, codec, compression=compression)
    return load(data, codec, digest, compression=compression, trust=trust)


def same(left: Any, right: Any) -> bool:
    """Equal, of one type, in depth; NaN equals NaN, and arrays agree in dtype, order and writability."""
    if type(left) is not type(right):
        return False
    if isinstance(left, np.ndarray):
        flags = ("writeable", "f_contiguous", "c_contiguous")
        agree = left.dtype == right.dtype and left.shape == right.shape
        if not agree or any(getattr(left.flags, flag) != getattr(right.flags, flag) for flag in flags):
            return False
        if left.dtype.hasobject:
            return all(same(a, b) for a, b in zip(left.ravel(), right.ravel(), strict=True))
        return left.tobytes() == right.tobytes()
    if isinstance(left, pd.DataFrame | pd.Series | pd.Index):
        return type(left).equals(left, right) and same_labels(left, right)
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))
    return bool(left == right) or (left != left and right != right)  # noqa: PLR0124 - NaN


def same_labels(left: Any, right: Any) -> bool:
    if isinstance(left, pd.DataFrame):
        pd.testing.assert_frame_equal(left, right)
    elif isinstance(left, pd.Series):
        pd.testing.assert_series_equal(left, right)
    else:
        pd.testing.assert_index_equal(left, right)
        return getattr(left, "freq", None) == getattr(right, "freq", None)
    return same_labels(left.index, right.index)
