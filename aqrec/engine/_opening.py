"""Files of the logs, begun while a commit waits for the disk: what is logged meanwhile must reach the operating system, too."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aqrec.engine._log import AppendLog
from aqrec.errors import AqrecError

if TYPE_CHECKING:
    from aqrec.engine._log import Log

__all__ = ["Opening"]


class Opening:
    """Hands a journal and a catalog over, and begins their files beside a commit; all methods run on the engine thread."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    @staticmethod
    def hand_over(journal: Log, catalog: Log) -> None:
        """Give the catalog to the operating system behind the journal."""
        journal.hand_over()
        # While the journal takes nothing, events would tell of points that nobody can read.
        if journal.ready or not journal.pending_bytes:
            catalog.hand_over()

    def beside_commit(self, journal: Log, catalog: Log) -> None:
        """Begin what has nowhere to go, unless it has failed: then the commit tries again in its own time."""
        if self._task is None and any(
            log.pending_bytes and not log.ready and not log.failed for log in (journal, catalog)
        ):
            self._task = asyncio.create_task(self._begin(journal, catalog), name="aqrec-opening")

    async def _begin(self, journal: Log, catalog: Log) -> None:
        try:
            for log in (journal, catalog):
                if isinstance(log, AppendLog) and not log.failed:
                    await log.begin()
                self.hand_over(journal, catalog)
        except AqrecError:
            pass  # the log remembers it, and the commit meets it again and tells
        finally:
            self._task = None

    def cancel(self) -> None:
        """Stop beginning files."""
        if self._task is not None:
            self._task.cancel()
