"""Where an export is written: a folder of this machine, or of whatever fsspec reaches. Calls block."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, Protocol

from aqrec.errors import AlreadyExistsError, InvalidInputError, StorageError
from aqrec.format._ids import new_id
from aqrec.stores import redact_url
from aqrec.stores._place import KINDS
from aqrec.stores._urls import local_root, scheme_of

__all__ = ["Draft", "Place", "open_place", "refuse_existing"]


class Place(Protocol):
    """A folder, which need not be there yet.

    Attributes
    ----------
    shown
        Its path, or its URL without secrets.
    """

    shown: str

    def exists(self, name: str) -> bool:
        """Tell whether there is a file of the name."""
        ...

    def create(self, name: str) -> Any:
        """Open a new file for writing."""
        ...

    def rename(self, name: str, other: str) -> None:
        """Give a complete file its name, in place of one that has it."""
        ...

    def remove(self, name: str) -> None:
        """Delete a file."""
        ...

    def failing(self, doing: str) -> contextlib.AbstractContextManager[None]:
        """Turn what a driver raises meanwhile into `StorageError`, without secrets."""
        ...


def open_place(location: str | os.PathLike[str], options: Mapping[str, Any] | None) -> Place:
    """Return the place that a path or URL names; nothing is asked or made yet."""
    if not isinstance(location, str) or scheme_of(location) in {"", "file"}:
        if options:
            raise InvalidInputError(f"storage_options: a folder has none, but {', '.join(options)} are given")
        return _Local(Path(local_root(location)))
    return _Remote(location, dict(options or {}))


class Draft:
    """A file under a name of its own until it is complete."""

    def __init__(self, place: Place, name: str) -> None:
        self._place, self.name = place, name
        self._part = f".{name}.{new_id()}.part"
        self._file: Any = None
        self.bytes = 0

    @property
    def shown(self) -> str:
        """Path, or URL without secrets, that it gets."""
        return f"{self._place.shown.rstrip('/')}/{self.name}"

    def open(self) -> Any:
        """Return the file, empty."""
        with self._place.failing(f"{self.name} cannot be written"):
            self._file = self._place.create(self._part)
        return self._file

    def complete(self) -> None:
        """Close it, whole."""
        with self._place.failing(f"{self.name} cannot be written"):
            self.bytes = self._file.tell()
            if isinstance(self._place, _Local):
                self._file.flush()
                os.fsync(self._file.fileno())
            self._file.close()

    def publish(self) -> None:
        """Give it its name."""
        with self._place.failing(f"{self.name} cannot be written"):
            self._place.rename(self._part, self.name)
            self._file = None

    def discard(self) -> None:
        """Leave nothing of it, unless it was published; what fails meanwhile is not told."""
        if self._file is None:
            return
        with contextlib.suppress(Exception):  # drivers raise whatever their client does
            self._file.close()
        with contextlib.suppress(Exception):
            self._place.remove(self._part)
        self._file = None


def refuse_existing(place: Place, names: list[str]) -> None:
    """Raise `AlreadyExistsError` where one of the names is taken."""
    with place.failing("it cannot be read"):
        taken = [name for name in names if place.exists(name)]
    if taken:
        raise AlreadyExistsError(
            f"{place.shown} has {' and '.join(taken)} already; choose another folder, or overwrite "
            "(overwrite=True, --force)"
        )


class _Local:
    def __init__(self, root: Path) -> None:
        self._root = root
        self.shown = str(root)

    def exists(self, name: str) -> bool:
        return (self._root / name).exists()

    def create(self, name: str) -> Any:
        self._root.mkdir(parents=True, exist_ok=True)
        return (self._root / name).open("xb")

    def rename(self, name: str, other: str) -> None:
        (self._root / name).replace(self._root / other)

    def remove(self, name: str) -> None:
        (self._root / name).unlink()

    @contextlib.contextmanager
    def failing(self, doing: str) -> Generator[None]:
        try:
            yield
        except (AlreadyExistsError, StorageError):
            raise
        except OSError as error:
            raise StorageError(f"{self.shown}: {doing}: {error}") from error


class _Remote:
    def __init__(self, url: str, options: dict[str, Any]) -> None:
        self.shown = redact_url(url)
        self._secret = self.shown != url
        self._bucket = scheme_of(url) in KINDS
        try:
            import fsspec  # noqa: PLC0415 - heavy, and an extra

            # An instance of our own: shared ones are bound to the event loop of whoever used them first.
            self._system, root = fsspec.core.url_to_fs(
                url, skip_instance_cache=True, use_listings_cache=False, **options
            )
        except ImportError as error:
            raise InvalidInputError(
                f"{self.shown} needs fsspec and its driver for {scheme_of(url)}:// to be installed: {error}"
            ) from error
        except (TypeError, ValueError) as error:
            raise InvalidInputError(f"{self.shown} cannot be opened: {self._told(error)}") from self._cause(
                error
            )
        self._root: str = root.rstrip("/")

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def exists(self, name: str) -> bool:
        return bool(self._system.exists(self._path(name)))

    def create(self, name: str) -> Any:
        if not self._bucket:  # there, folders are nothing, and a misspelt bucket is not to be made
            self._system.makedirs(self._root, exist_ok=True)
        return self._system.open(self._path(name), "wb")

    def rename(self, name: str, other: str) -> None:
        try:
            self._system.cp_file(self._path(name), self._path(other))
        except NotImplementedError:
            self._system.mv(self._path(name), self._path(other))
        else:
            self._system.rm_file(self._path(name))

    def remove(self, name: str) -> None:
        self._system.rm_file(self._path(name))

    @contextlib.contextmanager
    def failing(self, doing: str) -> Generator[None]:
        try:
            yield
        except (AlreadyExistsError, StorageError):
            raise
        except Exception as error:  # noqa: BLE001 - drivers raise whatever their client does
            raise StorageError(f"{self.shown}: {doing}: {self._told(error)}") from self._cause(error)

    def _told(self, error: Exception) -> str:
        kind = type(error).__name__
        return (
            f"{kind}, whose text may quote the credentials of the URL" if self._secret else f"{kind}: {error}"
        )

    def _cause(self, error: Exception) -> Exception | None:
        return None if self._secret else error
