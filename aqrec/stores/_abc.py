"""What a store must do: the contract that every driver keeps and `aqrec.testing.StoreTests` checks."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, BinaryIO, TypeAlias, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from pathlib import Path

__all__ = ["Appender", "Children", "ObjectInfo", "Store"]

T = TypeVar("T")


class ObjectInfo(msgspec.Struct, frozen=True):
    """One stored object.

    Attributes
    ----------
    key
        Path below the store's root, parts separated by ``/``, never starting with it.
    size
        Bytes.
    modified
        Time of the last write by the *store's* clock, ms since epoch.
    """

    key: str
    size: int
    modified: int


Children: TypeAlias = tuple[list[ObjectInfo], list[str]]
"""What a folder holds directly: its objects, and the full names of its sub-folders."""


class Appender(abc.ABC):
    """A growing object with one writer.

    All methods block and are called from one thread at a time, except that `write` may be called while another thread is
    in `sync`, and does not wait for it. Once a call has failed, writing and syncing
    raise `StorageError`; after `close`, or `Store.aclose`, they raise `ClosedError`.
    """

    @abc.abstractmethod
    def write(self, data: bytes) -> None:
        """Hand `data` to the operating system, whole, behind what was written before.

        Readers see it at once and it survives the death of the process; `sync` makes it survive a power loss.
        On `StorageError` a part of `data` may have been written: the appender must be closed, and a new key
        begun.
        """

    @abc.abstractmethod
    def sync(self) -> None:
        """Make everything written so far durable, the object's name included.

        After a `StorageError` what was written since the last successful `sync` must be written again to a
        new key.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Give up the handle without syncing. May be called twice."""


class Store(abc.ABC):
    """A flat name space of objects below one URL.

    The contract, for every driver:

    - **Keys** are relative paths with ``/`` between parts, of at most 1024 bytes in UTF-8, 255 in each part.
      A key that is empty, too long, absolute, has an empty part, ``.`` or ``..``, a backslash, a control
      character or a lone surrogate, or begins with the part ``.aqrec-tmp``, is refused with
      `InvalidNameError` before anything is touched, and so is a folder name that is no such path (`check_key`
      does both).
    - **Folders** are what the parts of keys make of them; they exist only while an object is below. Where a
      backend cannot hold ``a`` and ``a/b`` at once, writing the second raises `ConflictError` and changes
      nothing.
    - **Atomic**: an object appears whole or not at all, under its final key, whatever fails; readers of the
      old object keep the old bytes. No temporary name is ever listed, and none is left behind by a failed or
      cancelled call.
    - **Durable**: when `put`, `create`, `put_stream` or `delete` returns, its effect survives a power loss.
    - **Visible**: from then on every reader in every process sees it, also in listings.
    - **Missing** keys raise `ObjectNotFoundError`; deleting one is no error.
    - **Failures** of the backend raise `StorageError` (or a category of it) with the key and the redacted URL
      in the message and the cause attached. No driver's own exception leaks. After one, a write may have had
      its effect all the same: read back what matters.
    - **Concurrency**: all methods may run at once, in any number, on one event loop.
    - **Cancelling** a write leaves either the whole effect or none, and nothing of it happens later;
      cancelling a read leaves nothing.
    - After `aclose` every call raises `ClosedError`; `aclose` may be called twice. It waits for the calls
      that are under way, which end as usual.

    Methods run on the event loop they are called from (asyncio) and push blocking work to that loop's default
    executor. A loop that shuts down and takes no more work makes them raise `ClosedError`.
    """

    @property
    @abc.abstractmethod
    def url(self) -> str:
        """The store's URL, without credentials."""

    @property
    def supports_append(self) -> bool:
        """Whether `open_append` works; else journals are written as immutable segments with `put`."""
        return False

    @abc.abstractmethod
    async def get(self, key: str, *, start: int = 0, end: int | None = None) -> bytes:
        """Return the bytes ``[start, end)`` of an object; a range beyond its end is cut, not an error.

        An empty range gives no bytes, and a negative bound raises `InvalidInputError`.
        """

    @abc.abstractmethod
    async def put(self, key: str, data: bytes) -> None:
        """Write an object, replacing any older one."""

    @abc.abstractmethod
    async def create(self, key: str, data: bytes) -> None:
        """Write an object only if the key is free, else raise `AlreadyExistsError`.

        Of any number of racing creators exactly one succeeds. For small objects (up to 1 MiB).
        """

    @abc.abstractmethod
    async def head(self, key: str) -> ObjectInfo:
        """Return size and time of an object."""

    @abc.abstractmethod
    def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
        """Yield every object below the folder `prefix` (a path without a trailing ``/``; "" is the root).

        At any depth, in no particular order. An object that exists during the whole iteration is yielded
        exactly once; one that comes or goes meanwhile may be missed. A missing folder yields nothing. Errors
        are raised by the iteration. A loop that may end early should close the iterator
        (`contextlib.aclosing`).
        """

    @abc.abstractmethod
    async def list_dir(self, prefix: str = "") -> Children:
        """Return the direct children of a folder: objects, and full names of sub-folders, both sorted.

        A missing folder has none.
        """

    @abc.abstractmethod
    async def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; missing ones are no error.

        All keys are checked first, and a single string in place of several raises `InvalidInputError`. Each
        object is gone or not: if one cannot be deleted, others may be.
        """

    @abc.abstractmethod
    async def put_stream(self, key: str, write: Callable[[BinaryIO], T]) -> T:
        """Write an object of any size in bounded memory, and return what `write` returned.

        `write` gets a blocking, write-only, unseekable binary file (``tell`` gives the number of bytes
        written) and runs in a worker thread. What it raises is raised here. If it raises, if one of its
        writes failed, or if the call is cancelled, nothing appears under `key`: on cancellation the file's
        next write raises `ClosedError` inside `write`, and the call returns when `write` has.
        """

    @abc.abstractmethod
    async def get_stream(self, key: str, read: Callable[[BinaryIO], T]) -> T:
        """Read an object of any size in bounded memory, and return what `read` returned.

        `read` gets a blocking, seekable, read-only, buffered binary file, all of whose bytes are of one
        version of the object, and runs in a worker thread. What it raises is raised here. On cancellation its
        next read raises `ClosedError`, and the call returns when `read` has.
        """

    async def probe_create(self) -> bool:
        """Tell whether the backend keeps the promise of `create`.

        Some servers take a conditional write and ignore its condition. A driver for such backends asks at the
        first call, by creating a hidden object twice, and remembers the answer; nothing is left behind. Where
        the answer is False, `create` refuses only keys that were taken when it looked, so that racing
        creators may all succeed. Here: True, which suits a driver that needs no server's word for it.

        Raises
        ------
        StorageError
            The backend could not be asked.
        """
        return True

    async def open_append(self, key: str) -> Appender:
        """Begin a growing object under a free key, else raise `AlreadyExistsError`.

        The object is there, empty, when this returns; its name is durable from the first `Appender.sync` on.
        Cancelling may leave it so.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot append to {key!r}; see supports_append")

    def local_path(self, key: str) -> Path | None:
        """Return where an object lies, or would lie, on this machine's file system; None if it does not."""
        del key
        return None

    @abc.abstractmethod
    async def aclose(self) -> None:
        """Close what the store opened."""
