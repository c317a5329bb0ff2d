"""Files that compute a digest of what passes through them."""

from __future__ import annotations

import io
from pickle import PickleBuffer
from typing import TYPE_CHECKING, BinaryIO, cast

import xxhash

from aqrec.artifacts._digest import ALGORITHM, Digest, Expectation
from aqrec.artifacts._filling import fill_hashed

if TYPE_CHECKING:
    from typing_extensions import Buffer

# A large buffer goes in chunks that the CPU's cache still holds when they are hashed, and that are large
# enough for Linux to use large pages for the file: 256 KiB would cost a third more.
CHUNK = 4 << 20

# Room for bytes that nobody keeps.
_SCRATCH = 1 << 20


class HashingWriter(io.RawIOBase):
    """Passes every write on to a file and hashes it; closing it leaves the file open."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self._hash = xxhash.xxh3_128()
        self._size = 0
        self.failure: BaseException | None = None

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer, /) -> int:
        # raw() shows any contiguous buffer as bytes, also a Fortran-ordered one, without copying.
        # CPython's pickler hands large buffers to write() as they are, so this is all that is
        # needed to store an array without a second copy in memory.
        with PickleBuffer(data).raw() as view:
            for start in range(0, len(view), CHUNK):
                part = view[start : start + CHUNK]
                self._hash.update(part)
                self._put(part)
            self._size += len(view)
            return len(view)

    def digest(self) -> Digest:
        return Digest(self._size, f"{ALGORITHM}:{self._hash.hexdigest()}")

    def _put(self, part: memoryview) -> None:
        try:
            while part:
                written = cast("int | None", self._file.write(part))
                if written is None:
                    raise _not_blocking(self._file)
                part = part[written:]
        except BaseException as error:
            # The encoder above may dress it up; the file's own error is what the caller must see.
            self.failure = error
            raise


class HashingReader(io.RawIOBase):
    """Reads from a file and hashes what it returns; closing it leaves the file open."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self._hash = xxhash.xxh3_128()
        self._size = 0
        self.failure: BaseException | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        # One large read of the unpickler lands in its destination: in pieces, for the cache's sake.
        with memoryview(buffer).cast("B") as view:
            done = self._fill(view)
            while done < len(view):
                count = self._get(view[done : done + CHUNK])
                if not count:
                    break
                done += count
            return done

    def drain(self) -> Digest:
        """Hash the rest of the file and return the digest of everything read from it."""
        scratch = memoryview(bytearray(_SCRATCH))
        while self._get(scratch):
            pass
        return Digest(self._size, f"{ALGORITHM}:{self._hash.hexdigest()}")

    def _fill(self, view: memoryview) -> int:
        try:
            count = fill_hashed(self._file, view, self._hash.update)
        except BaseException as error:
            self.failure = error
            raise
        self._size += count
        return count

    def _get(self, part: memoryview) -> int:
        try:
            count = cast("io.RawIOBase", self._file).readinto(part)
            if count is None:
                raise _not_blocking(self._file)
        except BaseException as error:
            self.failure = error
            raise
        self._hash.update(part[:count])
        self._size += count
        return count


def copy_file(
    source: BinaryIO,
    target: BinaryIO,
    *,
    size: int | None = None,
    checksum: str | None = None,
    name: str = "file",
) -> Digest:
    """Copy a file from its position to its end, in bounded memory, and compute its digest.

    Parameters
    ----------
    source, target
        Blocking binary files. Neither is flushed, synced or closed.
    size, checksum
        What the bytes are expected to be.
    name
        What error messages call the file.

    Returns
    -------
    Digest
        Of the bytes copied.

    Raises
    ------
    CorruptError
        The bytes are not the expected ones. They have been copied: discard the target.
    LoadObjectError
        The checksum is of an unknown kind; nothing was copied.
    """
    expected = Expectation(size, checksum, name)
    writer = HashingWriter(target)
    reader = cast("io.RawIOBase", source)
    scratch = memoryview(bytearray(_SCRATCH))
    while count := reader.readinto(scratch):
        writer.write(scratch[:count])
    if count is None:
        raise _not_blocking(source)
    expected.check(writer.digest())
    return writer.digest()


def _not_blocking(file: object) -> BlockingIOError:
    return BlockingIOError(f"{file!r} is in non-blocking mode; artifacts need a blocking file")
