"""URLs of stores: their scheme, their folder on this machine, and how to show them without secrets."""

from __future__ import annotations

import os
import re
import stat
from urllib.parse import quote_from_bytes, unquote_to_bytes

from aqrec.errors import InvalidInputError
from aqrec.stores._names import to_system

__all__ = ["canonical_url", "file_url", "local_root", "redact_url", "scheme_of"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://|(file):", re.IGNORECASE)
_PORT = re.compile(r"[^:]*:[0-9]*|\[[^]]*\](:[0-9]*)?")
_HIDDEN = "***"
_MAX_LINKS = 40  # as in Linux
_PORTLESS = frozenset({"az", "gcs", "gs", "s3", "s3a", "s3n"})
_USER_IS_CONTAINER = frozenset({"abfs", "abfss", "wasb", "wasbs"})
_SAME_SERVICE = {"gcs": "gs", "s3a": "s3"}
_PUBLIC_PARAMETERS = frozenset({"anon", "profile", "region", "version", "versionid"})


def scheme_of(url: str) -> str:
    """Return the lower-case scheme of `url`, or "" for a plain path."""
    found = _SCHEME.match(url)
    return (found[1] or found[2]).lower() if found else ""


def redact_url(url: str) -> str:
    """Return `url` fit for messages and logs.

    The user part and the fragment are replaced by ``***``, and so are all that follows a colon that begins no
    port, and the value of every query parameter that is not known to be harmless. A container name before ``@``
    in an Azure URL stays. A plain path is returned as it is. Redacting twice changes nothing.
    """
    found = _SCHEME.match(url)
    if not found or not found[1] or found[1].lower() == "memory":
        return url
    scheme = found[1].lower()
    user, rest = _split_user(scheme, url[found.end() :])
    if not user:
        rest = _without_secret(scheme, rest, strict=False)
    rest, _, fragment = rest.partition("#")
    rest, _, query = rest.partition("?")
    text = f"{url[: found.end()]}{user}{rest}"
    if query:
        text += "?" + "&".join(_redact_parameter(parameter) for parameter in query.split("&"))
    return f"{text}#{_HIDDEN}" if fragment else text


def url_text(url: object) -> str:
    """Return a URL or path that a caller gave as text. Raises `InvalidInputError` for what is neither; it is not shown."""
    if isinstance(url, str):
        return url
    if isinstance(url, os.PathLike):
        path: os.PathLike[str] | os.PathLike[bytes] = url
        return os.fsdecode(path)
    raise InvalidInputError(
        f"a store is named by its URL or path, as text or a Path, not by a value of type {type(url).__name__}"
    )


def anchored(url: str) -> str:
    """Return a URL or path that means the same when the working directory has changed."""
    return local_root(url) if scheme_of(url) in {"", "file"} else url


def canonical_url(url: str | os.PathLike[str]) -> str:
    """Return one spelling for all URLs and paths of one folder.

    A local folder becomes ``file:///absolute/path`` with symbolic links resolved: the system is asked about
    each folder on the way, which takes microseconds on a local disk. Elsewhere the scheme is lower-cased (``s3a`` and
    ``gcs`` become ``s3`` and ``gs``), and credentials, query and needless slashes are dropped, so the result names
    a folder but may not open it.

    Raises
    ------
    InvalidInputError
        It is no usable URL or path of a local folder.
    """
    scheme = scheme_of(url) if isinstance(url, str) else ""
    if not isinstance(url, str) or scheme in {"", "file"}:
        return file_url(_resolve(local_root(url)))
    if scheme == "memory":
        return f"memory://{url.partition('://')[2].rstrip('/')}"
    user, rest = _split_user(scheme, url.partition("://")[2])
    if user == f"{_HIDDEN}@":
        user = ""
    elif not user:
        rest = _without_secret(scheme, rest, strict=True)
    path = re.split(r"[?#]", rest, maxsplit=1)[0]
    scheme = _SAME_SERVICE.get(scheme, scheme)
    return f"{scheme}://{user}{'/'.join(part for part in path.split('/') if part)}"


def file_url(path: str) -> str:
    """Return the ``file://`` URL of an absolute path."""
    return "file://" + quote_from_bytes(os.fsencode(path))


def local_root(location: str | os.PathLike[str]) -> str:
    """Return the absolute path that a plain path or a ``file:`` URL names.

    ``~`` is expanded, ``.`` and ``..`` are resolved in the text alone, and a relative path (also
    ``file:relative``) starts at the present working directory. Percent codes are decoded in URLs only.
    Nothing is read from the disk.

    Raises
    ------
    InvalidInputError
        It is empty, holds a NUL, names another host or an unknown user's home, is a URL with a query, or starts at a
        working directory that was deleted.
    """
    text = (
        to_system(location) if isinstance(location, str) and _is_strange(location) else os.fsdecode(location)
    )
    if isinstance(location, str) and text[:5].lower() == "file:":
        text = _path_of_file_url(text)
    if not text or "\0" in text:
        raise InvalidInputError(
            f"{text!r} is not a path; give a folder, for example './lab' or 'file:///data/lab'"
        )
    path = os.path.expanduser(text)  # noqa: PTH111
    if path.startswith("~"):
        raise InvalidInputError(
            f"the home in {text!r} is not known; write {'./' + text!r} if it is a folder's name"
        )
    if not path.startswith("/"):
        path = f"{_here(text)}/{path}"
    return "/" + os.path.normpath(path).lstrip("/")


def _is_strange(text: str) -> bool:
    """Return whether the locale's encoding has no name for it, so that the system would refuse it."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return True
    return False


def _here(text: str) -> str:
    try:
        return os.fsdecode(os.getcwdb())  # noqa: PTH109 - never waits for a disk: it may run on an event loop
    except FileNotFoundError:
        raise InvalidInputError(
            f"{text!r} starts at the working directory, which was deleted; give an absolute path, or change to another folder"
        ) from None


def _resolve(path: str) -> str:
    """Follow the symbolic links in an absolute path whose text is normal already."""
    pending = path.split("/")[:0:-1]
    resolved: list[str] = []
    links = 0
    while pending:
        part = pending.pop()
        if part in {"", "."}:
            continue
        if part == "..":
            del resolved[-1:]
            continue
        here = "/" + "/".join((*resolved, part))
        try:
            # not os.path.realpath: it asks for the working directory too, although the path is absolute
            is_link = stat.S_ISLNK(os.lstat(here).st_mode)
        except OSError:
            is_link = False
        if not is_link:
            resolved.append(part)
            continue
        links += 1
        if links > _MAX_LINKS:
            raise InvalidInputError(f"{path!r} has too many symbolic links, perhaps in a circle")
        target = os.readlink(here)  # noqa: PTH115
        if target.startswith("/"):
            resolved.clear()
        pending += target.split("/")[::-1]
    return "/" + "/".join(resolved)


def _path_of_file_url(url: str) -> str:
    rest = url[5:]
    if "?" in rest or "#" in rest:
        raise InvalidInputError(
            f"{redact_url(url)!r} has a query or fragment; write '?' as %3F and '#' as %23 in a file URL"
        )
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if host in {"", "localhost"}:
            rest = slash + path
        elif host.startswith("~"):
            rest = host + slash + path
        else:
            raise InvalidInputError(
                f"{redact_url(url)!r} names another host; write file:///absolute/path or file:relative/path"
            )
    return os.fsdecode(unquote_to_bytes(rest.encode("utf-8", "surrogateescape")))


def _split_user(scheme: str, body: str) -> tuple[str, str]:
    """Split off the user part, with its ``@`` and hidden if it may be secret, and return it and the rest.

    Secret keys are often pasted unquoted and hold slashes: where a colon does not begin a port and no ``@``
    follows before the first slash, the user part runs to the last ``@``, wherever that is.
    """
    authority = re.split(r"[/?#]", body, maxsplit=1)[0]
    user, at, _ = authority.rpartition("@")
    if not at and ":" in authority and (scheme in _PORTLESS or not _PORT.fullmatch(authority)):
        user, at, _ = body.rpartition("@")
    if not at:
        return "", body
    rest = body[len(user) + 1 :]
    return (f"{user}@" if scheme in _USER_IS_CONTAINER and ":" not in user else f"{_HIDDEN}@"), rest


def _without_secret(scheme: str, body: str, *, strict: bool) -> str:
    """Hide what follows a colon before the first slash that begins no port: half of a key and its secret, perhaps.

    With `strict` only in the URLs of buckets, which have no colon there; others may mean it.
    """
    authority = re.split(r"[/?#]", body, maxsplit=1)[0]
    portless = scheme in _PORTLESS or scheme in _USER_IS_CONTAINER
    if ":" in authority and (portless or not (strict or _PORT.fullmatch(authority))):
        return f"{authority.partition(':')[0]}:{_HIDDEN}"
    return body


def _redact_parameter(parameter: str) -> str:
    name, equals, _ = parameter.partition("=")
    if name.lower() in _PUBLIC_PARAMETERS:
        return parameter
    return f"{name}={_HIDDEN}" if equals else _HIDDEN
