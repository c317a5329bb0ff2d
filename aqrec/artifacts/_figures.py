"""Codecs of figures: drawn when saved, loaded as the bytes of the picture."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, BinaryIO

from aqrec.artifacts._codec import Codec

if TYPE_CHECKING:
    from collections.abc import Callable

    from aqrec.artifacts._trust import TrustPolicy

# What the three families of plotting libraries call a format.
_PILLOW = {"jpg": "JPEG", "pdf": "PDF", "png": "PNG"}


class FigureCodec(Codec):
    """A figure that can draw itself, or a picture's bytes; it loads as ``bytes``.

    No plotting library is imported: matplotlib figures and axes (and what holds one, as seaborn's grids
    do) are known by ``savefig``, plotly's by ``to_image``, Pillow's images by ``save``.
    """

    def __init__(self, name: str, suffixes: tuple[str, ...]) -> None:
        self.name = name
        self.suffixes = suffixes
        self.takes = "a figure of matplotlib, plotly or Pillow, or a picture's bytes" + (
            " or text" if name == "svg" else ""
        )

    def accepts(self, obj: object) -> bool:
        return isinstance(obj, self._raw) or self._drawer(obj) is not None

    def encode(self, obj: object) -> Callable[[BinaryIO], None]:
        if isinstance(obj, str) and self.name == "svg":
            data: Any = obj.encode("utf-8", "strict")
        elif isinstance(obj, bytes | bytearray | memoryview):
            data = bytes(obj)
        else:
            draw = self._drawer(obj)
            if draw is None:
                self.refuse(obj)
            try:
                data = draw()
            except Exception as error:
                # Libraries differ: a format they do not know, an engine that is not installed …
                self.refuse(obj, f"a {type(obj).__qualname__} that cannot draw itself as {self.name}: {error}")
        return lambda file: _write(file, data)

    def decode(self, file: BinaryIO, _: TrustPolicy, /) -> object:
        return file.read()

    @property
    def _raw(self) -> tuple[type, ...]:
        return (bytes, bytearray, memoryview, str) if self.name == "svg" else (bytes, bytearray, memoryview)

    def _drawer(self, obj: Any) -> Callable[[], bytes] | None:
        if isinstance(obj, type):
            return None
        holder = getattr(obj, "figure", None)
        for figure in (obj, holder):
            if callable(getattr(figure, "savefig", None)):
                return lambda: self._saved(figure.savefig, self.name)
        if callable(getattr(obj, "to_image", None)):
            return lambda: bytes(obj.to_image(format=self.name))
        # Many classes have a save(); Pillow's images also have a mode and a format.
        if callable(getattr(obj, "save", None)) and hasattr(obj, "mode") and hasattr(obj, "format"):
            return lambda: self._saved(obj.save, _PILLOW[self.name]) if self.name in _PILLOW else None
        return None

    def _saved(self, save: Callable[..., object], kind: str) -> bytes:
        buffer = io.BytesIO()
        save(buffer, format=kind)
        return buffer.getvalue()


def _write(file: BinaryIO, data: bytes) -> None:
    file.write(data)


CODECS = (
    FigureCodec("png", (".png",)),
    FigureCodec("jpg", (".jpg", ".jpeg")),
    FigureCodec("svg", (".svg",)),
    FigureCodec("pdf", (".pdf",)),
)
