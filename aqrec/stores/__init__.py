"""Where records are kept: what a store must do, the drivers, and how a URL becomes a store."""

from __future__ import annotations

from ._abc import Appender, ObjectInfo, Store
from ._faulty import FaultyStore, LostResponse, Torn
from ._local import LocalStore
from ._memory import MemoryStore
from ._names import check_key
from ._registry import open_store, register_store
from ._urls import canonical_url, redact_url
from ._wrapper import CountingStore, LatencyStore, WrapperAppender, WrapperStore

__all__ = [
    "Appender",
    "CountingStore",
    "FaultyStore",
    "LatencyStore",
    "LocalStore",
    "LostResponse",
    "MemoryStore",
    "ObjectInfo",
    "Store",
    "Torn",
    "WrapperAppender",
    "WrapperStore",
    "canonical_url",
    "check_key",
    "open_store",
    "redact_url",
    "register_store",
]
