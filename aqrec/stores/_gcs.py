"""Google Cloud Storage through gcsfs."""

from __future__ import annotations

import asyncio
import io
import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode
from uuid import uuid4

from aqrec.errors import InvalidInputError

from ._bucket import Bucket, Fetched, Found, Meaning, Page, Told, Upload
from ._bucket_store import BucketStore, Transfer
from ._effort import Patience
from ._finalizers import leave_alone
from ._options import Knob, need_extra, take_options
from ._place import place_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["GcsBucket", "open_gcs"]

NONCE: Final = "aqrec"
"""Name of the user metadata that tells one create from another."""

FIELDS: Final = "name,size,updated"
UNIT: Final = 256 * 1024
"""All parts of an upload but the last must be a multiple of it."""
FRESH: Final = 300
"""Seconds that a credential has to be good for still."""

OPTIONS: Final = {
    "anon": Knob(bool),
    "connect_timeout": Knob(float),
    "endpoint_url": Knob(str),
    "parallel": Knob(int),
    "part_size": Knob(int),
    "project": Knob(str),
    "read_timeout": Knob(float),
    "requester_pays": Knob(bool),
    "retries": Knob(int),
}

_BUSY: Final = frozenset({408, 409, 429, 500, 502, 503, 504})


def open_gcs(url: str, options: Mapping[str, Any]) -> BucketStore:
    """Return the store of a ``gs://bucket/folder`` URL; see `open_store` for the options.

    Raises
    ------
    InvalidInputError
        The URL or an option does not fit, or gcsfs is not installed.
    """
    place = place_of(url)
    rest = dict(options)
    token = rest.pop("token", None)
    chosen = take_options(place.url, rest, OPTIONS)
    need_extra("gcs", place.url, "gcsfs")
    if token is not None:
        chosen["token"] = token
    transfer = Transfer(**{name: chosen.pop(name) for name in ("parallel", "part_size") if name in chosen})
    if transfer.part_size % UNIT:
        raise InvalidInputError(f"part_size of {place.url} must be a multiple of {UNIT} bytes")
    patience = Patience(**({"retries": chosen.pop("retries")} if "retries" in chosen else {}))
    return BucketStore(place, GcsBucket(place.bucket, chosen), patience, transfer)


