"""The obstore driver keeps the contract on every kind of bucket."""

from typing import ClassVar

import pytest

from aqrec.stores import Store, open_store
from tests._support.services import Service
from tests._support.services.s3 import s3_client
from tests.stores.buckets import S3, Azure, BucketHooks


class Obstore(BucketHooks):
    driver: ClassVar = {"driver": "obstore", "part_size": 5 << 20, "parallel": 2}
    stream_memory = 48 << 20

    async def failing_store(self, store: Store) -> Store:
        """Nobody listens there."""
        options = self.location.through("http://127.0.0.1:1").storage_options
        return self.open(store.url, {**options, "retries": 0})


class TestObstoreOnS3(Obstore, S3):
    server = "s3_server"


class TestObstoreOnAzure(Obstore, Azure):
    server = "azure_server"
    bounded_streams = False  # as on S3, where it is tested
    many = 300  # more than the 256 of one request; Azurite deletes a hundred a second


class TestObstoreOnGoogle(Obstore, S3):
    """Reached past the store by S3's hooks, since that is what stands behind the translator."""

    server = "gcs_xml_server"
    bounded_streams = False  # likewise
    many = 300

    def begin(self) -> None:
        self.client = s3_client(self.location.service.upstream)  # type: ignore[attr-defined]


@pytest.mark.soak
class TestObstoreOnCeph(Obstore, S3):
    server = "ceph_server"


async def test_a_listing_tells_the_same_times_as_an_answer(ceph_server: Service) -> None:
    """Ceph lists milliseconds, which the header of an answer has not."""
    place = ceph_server.location()
    store = open_store(place.url, storage_options={**place.storage_options, "driver": "obstore"})
    await store.put("folder/a", b"1")
    assert [info async for info in store.list()] == [await store.head("folder/a")]
    assert (await store.list_dir("folder"))[0] == [await store.head("folder/a")]
    await store.aclose()
