"""What time it is by a store's clock."""

from __future__ import annotations

import contextlib

from aqrec.errors import AqrecError
from aqrec.format import _layout as layout
from aqrec.format._ids import new_id
from aqrec.stores import Store

__all__ = ["store_time"]


async def store_time(store: Store) -> int:
    """Return the time by the store's clock, ms since epoch; takes three requests."""
    key = layout.clock_key(new_id())
    await store.put(key, b"")
    try:
        return (await store.head(key)).modified
    finally:
        with contextlib.suppress(AqrecError):  # gc removes it
            await store.delete([key])
