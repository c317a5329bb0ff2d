"""From a URL to a store: which driver serves which scheme."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from aqrec.errors import InvalidInputError

from ._local import LocalStore
from ._memory import MemoryStore
from ._place import KINDS, split_query
from ._urls import redact_url, scheme_of

if TYPE_CHECKING:
    import os

    from ._abc import Store

__all__ = ["Factory", "open_store", "register_store"]

Factory: TypeAlias = Callable[[str, Mapping[str, Any]], "Store"]

GROUP: Final = "aqrec.stores"
"""Entry points of this group are factories, named by their scheme."""

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_COLLAPSED = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/(?!/)")


def open_store(url: str | os.PathLike[str], *, storage_options: Mapping[str, Any] | None = None) -> Store:
    """Return a store; no request is made and nothing is created before its first call.

    Parameters
    ----------
    url
        - a path, ``~`` expanded, or ``file:///absolute/path``, ``file:relative/path``: `LocalStore`; in a
          URL, percent codes are decoded;
        - ``memory://name``: `MemoryStore`;
        - ``s3://bucket/folder`` or ``s3a://…``: a bucket of Amazon S3 or of any server that speaks its language;
          needs ``pip install 'aqrec[s3]'``;
        - ``gs://bucket/folder`` or ``gcs://…``: Google Cloud Storage; ``pip install 'aqrec[gcs]'``;
        - ``az://container/folder`` or ``abfs://container@account.dfs.core.windows.net/folder``: Azure Blob
          Storage; ``pip install 'aqrec[azure]'``;
        - a scheme given to `register_store`, or found among the installed packages' entry points
          ``aqrec.stores``.
    storage_options
        Handed to the driver. Of `MemoryStore`: ``append``. `LocalStore` has none. Those of buckets may also stand
        in the URL's query, secrets excepted: ``s3://bucket/lab?endpoint_url=http://localhost:9000``.
        Of ``s3://``: ``key``, ``secret``, ``token``, ``anon``, ``profile``, ``region``, ``endpoint_url``;
        what is not given comes from the environment and the configuration files of AWS. ``connect_timeout`` (5
        seconds), ``read_timeout`` (20 seconds without a byte), ``retries`` (5). ``part_size`` (8 MiB) and
        ``parallel`` (8): how large objects go up and down. ``requester_pays``. ``s3_additional_kwargs``,
        ``client_kwargs``, ``config_kwargs``: handed to s3fs.

        Of ``gs://``: ``token`` (as gcsfs takes it: ``"anon"``, ``"google_default"``, the path of a JSON file
        with credentials, or its content as a dict), ``anon``, ``project``, ``endpoint_url``,
        ``requester_pays``. Of ``az://``: ``connection_string``, or ``account_name`` (unless the URL has it)
        with ``account_key``, ``sas_token``, ``anon``, or ``tenant_id``, ``client_id`` and ``client_secret``;
        ``account_host``. What is not given comes from the environment, the configuration files or the
        machine, as gcsfs and adlfs look for it. ``connect_timeout``, ``read_timeout``, ``retries``,
        ``part_size`` and ``parallel`` as above.

        ``driver="obstore"`` has a compiled client serve any of these, several times faster on small objects
        (``pip install 'aqrec[obstore]'``). It takes the options above but for ``requester_pays``,
        ``project``, ``account_host`` and those that are handed to s3fs; ``endpoint_url`` for Azure too; and
        ``config`` and ``client_options``, dicts that obstore's own stores take.

    Raises
    ------
    InvalidInputError
        The URL is not valid, its scheme has no driver here, or the driver does not know an option.
    """
    options = dict(storage_options or {})
    scheme = scheme_of(url) if isinstance(url, str) else ""
    if not isinstance(url, str) or not scheme:
        _refuse_collapsed_url(url)
        _refuse_unknown("a path", options, ())
        return LocalStore(url)
    factory = _find_factory(scheme, url)
    return factory(*split_query(url, options))


def register_store(scheme: str, factory: Factory, *, replace: bool = False) -> None:
    """Make `open_store` serve a scheme in this process.

    Parameters
    ----------
    scheme
        Lower case, without ``://``.
    factory
        Called with the whole URL (of a bucket: without its query) and the options, which it must check; returns a store without making a
        request.
    replace
        Whether a factory that has the scheme already gives way.

    Raises
    ------
    InvalidInputError
        It is no scheme, or another factory has it.
    """
    if not _SCHEME.fullmatch(scheme):
        raise InvalidInputError(f"{scheme!r} is not a URL scheme: give it in lower case, without '://'")
    if not replace and _factories.get(scheme, factory) is not factory:
        raise InvalidInputError(
            f"the scheme {scheme!r} has a driver already; pass replace=True to take its place"
        )
    _factories[scheme] = factory


def _open_local(url: str, options: Mapping[str, Any]) -> Store:
    _refuse_unknown("file:", options, ())
    return LocalStore(url)


def _open_memory(url: str, options: Mapping[str, Any]) -> Store:
    _refuse_unknown("memory://", options, ("append",))
    return MemoryStore(url.partition("://")[2].rstrip("/"), **options)


def _open_bucket(url: str, options: Mapping[str, Any]) -> Store:
    rest = dict(options)
    driver = rest.pop("driver", "fsspec")
    if driver not in {"fsspec", "obstore"}:
        raise InvalidInputError(f"the storage option 'driver' must be 'fsspec' or 'obstore', not {driver!r}")
    if driver == "obstore":
        from ._obstore import open_obstore as open_bucket  # noqa: PLC0415 - needed by few, like those below
    elif (kind := KINDS[scheme_of(url)]) == "s3":
        from ._s3 import open_s3 as open_bucket  # noqa: PLC0415
    elif kind == "gs":
        from ._gcs import open_gcs as open_bucket  # noqa: PLC0415
    else:
        from ._azure import open_azure as open_bucket  # noqa: PLC0415
    return open_bucket(url, rest)


_factories: dict[str, Factory] = {
    "file": _open_local,
    "memory": _open_memory,
    **dict.fromkeys(KINDS, _open_bucket),
}


def _find_factory(scheme: str, url: str) -> Factory:
    if scheme not in _factories and not _load_entry_point(scheme):
        known = ", ".join(sorted(_factories))
        raise InvalidInputError(
            f"no store driver for {scheme}:// ({redact_url(url)!r}): known schemes are {known}, and those of "
            f"packages with an entry point in {GROUP!r}"
        )
    return _factories[scheme]


def _load_entry_point(scheme: str) -> bool:
    from importlib.metadata import entry_points  # noqa: PLC0415 - slow, and rarely needed

    found = tuple(entry_points(group=GROUP, name=scheme))
    if not found:
        return False
    if len({point.value for point in found}) > 1:
        sources = ", ".join(sorted(point.value for point in found))
        raise InvalidInputError(
            f"several packages want to serve {scheme}://, uninstall all but one: {sources}"
        )
    try:
        factory = found[0].load()
    except Exception as error:
        raise InvalidInputError(
            f"the driver {found[0].value} for {scheme}:// cannot be imported: {error}"
        ) from error
    register_store(scheme, factory)
    return True


def _refuse_unknown(what: str, options: Mapping[str, Any], known: tuple[str, ...]) -> None:
    if unknown := sorted(set(options) - set(known)):
        allowed = f"it knows {', '.join(known)}" if known else "it has none"
        raise InvalidInputError(f"{what} does not know the storage options {', '.join(unknown)}: {allowed}")


def _refuse_collapsed_url(path: str | os.PathLike[str]) -> None:
    import os  # noqa: PLC0415 - only a name here

    found = _COLLAPSED.match(os.fsdecode(path))
    if found and found[1].lower() in _factories:
        raise InvalidInputError(f"{str(path)!r} was a URL before it became a path; pass the URL as a string")
