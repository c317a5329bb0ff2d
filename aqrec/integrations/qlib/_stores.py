"""The stores that Qlib's URIs name in this process, each opened once, on first use."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import msgspec

from aqrec.artifacts._trust import ENVIRONMENT_VARIABLE, TrustMode
from aqrec.errors import InvalidInputError
from aqrec.options import Options
from aqrec.recording._default import defaults
from aqrec.recording._session import Session
from aqrec.recording._workspace import Workspace
from aqrec.stores import canonical_url, redact_url
from aqrec.stores._place import target_of
from aqrec.stores._urls import scheme_of

__all__ = ["Stores", "absolute", "as_options", "stores_for", "stores_in_use"]

_LOCAL = frozenset({"", "file"})


def absolute(uri: str | None) -> str:
    """Return a URI that means the same in any working directory; None: aqrec's default store."""
    text = str(uri) if uri is not None else defaults.default_uri()
    return canonical_url(text) if scheme_of(text) in _LOCAL else text


def as_options(options: Options | Mapping[str, Any] | None, trust: TrustMode | None) -> Options:
    """Return options given as such or as a mapping from a YAML file; without a word on it, pickles are trusted."""
    if options is None:
        chosen = Options()
    elif isinstance(options, Options):
        chosen = options
    else:
        if unknown := sorted(set(options) - set(Options.__struct_fields__)):
            known = ", ".join(Options.__struct_fields__)
            raise InvalidInputError(f"exp_manager: no options {', '.join(unknown)}; there are {known}")
        try:
            chosen = msgspec.convert(dict(options), Options)
        except msgspec.ValidationError as error:
            raise InvalidInputError(f"exp_manager: options: {error}") from error
    mode = trust or chosen.trust or (None if os.environ.get(ENVIRONMENT_VARIABLE) else "trusted")
    return msgspec.structs.replace(chosen, trust=mode)


class Stores:
    """The stores of one way of opening them.

    Parameters
    ----------
    home
        URI that `storage_options` belong to; other stores of its scheme get them too.
    options, storage_options
        As of `aqrec.sync.ExperimentManager`.
    """

    def __init__(self, home: str, options: Options, storage_options: Mapping[str, Any] | None) -> None:
        self.home = absolute(home)
        self.options = options
        self.storage_options = dict(storage_options or {})
        self._home = target_of(self.home, self.storage_options).canonical
        self._open: dict[str, Workspace] = {}

    def __repr__(self) -> str:
        return f"Stores({redact_url(self.home)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stores) and other.__getstate__() == self.__getstate__()

    __hash__ = None  # type: ignore[assignment] # compared, never kept in a set

    def __getstate__(self) -> dict[str, Any]:
        return {"home": self.home, "options": self.options, "storage_options": self.storage_options}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def open(self, uri: str) -> Workspace:
        """Return the store of a URI, which need not exist; nothing is asked of it."""
        way = absolute(uri)
        if "?" not in way and canonical_url(way) == self._home:
            way = self.home
        found = self._open.get(way)
        if found is None or found.session.closed:
            mine = scheme_of(way) == scheme_of(self.home)
            opened = Workspace(Session(way, self.options, self.storage_options if mine else None))
            # Sessions do nothing before they are used, so it does not matter that two threads may make one.
            if found is None:
                opened = self._open.setdefault(way, opened)
            else:
                self._open[way] = opened
            return opened
        return found

    def opened(self) -> list[Workspace]:
        """Return the stores that were opened, the latest first."""
        return [workspace for workspace in reversed(self._open.values()) if not workspace.session.closed]

    def close(self) -> None:
        """End the runs that are still active and wait until everything is stored, within ``Options.close_timeout``."""
        for workspace in self.opened():
            workspace.session.shut()
        self._open.clear()


_latest: list[Stores] = []


def stores_for(home: str, options: Options, storage_options: Mapping[str, Any] | None) -> Stores:
    """Return the stores in use if they are opened in the same way, else new ones, which are in use from now on."""
    wanted = Stores(home, options, storage_options)
    if not _latest or _latest[0] != wanted:
        _latest[:] = [wanted]
    return _latest[0]


def stores_in_use() -> Stores:
    """Return the stores of the manager that was made last; without one, those of aqrec's defaults."""
    return _latest[0] if _latest else stores_for(defaults.default_uri(), Options(), None)
