"""Amazon S3 and what speaks its language, through s3fs."""

from __future__ import annotations

import functools
import importlib
import io
from typing import TYPE_CHECKING, Any, Final

from aqrec.errors import InvalidInputError

from ._bucket import Bucket, Fetched, Found, Meaning, Page, Told, Upload
from ._bucket_store import BucketStore, Transfer
from ._effort import Patience
from ._options import Knob, need_extra, take_options
from ._place import place_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

__all__ = ["S3Bucket", "open_s3"]

NONCE: Final = "aqrec"
"""Name of the user metadata that tells one create from another."""

POOL: Final = 32
"""Connections at most."""

LARGE: Final = 1 << 16
"""Bytes above which a body is sent in pieces."""

OPTIONS: Final = {
    "anon": Knob(bool),
    "client_kwargs": Knob(dict),
    "config_kwargs": Knob(dict),
    "connect_timeout": Knob(float),
    "endpoint_url": Knob(str),
    "key": Knob(str),
    "parallel": Knob(int),
    "part_size": Knob(int),
    "profile": Knob(str),
    "read_timeout": Knob(float),
    "region": Knob(str),
    "requester_pays": Knob(bool),
    "retries": Knob(int),
    "s3_additional_kwargs": Knob(dict),
    "secret": Knob(str),
    "token": Knob(str),
}

_BUSY_STATUS: Final = frozenset({408, 409, 429, 500, 502, 503, 504})
_BUSY_CODES: Final = frozenset(
    {
        "BadDigest",
        "IncompleteBody",
        "InternalError",
        "RequestTimeout",
        "RequestTimeoutException",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "XAmzContentSHA256Mismatch",
    }
)


def open_s3(url: str, options: Mapping[str, Any]) -> BucketStore:
    """Return the store of an ``s3://bucket/folder`` URL; see `open_store` for the options.

    Raises
    ------
    InvalidInputError
        The URL or an option does not fit, or s3fs is not installed.
    """
    place = place_of(url)
    chosen = take_options(place.url, options, OPTIONS)
    if "@" in chosen.get("endpoint_url", ""):
        raise InvalidInputError(f"the storage option 'endpoint_url' of {place.url} must not hold credentials")
    need_extra("s3", place.url, "s3fs", "aiobotocore")
    transfer = Transfer(**{name: chosen.pop(name) for name in ("parallel", "part_size") if name in chosen})
    patience = Patience(**({"retries": chosen.pop("retries")} if "retries" in chosen else {}))
    return BucketStore(place, S3Bucket(place.bucket, chosen), patience, transfer)


