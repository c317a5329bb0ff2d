"""A bucket that processes share without a server: a folder that cannot append, and can be away.

Importing this registers the scheme ``bucket``: ``bucket://path`` is the folder ``/path``, away while the file ``<path>.away`` exists. Which calls fail is
its text: a list of operations, or nothing for all. ``hang`` among them lets the calls wait until it is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aqrec.errors import InvalidInputError, StorageError
from aqrec.stores import Appender, LatencyStore, LocalStore, register_store

__all__ = ["Bucket", "bucket_url", "objects_in"]


class Bucket(LatencyStore):
    """See the module's text."""

    def __init__(self, url: str) -> None:
        root = Path("/", url.partition("://")[2])
        super().__init__(LocalStore(str(root)), self._meet)
        self._url = url
        self._switch = root.with_name(root.name + ".away")

    async def _meet(self, operation: str, key: str) -> None:
        while True:
            try:
                operations = self._switch.read_text().split()
            except FileNotFoundError:
                return
            if {*operations} - {"hang"} and operation not in operations:
                return
            if "hang" not in operations:
                raise StorageError(f"{operation} of {key!r}: the bucket is away")
            await asyncio.sleep(0.01)

    @property
    def url(self) -> str:
        return self._url

    @property
    def supports_append(self) -> bool:
        return False

    async def open_append(self, key: str) -> Appender:
        raise NotImplementedError(key)

    def local_path(self, key: str) -> None:
        del key


def _open(url: str, storage_options: Mapping[str, Any]) -> Bucket:
    if storage_options:
        raise InvalidInputError(f"bucket:// does not know {', '.join(sorted(storage_options))}")
    return Bucket(url)


register_store("bucket", _open)


def bucket_url(folder: Path) -> str:
    """Return the URL of a bucket in `folder`."""
    return f"bucket://{str(folder).lstrip('/')}"


def objects_in(folder: Path) -> dict[str, bytes]:
    """Return what a bucket holds, past its door."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
