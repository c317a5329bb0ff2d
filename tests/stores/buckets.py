"""How the suite reaches buckets past the stores: by clients that know nothing of them."""

import asyncio
import json
import urllib.parse
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import pytest

from aqrec.stores import Store, open_store
from aqrec.testing import StoreTests
from tests._support.services import Location, Service
from tests._support.services.azure import azure_container
from tests._support.services.google import gcs_call
from tests._support.services.s3 import s3_client

__all__ = ["S3", "Azure", "BucketHooks", "GcsJson"]


class BucketHooks(StoreTests):
    """A store in a fresh place of a server.

    Attributes
    ----------
    server
        Name of the server's fixture.
    driver
        Storage options beside those of the server.
    """

    server: ClassVar[str]
    driver: ClassVar[dict[str, Any]] = {}
    race_rounds = 4
    keeps_replaced = False
    key_room = 1024 - len("0123456789abcdef0123456789abcdef/a lab/")
    location: Location

    @pytest.fixture
    def place(self, request: pytest.FixtureRequest) -> Location:
        service: Service = request.getfixturevalue(self.server)
        return service.location()

    @pytest.fixture
    async def store(self, place: Location) -> AsyncIterator[Store]:
        self.location = place
        self.begin()
        store = self.open(f"{place.url}/a lab", place.storage_options)
        yield store
        await store.aclose()
        assert await asyncio.to_thread(self.unfinished) == []

    def open(self, url: str, options: dict[str, Any]) -> Store:
        return open_store(url, storage_options={**options, **self.driver})

    async def reopen(self, store: Store) -> Store:
        return self.open(store.url, self.location.storage_options)

    async def raw_get(self, store: Store, key: str) -> bytes | None:
        return await asyncio.to_thread(self.get, self._name(key))

    async def raw_put(self, store: Store, key: str, data: bytes) -> None:
        await asyncio.to_thread(self.put, self._name(key), data)

    async def raw_put_many(self, store: Store, objects: Mapping[str, bytes]) -> None:
        def put_all() -> None:
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(self.put, map(self._name, objects), objects.values()))

        await asyncio.to_thread(put_all)

    async def raw_list(self, store: Store) -> set[str]:
        root = self._name("")
        return {name.removeprefix(root) for name in await asyncio.to_thread(self.names, root)}

    def _name(self, key: str) -> str:
        return f"{self.location.prefix}/a lab/{key}"

    # --- what a kind of bucket gives, all of it blocking -----------------------------------------------------

    def begin(self) -> None:
        """Make the client."""
        raise NotImplementedError

    def get(self, name: str) -> bytes | None:
        raise NotImplementedError

    def put(self, name: str, data: bytes) -> None:
        raise NotImplementedError

    def names(self, prefix: str) -> list[str]:
        raise NotImplementedError

    def unfinished(self) -> list[str]:
        """Return the names of uploads that were neither completed nor aborted."""
        return []


class S3(BucketHooks):
    def begin(self) -> None:
        self.client = s3_client(self.location)

    def get(self, name: str) -> bytes | None:
        try:
            answer = self.client.get_object(Bucket=self.location.bucket, Key=name)
        except self.client.exceptions.NoSuchKey:
            return None
        data: bytes = answer["Body"].read()
        return data

    def put(self, name: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.location.bucket, Key=name, Body=data)

    def names(self, prefix: str) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.location.bucket, Prefix=prefix
        )
        return [found["Key"] for page in pages for found in page.get("Contents", ())]

    def unfinished(self) -> list[str]:
        found = self.client.list_multipart_uploads(Bucket=self.location.bucket)
        return [
            upload["Key"] for upload in found.get("Uploads", ()) if upload["Key"].startswith(self._name(""))
        ]


class Azure(BucketHooks):
    def begin(self) -> None:
        self.client = azure_container(self.location)

    def get(self, name: str) -> bytes | None:
        from azure.core.exceptions import ResourceNotFoundError

        try:
            data: bytes = self.client.download_blob(name).readall()
        except ResourceNotFoundError:
            return None
        return data

    def put(self, name: str, data: bytes) -> None:
        self.client.upload_blob(name, data, overwrite=True)

    def names(self, prefix: str) -> list[str]:
        return list(self.client.list_blob_names(name_starts_with=prefix))


class GcsJson(BucketHooks):
    def begin(self) -> None:
        self.objects = f"/storage/v1/b/{self.location.bucket}/o"

    def get(self, name: str) -> bytes | None:
        path = f"{self.objects}/{urllib.parse.quote(name, safe='')}?alt=media"
        status, data = gcs_call(self.location, "GET", path)
        assert status in {200, 404}, data
        return data if status == 200 else None

    def put(self, name: str, data: bytes) -> None:
        query = urllib.parse.urlencode({"uploadType": "media", "name": name})
        status, answer = gcs_call(self.location, "POST", f"/upload{self.objects}?{query}", data)
        assert status == 200, answer

    def names(self, prefix: str) -> list[str]:
        found: list[str] = []
        page = ""
        while True:
            query = urllib.parse.urlencode({"prefix": prefix, "pageToken": page})
            status, answer = gcs_call(self.location, "GET", f"{self.objects}?{query}")
            assert status == 200, answer
            listed = json.loads(answer)
            found += [item["name"] for item in listed.get("items", ())]
            if not (page := listed.get("nextPageToken", "")):
                return found
