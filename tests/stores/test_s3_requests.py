"""What the S3 driver costs in requests, and what it makes of a bad network."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, BinaryIO

import pytest

from aqrec.errors import AlreadyExistsError, ObjectNotFoundError, StorageError
from aqrec.stores import Store, open_store
from tests._support.services import FaultProxy, Location, Rule, Service, bad_weather, s3_client
from tests._support.waiting import wait_until

PART = 5 << 20
SEVERAL = 6
"""Parts of an object that is not on its way as a whole when its first byte is read."""
QUICK = {"part_size": PART, "parallel": 3, "connect_timeout": 2.0}


@pytest.fixture
def read_timeout() -> float:
    """Seconds without an answer after which a request is repeated; tests that count large ones have more patience."""
    return 2.0


@pytest.fixture
def proxy(s3_server: Service, fault_proxy: Callable[[str], FaultProxy]) -> FaultProxy:
    return fault_proxy(s3_server.endpoint)


@pytest.fixture
def place(s3_server: Service) -> Location:
    return s3_server.location()


@pytest.fixture
async def store(place: Location, proxy: FaultProxy, read_timeout: float) -> AsyncIterator[Store]:
    """A store behind the proxy, connected."""
    options = {**place.through(proxy.endpoint).storage_options, **QUICK, "read_timeout": read_timeout}
    store = open_store(place.url, storage_options=options)
    assert [info async for info in store.list()] == []
    proxy.forget()
    yield store
    await store.aclose()


def unfinished(place: Location) -> list[str]:
    found = s3_client(place).list_multipart_uploads(Bucket=place.bucket, Prefix=place.prefix)
    return [upload["Key"] for upload in found.get("Uploads", ())]


def pieces(size: int) -> Callable[[BinaryIO], int]:
    def write(file: BinaryIO) -> int:
        left = size
        while left:
            left -= file.write(bytes(min(left, 1 << 20)))
        return size

    return write


def length(file: BinaryIO) -> int:
    size = 0
    while piece := file.read(1 << 20):
        size += len(piece)
    return size


async def keys(store: Store) -> list[str]:
    return [info.key async for info in store.list()]


async def test_each_call_is_one_request(store: Store, proxy: FaultProxy) -> None:
    calls: list[tuple[Callable[[], Any], list[str]]] = [
        (lambda: store.put("a/b", b"12345"), ["PUT"]),
        (lambda: store.create("a/c", b"1"), ["PUT"]),
        (lambda: store.get("a/b"), ["GET"]),
        (lambda: store.get("a/b", start=1, end=3), ["GET"]),
        (lambda: store.get("a/b", start=9), ["GET"]),
        (lambda: store.head("a/b"), ["HEAD"]),
        (lambda: keys(store), ["GET"]),
        (lambda: store.list_dir("a"), ["GET"]),
        (lambda: store.put_stream("a/d", pieces(PART)), ["PUT"]),
        (lambda: store.get_stream("a/d", length), ["GET"]),
        (lambda: store.put("a/e", bytes(4 * PART)), ["PUT"]),
        (lambda: store.delete(["a/b"]), ["DELETE"]),
        (lambda: store.delete([f"a/{number}" for number in range(1000)]), ["POST"]),
    ]
    for call, expected in calls:
        proxy.forget()
        await call()
        assert [request.method for request in proxy.log] == expected
    proxy.forget()
    with pytest.raises(ObjectNotFoundError):
        await store.get("missing")
    with pytest.raises(AlreadyExistsError):
        await store.create("a/c", b"2")
    assert [request.method for request in proxy.log] == ["GET", "PUT", "HEAD"]


async def test_the_probe_is_made_once(store: Store, proxy: FaultProxy) -> None:
    assert [await store.probe_create() for _ in range(3)] == [True] * 3
    assert [request.method for request in proxy.log] == ["PUT", "PUT", "DELETE"]


async def test_rclone_is_found_to_ignore_conditions(rclone_s3: Service) -> None:
    place = rclone_s3.location()
    store = open_store(place.url, storage_options=place.storage_options)
    assert await store.probe_create() is False
    assert await keys(store) == []
    await store.create("key", b"first")
    with pytest.raises(AlreadyExistsError):
        await store.create("key", b"second")
    assert await store.get("key") == b"first"
    await store.aclose()


@pytest.mark.parametrize("read_timeout", [60.0], ids=["patient"])
async def test_large_streams_go_in_parts(store: Store, proxy: FaultProxy) -> None:
    size = 4 * PART + 17
    assert await store.put_stream("key", pieces(size)) == size
    assert [proxy.count(f"^{method} ") for method in ("POST", "PUT")] == [2, 5]
    proxy.forget()
    assert await store.get_stream("key", length) == size
    assert proxy.count("^GET ") == proxy.count() == 5
    proxy.forget()
    await store.put("put", bytes(size))
    assert [proxy.count(f"^{method} ") for method in ("POST", "PUT")] == [2, 5]
    assert (await store.head("put")).size == size


async def test_a_passing_failure_is_not_noticed(store: Store, proxy: FaultProxy) -> None:
    for rule in (
        Rule("status", status=500, times=1),
        Rule("status", status=503, times=2),
        Rule("reset", times=1),
        Rule("cut_request", size=3, times=1),
        Rule("lose_response", times=1),
    ):
        proxy.clear()
        proxy.add(rule)
        await store.put("key", b"0123456789")
        assert rule.fired
    for rule in (Rule("cut_response", size=4, times=1), Rule("status", status=503, times=1)):
        proxy.clear()
        proxy.add(rule)
        assert await store.get("key") == b"0123456789"
        assert await store.get_stream("key", length) == 10
        assert rule.fired
    proxy.clear()
    proxy.add(Rule("delay_response", seconds=10, times=1))
    assert await store.get("key") == b"0123456789"


async def test_a_failure_that_stays_is_raised_with_what_the_server_said(
    store: Store, proxy: FaultProxy, place: Location
) -> None:
    proxy.add(Rule("status", status=503))
    with pytest.raises(StorageError, match="503 SlowDown") as caught:
        await store.put("key", b"1")
    assert "'key'" in str(caught.value)
    assert place.url in str(caught.value)
    assert caught.value.__cause__ is not None
    assert proxy.count("^PUT ") == 6


@pytest.mark.parametrize("same", [False, True], ids=["other bytes", "same bytes"])
async def test_a_create_whose_answer_was_lost_is_told_from_anothers(
    store: Store, proxy: FaultProxy, place: Location, same: bool
) -> None:
    """By a nonce, not by its bytes, which another creator may have written, too."""
    proxy.add(Rule("lose_response", match="^PUT", times=1))
    await store.create("mine", b"data")
    assert await store.get("mine") == b"data"
    client = s3_client(place)
    client.put_object(Bucket=place.bucket, Key=f"{place.prefix}/theirs", Body=b"data" if same else b"other")
    proxy.clear()
    proxy.add(Rule("reset", match="^PUT", times=1))
    with pytest.raises(AlreadyExistsError):
        await store.create("theirs", b"data")


async def test_a_create_that_never_gets_an_answer_is_settled_by_looking(
    store: Store, proxy: FaultProxy
) -> None:
    proxy.add(Rule("lose_response", match="^PUT .*done"), Rule("reset", match="^PUT .*not"))
    await store.create("done", b"1")
    with pytest.raises(StorageError):
        await store.create("not", b"1")
    proxy.clear()
    assert await keys(store) == ["done"]


@pytest.mark.parametrize("action", ["lose_response", "status"])
async def test_an_upload_outlives_failures_of_its_parts_and_of_its_end(
    store: Store, proxy: FaultProxy, place: Location, action: Any
) -> None:
    proxy.add(Rule(action, match="partNumber=2", times=1), Rule(action, match="^POST .*uploadId", times=1))
    assert await store.put_stream("key", pieces(2 * PART + 1)) == 2 * PART + 1
    assert await store.get_stream("key", length) == 2 * PART + 1
    assert await asyncio.to_thread(unfinished, place) == []


async def test_an_upload_that_fails_is_aborted(store: Store, proxy: FaultProxy, place: Location) -> None:
    proxy.add(Rule("status", status=403, body="", match="partNumber=2"))
    with pytest.raises(StorageError, match="credentials"):
        await store.put_stream("key", pieces(6 * PART))
    proxy.clear()
    assert await asyncio.to_thread(unfinished, place) == []
    assert await keys(store) == []


async def test_an_upload_that_is_cancelled_is_aborted(
    store: Store, proxy: FaultProxy, place: Location
) -> None:
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def write(file: BinaryIO) -> None:
        pieces(2 * PART + 1)(file)
        loop.call_soon_threadsafe(begun.set)
        while True:
            file.write(b"x" * 1000)

    task = asyncio.create_task(store.put_stream("key", write))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(unfinished, place) == []
    assert await keys(store) == []


async def test_a_write_that_is_cancelled_does_not_wait_for_ever(store: Store, proxy: FaultProxy) -> None:
    """It makes no further attempt."""
    proxy.add(Rule("status", status=503))
    task = asyncio.create_task(store.put("key", b"1"))
    await asyncio.to_thread(wait_until, lambda: proxy.count("^PUT "))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 10)
    assert proxy.count("^PUT ") <= 2


async def test_a_download_whose_object_is_replaced_never_mixes_versions(store: Store) -> None:
    await store.put("key", b"a" * (SEVERAL * PART))

    def read(file: BinaryIO) -> set[bytes]:
        first = file.read(1)
        asyncio.run_coroutine_threadsafe(store.put("key", b"b" * (SEVERAL * PART)), loop).result()
        return {first, *(file.read(1000)[:1] for _ in range(SEVERAL * PART // 1000))}

    loop = asyncio.get_running_loop()
    with pytest.raises(StorageError, match="was replaced while it was being read"):
        await store.get_stream("key", read)


async def test_a_download_from_a_bucket_with_versions_keeps_its_own(s3_server: Service) -> None:
    place = s3_server.location()
    client = s3_client(place)
    bucket = f"versioned-{place.prefix}"
    client.create_bucket(Bucket=bucket)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    store = open_store(f"s3://{bucket}", storage_options={**place.storage_options, **QUICK})
    await store.put("key", b"a" * (SEVERAL * PART))

    def read(file: BinaryIO) -> set[bytes]:
        first = file.read(1)
        asyncio.run_coroutine_threadsafe(store.put("key", b"b" * (SEVERAL * PART)), loop).result()
        return {first, *(file.read(1000)[:1] for _ in range(SEVERAL * PART // 1000))}

    loop = asyncio.get_running_loop()
    assert await store.get_stream("key", read) == {b"a"}
    await store.aclose()


async def test_everything_works_in_bad_weather(store: Store, proxy: FaultProxy, place: Location) -> None:
    proxy.add(*bad_weather(0.25, seed=1, hang_for=3.0))
    options = {**place.through(proxy.endpoint).storage_options, **QUICK, "retries": 12, "read_timeout": 1.0}
    patient = open_store(place.url, storage_options=options)

    async def work(number: int) -> None:
        await patient.create(f"new/{number}", b"%d" % number)
        await patient.put(f"many/{number}", b"%d" % number * 1000)
        assert await patient.get(f"many/{number}") == b"%d" % number * 1000
        with pytest.raises(AlreadyExistsError):
            await patient.create(f"new/{number}", b"another")

    await asyncio.gather(*(work(number) for number in range(12)))
    await patient.delete([f"many/{number}" for number in range(12)])
    proxy.clear()
    assert await keys(store) == sorted(f"new/{number}" for number in range(12))
    assert {await store.get(f"new/{number}") for number in range(12)} == {b"%d" % n for n in range(12)}
    await patient.aclose()
