"""A run on its way to whoever starts it: ended FAILED if the start is cancelled or interrupted before its block is entered."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from aqrec.recording import _active
from aqrec.recording._provenance import begin_run
from aqrec.recording._run import Run, end_status

if TYPE_CHECKING:
    from aqrec.recording._session import Session

__all__ = ["Starting"]

logger = logging.getLogger("aqrec")


class Starting:
    """See the module's text. The result of a call on the engine thread may be lost, so the run is kept here as well."""

    def __init__(self, session: Session) -> None:
        self.run: Run | None = None
        self._session = session
        self._error: BaseException | None = None

    async def begin(self, run: Run) -> None:
        """Begin the run, or end it if nobody waits for it any more; on the engine thread."""
        self.run = run
        begin_run(run)
        if self._error is not None:
            await self._end(self._error)

    def give_up(self, error: BaseException) -> None:
        """End the run that began, as leaving its block by `error` would; nothing to do if there is none, or it was done."""
        if self._leave(error):
            self._session.call(self._end(error), shield=True)

    async def agive_up(self, error: BaseException) -> None:
        """Do as `give_up`, from any event loop."""
        if self._leave(error):
            await self._session.finish(self._end(error))

    def _leave(self, error: BaseException) -> bool:
        """Return whether a run may have begun."""
        self._error = error  # first: a run that begins from now on sees it
        if self.run is not None:
            _active.deactivate(self.run)
        return self._session.prepared

    async def _end(self, error: BaseException) -> None:
        run, self.run = self.run, None
        if run is None:
            return
        try:
            await run.end(*end_status(error))
        except Exception:  # the caller is told of `error`
            logger.exception("aqrec: run %s, whose start was given up, could not be ended", run.run_id)