class GcsBucket(Bucket):
    """A bucket through gcsfs, one HTTP request a call: gcsfs finds the credentials and keeps the session.

    Its own requests repeat themselves and hide status codes behind errors of the operating system, hence ours.
    An upload in parts goes through one resumable session, a part after the other, as Google has it.

    Parameters
    ----------
    bucket
        Its name.
    options
        Those of `OPTIONS` that are about the client, and ``token``.
    """

    page_size = 64
    parts_in_any_order = False

    def __init__(self, bucket: str, options: Mapping[str, Any]) -> None:
        self._options = dict(options)
        self._requester_pays = bool(self._options.pop("requester_pays", False))
        self._objects = f"/storage/v1/b/{quote(bucket, safe='')}/o"
        self._fs: Any = None
        self._session: Any = None

    def prepare(self) -> None:
        """Import gcsfs and look for credentials, which may ask the machine's metadata server."""
        # Not the class that gcsfs shows by default: before all else it asks by gRPC for the bucket's type, and
        # hangs a minute where nobody answers.
        from gcsfs.core import GCSFileSystem  # noqa: PLC0415 - an extra

        options = self._options
        token = "anon" if options.get("anon") else options.get("token")
        passed = {name: options[name] for name in ("endpoint_url", "project") if name in options}
        self._fs = GCSFileSystem(
            asynchronous=True, skip_instance_cache=True, use_listings_cache=False, token=token, **passed
        )

    async def open(self) -> None:
        """Make the HTTP session."""
        self._session = await self._fs._set_session()
        leave_alone(self._fs)

    async def close(self) -> None:
        """Close the session's connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def get(
        self, name: str, start: int, end: int | None, version: str = "", *, told: Told | None = None
    ) -> Fetched:
        """Objects: get, with alt=media, and a range if it is not the whole."""
        del told
        headers: dict[str, str] = {}
        if start or end is not None:
            headers["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        query = {"alt": "media"} | ({"generation": version} if version else {})
        answer, data = await self._ask("GET", self._object(name), query, headers=headers)
        whole = answer.get("Content-Range", "").rpartition("/")[2]
        if not whole.isdigit():
            # the whole object was sent, whatever was asked for
            whole = str(len(data))
            data = data[start:end]
            if not data and headers and (start or end):
                raise _AnswerError(416, "the range begins behind the end")
        return Fetched(data, int(whole), answer.get("x-goog-generation", ""))

    async def put(self, name: str, data: bytes, *, nonce: str = "", free: bool = False) -> None:
        """Objects: insert, in one request, with ifGenerationMatch=0 if the name has to be free."""
        mark = uuid4().hex
        about = json.dumps({"name": name, **({"metadata": {NONCE: nonce}} if nonce else {})})
        head = (
            f"--{mark}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{about}\r\n"
            f"--{mark}\r\nContent-Type: application/octet-stream\r\n\r\n"
        )
        body = b"".join((head.encode(), data, f"\r\n--{mark}--".encode()))
        query = {"uploadType": "multipart"} | ({"ifGenerationMatch": "0"} if free else {})
        headers = {"Content-Type": f"multipart/related; boundary={mark}"}
        await self._ask("POST", f"/upload{self._objects}", query, body=body, headers=headers)

    async def head(self, name: str) -> Found:
        """Objects: get."""
        _, data = await self._ask("GET", self._object(name), {"fields": f"{FIELDS},metadata"})
        found = json.loads(data)
        return _found(found)._replace(nonce=found.get("metadata", {}).get(NONCE, ""))

    async def page(self, folder: str, following: Any, *, deep: bool) -> Page:
        """Objects: list."""
        query = {"prefix": folder, "maxResults": "1000"}
        query["fields"] = f"items({FIELDS}),prefixes,nextPageToken"
        if not deep:
            query["delimiter"] = "/"
        if following is not None:
            query["pageToken"] = following
        _, data = await self._ask("GET", self._objects, query)
        listed = json.loads(data)
        objects = [_found(item) for item in listed.get("items", ())]
        return Page(objects, listed.get("prefixes", ()), listed.get("nextPageToken") or None)

    async def delete(self, names: Sequence[str]) -> Sequence[str]:
        """Objects: delete, a request each and all at once."""
        return await self.delete_each(names, lambda name: self._ask("DELETE", self._object(name), {}))

    async def begin_upload(self, name: str, nonce: str) -> Upload:
        """Objects: insert, resumable."""
        about = json.dumps({"name": name, "metadata": {NONCE: nonce}}).encode()
        headers = {"Content-Type": "application/json; charset=UTF-8"}
        query = {"uploadType": "resumable"}
        answer, _ = await self._ask("POST", f"/upload{self._objects}", query, body=about, headers=headers)
        return Upload(name, _Session(answer["Location"]), nonce)

    async def put_part(self, upload: Upload, number: int, data: bytes) -> Any:
        """Send the part before: the last one must go with the object's size."""
        session: _Session = upload.handle
        if session.number != number:
            if session.waiting is not None:
                await self._send(session, last=False)
            session.number, session.waiting = number, data

    async def finish_upload(self, upload: Upload, receipts: Sequence[Any]) -> None:
        """Send the last part."""
        del receipts
        await self._send(upload.handle, last=True)

    async def abort_upload(self, upload: Upload) -> None:
        """Delete the session, which answers 499."""
        try:
            await self._ask("DELETE", upload.handle.url, {}, body=b"")
        except _AnswerError as error:
            if error.status not in {404, 410, 499}:
                raise

    def meaning(self, error: Exception) -> Meaning:
        """Judge by the status."""
        if isinstance(error, _AnswerError):
            return _meaning_of(error.status, error.text)
        import aiohttp  # noqa: PLC0415 - comes with gcsfs
        import google.auth.exceptions  # noqa: PLC0415 - likewise
        from gcsfs.retry import HttpError  # noqa: PLC0415 - an extra

        if isinstance(error, google.auth.exceptions.TransportError):
            return Meaning.BUSY
        if isinstance(error, google.auth.exceptions.GoogleAuthError | HttpError):
            return Meaning.DENIED
        broken = isinstance(error, aiohttp.ClientError | ConnectionError | TimeoutError | EOFError)
        return Meaning.BUSY if broken else Meaning.FAILED

    def text(self, error: Exception) -> str:
        """Return status and message, or the client's own words."""
        if isinstance(error, _AnswerError):
            return f"{error.status}: {error.text or 'no explanation'}"
        return f"{type(error).__name__}: {error}"

    async def _send(self, session: _Session, *, last: bool) -> None:
        """Send what waits; of what the server keeps only a part, the rest again."""
        while True:
            data = session.waiting or b""
            end = session.sent + len(data)
            span = f"{session.sent}-{end - 1}" if data else "*"
            headers = {"Content-Range": f"bytes {span}/{end if last else '*'}"}
            try:
                await self._ask("PUT", session.url, {}, body=data, headers=headers)
            except _AnswerError as error:
                if error.status != 308:
                    raise
                kept = int(error.headers.get("Range", "-").rpartition("-")[2] or -1) + 1
            else:
                break
            if kept == end and not last:
                break
            if not session.sent < kept < end:
                raise _AnswerError(503, f"the server keeps {kept} bytes of an upload, of {end}")
            session.sent, session.waiting = kept, data[kept - session.sent :]
        session.sent, session.waiting = end, None

    def _object(self, name: str) -> str:
        return f"{self._objects}/{quote(name, safe='')}"

    async def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[Mapping[str, str], bytes]:
        """Make a request, and return headers and body of a good answer."""
        import aiohttp  # noqa: PLC0415 - comes with gcsfs
        import yarl  # noqa: PLC0415 - likewise

        project = self._options.get("project") or self._fs.project
        if self._requester_pays and project:
            query = {**query, "userProject": project}
        url = path if path.startswith("http") else f"{self._fs._location}{path}"
        if query:
            url += f"?{urlencode(query, quote_via=quote)}"
        async with self._session.request(
            method,
            yarl.URL(url, encoded=True),
            data=None if body is None else io.BytesIO(body),  # sent in pieces, so the loop goes on
            headers={
                **await self._credentials(),
                "Content-Length": str(len(body or b"")),
                "Accept-Encoding": "identity",
                **(headers or {}),
            },
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(
                total=None,
                sock_connect=self._options.get("connect_timeout", 5.0),
                sock_read=self._options.get("read_timeout", 20.0),
            ),
        ) as answer:
            data = await answer.read()
            if answer.status not in {200, 204, 206}:
                raise _AnswerError(answer.status, _message(data), answer.headers)
            return answer.headers, data

    async def _credentials(self) -> dict[str, str]:
        """Return the headers that say who asks; renewing takes a thread, as it makes requests that block."""
        known = self._fs.credentials
        headers: dict[str, str] = {}
        if known.credentials is not None and not known._credentials_valid(FRESH):
            await asyncio.get_running_loop().run_in_executor(None, known.apply, headers)
        else:
            known.apply(headers)
        return headers


class _Session:
    """A resumable upload: what was sent, and the part that waits for the next."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.sent = 0
        self.number = 0
        self.waiting: bytes | None = None


class _AnswerError(Exception):
    """An answer that is no good one."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status} {text}")
        self.status = status
        self.text = text
        self.headers = headers or {}


def _meaning_of(status: int, text: str) -> Meaning:
    if status == 404:
        return Meaning.NO_BUCKET if "bucket" in text.lower() else Meaning.MISSING
    if status == 412:
        return Meaning.TAKEN
    if status == 416:
        return Meaning.BEYOND
    if status in _BUSY:
        return Meaning.BUSY
    return Meaning.DENIED if status in {401, 403} else Meaning.FAILED


def _message(data: bytes) -> str:
    text = data.decode("utf-8", "replace")
    try:
        told = json.loads(text)["error"]
        return str(told["message"] if isinstance(told, dict) else told)
    except (KeyError, TypeError, ValueError):
        return text[:300]


def _found(item: Mapping[str, Any]) -> Found:
    from datetime import datetime  # noqa: PLC0415 - only here

    when = datetime.fromisoformat(item["updated"])
    return Found(item["name"], int(item["size"]), round(when.timestamp() * 1000))
