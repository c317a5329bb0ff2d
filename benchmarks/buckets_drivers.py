"""s3fs and obstore side by side, on one real S3 server, near and far: small objects, large ones, processor and memory.

usage: python benchmarks/buckets_drivers.py [--quick] [--far-only | --near-only] [--large-only] [--driver NAME]

The server is Ceph's gateway, which needs root to be installed and started. It is on this machine and takes its share of
the processors. (moto, an emulator in Python, cannot tell the drivers apart: it copies the whole object for every range
of it.) "far" is the same server behind a proxy, in a process of its own, that delays every request by 30 ms.

The peer of a large upload or download is the same client library's own best multi-part rate, without aqrec and with the
whole object in memory: at three sizes of parts, s3fs as many at once as it likes to, obstore all of them. The sides
take turns, every other round in reverse; the round with the median ratio counts.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks._table import Row, show
from benchmarks._transfers import alternate, away, middle_pair

if TYPE_CHECKING:
    from aqrec.stores import Store
    from tests._support.services import Location

Call = Callable[[], Awaitable[object]]

MIB = 1 << 20
DELAY = 0.03
SMALL = os.urandom(8192)
FLIGHTS = (1, 16, 64)
MEMORY = 256
PARTS = {"s3fs": (8, 16, 50), "obstore": (5, 8, 16)}
"""MiB of a part that the plain clients are tried with; their own defaults are among them."""


async def in_flight(number: int, at_once: int, call: Callable[[int], Awaitable[Any]]) -> tuple[float, float]:
    """Return calls a second, and seconds of this process's processor time a call."""
    waiting = iter(range(number))

    async def work() -> None:
        for one in waiting:
            await call(one)

    begun, busy = time.perf_counter(), time.process_time()
    await asyncio.gather(*(work() for _ in range(at_once)))
    return number / (time.perf_counter() - begun), (time.process_time() - busy) / number


async def small(url: str, options: dict[str, Any], number: int) -> dict[str, tuple[float, float]]:
    from aqrec.stores import open_store

    store = open_store(url, storage_options=options)
    await store.put("warm", SMALL)
    found = {}
    for at_once in FLIGHTS:
        calls = number if at_once > 1 else number // 4
        found[f"put {at_once}"] = await in_flight(calls, at_once, lambda one: store.put(f"s/{one}", SMALL))
        found[f"get {at_once}"] = await in_flight(calls, at_once, lambda one: store.get(f"s/{one}"))
    await store.aclose()
    return found


def ours(store: Store, size: int) -> tuple[Call, Call]:
    """Return what moves so many MiB up and down through aqrec's streams."""
    piece = os.urandom(MIB)

    def write(file: BinaryIO) -> None:
        file.writelines(piece for _ in range(size))

    def read(file: BinaryIO) -> int:
        buffer, got = bytearray(MIB), 0
        while count := file.readinto(buffer):  # type: ignore[attr-defined]
            got += count
        return got

    async def up() -> None:
        await store.put_stream("large", write)

    async def down() -> None:
        assert await store.get_stream("large", read) == size * MIB

    return up, down


@asynccontextmanager
async def plain(driver: str, place: Location, size: int) -> AsyncIterator[dict[str, tuple[Call, Call]]]:
    """Give what does the same by the client alone, for every size of parts."""
    options, data = place.storage_options, os.urandom(MIB) * size
    if driver == "s3fs":
        import s3fs

        fs = s3fs.S3FileSystem(
            asynchronous=True,
            skip_instance_cache=True,
            use_listings_cache=False,
            key=options["key"],
            secret=options["secret"],
            endpoint_url=options["endpoint_url"],
            client_kwargs={"region_name": options["region"]},
            config_kwargs={"max_pool_connections": 32},
        )
        session = await fs.set_session()
        target = f"{place.bucket}/{place.prefix}/plain"

        async def up(part: int) -> None:
            await fs._pipe_file(target, data, chunksize=part)

        async def down(part: int) -> None:
            assert len(await fs._cat_file(target, chunksize=part)) == len(data)
    else:
        import obstore
        from obstore.store import S3Store

        bucket = S3Store(
            place.bucket,
            prefix=place.prefix,
            endpoint=options["endpoint_url"],
            access_key_id=options["key"],
            secret_access_key=options["secret"],
            region=options["region"],
            client_options={"allow_http": True},
        )

        async def up(part: int) -> None:
            await obstore.put_async(bucket, "plain", data, chunk_size=part)

        async def down(part: int) -> None:
            # not get_ranges: it joins ranges that touch, and one request for all is no multi-part download
            spans = [(start, min(start + part, len(data))) for start in range(0, len(data), part)]
            await asyncio.gather(
                *(obstore.get_range_async(bucket, "plain", start=start, end=end) for start, end in spans)
            )

    yield {f"{part} MiB": (partial(up, part * MIB), partial(down, part * MIB)) for part in PARTS[driver]}
    if driver == "s3fs":
        await session.close()


