"""When the catalog is folded and small histories are merged: by whoever comes across it, beside what they came for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final

from aqrec.errors import AqrecError
from aqrec.format import _layout as layout
from aqrec.reading import Catalog
from aqrec.upkeep._fold import GRACE, fold
from aqrec.upkeep._merging import merge_histories

__all__ = ["Folding"]

logger = logging.getLogger("aqrec")

DUE_WHEN_READ: Final = 256
"""Event logs that a reader leaves as they are"""
DUE_AT_CLOSE: Final = 64
"""Event logs that a writer leaves as they are"""
MERGE_DUE: Final = 64
"""Small files of histories of many runs that whoever folds leaves as they are"""
_AT_CLOSE: Final = 5.0
"""Seconds that a fold may add to the closing of a store"""


class Folding:
    """Folds one catalog when it is due, one fold at a time; all methods run on the engine thread."""

    def __init__(self, catalog: Catalog, *, enabled: bool) -> None:
        self._catalog = catalog
        self._enabled = enabled
        self._task: asyncio.Task[None] | None = None

    def consider(self) -> None:
        """Begin to fold if the catalog, just refreshed, has many logs; the caller does not wait."""
        if self._enabled and self._task is None and len(self._catalog.pending) > DUE_WHEN_READ:
            self._task = asyncio.create_task(self._fold(), name="aqrec-fold")

    async def close(self, *, wrote: bool, seconds: float) -> None:
        """End a fold that is under way; after writing begin one if it is due. Takes at most some of `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, _AT_CLOSE)):
                if self._task is not None:
                    await asyncio.shield(self._task)
                elif wrote and self._enabled and await self._due():
                    await self._fold()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _due(self) -> bool:
        count = 0
        try:
            async for info in self._catalog.store.list(layout.EVENTS):
                count += layout.writer_of_event_log(info.key) is not None
        except AqrecError as error:
            logger.debug("aqrec: the catalog was not looked at: %s", error)
        return count > DUE_AT_CLOSE

    async def _fold(self) -> None:
        try:
            # Racing folds need a winner; without one, folding is for an operator who knows to be alone.
            if await self._catalog.store.probe_create():
                if await fold(self._catalog) is not None:
                    await merge_histories(self._catalog, least=MERGE_DUE, steps=1, grace=GRACE)
            else:
                self._enabled = False
        except AqrecError as error:
            # Nobody has asked for it and nothing depends on it; perhaps nothing may be written here.
            self._enabled = False
            logger.debug("aqrec: the catalog of %s was not folded: %s", self._catalog.store.url, error)
        finally:
            self._task = None
