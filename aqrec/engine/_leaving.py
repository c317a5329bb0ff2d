"""Whether this process is about to end, so that what its threads still record comes too late through no fault of theirs."""

from __future__ import annotations

import sys
import threading

__all__ = ["leaving"]


class Leaving:
    """What `aqrec.engine._exit` tells those who refuse records after the end."""

    def __init__(self) -> None:
        self.at_exit = False
        self.by_signal = False

    @property
    def too_late(self) -> bool:
        """Whether the caller shall not be told: the process dies of a signal, or it is a thread that outlived the exit."""
        return self.by_signal or (self.at_exit and threading.current_thread() is not threading.main_thread())

    @property
    def finalizing(self) -> bool:
        """Whether Python runs this thread alone from now on: what waits for another one waits for ever."""
        return sys.is_finalizing()


leaving = Leaving()
