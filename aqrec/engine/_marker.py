"""The store's marker: read, or created once."""

from __future__ import annotations

import asyncio
import logging

import msgspec

from aqrec.engine._outage import Outage
from aqrec.errors import AlreadyExistsError, CorruptError, ObjectNotFoundError, StorageError
from aqrec.format import _layout as layout
from aqrec.format._ids import new_id, now_ms
from aqrec.format._records import FORMAT_VERSION, Marker
from aqrec.stores import Store

__all__ = ["ensure_marker", "find_marker", "read_marker"]

logger = logging.getLogger("aqrec")

_known: set[tuple[str, str]] = set()
"""Ways to stores whose marker this process has seen; not to be shown"""


async def read_marker(store: Store) -> Marker | None:
    """Return the store's marker, or None where there is none; refuse a format of the future."""
    try:
        data = await store.get(layout.MARKER)
    except ObjectNotFoundError:
        return None
    try:
        marker = msgspec.json.decode(data, type=Marker)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
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


async def find_marker(store: Store, way: tuple[str, str], outage: Outage, *, create: bool) -> bool:
    """Return whether the store has a marker, and with `create` make one.

    Where this process has seen it before by the same `way` (URL and options), a store that does not answer now is believed to have it
    still: a job that begins its next run is not to die of an outage.
    """

    async def ask() -> bool:
        if create:
            await ensure_marker(store)
            return True
        return await read_marker(store) is not None

    found = True
    if way in _known and outage.spool is not None:
        try:
            async with asyncio.timeout(outage.patience):
                found = await ask()
        except (StorageError, TimeoutError) as error:
            if isinstance(error, StorageError) and error.permanent:
                raise
            why = str(error) or "no answer"
            logger.warning(
                "aqrec: %s is away, and known to be a store; going on without it: %s", store.url, why
            )
    else:
        found = await ask()
    if found:
        _known.add(way)
    else:
        _known.discard(way)
    return found
