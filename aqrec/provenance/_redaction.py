"""What must not be written down: secrets by their name, and credentials inside URLs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["MASK", "looks_secret", "redact_arguments", "redact_url"]

MASK = "***"

_SECRET_WORDS = (
    "KEY",
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "CREDENTIAL",
    "CONNECTION_STRING",
)
# The scheme's length is bounded to keep the search linear in long values.
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{0,31})://(?P<rest>[^\s\"'<>]*)")
# --name=value, name=value, name:value
_NAMED = re.compile(r"(?P<name>[^=:\s/\"'(){}\[\],]{1,200}[=:])(?P<value>.+)", re.DOTALL)
# The same within an argument: settings in a row, a dict, a connection string. Names begin where words do, and their length is
# bounded, for the sake of long arguments.
_INNER = re.compile(
    rf"(?<![\w.-])(?P<name>[\w.-]{{0,200}}?(?:{'|'.join(_SECRET_WORDS)})[\w.-]{{0,200}}[\"']?\s{{0,9}}[=:]\s{{0,9}})"
    r"(?:\"[^\"]*\"|'[^']*'|[^\s,;&\"'}\])]+)",
    re.IGNORECASE,
)
_END_OF_AUTHORITY = re.compile(r"[/?#]")
_PORT = re.compile(r":\d*$")


def looks_secret(name: str) -> bool:
    """Tell whether a variable of this name is likely to hold a secret."""
    upper = name.upper()
    return any(word in upper for word in _SECRET_WORDS)


def redact_arguments(arguments: Iterable[str]) -> list[str]:
    """Return a command line without what is secret by its name, and without the credentials of URLs.

    ``--token=X``, ``--token X``, ``token=X`` and ``{'token': 'X'}`` become the same with ``***``; the name is judged as that of an environment
    variable. What looks like an option is not taken for the value of the one before it.
    """
    redacted: list[str] = []
    expected = False
    for argument in arguments:
        option = argument.startswith("-")
        redacted.append(MASK if expected and not option else _redact_argument(argument))
        expected = option and looks_secret(argument) and not re.search(r"[=:\s]", argument)
    return redacted


def _redact_argument(argument: str) -> str:
    if not looks_secret(argument):
        return redact_url(argument)
    if (match := _NAMED.fullmatch(argument)) and looks_secret(match["name"]):
        return f"{match['name']}{MASK}"
    return _INNER.sub(lambda match: f"{match['name']}{MASK}", redact_url(argument))


def redact_url(text: str) -> str:
    """Return `text` without the credentials of any URL in it.

    User name and password go; of an ssh URL only the password does, because its user (``git@``) is part of
    the address and no secret. Query and fragment go too: signed URLs carry their signature there.
    """
    return _URL.sub(_redact, text) if "://" in text else text


def _redact(match: re.Match[str]) -> str:
    scheme, rest = match["scheme"], match["rest"]
    authority = _END_OF_AUTHORITY.split(rest, maxsplit=1)[0]
    userinfo = authority.rpartition("@")[0]
    if not userinfo and ":" in authority and not _PORT.search(authority):
        # An unescaped /, ? or # in a password ends the authority too early.
        userinfo = rest.rpartition("@")[0]
    if userinfo:
        rest = rest[len(userinfo) + 1 :]
    address = re.split(r"[?#]", rest, maxsplit=1)[0]
    if userinfo and scheme.lower().endswith("ssh"):
        return f"{scheme}://{userinfo.partition(':')[0]}@{address}"
    return f"{scheme}://{address.removeprefix('@')}"
