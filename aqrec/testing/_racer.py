"""One of several processes that race to create the same objects: `python -m aqrec.testing._racer`."""

from __future__ import annotations

import asyncio
import json
import sys

from aqrec.errors import AlreadyExistsError
from aqrec.stores import open_store


async def race(url: str, options: str, name: str, rounds: int) -> list[int]:
    """Wait for a line on standard input, try to create each object in turn, and return the numbers won."""
    store = open_store(url, storage_options=json.loads(options))
    await store.list_dir()  # imports and probes done, so that all begin alike
    print("ready", flush=True)  # noqa: T201 - read by the test
    await asyncio.to_thread(sys.stdin.readline)
    won: list[int] = []
    for number in range(rounds):
        try:
            await store.create(f"race/{number // 10}/{number}", name.encode())
        except AlreadyExistsError:
            continue
        won.append(number)
    await store.aclose()
    return won


if __name__ == "__main__":
    print(json.dumps(asyncio.run(race(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))))  # noqa: T201
