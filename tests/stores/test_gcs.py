"""The driver of Google Cloud Storage keeps the contract on fake-gcs-server."""

from typing import ClassVar

from aqrec.stores import Store
from tests.stores.buckets import GcsJson


class TestGcs(GcsJson):
    server = "gcs_server"
    driver: ClassVar = {"part_size": 5 << 20, "parallel": 2}
    stream_memory = 32 << 20

    async def failing_store(self, store: Store) -> Store:
        """Nobody listens there."""
        options = self.location.through("http://127.0.0.1:1").storage_options
        return self.open(store.url, {**options, "retries": 0})
