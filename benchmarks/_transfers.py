"""Sides that move the same bytes in turns, and a slower line for them."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["alternate", "away", "middle_pair"]

ROOT = Path(__file__).resolve().parents[1]


async def alternate(sides: dict[str, Callable[[], Awaitable[object]]], rounds: int) -> dict[str, list[float]]:
    """Let the sides take turns, every other round in reverse; return the seconds of each, round by round."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in reversed(sides) if number % 2 else sides:
            began = time.perf_counter()
            await sides[name]()
            found[name].append(time.perf_counter() - began)
    return found


def middle_pair(times: dict[str, list[float]], ours: str, peers: Sequence[str]) -> tuple[float, float, str]:
    """Return seconds of ours and of the peer in the round with the median ratio, and which peer that is.

    The peer is whichever has the best median: a client alone, at its best settings.
    """
    peer = min(peers, key=lambda name: statistics.median(times[name]))
    pairs = sorted(zip(times[ours], times[peer], strict=True), key=lambda pair: pair[1] / pair[0])
    return *pairs[(len(pairs) - 1) // 2], peer


@contextmanager
def away(endpoint: str, seconds: float) -> Iterator[str]:
    """Give an endpoint from which every request to another takes so long to arrive; a proxy in a process of its own."""
    if not seconds:
        yield endpoint
        return
    command = [sys.executable, "-W", "ignore", "-m", "tests._support.services.fault_proxy"]
    with subprocess.Popen(
        [*command, endpoint, json.dumps({"action": "delay", "seconds": seconds})],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as proxy:
        assert proxy.stdin is not None
        assert proxy.stdout is not None
        try:
            yield proxy.stdout.readline().strip()
        finally:
            proxy.stdin.close()  # it serves until then
