"""A store whose writing can be held up."""

import asyncio
import threading
import uuid

from aqrec.stores import LatencyStore, MemoryStore, Store
from tests._support import wait_until

__all__ = ["GATED_URL", "Gate", "gated_store"]

GATED_URL = "gated://store"

_WRITING = {"create", "put", "put_stream", "open_append"}


class Gate:
    """While it is shut, what writes to the store waits for it to open."""

    def __init__(self) -> None:
        self.name = uuid.uuid4().hex
        self._open = threading.Event()
        self._open.set()
        self._waiting = 0

    def open(self) -> None:
        """Let everything through."""
        self._open.set()

    def shut(self) -> None:
        """Hold up what comes from now on."""
        self._open.clear()

    def wait_for_somebody(self) -> None:
        """Block until something is held up."""
        wait_until(lambda: self._waiting, what="somebody at the gate")

    async def pass_through(self, operation: str, _key: str) -> None:
        """Wait, if the operation writes and the gate is shut."""
        if operation not in _WRITING:
            return
        self._waiting += 1
        try:
            while not self._open.is_set():
                await asyncio.sleep(0.002)
        finally:
            self._waiting -= 1


def gated_store(gate: Gate) -> Store:
    """Return a store of immutable segments in memory, behind a gate."""
    return LatencyStore(MemoryStore(gate.name, append=False), gate.pass_through)
