"""Objects to and from S3: aqrec's store against s3fs alone, on the same server in the same run.

The server is `rclone serve s3`, a compiled one, so that the client decides. The peer of large files is s3fs at the best of
several part sizes and numbers of parts at once. ``--quick`` moves less; ``--latency SECONDS`` puts a slower line between.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aqrec.stores import Store, open_store
from benchmarks._table import Row, show
from tests._support.services import FaultProxy, Location, RcloneS3, Rule

Call = Callable[[], Awaitable[object]]

MIB = 1 << 20
SMALL = 8 << 10
AT_ONCE = 16
PEAK = 256 * MIB
PARTS = ((50, 10), (16, 6), (8, 6), (8, 4))
"""MiB of a part, and how many at once: s3fs's defaults first."""


async def plain(location: Location, **options: Any) -> Any:
    """Return s3fs alone, connected."""
    import s3fs

    chosen = location.storage_options
    fs = s3fs.S3FileSystem(
        key=chosen["key"],
        secret=chosen["secret"],
        endpoint_url=chosen["endpoint_url"],
        asynchronous=True,
        skip_instance_cache=True,
        use_listings_cache=False,
        config_kwargs={"max_pool_connections": 32},
        **options,
    )
    await fs.set_session()
    return fs


async def turns(sides: dict[str, Call], rounds: int) -> dict[str, float]:
    """Let the sides take turns, and return the shortest time of each, seconds: a busy machine is busy for all."""
    best = dict.fromkeys(sides, float("inf"))
    for _ in range(rounds):
        for name, work in sides.items():
            began = time.perf_counter()
            await work()
            best[name] = min(best[name], time.perf_counter() - began)
    return best


async def many(number: int, call: Callable[[int], Awaitable[object]]) -> None:
    """Make so many calls, a few at once."""
    waiting = iter(range(number))

    async def work() -> None:
        for one in waiting:
            await call(one)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))


async def small_objects(location: Location, number: int, rounds: int) -> list[Row]:
    """Measure requests a second."""
    data, root = bytes(SMALL), f"{location.bucket}/{location.prefix}"
    store = open_store(location.url, storage_options=location.storage_options)
    fs = await plain(location)
    what = f"{number} objects of 8 KiB, {AT_ONCE} at once"
    rows = []
    for verb, ours, peer in (
        ("put", lambda n: store.put(f"a/{n}", data), lambda n: fs._pipe_file(f"{root}/b/{n}", data)),
        ("get", lambda n: store.get(f"a/{n}"), lambda n: fs._cat_file(f"{root}/b/{n}", max_concurrency=1)),
    ):
        await ours(0)
        await peer(0)
        times = await turns(
            {"ours": partial(many, number, ours), "peer": partial(many, number, peer)}, 2 * rounds
        )
        figures = {side: number / seconds for side, seconds in times.items()}
        rows.append(Row(what=f"{verb} {what}", unit="/s", bar=0.8, **figures))
    await store.aclose()
    await fs.s3.close()
    return rows


def copy_in(path: str, file: BinaryIO) -> None:
    """Copy a file into the store's."""
    with Path(path).open("rb") as source:
        while piece := source.read(MIB):
            file.write(piece)


def copy_out(path: str, file: BinaryIO) -> None:
    """Copy the store's file out."""
    with Path(path).open("wb") as target:
        while piece := file.read(MIB):
            target.write(piece)


async def upload(store: Store, path: str) -> None:
    """Put a file."""
    await store.put_stream("large", lambda file: copy_in(path, file))


async def download(store: Store, path: str) -> None:
    """Get a file."""
    await store.get_stream("large", lambda file: copy_out(path, file))


def make_file(path: str, size: int) -> None:
    """Write a file of that many bytes."""
    piece = bytes(range(256)) * 4096
    with Path(path).open("wb") as file:
        file.writelines(piece for _ in range(size // MIB))


async def large_files(location: Location, size: int, rounds: int, folder: str) -> list[Row]:
    """Measure bytes a second, both ways."""
    source, target = f"{folder}/source", f"{folder}/target"
    make_file(source, size)
    remote = f"{location.bucket}/{location.prefix}/peer"
    store = open_store(location.url, storage_options=location.storage_options)
    await store.put("warm", b"")
    peers = [(part * MIB, await plain(location, max_concurrency=at_once)) for part, at_once in PARTS]
    rows = []
    for way, ours, theirs in (
        ("up", partial(upload, store, source), lambda part, fs: fs._put_file(source, remote, chunksize=part)),
        ("down", partial(download, store, target), lambda _, fs: fs._get_file(remote, target)),
    ):
        sides: dict[str, Call] = {}
        for number, (part, fs) in enumerate(peers):
            sides[f"ours {number}"] = ours
            sides[f"peer {number}"] = partial(theirs, part, fs)
        times = await turns(sides, rounds)
        figures = {
            side: size / min(seconds for name, seconds in times.items() if name.startswith(side))
            for side in ("ours", "peer")
        }
        rows.append(Row(what=f"{way} {size // MIB} MiB", unit="B/s", bar=0.8, **figures))
    for _, fs in peers:
        await fs.s3.close()
    await store.aclose()
    return rows


def _peak(location_url: str, options: dict[str, Any], folder: str, way: str, answer: Any) -> None:
    async def work() -> None:
        store = open_store(location_url, storage_options=options)
        await store.put("warm", b"")
        if way == "up":
            await upload(store, f"{folder}/source")
        else:
            await download(store, f"{folder}/target")
        await store.aclose()

    asyncio.run(work())
    # not ru_maxrss: a process begins with that of its parent
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    answer.put(int(status["VmHWM"].split()[0]) * 1024)


def memory(location: Location, size: int, folder: str) -> list[Row]:
    """Measure the whole process's peak, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    rows = []
    for way in ("up", "down"):
        answer = context.Queue()
        arguments = (location.url, location.storage_options, folder, way, answer)
        child = context.Process(target=_peak, args=arguments)
        child.start()
        peak = answer.get(timeout=600)
        child.join()
        rows.append(
            Row(
                what=f"memory of a process that moves {size // MIB} MiB {way}",
                unit="B",
                ours=peak,
                peer=PEAK,
                bar=1.0,
                better="lower",
            )
        )
    return rows


def main() -> int:
    """Run all, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="move less")
    parser.add_argument("--full", action="store_true", help="measure longer")
    parser.add_argument(
        "--latency", type=float, default=0.0, help="seconds that each request waits on the way"
    )
    chosen = parser.parse_args()
    rounds = 3 if chosen.full else 1
    number, size = (200, 128 * MIB) if chosen.quick else (1000, 500 * MIB)
    with RcloneS3() as server, FaultProxy(server.endpoint) as proxy, tempfile.TemporaryDirectory() as folder:
        location = server.location()
        if chosen.latency:
            proxy.add(Rule("delay", seconds=chosen.latency))
            location = location.through(proxy.endpoint)
        rows = asyncio.run(small_objects(location, number, rounds))
        rows += asyncio.run(large_files(location, size, rounds, folder))
        rows += memory(location, size, folder)
    line = f", {chosen.latency * 1000:g} ms away" if chosen.latency else ""
    return 0 if show(f"S3 through aqrec and through s3fs alone{line}", rows) else 1


if __name__ == "__main__":
    sys.exit(main())
