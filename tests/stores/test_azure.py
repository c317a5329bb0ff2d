"""The driver of Azure Blob Storage keeps the contract on Azurite."""

from typing import ClassVar

from aqrec.stores import Store
from tests.stores.buckets import Azure


class TestAzure(Azure):
    server = "azure_server"
    driver: ClassVar = {"part_size": 5 << 20, "parallel": 2}
    many = 1050  # Azurite deletes a hundred a second
    stream_memory = 48 << 20

    async def failing_store(self, store: Store) -> Store:
        """Nobody listens there."""
        options = self.location.through("http://127.0.0.1:1").storage_options
        return self.open(store.url, {**options, "retries": 0})
