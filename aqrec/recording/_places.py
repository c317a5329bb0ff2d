"""Which paths of a run's artifacts are files and which are folders: none may be both, or no folder could hold a copy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from aqrec.errors import ConflictError

__all__ = ["Places"]


class Places:
    """The paths that are taken; those of saves that failed stay so, as what they were."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._files = set(paths)
        self._folders = {folder for path in self._files for folder in _folders(path)}

    def take(self, path: str) -> None:
        """Take a path for an artifact, or raise `ConflictError`."""
        if path in self._folders:
            raise ConflictError(
                f"artifact {path!r} cannot be saved: there are artifacts below {path + '/'!r}; choose another name"
            )
        for folder in _folders(path):
            if folder in self._files:
                raise ConflictError(
                    f"artifact {path!r} cannot be saved: {folder!r} is an artifact itself and no folder; choose another name"
                )
        self._files.add(path)
        self._folders.update(_folders(path))


def _folders(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path