async def large(driver: str, place: Location, options: dict[str, Any], size: int, rounds: int) -> list[Row]:
    """Measure uploads and downloads, each against the client alone."""
    from aqrec.stores import open_store

    store = open_store(place.url, storage_options=options)
    await store.put("warm", SMALL)
    rows = []
    async with plain(driver, place, size) as peers:
        ways: dict[str, tuple[Call, Call]] = {"aqrec": ours(store, size), **peers}
        for number, verb in enumerate(("upload", "download")):
            times = await alternate({name: calls[number] for name, calls in ways.items()}, rounds)
            mine, best, peer = middle_pair(times, "aqrec", list(peers))
            what = f"{verb} of {size} MiB by {driver}, against {driver} alone in parts of {peer}"
            rows.append(Row(what=what, unit="MiB/s", ours=size / mine, peer=size / best, bar=0.8))
    await store.aclose()
    return rows


def peak(url: str, options: dict[str, Any], size: int) -> float:
    """Return the most MiB of memory that a process takes beyond its imports while it streams a file both ways."""
    import json

    command = [sys.executable, __file__, "--memory", url, json.dumps(options), str(size)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def memory(url: str, options: str, size: str) -> None:
    import json

    async def both(count: int) -> None:
        from aqrec.stores import open_store

        store = open_store(url, storage_options=json.loads(options))
        for call in ours(store, count):
            await call()
        await store.aclose()

    asyncio.run(both(1))  # all there is to import is in before the first measure
    before = status("VmRSS")
    asyncio.run(both(int(size)))
    print((status("VmHWM") - before) / 1024)


def status(field: str) -> int:
    """Return a figure of this process, KiB; `getrusage` would show the parent's peak too."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def compare_small(title: str, place: Location, number: int) -> list[Row]:
    rows = []
    mine, theirs = (
        asyncio.run(small(place.url, {**place.storage_options, **driver}, number))
        for driver in ({"driver": "obstore"}, {})
    )
    for what, (rate, busy) in mine.items():
        verb, at_once = what.split()
        name = f"{title}: {verb} 8 KiB, {at_once} in flight, obstore against s3fs"
        rows += [
            Row(what=name, unit="/s", ours=rate, peer=theirs[what][0]),
            Row(
                what=f"{name}: processor time a call",
                unit="s",
                ours=busy,
                peer=theirs[what][1],
                better="lower",
            ),
        ]
    return rows


def compare_large(title: str, place: Location, drivers: Sequence[str], size: int, rounds: int) -> list[Row]:
    rows = []
    for driver in drivers:
        options = {**place.storage_options, **({"driver": driver} if driver != "s3fs" else {})}
        found = asyncio.run(large(driver, place, options, size, rounds))
        rows += [replace(row, what=f"{title}: {row.what}") for row in found]
        rows.append(
            Row(
                what=f"{title}: peak memory while {driver} streams {size} MiB up and down",
                unit="MiB",
                ours=peak(place.url, options, size),
                peer=MEMORY,
                bar=1.0,
                better="lower",
            )
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer calls, and 100 MiB instead of 500")
    parser.add_argument("--full", action="store_true", help="more rounds")
    parser.add_argument("--near-only", action="store_true", help="without the delay")
    parser.add_argument("--far-only", action="store_true", help="with it alone")
    parser.add_argument("--large-only", action="store_true", help="without small objects")
    parser.add_argument("--driver", choices=list(PARTS), action="append", help="for large objects")
    parser.add_argument("--delay", type=float, default=DELAY, help="seconds from afar")
    parser.add_argument("--memory", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        memory(*arguments.memory)
        return 0

    from tests._support.services import Ceph, ServiceUnavailableError

    number, size = (240, 100) if arguments.quick else (1200, 500)
    rounds = 5 if arguments.full else 3
    drivers = arguments.driver or list(PARTS)
    lines = {"near": 0.0, f"{arguments.delay * 1000:g} ms away": arguments.delay}
    if arguments.near_only or arguments.far_only:
        lines = dict([list(lines.items())[arguments.far_only]])
    rows: list[Row] = []
    title = "s3fs and obstore on one S3 server, Ceph's gateway"
    try:
        with Ceph() as server:
            for line, delay in lines.items():
                with away(server.endpoint, delay) as endpoint:
                    place = server.location().through(endpoint)
                    if not arguments.large_only:
                        rows += compare_small(line, place, number)
                    rows += compare_large(line, place, drivers, size, rounds)
    except ServiceUnavailableError as error:
        rows = [Row(what="objects up and down", unit="MiB/s", bar=0.8, not_run=str(error))]
    return 0 if show(title, rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
