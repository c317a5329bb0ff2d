"""A heartbeat on an event loop, which shows how long other work keeps the loop."""

import asyncio
import time
from collections.abc import Callable

__all__ = ["beat"]


async def beat(duration: float, body: Callable[[], object]) -> list[float]:
    """Call `body` every millisecond for so many seconds; return how late each call came, seconds."""
    late: list[float] = []
    clock = time.perf_counter
    end = clock() + duration
    due = clock()
    while due < end:
        due += 0.001
        await asyncio.sleep(max(due - clock(), 0))
        late.append(clock() - due)
        body()
        due = max(due, clock() - 0.001)
    return late
