"""Which codec a file name stands for."""

from __future__ import annotations

from importlib import import_module
from pathlib import PurePosixPath
from threading import Lock
from typing import TYPE_CHECKING

from aqrec.errors import AlreadyExistsError, InvalidNameError, InvalidValueError, LoadObjectError

if TYPE_CHECKING:
    from aqrec.artifacts._codec import Codec

# Codec name: the private module that makes it. Imported on first use, because of numpy and pandas.
_BUILT_IN = {
    "bytes": "_texts",
    "html": "_texts",
    "jpg": "_figures",
    "json": "_plain",
    "npy": "_arrays",
    "npz": "_arrays",
    "parquet": "_tables",
    "pdf": "_figures",
    "pickle": "_pickles",
    "png": "_figures",
    "svg": "_figures",
    "text": "_texts",
    "yaml": "_plain",
}
_SUFFIXES = {
    ".csv": "text",
    ".diff": "text",
    ".htm": "html",
    ".html": "html",
    ".jpeg": "jpg",
    ".jpg": "jpg",
    ".json": "json",
    ".log": "text",
    ".md": "text",
    ".npy": "npy",
    ".npz": "npz",
    ".parquet": "parquet",
    ".pdf": "pdf",
    ".pickle": "pickle",
    ".pkl": "pickle",
    ".png": "png",
    ".svg": "svg",
    ".txt": "text",
    ".yaml": "yaml",
    ".yml": "yaml",
}

_codecs: dict[str, Codec] = {}
_lock = Lock()


def register_codec(codec: Codec, *, replace: bool = False) -> None:
    """Make a codec known to this process, under its name and its file name endings.

    Register it in every process that saves or loads such artifacts, before it does.

    Parameters
    ----------
    codec
        The codec; see `Codec`.
    replace
        Take over a name or ending that another codec has. Artifacts stored under the name
        are then read by this codec.

    Raises
    ------
    InvalidNameError
        The name is empty or ``pickle``, or an ending is not lower case with one leading dot.
    AlreadyExistsError
        The name or an ending belongs to another codec; nothing was registered.
    """
    if not codec.name:
        raise InvalidNameError(
            f"{type(codec).__qualname__} has no name; give the codec one that never changes"
        )
    if codec.name == "pickle":
        raise InvalidNameError("'pickle' is the codec that the trust policy guards; give yours another name")
    for suffix in codec.suffixes:
        if not suffix or suffix != PurePosixPath(f"x{suffix}").suffix or suffix != suffix.lower():
            raise InvalidNameError(f"codec {codec.name!r} has the ending {suffix!r}; write it like '.npy'")
    with _lock:
        if not replace:
            if codec.name in _BUILT_IN or codec.name in _codecs:
                raise AlreadyExistsError(f"a codec named {codec.name!r} is known already; pass replace=True")
            for suffix in codec.suffixes:
                if suffix in _SUFFIXES:
                    raise AlreadyExistsError(
                        f"the ending {suffix!r} belongs to codec {_SUFFIXES[suffix]!r}; pass replace=True"
                    )
        _codecs[codec.name] = codec
        _SUFFIXES.update(dict.fromkeys(codec.suffixes, codec.name))


def get_codec(name: str) -> Codec:
    """Return the codec of this name.

    Raises
    ------
    LoadObjectError
        No such codec is known in this process.
    """
    codec = _codecs.get(name)
    if codec is not None:
        return codec
    if name not in _BUILT_IN:
        known = ", ".join(sorted({*_BUILT_IN, *_codecs}))
        raise LoadObjectError(f"no codec is named {name!r} (known: {known}); register_codec() it first")
    module = import_module(f"aqrec.artifacts.{_BUILT_IN[name]}")
    made: tuple[Codec, ...] = module.CODECS
    with _lock:
        for codec in made:
            _codecs.setdefault(codec.name, codec)
    return _codecs[name]


def codec_for_save(name: str, obj: object) -> str:
    """Choose the codec by which an object is saved under a file name.

    A known ending decides: ``.pkl .pickle`` pickle, ``.parquet``, ``.npy``, ``.npz``, ``.json``,
    ``.yaml .yml``, text (``.txt .md .log .diff .csv``), figures (``.png .jpg .jpeg .svg .pdf``),
    ``.html .htm``, and those registered. Under any other name bytes-like objects are stored as
    they are and everything else is pickled.

    Parameters
    ----------
    name
        File name or path of the artifact; only its last ending counts, in any case.
    obj
        The object to save.

    Returns
    -------
    str
        The codec's name, for `write_object`; record it with the artifact.

    Raises
    ------
    InvalidValueError
        The ending stands for another kind of object; the message says which.
    """
    codec = _SUFFIXES.get(PurePosixPath(name).suffix.lower())
    if codec is None:
        return "bytes" if isinstance(obj, bytes | bytearray | memoryview) else "pickle"
    # Everything may be tried as a pickle, so do not import the picklers to hear that.
    if codec != "pickle" and not get_codec(codec).accepts(obj):
        try:
            get_codec(codec).refuse(obj)
        except InvalidValueError as error:
            raise InvalidValueError(f"{name!r}: {error}") from None
    return codec


def codec_for_load(name: str) -> str:
    """Choose the codec for a file of which nothing but its name is known.

    As `codec_for_save` for the known endings. A name without an ending is taken for a pickle,
    because that is what saving such an object makes; an unknown ending for plain bytes.
    """
    suffix = PurePosixPath(name).suffix.lower()
    return _SUFFIXES.get(suffix) or ("bytes" if suffix else "pickle")
