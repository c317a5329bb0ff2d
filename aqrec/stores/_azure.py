"""Azure Blob Storage through adlfs."""

from __future__ import annotations

import asyncio
import base64
import io
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from ._bucket import Bucket, Fetched, Found, Meaning, Page, Told, Upload
from ._bucket_store import BucketStore, Transfer
from ._effort import Patience
from ._finalizers import leave_alone
from ._options import Knob, need_extra, take_options
from ._place import place_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["AzureBucket", "open_azure"]

NONCE: Final = "aqrec"
"""Name of the user metadata that tells one create from another."""

PAGE: Final = 1000
LARGE: Final = 1 << 16
"""Bytes above which a body is sent in pieces."""

_TEXTS: Final = (
    "account_host",
    "account_key",
    "account_name",
    "client_id",
    "client_secret",
    "connection_string",
    "sas_token",
    "tenant_id",
)
OPTIONS: Final = {
    **{name: Knob(str) for name in _TEXTS},
    "anon": Knob(bool),
    "connect_timeout": Knob(float),
    "parallel": Knob(int),
    "part_size": Knob(int),
    "read_timeout": Knob(float),
    "retries": Knob(int),
}

_BUSY: Final = frozenset({408, 429, 500, 502, 503, 504})


def open_azure(url: str, options: Mapping[str, Any]) -> BucketStore:
    """Return the store of an ``az://container/folder`` URL; see `open_store` for the options.

    Raises
    ------
    InvalidInputError
        The URL or an option does not fit, or adlfs is not installed.
    """
    place = place_of(url)
    given = {"account_name": place.account, **options} if place.account else options
    chosen = take_options(place.url, given, OPTIONS)
    need_extra("azure", place.url, "adlfs")
    transfer = Transfer(**{name: chosen.pop(name) for name in ("parallel", "part_size") if name in chosen})
    patience = Patience(**({"retries": chosen.pop("retries")} if "retries" in chosen else {}))
    return BucketStore(place, AzureBucket(place.bucket, chosen), patience, transfer)


