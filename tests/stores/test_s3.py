"""The S3 driver keeps the contract on an emulator and on a real server."""

from typing import ClassVar

from aqrec.stores import Store
from tests.stores.buckets import S3


class S3Driver(S3):
    driver: ClassVar = {"part_size": 5 << 20, "parallel": 2}
    stream_memory = 48 << 20

    async def failing_store(self, store: Store) -> Store:
        """Nobody listens there."""
        options = self.location.through("http://127.0.0.1:1").storage_options
        return self.open(store.url, {**options, "retries": 0})


class TestMoto(S3Driver):
    server = "s3_server"


class TestCeph(S3Driver):
    server = "ceph_server"
