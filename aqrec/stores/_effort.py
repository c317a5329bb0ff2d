"""How long a call goes on trying: repeated requests, growing pauses, and giving up when its caller is cancelled."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import Final

import msgspec

from aqrec.errors import InvalidInputError

__all__ = ["Effort", "Patience"]

GRACE: Final = 5.0
"""Seconds that a cancelled call gives the request under way."""


class Patience(msgspec.Struct, frozen=True):
    """How often a request is repeated, and how long the pauses are.

    Attributes
    ----------
    retries
        Attempts after the first.
    first, longest
        Seconds of the first pause, and of any: they double, and each is shortened by chance up to the half.
    """

    retries: int = 5
    first: float = 0.1
    longest: float = 5.0

    def __post_init__(self) -> None:
        if self.retries < 0:
            raise InvalidInputError(f"retries must be 0 or more, not {self.retries}")


class Effort:
    """One call's attempts; made in the task that makes them."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._given_up = asyncio.Event()
        self._task: asyncio.Task[object] | None = None

    def begin(self) -> None:
        """Note that the running task makes the requests."""
        self._task = asyncio.current_task()

    def give_up(self) -> None:
        """Begin no further attempt, and break off the present one if it takes longer than the grace."""
        if not self._given_up.is_set():
            self._given_up.set()
            if self._task is not None:
                asyncio.get_running_loop().call_later(GRACE, self._task.cancel)

    async def again(self, attempt: int) -> bool:
        """Pause after a failed attempt (the first is 0), and tell whether to make another."""
        if attempt >= self._patience.retries or self._given_up.is_set():
            return False
        pause = min(self._patience.first * 2**attempt, self._patience.longest)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._given_up.wait(), pause * random.uniform(0.5, 1))  # noqa: S311
        return not self._given_up.is_set()
