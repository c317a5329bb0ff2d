"""What must not be written down: secrets by their name, and credentials inside URLs."""

from __future__ import annotations

import re

__all__ = ["MASK", "looks_secret", "redact_url"]

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
_END_OF_AUTHORITY = re.compile(r"[/?#]")
_PORT = re.compile(r":\d*$")


def looks_secret(name: str) -> bool:
    """Tell whether a variable of this name is likely to hold a secret."""
    upper = name.upper()
    return any(word in upper for word in _SECRET_WORDS)


def redact_url(text: str) -> str:
    """Return `text` without the credentials of any URL in it.

    User name and password go; of an ssh URL only the password does, because its user (``git@``) is part of
    the address and no secret. Query and fragment go too: signed URLs carry their signature there.
    """
    return _URL.sub(_redact, text)


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
