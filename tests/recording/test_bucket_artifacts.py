"""Artifacts in a bucket: what they cost in requests, and how an interrupted upload goes on."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import aqrec
from aqrec.errors import StorageError
from tests._support.services import FaultProxy, Location, Rule, Service, s3_client
from tests.engine.support import options

MIB = 1 << 20


@pytest.fixture
def proxy(s3_server: Service, fault_proxy: Callable[[str], FaultProxy]) -> FaultProxy:
    return fault_proxy(s3_server.endpoint)


@pytest.fixture
def place(s3_server: Service) -> Location:
    return s3_server.location()


def opened(place: Location, proxy: FaultProxy, **others: Any) -> Any:
    """Return a recorder behind the proxy."""
    storage = {**place.through(proxy.endpoint).storage_options, "read_timeout": 5.0}
    return aqrec.open_recorder(
        place.url, experiment="e", options=options(spool=None, **others), storage_options=storage
    )


async def test_a_large_file_costs_a_put_for_each_part_and_goes_on_where_it_was_interrupted(
    place: Location, proxy: FaultProxy, tmp_path: Path
) -> None:
    """Nothing unfinished stays in the bucket, and nothing is sent twice."""
    source = tmp_path / "big.bin"
    data = b"".join(bytes([number]) * MIB for number in range(9)) + b"rest"
    await asyncio.to_thread(source.write_bytes, data)
    async with opened(place, proxy, shard_bytes=MIB, transfers=2) as recorder:
        proxy.add(Rule("status", status=403, body="", match=r"^PUT .*/parts/.*/000006-"))
        with pytest.raises(StorageError):
            await recorder.log_artifact(source)
        assert await recorder.list_artifacts() == []
        proxy.clear()
        proxy.forget()
        await recorder.log_artifact(source)
        # Of ten; five of the six before it were surely stored, and perhaps the one beside it.
        assert 3 <= proxy.count("^PUT .*/parts/") <= 5
        proxy.forget()
        target = await recorder.download_artifact("big.bin", tmp_path / "out")
        assert await asyncio.to_thread(Path(target).read_bytes) == data
        assert proxy.count("^GET .*/parts/") == 10
        assert await recorder.load_object("big.bin") == data
    client = s3_client(place)
    found = await asyncio.to_thread(
        lambda: client.list_multipart_uploads(Bucket=place.bucket, Prefix=place.prefix)
    )
    assert not found.get("Uploads")


async def test_a_folder_costs_a_request_for_each_file(
    place: Location, proxy: FaultProxy, tmp_path: Path
) -> None:
    """In and out; the files of a folder travel side by side."""
    made = {f"{number}.bin": bytes([number]) * 1000 for number in range(40)}
    folder = tmp_path / "in"

    def make() -> None:
        folder.mkdir()
        for name, data in made.items():
            (folder / name).write_bytes(data)

    await asyncio.to_thread(make)
    async with opened(place, proxy) as recorder:
        proxy.forget()
        await recorder.log_artifact(folder)
        assert proxy.count("/artifacts/") == proxy.count("^PUT .*/artifacts/") == 40
        proxy.forget()
        target = await recorder.download_artifact("in", tmp_path / "out")
        assert proxy.count("/artifacts/") == proxy.count("^GET .*/artifacts/") == 40
    copied = await asyncio.to_thread(
        lambda: {path.name: path.read_bytes() for path in Path(target).iterdir()}
    )
    assert copied == made
