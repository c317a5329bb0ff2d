"""Where in a service a bucket's URL points."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

from aqrec.errors import InvalidInputError

from ._urls import canonical_url, redact_url, scheme_of

__all__ = ["KINDS", "Place", "Target", "place_of", "split_query", "target_of"]

KINDS: Final = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "az", "abfs": "az", "abfss": "az"}
"""Schemes of buckets, and the kind of service behind each."""

_ACCOUNT_HOST = re.compile(r"([a-z0-9]+)\.(?:dfs|blob)\.")
_SECRET = re.compile(r"key|secret|token|password|credential|connection_string|sig", re.IGNORECASE)


class Place:
    """Where a URL points: the kind of service, the bucket, and the prefix of all keys in it.

    Attributes
    ----------
    kind
        ``s3``, ``gs`` or ``az``.
    url
        Without credentials.
    prefix
        "" or a path with a slash behind.
    account
        Of Azure, if the URL names it.
    """

    def __init__(self, url: str, kind: str, bucket: str, prefix: str, account: str) -> None:
        self.url = url
        self.kind = kind
        self.bucket = bucket
        self.prefix = prefix
        self.account = account


def place_of(url: str) -> Place:
    """Take a bucket's URL apart.

    Raises
    ------
    InvalidInputError
        It names no bucket, or holds credentials, a query or a fragment.
    """
    shown = redact_url(url)
    kind = KINDS[scheme_of(url)]
    authority, _, path = url.partition("://")[2].partition("/")
    bucket, at, host = authority.partition("@")
    account = ""
    if at:
        found = _ACCOUNT_HOST.match(host)
        if kind != "az" or not found or ":" in bucket:
            raise InvalidInputError(f"{shown!r} has credentials before its '@'; give them as storage_options")
        account = found[1]
    if not bucket or re.search(r"[?#:\\]", url.partition("://")[2]):
        raise InvalidInputError(f"{shown!r} does not name a bucket and a folder, such as {kind}://bucket/lab")
    parts = [part for part in path.split("/") if part]
    if set(parts) & {".", ".."}:
        raise InvalidInputError(f"{shown!r} must not have '.' or '..' between its slashes")
    prefix = "".join(f"{part}/" for part in parts)
    clean = f"{scheme_of(url)}://{authority}/{prefix}".rstrip("/")
    return Place(clean, kind, bucket, prefix, account)


def split_query(url: str, storage_options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Move the query of a bucket's URL into its storage options; other URLs stay as they are.

    Raises
    ------
    InvalidInputError
        The query holds a secret, which would end up in logs and shell histories, or contradicts an option.
    """
    options = dict(storage_options)
    if scheme_of(url) not in KINDS or "?" not in url:
        return url, options
    plain, _, query = url.partition("?")
    for name, value in parse_qsl(query, keep_blank_values=True):
        if _SECRET.search(name):
            raise InvalidInputError(
                f"{name!r} must not stand in the URL {redact_url(url)!r}: give it in storage_options, or let it "
                "come from the environment or the service's configuration files"
            )
        if options.setdefault(name, value) != value:
            raise InvalidInputError(
                f"{name!r} is given twice and differently, by the URL {redact_url(url)!r} and by storage_options"
            )
    return plain, options


class Target(NamedTuple):
    """A store's identity, and what opens it: the canonical URL has lost what is secret or only about the way there."""

    canonical: str
    url: str
    storage_options: dict[str, Any]
    archives: dict[str, dict[str, Any]] = {}  # noqa: RUF012 - never changed
    """Storage options of other stores that hold objects of this one, by URL"""

    def key(self) -> tuple[str, str, str]:
        """Return what is equal for targets that may share one open store. Not to be shown: it may hold secrets."""
        return self.canonical, self.url, repr(sorted(self.storage_options.items()))


def target_of(url: str, storage_options: Mapping[str, Any] | None = None) -> Target:
    """Return which store is meant and how to open it, whatever becomes of the working directory.

    Raises
    ------
    InvalidInputError
        The URL is not valid, or does not fit the options.
    """
    canonical = canonical_url(url)
    scheme = scheme_of(url)
    given = dict(storage_options or {})
    archives = _archives(given.pop("archives", {}))
    if scheme in {"", "file", "memory"}:
        return Target(canonical, canonical, given, archives)
    plain, options = split_query(url, given)
    if scheme in KINDS:
        place_of(plain)
    return Target(canonical, canonical if scheme in KINDS and "@" not in plain else plain, options, archives)


def _archives(given: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(given, Mapping) or not all(isinstance(value, Mapping) for value in given.values()):
        raise InvalidInputError(
            "the storage option 'archives' takes a dict: URL of an archive -> its storage options"
        )
    return {str(url): dict(options) for url, options in given.items()}
