"""What is known of a store that is away: its catalog as it was read last, and what this process has recorded since."""

from __future__ import annotations

import logging
import time

from aqrec.engine import Outage
from aqrec.errors import StorageError
from aqrec.reading import Catalog

__all__ = ["Remembered", "refuse_partial"]

logger = logging.getLogger("aqrec")


class Remembered:
    """One outage of a session's store; used on the engine thread."""

    def __init__(self, catalog: Catalog, outage: Outage) -> None:
        self._catalog = catalog.copy()
        self._outage = outage
        self._taken = 0
        url, read = catalog.store.url, catalog.read_at
        since = (
            "nothing was read before" if read is None else f"as it was {time.monotonic() - read:.0f} s ago"
        )
        logger.warning(
            "aqrec: %s is away; until it answers its catalog is shown %s, with what this process records",
            url,
            since,
        )

    def view(self) -> Catalog:
        """Return the catalog with all that this process has recorded by now."""
        self._taken, payloads = self._outage.events_since(self._taken)
        for payload in payloads:
            self._catalog.add(payload)
        return self._catalog


def refuse_partial(catalog: Catalog, error: Exception | None = None) -> None:
    """Raise `StorageError` if the catalog holds nothing but what this process has recorded."""
    if catalog.read_at is None:
        raise StorageError(
            f"{catalog.store.url} is away, and this process had not read its catalog before; try again when it answers"
        ) from error
