"""Files below a path or URL: the little that reading prices needs, for local disks and for whatever fsspec reaches."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from aqrec.errors import InvalidInputError, ObjectNotFoundError, StorageError
from aqrec.stores._urls import local_root, redact_url, scheme_of

__all__ = ["Files", "file_name", "is_remote", "open_files"]

_CHAIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*::.*://", re.DOTALL)
_LINK = "::"


class Files(Protocol):
    """One file or folder, and what is below it. Paths are relative, with slashes; "" is the place itself."""

    name: str
    """How to call the place in messages, without secrets"""

    def is_folder(self, path: str = "") -> bool:
        """Tell whether there is a folder."""
        ...

    def names(self, path: str) -> list[str]:
        """Return the names in a folder, ascending; none if there is no folder."""
        ...

    def read(self, path: str = "") -> bytes:
        """Return a file; `ObjectNotFoundError` if there is none."""
        ...

    def read_many(self, paths: Sequence[str]) -> dict[str, bytes]:
        """Return those of the files that exist."""
        ...


def open_files(location: str | os.PathLike[str], options: Mapping[str, Any] | None = None) -> Files:
    """Return the files at a path or URL.

    Parameters
    ----------
    location
        A path, a ``file:`` URL, or a URL that fsspec knows, chained ones too (``simplecache::s3://…``).
    options
        Arguments of the fsspec file system: credentials, endpoint.
    """
    if isinstance(location, str) and is_remote(location):
        return _Remote(location, dict(options or {}))
    return _Local(Path(local_root(location)))


def is_remote(location: str) -> bool:
    """Tell whether a path or URL is one that fsspec is needed for."""
    if _LINK in location and (_CHAIN.match(location) or scheme_of(location)):
        return True
    return scheme_of(location) not in {"", "file"}


def file_name(location: str) -> str:
    """Return the last part of a path or URL; of a chained one, of the file that is read in the end."""
    if is_remote(location):
        location = next((part for part in location.split(_LINK) if scheme_of(part)), location)
        location = location.split("?", maxsplit=1)[0]
    return location.rstrip("/").rsplit("/", 1)[-1]


def _shown(url: str) -> str:
    return _LINK.join(map(redact_url, url.split(_LINK)))


class _Local:
    def __init__(self, root: Path) -> None:
        self._root = root
        self.name = str(root)

    def is_folder(self, path: str = "") -> bool:
        return (self._root / path).is_dir()

    def names(self, path: str) -> list[str]:
        folder = self._root / path
        return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []

    def read(self, path: str = "") -> bytes:
        try:
            return (self._root / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ObjectNotFoundError(f"there is no file {self._root / path}") from error
        except OSError as error:
            raise StorageError(f"{self._root / path} cannot be read: {error}") from error

    def read_many(self, paths: Sequence[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for path in paths:
            try:
                found[path] = self.read(path)
            except ObjectNotFoundError:
                continue
        return found


class _Remote:
    def __init__(self, url: str, options: dict[str, Any]) -> None:
        self.name = _shown(url)
        self._is_public = self.name == url
        try:
            import fsspec  # noqa: PLC0415 (heavy, and an extra)

            # An instance of our own: shared ones are bound to the event loop of whoever used them first.
            self._system, self._root = fsspec.core.url_to_fs(
                url, skip_instance_cache=True, use_listings_cache=False, **options
            )
        except ImportError as error:
            raise InvalidInputError(
                f"{self.name} needs fsspec and its drivers to be installed: {error}"
            ) from error
        except ValueError as error:
            raise InvalidInputError(f"{self.name} cannot be opened: {self._told(error)}") from self._cause(
                error
            )

    def _told(self, error: Exception) -> str:
        # What a driver says may quote the URL.
        kind = type(error).__name__
        return (
            f"{kind}: {error}"
            if self._is_public
            else f"{kind}, whose text may quote the credentials of the URL"
        )

    def _cause(self, error: Exception) -> Exception | None:
        return error if self._is_public else None

    def _path(self, path: str) -> str:
        return f"{self._root.rstrip('/')}/{path}" if path else self._root

    def is_folder(self, path: str = "") -> bool:
        return bool(self._asked(self._system.isdir, path, self._path(path)))

    def names(self, path: str) -> list[str]:
        try:
            found = self._asked(self._system.ls, path, self._path(path), detail=False)
        except ObjectNotFoundError:
            return []
        return sorted(name.rstrip("/").rsplit("/", 1)[-1] for name in found)

    def read(self, path: str = "") -> bytes:
        content: bytes = self._asked(self._system.cat_file, path, self._path(path))
        return content

    def read_many(self, paths: Sequence[str]) -> dict[str, bytes]:
        wanted = {self._path(path): path for path in paths}
        found = self._asked(self._system.cat, paths[0] if paths else "", list(wanted), on_error="return")
        made: dict[str, bytes] = {}
        for full, content in found.items():
            if isinstance(content, FileNotFoundError):
                continue
            if isinstance(content, Exception):
                raise self._failure(content, wanted[full]) from self._cause(content)
            made[wanted[full]] = content
        return made

    def _failure(self, error: Exception, path: str) -> StorageError:
        return StorageError(f"{path or 'the file'} at {self.name} cannot be read: {self._told(error)}")

    def _asked(self, call: Any, path: str, *arguments: Any, **keywords: Any) -> Any:
        try:
            return call(*arguments, **keywords)
        except FileNotFoundError as error:
            raise ObjectNotFoundError(f"there is no file {path} at {self.name}") from self._cause(error)
        except Exception as error:  # noqa: BLE001 (drivers raise whatever their client does)
            raise self._failure(error, path) from self._cause(error)
