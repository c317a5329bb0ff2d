"""Servers as fixtures: started when the first test asks, stopped with the session, skipped by name where they cannot run.

A skip fails a run in CI, like every other.
"""

from collections.abc import Callable, Iterator

import pytest

from tests._support.services._base import Location, Service, ServiceUnavailableError
from tests._support.services.azure import Azurite
from tests._support.services.fault_proxy import FaultProxy
from tests._support.services.google import FakeGcs, GcsXml
from tests._support.services.s3 import Ceph, Moto, RcloneS3

__all__ = [
    "SERVERS",
    "azure_server",
    "ceph_server",
    "fault_proxy",
    "gcs_server",
    "gcs_xml_server",
    "rclone_s3",
    "running",
    "s3_location",
    "s3_server",
]

SERVERS = frozenset(
    {"azure_server", "ceph_server", "gcs_server", "gcs_xml_server", "rclone_s3", "s3_location", "s3_server"}
)
"""Fixtures whose first use may install something: their tests get a longer timeout."""


def running(service: Service) -> Iterator[Service]:
    """Be the body of a server's fixture."""
    try:
        service.start()
    except ServiceUnavailableError as error:
        pytest.skip(str(error))
    try:
        yield service
    finally:
        service.stop()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Service]:
    """moto: S3 in memory, the fast one; `Service.location` gives a fresh place in it."""
    yield from running(Moto())


@pytest.fixture(scope="session")
def ceph_server() -> Iterator[Service]:
    """Ceph's S3 gateway, the real one."""
    yield from running(Ceph())


@pytest.fixture(scope="session")
def rclone_s3() -> Iterator[Service]:
    """``rclone serve s3``, which ignores conditions."""
    yield from running(RcloneS3())


@pytest.fixture(scope="session")
def azure_server() -> Iterator[Service]:
    """Azurite: Azure's blobs."""
    yield from running(Azurite())


@pytest.fixture(scope="session")
def gcs_server() -> Iterator[Service]:
    """fake-gcs-server: Google Cloud Storage by its JSON interface."""
    yield from running(FakeGcs())


@pytest.fixture(scope="session")
def gcs_xml_server() -> Iterator[Service]:
    """The XML interface of Google Cloud Storage, translated for moto."""
    yield from running(GcsXml())


@pytest.fixture(params=["s3_server", "ceph_server"], ids=["moto", "ceph"])
def s3_location(request: pytest.FixtureRequest) -> Location:
    """A fresh place in each S3 server that honours conditions."""
    server: Service = request.getfixturevalue(request.param)
    return server.location()


@pytest.fixture
def fault_proxy() -> Iterator[Callable[[str | Location], FaultProxy]]:
    """Return a function that puts a `FaultProxy` before an endpoint or a location's server."""
    opened: list[FaultProxy] = []

    def put_before(upstream: str | Location) -> FaultProxy:
        proxy = FaultProxy(upstream.endpoint if isinstance(upstream, Location) else upstream)
        proxy.start()
        opened.append(proxy)
        return proxy

    yield put_before
    for proxy in opened:
        proxy.stop()
