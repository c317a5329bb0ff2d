"""Text of the operating system made fit for storing."""

from __future__ import annotations

__all__ = ["readable", "storable"]


def storable(text: str) -> str:
    r"""Return `text` with lone surrogates written out (``\udcff``), so that it can be encoded as UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def readable(raw: bytes) -> str:
    r"""Decode `raw` as UTF-8, bytes that are not written out (``\xff``)."""
    return raw.decode("utf-8", "backslashreplace")
