"""Objects to stored bytes and back, with a digest on the way."""

from __future__ import annotations

import io
from importlib import import_module
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from aqrec.artifacts._digest import Digest, Expectation
from aqrec.artifacts._hashing import HashingReader, HashingWriter
from aqrec.artifacts._pickles import load_pickle, pickle_writer, refuse_if_never
from aqrec.artifacts._registry import get_codec
from aqrec.artifacts._trust import TrustPolicy
from aqrec.errors import AqrecError, InvalidInputError, LoadObjectError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aqrec.artifacts._pickles import Unpickler

COMPRESSIONS = ("zstd",)

# What small reads of a decoder are served from; larger ones go past it.
_BUFFER = 1 << 18

# Up to this size an artifact is read and verified as a whole before anything decodes it. Beyond, it is
# decoded while it is read, because a second pass or copy would cost too much.
VERIFY_FIRST = 8 << 20


def write_object(
    file: BinaryIO,
    obj: object,
    *,
    codec: str,
    pickler: str | None = None,
    compression: str | None = None,
) -> Digest:
    """Write an object to a file and compute the digest of the bytes as stored.

    Arrays, pandas blocks and Arrow buffers are pickled without a second copy in memory, provided
    that they are contiguous.

    Parameters
    ----------
    file
        Blocking binary file, written sequentially from its position on; neither flushed, synced
        nor closed.
    obj
        The object.
    codec
        Name of the codec, from `codec_for_save`.
    pickler
        Of codec ``pickle``: ``"pickle"``, ``"cloudpickle"`` (lambdas, classes of ``__main__``) or
        ``"dill"``. None: what the object's class names as ``pickle_backend``, else ``"pickle"``.
    compression
        None or ``"zstd"``.

    Returns
    -------
    Digest
        Record it, with codec and compression: `read_object` needs them.

    Raises
    ------
    InvalidValueError
        The codec does not take this object. Nothing was written, except that a pickle can fail
        half-way: discard the file.
    InvalidInputError
        The pickler or compression is unknown, or not installed.
    LoadObjectError
        No such codec is known.
    OSError
        The file's own errors, as they come.
    """
    check_compression(compression)
    write = pickle_writer(obj, pickler) if codec == "pickle" else get_codec(codec).encode(obj)
    sink = HashingWriter(file)
    try:
        if compression is None:
            write(cast("BinaryIO", sink))
        else:
            with _streams().compressing(sink, compression) as stream:
                write(stream)
    except Exception:
        if sink.failure is not None:
            raise sink.failure from None
        raise
    return sink.digest()


def read_object(
    file: BinaryIO,
    *,
    codec: str,
    compression: str | None = None,
    size: int | None = None,
    checksum: str | None = None,
    trust: TrustPolicy | None = None,
    unpickler: Callable[[BinaryIO], Unpickler] | None = None,
    name: str = "object",
) -> object:
    """Read an object from a file; return it only if the stored bytes were the expected ones.

    Bytes are hashed while they are read. Small files, and formats that need random access, are
    verified before they are decoded; a large pickle is decoded first and dropped if it proves damaged.

    Parameters
    ----------
    file
        Blocking binary file, read from its position to its end; not closed. It must be able to
        ``readinto``; being able to seek saves memory with Parquet and ``.npz``.
    codec, compression
        As recorded when it was written, or `codec_for_load` of its name.
    size, checksum
        The digest, as recorded; None leaves it unchecked.
    trust
        What a pickle may do; None is `TrustPolicy` with its defaults.
    unpickler
        Of codec ``pickle``: a class to use in place of the built-in unpickler, like
        `pickle.Unpickler`. It then decides what may be loaded, unless the policy is ``"never"``.
    name
        What error messages call the artifact.

    Returns
    -------
    object
        A fresh object.

    Raises
    ------
    CorruptError
        Size or checksum is not the expected one.
    UntrustedObjectError
        The policy forbids what the pickle asks for.
    LoadObjectError
        The bytes are the stored ones, as far as known, but cannot be decoded; the cause is chained. Also
        for an unknown codec or kind of checksum.
    InvalidInputError
        The compression is unknown.
    OSError
        The file's own errors, as they come.
    """
    check_compression(compression)
    expected = Expectation(size, checksum, name)
    policy = TrustPolicy() if trust is None else trust
    chosen = get_codec(codec)
    if codec == "pickle":
        refuse_if_never(policy, name)
    reader = HashingReader(file)
    source = _verified(file, reader, expected, random_access=chosen.random_access)
    try:
        stream = source or cast("BinaryIO", io.BufferedReader(reader, _BUFFER))
        if compression is not None:
            stream = _streams().decompressing(stream, compression)
            if chosen.random_access:
                stream = io.BytesIO(stream.read())
        obj = (
            load_pickle(stream, policy, unpickler, name)
            if codec == "pickle"
            else chosen.decode(stream, policy)
        )
    except Exception as error:
        if reader.failure is not None:
            raise reader.failure from None
        if source is None:
            expected.check(reader.drain())
        if isinstance(error, AqrecError | MemoryError):
            raise
        raise LoadObjectError(
            f"{name} cannot be loaded by codec {codec!r}: {type(error).__name__}: {error}"
        ) from error
    if source is None:
        expected.check(reader.drain())
    return obj


def _verified(
    file: BinaryIO, reader: HashingReader, expected: Expectation, *, random_access: bool
) -> BinaryIO | None:
    """Return a verified file that can seek, or None if the bytes are to be verified while decoding."""
    start = file.tell() if file.seekable() else None
    length = expected.size
    if start is not None:
        length = file.seek(0, io.SEEK_END) - start
        file.seek(start)
    if length is not None and length <= VERIFY_FIRST:
        # One byte more than expected is enough to see that the file is too long.
        data = reader.read(length + 1) or b""
        expected.check(reader.drain())
        return io.BytesIO(data)
    if not random_access:
        return None
    if start is None:
        data = reader.readall()
        expected.check(reader.drain())
        return io.BytesIO(data)
    expected.check(reader.drain())
    file.seek(start)
    return file


def check_compression(compression: str | None) -> None:
    if compression is not None and compression not in COMPRESSIONS:
        raise InvalidInputError(f"compression is {compression!r}; choose None or 'zstd'")


def _streams() -> Any:
    # pyarrow is imported by the first artifact that is compressed.
    return import_module("aqrec.artifacts._streams")
