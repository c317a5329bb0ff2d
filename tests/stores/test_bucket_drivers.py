"""What the drivers beside s3fs cost in requests, and what they make of a bad network."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import pytest

from aqrec.errors import AlreadyExistsError, StorageError
from aqrec.stores import Store, open_store
from aqrec.stores._bucket import Upload
from aqrec.stores._gcs import GcsBucket
from tests._support.services import FaultProxy, Location, Rule, Service, s3_client

PART = 5 << 20
QUICK: dict[str, Any] = {"part_size": PART, "parallel": 3, "connect_timeout": 2.0}


@pytest.fixture
def read_timeout() -> float:
    """Seconds without an answer after which a request is repeated; tests that count large ones have more patience."""
    return 2.0


@dataclass(frozen=True)
class Driver:
    """A driver, its server's fixture, and the requests of a small put, a stream of three parts, and a deletion of two objects."""

    server: str
    options: dict[str, Any]
    put: str
    parts: list[str]
    delete: list[str]


DRIVERS = {
    "gcs": Driver("gcs_server", {}, "POST", ["POST", "PUT", "PUT", "PUT"], ["DELETE"] * 2),
    "azure": Driver("azure_server", {}, "PUT", ["PUT"] * 4, ["DELETE"] * 2),
    "obstore-s3": Driver(
        "s3_server", {"driver": "obstore"}, "PUT", ["POST", "POST", "PUT", "PUT", "PUT"], ["POST"]
    ),
    "obstore-gs": Driver(
        "gcs_xml_server", {"driver": "obstore"}, "PUT", ["POST", "POST", "PUT", "PUT", "PUT"], ["DELETE"] * 2
    ),
    "obstore-az": Driver("azure_server", {"driver": "obstore"}, "PUT", ["PUT"] * 4, ["POST"]),
}


@pytest.fixture(params=DRIVERS.values(), ids=DRIVERS)
def driver(request: pytest.FixtureRequest) -> Driver:
    found: Driver = request.param
    return found


@pytest.fixture
def place(driver: Driver, request: pytest.FixtureRequest) -> Location:
    server: Service = request.getfixturevalue(driver.server)
    return server.location()


@pytest.fixture
def proxy(place: Location, fault_proxy: Callable[[Location], FaultProxy]) -> FaultProxy:
    return fault_proxy(place)


@pytest.fixture
async def store(
    place: Location, proxy: FaultProxy, driver: Driver, read_timeout: float, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Store]:
    """A store behind the proxy, connected."""
    begin = GcsBucket.begin_upload

    async def begin_upload(bucket: GcsBucket, name: str, nonce: str) -> Upload:
        """Lead a session of Google's, which goes to the address that the server knows, through the proxy as well."""
        upload = await begin(bucket, name, nonce)
        upload.handle.url = upload.handle.url.replace(place.service.endpoint, proxy.endpoint)
        return upload

    monkeypatch.setattr(GcsBucket, "begin_upload", begin_upload)
    options = {
        **place.through(proxy.endpoint).storage_options,
        **QUICK,
        "read_timeout": read_timeout,
        **driver.options,
    }
    store = open_store(place.url, storage_options=options)
    assert [info async for info in store.list()] == []
    proxy.forget()
    yield store
    await store.aclose()


def pieces(size: int) -> Callable[[BinaryIO], int]:
    def write(file: BinaryIO) -> int:
        left = size
        while left:
            left -= file.write(bytes(min(left, 1 << 20)))
        return size

    return write


async def test_each_call_is_one_request(store: Store, proxy: FaultProxy, driver: Driver) -> None:
    calls: list[tuple[Callable[[], Any], list[str]]] = [
        (lambda: store.put("a/b", b"12345"), [driver.put]),
        (lambda: store.create("a/c", b"1"), [driver.put]),
        (lambda: store.get("a/b"), ["GET"]),
        (lambda: store.get("a/b", start=1, end=3), ["GET"]),
        (lambda: store.list_dir("a"), ["GET"]),
        (lambda: store.put_stream("a/d", pieces(PART)), [driver.put]),
        (lambda: store.get_stream("a/d", lambda file: len(file.read())), ["GET"]),
        (lambda: store.delete(["a/b", "a/c"]), driver.delete),
    ]
    for call, expected in calls:
        proxy.forget()
        await call()
        assert [request.method for request in proxy.log] == expected


@pytest.mark.parametrize("read_timeout", [60.0], ids=["patient"])
async def test_large_streams_go_in_parts(
    store: Store, proxy: FaultProxy, driver: Driver, place: Location
) -> None:
    size = 2 * PART + 17
    assert await store.put_stream("key", pieces(size)) == size
    assert sorted(request.method for request in proxy.log) == driver.parts
    proxy.forget()
    assert await store.get_stream("key", lambda file: len(file.read())) == size
    assert [request.method for request in proxy.log] == ["GET"] * 3


async def test_a_passing_failure_is_not_noticed(store: Store, proxy: FaultProxy) -> None:
    for rule in (
        Rule("status", status=500, times=1),
        Rule("status", status=503, times=2),
        Rule("reset", times=1),
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
        assert await store.get_stream("key", lambda file: len(file.read())) == 10
        assert rule.fired


async def test_a_create_whose_answer_was_lost_is_still_ours(store: Store, proxy: FaultProxy) -> None:
    for number, rule in enumerate((Rule("lose_response", times=1), Rule("status", status=503, times=1))):
        proxy.clear()
        proxy.add(rule)
        await store.create(f"head/{number}", b"ours")
        assert rule.fired
        with pytest.raises(AlreadyExistsError):
            await store.create(f"head/{number}", b"ours")


async def test_a_failure_that_stays_is_raised(store: Store, proxy: FaultProxy, place: Location) -> None:
    proxy.add(Rule("status", status=400))
    for call in (store.put("key", b"1"), store.get("key"), store.delete(["key"]), store.list_dir("key")):
        with pytest.raises(StorageError, match="400") as caught:
            await call
        assert "'key'" in str(caught.value)
        assert place.url in str(caught.value)


async def test_an_upload_that_fails_leaves_nothing(
    store: Store, proxy: FaultProxy, driver: Driver, place: Location
) -> None:
    proxy.add(Rule("status", status=400, match=r"^PUT .*(partNumber=2|comp=block&|comp=block$|upload_id=)"))
    with pytest.raises(StorageError):
        await store.put_stream("key", pieces(4 * PART))
    proxy.clear()
    assert [info async for info in store.list()] == []
    if driver.server == "gcs_server":
        assert proxy.count("^DELETE .*upload_id=") == 1, "the session"
    elif place.service.scheme != "az":
        where = getattr(place.service, "upstream", place.service.endpoint)
        found = s3_client(where).list_multipart_uploads(Bucket=place.bucket, Prefix=place.prefix)
        assert found.get("Uploads", []) == []
