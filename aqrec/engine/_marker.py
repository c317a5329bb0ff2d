"""The store's marker: read, or created once."""

from __future__ import annotations

import msgspec

from aqrec.errors import AlreadyExistsError, CorruptError, ObjectNotFoundError, StorageError
from aqrec.format import _layout as layout
from aqrec.format._ids import new_id, now_ms
from aqrec.format._records import FORMAT_VERSION, Marker
from aqrec.stores import Store

__all__ = ["ensure_marker", "read_marker"]


async def read_marker(store: Store) -> Marker | None:
    """Return the store's marker, or None where there is none; refuse a format of the future."""
    try:
        data = await store.get(layout.MARKER)
    except ObjectNotFoundError:
        return None
    try:
        marker = msgspec.json.decode(data, type=Marker)
    except msgspec.DecodeError as error:
        raise CorruptError(f"{layout.MARKER} of {store.url} is damaged: {error}") from error
    if marker.format > FORMAT_VERSION:
        raise CorruptError(
            f"{store.url} has format {marker.format}; this aqrec reads up to {FORMAT_VERSION}. Upgrade aqrec"
        )
    return marker


async def ensure_marker(store: Store) -> None:
    """Read or create the marker; raises what stands against using the store."""
    if await read_marker(store) is not None:
        return
    marker = Marker(store_id=new_id(), created=now_ms())
    text = msgspec.json.format(msgspec.json.encode(marker), indent=1)
    try:
        await store.create(layout.MARKER, text)
    except AlreadyExistsError:
        await read_marker(store)
    except StorageError:
        if await read_marker(store) is None:  # else only the answer was lost
            raise
