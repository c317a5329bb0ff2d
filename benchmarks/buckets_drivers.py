"""s3fs and obstore side by side, on one real S3 server, near and far: small objects, large ones, processor and memory.

usage: python benchmarks/buckets_drivers.py [--quick] [--far-only | --near-only]

The server (moto) runs on this machine and takes its share of the processors; "far" is the same server behind a proxy that
delays every request by 30 ms. The peer of a large upload or download is the same client library's own best
multi-part rate, without aqrec: s3fs at several part sizes, obstore at its defaults and at ours.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, BinaryIO

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

MIB = 1 << 20
DELAY = 0.03
SMALL = os.urandom(8192)
FLIGHTS = (1, 16, 64)
MEMORY = 256
TRIES = 3
"""The best of as many counts, on both sides: the plain clients are tried with three sizes of parts."""


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


async def large(url: str, options: dict[str, Any], size: int) -> tuple[float, float]:
    """Return MiB/s up and down through aqrec's streams."""
    from aqrec.stores import open_store

    piece = os.urandom(MIB)

    def write(file: BinaryIO) -> None:
        file.writelines(piece for _ in range(size))

    def read(file: BinaryIO) -> int:
        buffer, got = bytearray(MIB), 0
        while count := file.readinto(buffer):  # type: ignore[attr-defined]
            got += count
        return got

    store = open_store(url, storage_options=options)
    await store.put("warm", SMALL)
    begun = time.perf_counter()
    await store.put_stream("large", write)
    up = size / (time.perf_counter() - begun)
    begun = time.perf_counter()
    assert await store.get_stream("large", read) == size * MIB
    down = size / (time.perf_counter() - begun)
    await store.aclose()
    return up, down


async def plain_s3fs(bucket: str, options: dict[str, Any], size: int) -> tuple[float, float]:
    """Return the best MiB/s of s3fs itself, with the whole object in memory."""
    import s3fs

    fs = s3fs.S3FileSystem(
        asynchronous=True,
        skip_instance_cache=True,
        use_listings_cache=False,
        key=options["key"],
        secret=options["secret"],
        endpoint_url=options["endpoint_url"],
        client_kwargs={"region_name": options["region"]},
    )
    session = await fs.set_session()
    data = os.urandom(MIB) * size
    up = down = 0.0
    for part in (8 * MIB, 16 * MIB, 50 * MIB):
        begun = time.perf_counter()
        await fs._pipe_file(f"{bucket}/plain", data, chunksize=part)
        up = max(up, size / (time.perf_counter() - begun))
        begun = time.perf_counter()
        assert len(await fs._cat_file(f"{bucket}/plain", chunksize=part)) == len(data)
        down = max(down, size / (time.perf_counter() - begun))
    await session.close()
    return up, down


async def plain_obstore(bucket: str, options: dict[str, Any], size: int) -> tuple[float, float]:
    """Return the best MiB/s of obstore itself, with the whole object in memory."""
    import obstore
    from obstore.store import S3Store

    store = S3Store(
        bucket,
        endpoint=options["endpoint_url"],
        access_key_id=options["key"],
        secret_access_key=options["secret"],
        region=options["region"],
        client_options={"allow_http": True},
    )
    data = os.urandom(MIB) * size
    up = down = 0.0
    for part in (5 * MIB, 8 * MIB, 16 * MIB):
        begun = time.perf_counter()
        await obstore.put_async(store, "plain", data, chunk_size=part)
        up = max(up, size / (time.perf_counter() - begun))
        spans = [(start, min(start + part, len(data))) for start in range(0, len(data), part)]
        begun = time.perf_counter()
        # not get_ranges: it joins ranges that touch, and one request for all is no multi-part download
        await asyncio.gather(
            *(obstore.get_range_async(store, "plain", start=start, end=end) for start, end in spans)
        )
        down = max(down, size / (time.perf_counter() - begun))
    return up, down


def peak(url: str, options: dict[str, Any], size: int) -> float:
    """Return the most MiB of memory that a process takes beyond its imports while it streams a file both ways."""
    import json

    command = [sys.executable, __file__, "--memory", url, json.dumps(options), str(size)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def memory(url: str, options: str, size: str) -> None:
    import json

    # all there is to import is in before the first measure
    asyncio.run(large(url + "/before", json.loads(options), 1))
    before = status("VmRSS")
    asyncio.run(large(url, json.loads(options), int(size)))
    print((status("VmHWM") - before) / 1024)


def status(field: str) -> int:
    """Return a figure of this process, KiB; `getrusage` would show the parent's peak too."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def compare(title: str, server: Any, endpoint: str, *, number: int, size: int) -> list[Any]:
    from _table import Row

    place = server.location().through(endpoint)
    s3fs = place.storage_options
    native = {**s3fs, "driver": "obstore"}
    rows = []
    ours, theirs = (asyncio.run(small(place.url, options, number)) for options in (native, s3fs))
    for what, (rate, busy) in ours.items():
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
    for name, options, plain in (("s3fs", s3fs, plain_s3fs), ("obstore", native, plain_obstore)):
        tries = [asyncio.run(large(place.url, options, size)) for _ in range(TRIES)]
        got = tuple(max(rates) for rates in zip(*tries, strict=True))
        best = asyncio.run(plain(place.bucket, s3fs, size))
        for verb, rate, peer in zip(("upload", "download"), got, best, strict=True):
            what = f"{title}: {verb} of {size} MiB by {name}, against {name} alone at its best"
            rows.append(Row(what=what, unit="MiB/s", ours=rate, peer=peer, bar=0.8))
        what = f"{title}: peak memory while {name} streams {size} MiB up and down"
        used = peak(place.url, options, size)
        rows.append(Row(what=what, unit="MiB", ours=used, peer=MEMORY, bar=1.0, better="lower"))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer calls, and 100 MiB instead of 500")
    parser.add_argument("--full", action="store_true", help="as without --quick")
    parser.add_argument("--near-only", action="store_true", help="without the delay")
    parser.add_argument("--far-only", action="store_true", help="with it alone")
    parser.add_argument("--memory", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        memory(*arguments.memory)
        return 0
    from _table import show

    from tests._support.services import FaultProxy, Moto, Rule

    number, size = (240, 100) if arguments.quick else (1200, 500)
    rows = []
    with Moto() as server:
        if not arguments.far_only:
            rows += compare("near", server, server.endpoint, number=number, size=size)
        if not arguments.near_only:
            proxy = FaultProxy(server.endpoint)
            proxy.start()
            try:
                proxy.add(Rule("delay", seconds=DELAY))
                rows += compare("far", server, proxy.endpoint, number=number, size=100)
            finally:
                proxy.stop()
    return 0 if show("s3fs and obstore on one S3 server", rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
