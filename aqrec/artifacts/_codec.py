"""The contract of a codec: one way to turn objects into bytes and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, BinaryIO, NoReturn

from aqrec.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aqrec.artifacts._trust import TrustPolicy


class Codec(ABC):
    """One way to turn objects into bytes and back; subclass it and `register_codec` an instance.

    Codecs hold no state of a call: one instance serves any number of threads.

    Attributes
    ----------
    name
        What is recorded with the artifact and finds the codec again. Never change it.
    suffixes
        File name endings, lower case with their dot, for which this codec is chosen.
    takes
        The objects it takes, in words that complete "``.json`` takes …".
    random_access
        `decode` seeks in its file. Such a file is checked against its checksum before it is
        decoded; any other is checked while it is decoded.
    """

    name: str
    suffixes: tuple[str, ...] = ()
    takes: str
    random_access: bool = False

    @abstractmethod
    def accepts(self, obj: object) -> bool:
        """Tell from the type of an object, at no cost, whether `encode` could take it."""

    @abstractmethod
    def encode(self, obj: object) -> Callable[[BinaryIO], None]:
        """Check and convert an object; return what writes it.

        The returned function writes sequentially to a file that cannot seek and that takes any
        contiguous buffer without copying it. It is called once, on the same thread.

        Raises
        ------
        InvalidValueError
            The object is none that would come back as it was: call `refuse`.
        """

    @abstractmethod
    def decode(self, file: BinaryIO, trust: TrustPolicy, /) -> object:
        """Read an object from the file's position on.

        Any exception means that these bytes are no such object. A codec whose bytes can run code
        must honour ``trust`` and raise `UntrustedObjectError`.
        """

    def refuse(self, obj: object, why: str = "") -> NoReturn:
        """Raise the `InvalidValueError` that says what this codec takes."""
        known = " or ".join(self.suffixes) or f"codec {self.name!r}"
        kind = f"{type(obj).__module__}.{type(obj).__qualname__}".removeprefix("builtins.")
        raise InvalidValueError(
            f"{known} takes {self.takes}, not {why or kind}; other objects can be saved as .pkl"
        )


def writing(data: bytes | bytearray | memoryview) -> Callable[[BinaryIO], None]:
    """Return what writes these bytes."""

    def write(file: BinaryIO) -> None:
        file.write(data)

    return write
