"""What one service's client offers: single requests on one bucket, and what their failures mean."""

from __future__ import annotations

import abc
import asyncio
import enum
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

__all__ = ["Bucket", "Fetched", "Found", "Meaning", "Page", "Told", "Upload"]


Told: TypeAlias = Callable[[int, str], None]
"""Takes an object's size and version."""


class Meaning(enum.Enum):
    """What a failed request tells."""

    MISSING = "there is no such object"
    TAKEN = "the condition of a create was not met"
    BEYOND = "the range begins behind the object's end"
    BUSY = "perhaps it works the next time; a write may have had its effect"
    IGNORED = "the service knows no conditional writes"
    DENIED = "the credentials do not allow it"
    NO_BUCKET = "there is no such bucket"
    FAILED = "it will not work the next time either"


class Found(NamedTuple):
    """An object in a listing or an answer about it: size in bytes, time in ms, nonce of the create that made it."""

    name: str
    size: int
    modified: int
    nonce: str = ""


class Fetched(NamedTuple):
    """Bytes of an object, its whole size, and a token that is the same for bytes of the same version."""

    data: bytes | memoryview
    size: int
    version: str


class Page(NamedTuple):
    """A page of a listing: objects, names of folders with a slash behind, and how to ask for the next, None at the end."""

    objects: Sequence[Found]
    folders: Sequence[str]
    following: Any


class Upload(NamedTuple):
    """An upload in parts: its object's name, the service's handle, and the nonce that the object will carry."""

    name: str
    handle: Any
    nonce: str


class Bucket(abc.ABC):
    """Requests on one bucket.

    Names are whole: the folder of the store's URL included. Each method is one exchange, tried once; it raises
    whatever the client library raises, and `meaning` says what that means. All but `prepare` run on one event
    loop.

    Attributes
    ----------
    page_size
        Most keys in one request of `delete`.
    parts_in_any_order
        Whether several parts of an upload may be under way at once.
    """

    page_size: int = 1000
    parts_in_any_order: bool = True

    @abc.abstractmethod
    def prepare(self) -> None:
        """Import and read what takes time, in a worker thread; makes no request."""

    @abc.abstractmethod
    async def open(self) -> None:
        """Make the client for the running loop; makes no request to the bucket."""

    @abc.abstractmethod
    async def close(self) -> None:
        """Close the client's connections."""

    @abc.abstractmethod
    async def get(
        self, name: str, start: int, end: int | None, version: str = "", *, told: Told | None = None
    ) -> Fetched:
        """Read the bytes ``[start, end)``; of a past version, if it is given and kept.

        `told` is for who can use the object's size and version before the bytes: a client that knows them then calls it.
        """

    @abc.abstractmethod
    async def put(self, name: str, data: bytes, *, nonce: str = "", free: bool = False) -> None:
        """Write an object that carries `nonce`, with `free` only if there is none."""

    @abc.abstractmethod
    async def head(self, name: str) -> Found:
        """Ask for size, time and nonce."""

    @abc.abstractmethod
    async def page(self, folder: str, following: Any, *, deep: bool) -> Page:
        """List what is below `folder` ("" or with a slash behind), or with ``deep=False`` directly in it."""

    @abc.abstractmethod
    async def delete(self, names: Sequence[str]) -> Sequence[str]:
        """Delete up to `page_size` objects; return those to be tried again."""

    async def delete_each(
        self, names: Sequence[str], delete: Callable[[str], Awaitable[object]]
    ) -> Sequence[str]:
        """Call `delete` for every name, all at once; return those to be tried again, or raise if that is all of them."""
        results = await asyncio.gather(*map(delete, names), return_exceptions=True)
        again: dict[str, Exception] = {}
        for name, error in zip(names, results, strict=True):
            if isinstance(error, Exception):
                meaning = self.meaning(error)
                if meaning is Meaning.BUSY:
                    again[name] = error
                elif meaning is not Meaning.MISSING:
                    raise error
            elif isinstance(error, BaseException):
                raise error
        if len(again) == len(names):
            raise again[names[0]]
        return list(again)

    @abc.abstractmethod
    async def begin_upload(self, name: str, nonce: str) -> Upload:
        """Begin an upload in parts."""

    @abc.abstractmethod
    async def put_part(self, upload: Upload, number: int, data: bytes) -> Any:
        """Send a part, numbered from 1, and return what `finish_upload` needs of it."""

    @abc.abstractmethod
    async def finish_upload(self, upload: Upload, receipts: Sequence[Any]) -> None:
        """Make the object of the parts."""

    @abc.abstractmethod
    async def abort_upload(self, upload: Upload) -> None:
        """Drop the parts."""

    @abc.abstractmethod
    def meaning(self, error: Exception) -> Meaning:
        """Tell what an exception of these methods means."""

    @abc.abstractmethod
    def text(self, error: Exception) -> str:
        """Return what happened in the service's words, without secrets."""
