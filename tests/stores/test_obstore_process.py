"""What obstore keeps to itself, and what a fork does to it."""

import os
from multiprocessing import get_context
from typing import Any

import pytest

from aqrec.errors import StorageError
from aqrec.stores import open_store
from tests._support.services import Service

SIGNATURE = "sv=2022-11-02&sig=VERYSECRET"


async def test_a_signature_in_a_url_is_not_shown() -> None:
    options = {"account_name": "account", "sas_token": SIGNATURE, "retries": 0}
    astray = {**options, "driver": "obstore", "endpoint_url": "http://127.0.0.1:1/account"}
    store = open_store("az://container/lab", storage_options=astray)
    for call in (store.get("key"), store.put("key", b"1"), store.list_dir("key"), store.delete(["key"])):
        with pytest.raises(StorageError) as caught:
            await call
        assert "HTTP error" in str(caught.value)
        assert "VERYSECRET" not in f"{caught.value}{caught.value.__cause__}{store!r}"
    await store.aclose()


def _put(url: str, options: dict[str, Any], answers: Any) -> None:
    import asyncio

    async def put() -> None:
        store = open_store(url, storage_options=options)
        try:
            await store.put(f"by/{os.getpid()}", b"1")
        except StorageError as error:
            answers.put(str(error))
        else:
            answers.put("stored")
        await store.aclose()

    asyncio.run(put())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_forked_process_is_told_and_a_spawned_one_works(method: str, s3_server: Service) -> None:
    """Without the check every call of a forked one would hang."""
    place = s3_server.location()
    options = {**place.storage_options, "driver": "obstore"}
    context: Any = get_context(method)
    answers = context.Queue()
    _put(place.url, options, answers)
    assert answers.get(timeout=30) == "stored"
    child = context.Process(target=_put, args=(place.url, options, answers))
    child.start()
    try:
        answer = answers.get(timeout=60)
    finally:
        child.join(30)
        child.kill()
    assert ("was forked" in answer) if method == "fork" else (answer == "stored")
