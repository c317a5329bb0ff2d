"""The driver of Google Cloud Storage keeps the contract on fake-gcs-server."""

from collections.abc import Mapping
from typing import Any, BinaryIO, ClassVar

import pytest

from aqrec.errors import StorageError
from aqrec.stores import Store, open_store
from aqrec.stores._gcs import GcsBucket, _AnswerError
from tests._support.services import Service
from tests.stores.buckets import GcsJson

MIB = 1 << 20


class TestGcs(GcsJson):
    server = "gcs_server"
    driver: ClassVar = {"part_size": 5 << 20, "parallel": 2}
    stream_memory = 32 << 20

    async def failing_store(self, store: Store) -> Store:
        """Nobody listens there."""
        options = self.location.through("http://127.0.0.1:1").storage_options
        return self.open(store.url, {**options, "retries": 0})


@pytest.mark.timeout(1200)
async def test_of_a_part_that_is_kept_in_part_the_rest_is_sent_again(
    gcs_server: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Google may keep less than it was sent, and tells in its answer how much; also of the last part."""
    ask, spans = GcsBucket._ask, list[str]()
    kept: int

    async def stingy(
        bucket: GcsBucket,
        method: str,
        path: str,
        query: Mapping[str, str],
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        span = (headers or {}).get("Content-Range", "")
        if span and body:
            spans.append(span)
            if len(body) > kept:
                start = int(span.split()[1].partition("-")[0])
                if not kept:
                    raise _AnswerError(308, "")  # without a word of a range, as Google has it
                body, headers = body[:kept], {"Content-Range": f"bytes {start}-{start + kept - 1}/*"}
        return await ask(bucket, method, path, query, body=body, headers=headers)

    monkeypatch.setattr(GcsBucket, "_ask", stingy)
    place = gcs_server.location()
    data = b"".join(bytes([number]) * MIB for number in range(14))

    def write(file: BinaryIO) -> None:
        file.writelines(data[at : at + MIB] for at in range(0, len(data), MIB))

    options = {**place.storage_options, "part_size": 5 * MIB, "retries": 0}
    store = open_store(place.url, storage_options=options)
    try:
        kept = 3 * MIB
        await store.put_stream("key", write)
        assert await store.get_stream("key", lambda file: file.read()) == data
        starts = [int(span.split()[1].partition("-")[0]) // MIB for span in spans]
        assert starts == [0, 3, 5, 8, 10, 13]
        kept = 0
        with pytest.raises(StorageError, match="keeps 0 bytes of an upload"):
            await store.put_stream("other", write)
        assert [info.key async for info in store.list()] == ["key"]
    finally:
        await store.aclose()
