"""Metric points as they are buffered and journalled.

One ``log_metrics`` call is one *row*, little-endian: the step (i64; absent in rows logged without one), the timestamp (i64, ms
since epoch), then a float64 for each key. A POINTS frame holds rows of one run and one tuple of keys, so encoding a batch is
one ``join``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from aqrec.errors import CorruptError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "MAX_KEYS",
    "Columns",
    "PointsFrame",
    "columns",
    "decode_points",
    "encode_points",
    "pack_stepless",
    "pack_stepped",
    "values_packer",
]

MAX_KEYS: Final = 64


class PointsFrame(msgspec.Struct, array_like=True, frozen=True):
    """Payload of a POINTS frame; `stepped` tells whether rows begin with a step."""

    seq: int
    run_id: str
    keys: list[str]
    rows: bytes
    stepped: bool = True

    @property
    def count(self) -> int:
        """Number of rows (calls)."""
        return len(self.rows) // _width(len(self.keys), self.stepped)

    @property
    def points(self) -> int:
        """Number of points: rows times keys."""
        return self.count * len(self.keys)


class Columns(NamedTuple):
    """Rows as arrays of length n: `steps` int64 or None, `timestamps` int64 (ms), `values` float64 of shape (n, keys)."""

    steps: NDArray[np.int64] | None
    timestamps: NDArray[np.int64]
    values: NDArray[np.float64]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(PointsFrame)


def _width(keys: int, stepped: bool) -> int:
    return 8 * (keys + (2 if stepped else 1))


pack_stepped: Final = struct.Struct("<qq").pack
"""``pack_stepped(step, timestamp)``: the head of a row."""
pack_stepless: Final = struct.Struct("<q").pack
"""``pack_stepless(timestamp)``: the head of a row without a step."""


def values_packer(keys: int) -> Callable[..., bytes]:
    """Return ``pack(*values)``, the rest of a row of `keys` values.

    Head and values are packed apart because a call with nothing but ``*values`` is much the cheaper one.
    """
    return struct.Struct(f"<{keys}d").pack


def encode_points(frame: PointsFrame) -> bytes:
    """Return the payload of a POINTS frame."""
    return _encoder.encode(frame)


def decode_points(payload: bytes) -> PointsFrame:
    """Return the content of a POINTS frame, or raise `CorruptError`."""
    try:
        frame = _decoder.decode(payload)
    except msgspec.DecodeError as error:
        raise CorruptError(f"a points frame with a good checksum cannot be decoded: {error}") from error
    if not frame.keys or len(frame.rows) % _width(len(frame.keys), frame.stepped):
        raise CorruptError(f"a points frame of run {frame.run_id!r} holds no whole number of rows")
    return frame


def columns(frame: PointsFrame) -> Columns:
    """Return the rows of a frame as arrays (views, no copy)."""
    import numpy as np  # noqa: PLC0415 - heavy, and only readers and the writer's thread need it

    table: Any = np.frombuffer(frame.rows, dtype="<i8").reshape(
        -1, _width(len(frame.keys), frame.stepped) // 8
    )
    if frame.stepped:
        return Columns(table[:, 0], table[:, 1], table[:, 2:].view("<f8"))
    return Columns(None, table[:, 0], table[:, 1:].view("<f8"))