class AzureBucket(Bucket):
    """A container through adlfs, one HTTP request a call: adlfs finds the credentials and makes the client.

    Parameters
    ----------
    container
        Its name.
    options
        Those of `OPTIONS` that are about the client.
    """

    page_size = 64

    def __init__(self, container: str, options: Mapping[str, Any]) -> None:
        self._name = container
        self._options = dict(options)
        self._fs: Any = None
        self._container: Any = None
        self._once: dict[str, Any] = {}

    def prepare(self) -> None:
        """Import adlfs."""
        import_module("adlfs")

    async def open(self) -> None:
        """Make a client of our own for the running loop."""
        from adlfs import AzureBlobFileSystem  # noqa: PLC0415 - an extra

        options = dict(self._options)
        self._once = {
            "retry_total": 0,
            "connection_timeout": options.pop("connect_timeout", 5.0),
            "read_timeout": options.pop("read_timeout", 20.0),
        }
        self._fs = AzureBlobFileSystem(
            asynchronous=True,
            skip_instance_cache=True,
            use_listings_cache=False,
            loop=asyncio.get_running_loop(),
            **options,
        )
        leave_alone(self._fs)
        self._container = self._fs.service_client.get_container_client(self._name)

    async def close(self) -> None:
        """Close the client's connections, and those of its credentials."""
        fs, self._fs = self._fs, None
        if fs is not None:
            await fs.service_client.close()
            if hasattr(fs.credential, "close"):
                await fs.credential.close()

    async def get(
        self, name: str, start: int, end: int | None, version: str = "", *, told: Told | None = None
    ) -> Fetched:
        """Get Blob, with a range if it is not the whole."""
        del version, told
        length = None if end is None else end - start
        offset = start if start or length is not None else None
        if offset is not None and length is None:
            # the client wants a length with an offset
            length = (await self._container.get_blob_client(name).get_blob_properties(**self._once)).size
        stream = await self._container.download_blob(name, offset=offset, length=length, **self._once)
        data = await stream.readall()
        found = stream.properties
        size = (
            int(whole) if (whole := (found.content_range or "").rpartition("/")[2]).isdigit() else found.size
        )
        return Fetched(data, size, found.etag)

    async def put(self, name: str, data: bytes, *, nonce: str = "", free: bool = False) -> None:
        """Put Blob, with If-None-Match if the name has to be free."""
        about = {NONCE: nonce} if nonce else None
        await self._container.upload_blob(
            name,
            data,
            length=len(data),
            overwrite=not free,
            metadata=about,
            raw_request_hook=_send_in_pieces,
            **self._once,
        )

    async def head(self, name: str) -> Found:
        """Get Blob Properties."""
        return _found(await self._container.get_blob_client(name).get_blob_properties(**self._once))

    async def page(self, folder: str, following: Any, *, deep: bool) -> Page:
        """List Blobs."""
        walk = self._container.list_blobs if deep else self._container.walk_blobs
        extra = {} if deep else {"delimiter": "/"}
        listing = walk(name_starts_with=folder or None, results_per_page=PAGE, **extra, **self._once)
        pages = listing.by_page(following)
        objects: list[Found] = []
        folders: list[str] = []
        async for page in pages:
            async for item in page:
                if hasattr(item, "prefix") and not hasattr(item, "etag"):
                    folders.append(item.name)
                else:
                    objects.append(_found(item))
            break
        return Page(objects, folders, pages.continuation_token or None)

    async def delete(self, names: Sequence[str]) -> Sequence[str]:
        """Delete Blob, a request each and all at once: they cost nothing, and a batch tells less."""
        return await self.delete_each(names, lambda name: self._container.delete_blob(name, **self._once))

    async def begin_upload(self, name: str, nonce: str) -> Upload:
        """Make no request: blocks need no beginning."""
        return Upload(name, nonce, nonce)

    async def put_part(self, upload: Upload, number: int, data: bytes) -> Any:
        """Put Block, under an id that no other upload of this blob has."""
        block = base64.b64encode(f"{upload.handle}{number:06d}".encode()).decode()
        blob = self._container.get_blob_client(upload.name)
        await blob.stage_block(block, data, length=len(data), raw_request_hook=_send_in_pieces, **self._once)
        return block

    async def finish_upload(self, upload: Upload, receipts: Sequence[Any]) -> None:
        """Put Block List."""
        from azure.storage.blob import BlobBlock  # noqa: PLC0415 - comes with adlfs

        blocks = [BlobBlock(block) for block in receipts]
        about = {NONCE: upload.nonce}
        blob = self._container.get_blob_client(upload.name)
        await blob.commit_block_list(blocks, metadata=about, **self._once)

    async def abort_upload(self, upload: Upload) -> None:
        """Make no request: Azure drops blocks that nothing refers to after a week, and shows them to nobody."""

    def meaning(self, error: Exception) -> Meaning:
        """Judge by the service's code, and by the status where it gives none."""
        from azure.core import exceptions as known  # noqa: PLC0415 - comes with adlfs

        if isinstance(error, known.HttpResponseError):
            return _meaning_of(error.status_code or 0, str(getattr(error, "error_code", None) or ""))
        if isinstance(error, known.ClientAuthenticationError):
            return Meaning.DENIED
        broken = (
            known.ServiceRequestError,
            known.ServiceResponseError,
            ConnectionError,
            TimeoutError,
            EOFError,
        )
        return Meaning.BUSY if isinstance(error, broken) else Meaning.FAILED

    def text(self, error: Exception) -> str:
        """Return status, code and the first line of the message, or the client's own words."""
        words = str(error).partition("\n")[0]
        if (status := getattr(error, "status_code", None)) is not None:
            return f"{status} {getattr(error, 'error_code', None) or ''}: {words}"
        return f"{type(error).__name__}: {words}"


def _meaning_of(status: int, code: str) -> Meaning:
    if code.startswith("Container") and status == 404:
        return Meaning.NO_BUCKET
    if status == 404:
        return Meaning.MISSING
    if code in {"BlobAlreadyExists", "ConditionNotMet"}:
        return Meaning.TAKEN
    if status == 416:
        return Meaning.BEYOND
    if status in _BUSY or code == "ContainerBeingDeleted":
        return Meaning.BUSY
    return Meaning.DENIED if status in {401, 403} else Meaning.FAILED


def _found(blob: Any) -> Found:
    modified = round(blob.last_modified.timestamp() * 1000)
    return Found(blob.name, blob.size, modified, (blob.metadata or {}).get(NONCE, ""))


def _send_in_pieces(request: Any) -> None:
    """Wrap a large body: aiohttp would block the loop with the bytes as they are."""
    body = request.http_request.data
    if isinstance(body, bytes) and len(body) > LARGE:
        request.http_request.data = io.BytesIO(body)
