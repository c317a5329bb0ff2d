"""How Python objects become the bytes of an artifact, and back.

Pure functions over blocking binary files: a store calls them in a worker thread. Nothing here
opens paths, talks to a store or touches an event loop. Importing this package is light; numpy,
pandas, pyarrow, PyYAML and the picklers are imported by the codec that needs them, when it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from aqrec.artifacts._codec import Codec
from aqrec.artifacts._digest import Digest
from aqrec.artifacts._registry import codec_for_load, codec_for_save, get_codec, register_codec
from aqrec.artifacts._trust import TrustPolicy, default_trust

if TYPE_CHECKING:
    from aqrec.artifacts._hashing import copy_file
    from aqrec.artifacts._objects import read_object, write_object

__all__ = [
    "Codec",
    "Digest",
    "TrustPolicy",
    "codec_for_load",
    "codec_for_save",
    "copy_file",
    "default_trust",
    "get_codec",
    "read_object",
    "register_codec",
    "write_object",
]

_LAZY = {
    "copy_file": "_hashing",
    "read_object": "_objects",
    "write_object": "_objects",
}


def __getattr__(name: str) -> object:
    try:
        module = _LAZY[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value: object = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
