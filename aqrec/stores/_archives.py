"""Other stores that hold objects of a store: opened when something is there to be read, by options that are never stored."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aqrec.errors import InvalidInputError

from ._place import Target, target_of
from ._registry import open_store
from ._urls import canonical_url, redact_url, scheme_of

if TYPE_CHECKING:
    from ._abc import Store

__all__ = ["Archives"]


class Archives:
    """The archives of one store, each opened once; for one thread.

    An archive is opened by the options that were given for it; else, if its scheme is the store's own, by the store's options; else by
    what the environment says.

    Parameters
    ----------
    home
        The store whose objects they hold.
    """

    def __init__(self, home: Target) -> None:
        self._home = home
        self._options: dict[str, dict[str, Any]] = {}
        for url, options in home.archives.items():
            self.learn(url, options)
        self._stores: dict[str, Store] = {}
        self._pid = os.getpid()

    def learn(self, url: str, options: Mapping[str, Any] | None) -> str:
        """Remember how an archive is opened; return its canonical URL.

        Raises
        ------
        InvalidInputError
            The URL is not valid, does not fit the options, or is the store's own.
        """
        target = target_of(url, options)
        if target.canonical == self._home.canonical:
            raise InvalidInputError(
                f"{redact_url(url)!r} is the store itself; an archive is another folder or bucket"
            )
        # The query of a URL says how it is opened, and is not part of what is stored.
        if target.storage_options or target.url != target.canonical:
            self._options[target.canonical] = target.storage_options
        return target.canonical

    def open(self, url: str) -> Store:
        """Return the store behind a canonical URL."""
        if self._pid != os.getpid():  # a fork: connections are the parent's
            self._stores, self._pid = {}, os.getpid()
        store = self._stores.get(url)
        if store is None:
            options = self._options.get(canonical_url(url))
            if options is None:
                same = scheme_of(url) == scheme_of(self._home.canonical) and scheme_of(url) != "memory"
                options = self._home.storage_options if same else {}
            store = self._stores[url] = open_store(url, storage_options=options)
        return store

    async def aclose(self) -> None:
        """Close all that were opened."""
        stores, self._stores = self._stores, {}
        for store in stores.values():
            await store.aclose()