class S3Bucket(Bucket):
    """A bucket through s3fs, one HTTP request a call: s3fs makes the client, and repeats nothing.

    Parameters
    ----------
    bucket
        Its name.
    options
        Those of `OPTIONS` that are about the client.
    """

    def __init__(self, bucket: str, options: Mapping[str, Any]) -> None:
        self._bucket = bucket
        self._options = dict(options)
        self._session: Any = None
        self._fs: Any = None

    def prepare(self) -> None:
        """Import s3fs, and read the descriptions of the service and the configuration files."""
        import aiobotocore.session  # noqa: PLC0415 - an extra

        importlib.import_module("s3fs")
        session = aiobotocore.session.AioSession(profile=self._options.get("profile"))
        session.register_component("data_loader", _descriptions())
        session.get_scoped_config()
        self._session = session

    async def open(self) -> None:
        """Make a client of our own: s3fs shares instances, and keeps listings, unless told not to."""
        import s3fs  # noqa: PLC0415 - an extra

        options = self._options
        config: dict[str, Any] = {
            "connect_timeout": options.get("connect_timeout", 5.0),
            "read_timeout": options.get("read_timeout", 20.0),
            "max_pool_connections": POOL,
            "retries": {"mode": "standard", "total_max_attempts": 1},
        }
        client = dict(options.get("client_kwargs", {}))
        if options.get("endpoint_url") or client.get("endpoint_url"):
            # botocore's newer checksums are refused by many a server that is not Amazon's
            config["request_checksum_calculation"] = config["response_checksum_validation"] = "when_required"
        config |= options.get("config_kwargs", {})
        if "region" in options:
            client.setdefault("region_name", options["region"])
        passed = ("anon", "endpoint_url", "key", "requester_pays", "s3_additional_kwargs", "secret", "token")
        self._fs = s3fs.S3FileSystem(
            asynchronous=True,
            skip_instance_cache=True,
            use_listings_cache=False,
            session=self._session,
            config_kwargs=config,
            client_kwargs=client,
            **{name: options[name] for name in passed if name in options},
        )
        self._fs.retries = 1
        await self._fs.set_session()

    async def close(self) -> None:
        """Close the client's connections."""
        fs, self._fs = self._fs, None
        if fs is not None:
            await fs.s3.close()

    async def get(
        self, name: str, start: int, end: int | None, version: str = "", *, told: Told | None = None
    ) -> Fetched:
        """GetObject, with a range if it is not the whole."""
        wanted: dict[str, Any] = {}
        if start or end is not None:
            wanted["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        if version.startswith("id:"):
            wanted["VersionId"] = version[3:]
        answer = await self._call("get_object", Key=name, **wanted)
        whole = answer.get("ContentRange", "").rpartition("/")[2]
        size = int(whole) if whole.isdigit() else answer["ContentLength"]
        if told is not None:
            told(size, _version(answer))
        async with answer["Body"] as body:
            data = await body.read()
        if len(data) != answer["ContentLength"]:
            raise EOFError(f"{len(data)} bytes came where {answer['ContentLength']} were announced")
        return Fetched(data, size, _version(answer))

    async def put(self, name: str, data: bytes, *, nonce: str = "", free: bool = False) -> None:
        """PutObject, with If-None-Match if the name has to be free."""
        extra: dict[str, Any] = {"IfNoneMatch": "*"} if free else {}
        if nonce:
            extra["Metadata"] = {NONCE: nonce}
        await self._send(data, "put_object", Key=name, **extra)

    async def head(self, name: str) -> Found:
        """HeadObject."""
        answer = await self._call("head_object", Key=name)
        nonce = answer.get("Metadata", {}).get(NONCE, "")
        return Found(name, answer["ContentLength"], _ms(answer["LastModified"]), nonce)

    async def page(self, folder: str, following: Any, *, deep: bool) -> Page:
        """ListObjectsV2."""
        extra: dict[str, Any] = {} if deep else {"Delimiter": "/"}
        if following is not None:
            extra["ContinuationToken"] = following
        answer = await self._call("list_objects_v2", Prefix=folder, MaxKeys=self.page_size, **extra)
        objects = [
            Found(one["Key"], one["Size"], _ms(one["LastModified"])) for one in answer.get("Contents", ())
        ]
        folders = [one["Prefix"] for one in answer.get("CommonPrefixes", ())]
        return Page(objects, folders, answer.get("NextContinuationToken") if answer["IsTruncated"] else None)

    async def delete(self, names: Sequence[str]) -> Sequence[str]:
        """DeleteObject for one, DeleteObjects for several."""
        if len(names) == 1:
            await self._call("delete_object", Key=names[0])
            return ()
        wanted = {"Objects": [{"Key": name} for name in names], "Quiet": True}
        answer = await self._call("delete_objects", Delete=wanted)
        again: list[str] = []
        for failure in answer.get("Errors", ()):
            code = failure.get("Code", "")
            if code in _BUSY_CODES:
                again.append(failure["Key"])
            elif code != "NoSuchKey":
                raise _DeleteError(f"{code}: {failure.get('Message', '')} ({failure.get('Key', '')!r})")
        return again

    async def begin_upload(self, name: str, nonce: str) -> Upload:
        """CreateMultipartUpload."""
        answer = await self._call("create_multipart_upload", Key=name, Metadata={NONCE: nonce})
        return Upload(name, answer["UploadId"], nonce)

    async def put_part(self, upload: Upload, number: int, data: bytes) -> Any:
        """UploadPart."""
        answer = await self._send(
            data, "upload_part", Key=upload.name, UploadId=upload.handle, PartNumber=number
        )
        return {"PartNumber": number, "ETag": answer["ETag"]}

    async def finish_upload(self, upload: Upload, receipts: Sequence[Any]) -> None:
        """CompleteMultipartUpload."""
        await self._call(
            "complete_multipart_upload",
            Key=upload.name,
            UploadId=upload.handle,
            MultipartUpload={"Parts": list(receipts)},
        )

    async def abort_upload(self, upload: Upload) -> None:
        """AbortMultipartUpload."""
        await self._call("abort_multipart_upload", Key=upload.name, UploadId=upload.handle)

    def meaning(self, error: Exception) -> Meaning:
        """Judge by the service's answer, which s3fs hides behind errors of the operating system."""
        origin = _origin(error)
        answer = getattr(origin, "response", None)
        if isinstance(answer, dict):
            status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
            code = answer.get("Error", {}).get("Code", "")
            return _meaning_of(status, code)
        if isinstance(origin, _DeleteError):
            return Meaning.DENIED if "AccessDenied" in str(origin) else Meaning.FAILED
        return _meaning_without_answer(origin)

    def text(self, error: Exception) -> str:
        """Return status, code and message, or the client's own words."""
        origin = _origin(error)
        answer = getattr(origin, "response", None)
        if isinstance(answer, dict):
            status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
            told = answer.get("Error", {})
            return f"{status} {told.get('Code', '')}: {told.get('Message') or 'no explanation'}"
        return f"{type(origin).__name__}: {origin}"

    async def _send(self, data: bytes, operation: str, **arguments: Any) -> Any:
        if len(data) <= LARGE:
            return await self._call(operation, Body=data, **arguments)
        # aiohttp sends a file in pieces, where large bytes would block the loop; nothing is copied
        with io.BytesIO(
            data
        ) as body:  # closed: what botocore keeps of a request in reference cycles would keep the bytes
            return await self._call(operation, Body=body, **arguments)

    async def _call(self, operation: str, **arguments: Any) -> Any:
        return await self._fs._call_s3(operation, Bucket=self._bucket, **arguments)


@functools.cache
def _descriptions() -> Any:
    """Return what botocore knows of the service, read from its files once."""
    import botocore.session  # noqa: PLC0415 - comes with s3fs

    reader = botocore.session.Session()
    # with credentials given it asks nobody for them
    reader.create_client(
        "s3",
        region_name="us-east-1",
        aws_access_key_id="-",
        aws_secret_access_key="-",  # noqa: S106
    ).close()
    return reader.get_component("data_loader")


class _DeleteError(Exception):
    """An object among several could not be deleted."""


def _origin(error: Exception) -> BaseException:
    """Return the exception with the service's answer, on which s3fs builds its own; else the same."""
    below: BaseException | None = error
    while below is not None:
        if isinstance(getattr(below, "response", None), dict):
            return below
        below = below.__cause__
    return error


def _meaning_of(status: int | None, code: str) -> Meaning:
    if code == "NoSuchBucket":
        return Meaning.NO_BUCKET
    if status == 404:
        return Meaning.MISSING
    if status == 412 or code == "PreconditionFailed":
        return Meaning.TAKEN
    if status == 416:
        return Meaning.BEYOND
    if status == 501:
        return Meaning.IGNORED
    if status in {401, 403}:
        return Meaning.DENIED
    if status in _BUSY_STATUS or code in _BUSY_CODES:
        return Meaning.BUSY
    return Meaning.FAILED


def _meaning_without_answer(error: BaseException) -> Meaning:
    import aiohttp  # noqa: PLC0415 - comes with s3fs
    import botocore.exceptions as known  # noqa: PLC0415 - likewise
    import botocore.parsers  # noqa: PLC0415 - likewise

    if isinstance(
        error, known.NoCredentialsError | known.PartialCredentialsError | known.CredentialRetrievalError
    ):
        return Meaning.DENIED
    broken = (
        known.ConnectionError,
        known.HTTPClientError,
        known.IncompleteReadError,
        botocore.parsers.ResponseParserError,
        aiohttp.ClientError,
        ConnectionError,
        TimeoutError,
        EOFError,
    )
    return Meaning.BUSY if isinstance(error, broken) else Meaning.FAILED


def _version(answer: Mapping[str, Any]) -> str:
    version = answer.get("VersionId")
    return f"id:{version}" if version not in {None, "null"} else str(answer.get("ETag", ""))


def _ms(when: datetime) -> int:
    # whole seconds, as the header of an answer has them; some servers list smaller parts
    return int(when.timestamp()) * 1000
