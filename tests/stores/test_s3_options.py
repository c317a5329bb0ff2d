"""How an S3 store is told where to go, and what it keeps to itself."""

import asyncio
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aqrec.errors import InvalidInputError, InvalidNameError, StorageError
from aqrec.stores import canonical_url, open_store
from aqrec.stores._place import target_of
from tests._support.services import Location, Service


def test_opening_imports_nothing_and_asks_nobody() -> None:
    code = (
        "import sys\n"
        "from aqrec.stores import open_store\n"
        "open_store('s3://bucket/lab', storage_options={'endpoint_url': 'http://127.0.0.1:1'})\n"
        "print(sorted(name for name in sys.modules if name.split('.')[0] in "
        "{'s3fs', 'fsspec', 'botocore', 'aiobotocore', 'aiohttp'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_missing_extra_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "s3fs" else real(name))
    with pytest.raises(InvalidInputError, match=r"pip install 'aqrec\[s3\]'"):
        open_store("s3://bucket/lab")


@pytest.mark.parametrize(
    ("url", "options", "words"),
    [
        ("s3://", {}, "does not name a bucket"),
        ("s3:///lab", {}, "does not name a bucket"),
        ("s3://bucket:80/lab", {}, "does not name a bucket"),
        ("s3://KEY:SECRET@bucket/lab", {}, "storage_options"),
        ("s3://bucket/../lab", {}, "between its slashes"),
        ("s3://bucket/lab#x", {}, "does not name a bucket"),
        ("s3://bucket/lab?secret=SECRET", {}, "must not stand in the URL"),
        ("s3://bucket/lab?key=SECRET", {}, "must not stand in the URL"),
        ("s3://bucket/lab?region=a", {"region": "b"}, "given twice"),
        ("s3://bucket/lab?regoin=a", {}, "regoin"),
        ("s3://bucket/lab", {"secrte": "SECRET"}, "secrte"),
        ("s3://bucket/lab", {"secret": ["SECRET"]}, "must be a str"),
        ("s3://bucket/lab?retries=many", {}, "must be a int"),
        ("s3://bucket/lab?anon=perhaps", {}, "must be a bool"),
        ("s3://bucket/lab", {"part_size": 100}, "at least"),
        ("s3://bucket/lab", {"parallel": 0}, "at least"),
        ("s3://bucket/lab", {"retries": -1}, "0 or more"),
        ("s3://bucket/lab", {"endpoint_url": "http://KEY:SECRET@host"}, "endpoint_url"),
    ],
)
def test_what_does_not_fit_is_refused_without_showing_secrets(
    url: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidInputError, match=words) as caught:
        open_store(url, storage_options=options)
    assert "SECRET" not in str(caught.value)


def test_the_query_of_a_url_is_read_as_the_options_are() -> None:
    target = target_of("s3a://bucket//lab/?region=eu&retries=3", {"key": "K"})
    assert target.canonical == target.url == "s3://bucket/lab" == canonical_url("s3a://bucket/lab?x=y")
    assert target.storage_options == {"region": "eu", "retries": "3", "key": "K"}
    assert target.key() == target_of("s3://bucket/lab?retries=3", {"region": "eu", "key": "K"}).key()
    assert target.key() != target_of("s3://bucket/lab?retries=4", {"region": "eu", "key": "K"}).key()


@pytest.mark.blocks_loop("botocore reads its credentials files on the loop")
async def test_credentials_come_from_the_usual_files(
    s3_server: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = s3_server.location()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "credentials").write_text("[lab]\naws_access_key_id = a\naws_secret_access_key = b\n")
    (tmp_path / "config").write_text(f"[profile lab]\nregion = us-east-1\nendpoint_url = {place.endpoint}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    store = open_store(f"{place.url}?profile=lab")
    await store.put("key", b"1")
    assert await store.get("key") == b"1"
    await store.aclose()


@pytest.mark.blocks_loop("botocore reads its credentials files on the loop")
async def test_missing_credentials_and_profiles_are_told(
    s3_server: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    place = s3_server.location()
    for options, words in (({}, "credentials"), ({"profile": "nobody"}, "nobody")):
        store = open_store(
            place.url, storage_options={"endpoint_url": place.endpoint, "retries": 0, **options}
        )
        with pytest.raises(StorageError, match=words):
            await store.put("key", b"1")
        await store.aclose()


async def test_wrong_credentials_are_told_without_showing_them(ceph_server: Service) -> None:
    place = ceph_server.location()
    options = {**place.storage_options, "secret": "WRONG-SECRET"}
    store = open_store(place.url, storage_options=options)
    for call in (store.put("key", b"1"), store.get("key"), store.delete(["key"])):
        with pytest.raises(StorageError, match="credentials do not allow") as caught:
            await call
        assert "WRONG-SECRET" not in f"{caught.value} {caught.value.__cause__} {store!r}"
        assert caught.value.permanent
    await store.aclose()


async def test_a_bucket_that_does_not_exist_is_told(s3_location: Location) -> None:
    store = open_store("s3://no-such-bucket-here/lab", storage_options=s3_location.storage_options)
    for call in (store.put("key", b"1"), store.get("key"), store.list_dir()):
        with pytest.raises(StorageError, match="bucket 'no-such-bucket-here' does not exist") as caught:
            await call
        assert caught.value.permanent
    await store.aclose()


async def test_the_whole_bucket_can_be_a_store(s3_server: Service) -> None:
    place = s3_server.location()
    from tests._support.services import s3_client

    bucket = f"whole-{place.prefix}"
    s3_client(place).create_bucket(Bucket=bucket)
    store = open_store(f"s3://{bucket}", storage_options=place.storage_options)
    await store.put("a/b", b"1")
    assert [info.key async for info in store.list()] == ["a/b"]
    assert await store.list_dir() == ([], ["a"])
    await store.put("x" * 200 + "/" + "/".join(["y" * 200] * 4), b"")
    with pytest.raises(InvalidNameError):
        await store.put("/".join(["y" * 200] * 6), b"")
    await store.aclose()


def test_another_loop_is_refused_clearly(s3_server: Service) -> None:
    place = s3_server.location()
    store = open_store(place.url, storage_options=place.storage_options)

    async def use_and_close() -> None:
        await store.put("key", b"1")

        async def use_elsewhere() -> None:
            with pytest.raises(InvalidInputError, match="another event loop"):
                await store.get("key")

        await asyncio.to_thread(asyncio.run, use_elsewhere())
        await store.aclose()

    asyncio.run(use_and_close())
