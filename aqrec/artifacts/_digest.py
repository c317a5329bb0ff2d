"""The size and checksum by which stored bytes are recognized."""

from __future__ import annotations

import msgspec

from aqrec.errors import CorruptError, LoadObjectError

ALGORITHM = "xxh3_128"


class Digest(msgspec.Struct, frozen=True):
    """What identifies the stored bytes of an artifact.

    Attributes
    ----------
    size
        Their number.
    checksum
        ``"xxh3_128:"`` and 32 hexadecimal digits. It finds damage, not forgery.
    """

    size: int
    checksum: str


class Expectation(msgspec.Struct, frozen=True):
    """What stored bytes are supposed to be; None is not checked."""

    size: int | None
    checksum: str | None
    name: str

    def __post_init__(self) -> None:
        if self.checksum is not None and not self.checksum.startswith(f"{ALGORITHM}:"):
            raise LoadObjectError(
                f"{self.name} has the checksum {self.checksum!r}, but this version knows only {ALGORITHM}"
            )

    def check(self, found: Digest) -> None:
        """Raise `CorruptError` unless the digest of what was read is the expected one."""
        if self.size is not None and found.size != self.size:
            raise CorruptError(f"{self.name} has {found.size} bytes, but {self.size} were stored")
        if self.checksum is not None and found.checksum != self.checksum:
            raise CorruptError(
                f"{self.name} has the checksum {found.checksum}, but {self.checksum} was stored"
            )
