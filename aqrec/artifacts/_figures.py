"""Codecs of figures: drawn when saved, loaded as the bytes of the picture."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, BinaryIO

from aqrec.artifacts._codec import Codec, writing

if TYPE_CHECKING:
    from collections.abc import Callable

    from aqrec.artifacts._trust import TrustPolicy

# What Pillow calls the formats; it has no SVG.
_PILLOW = {"jpg": "JPEG", "pdf": "PDF", "png": "PNG"}


class FigureCodec(Codec):
    """A figure that can draw itself, or a picture's bytes; it loads as ``bytes``.

    No plotting library is imported: matplotlib's figures and axes (and what holds one, as seaborn's grids do)
    are known by ``savefig``, plotly's figures by ``to_image``, Pillow's images by ``save``, ``mode`` and
    ``format``.
    """

    def __init__(self, name: str, suffixes: tuple[str, ...]) -> None:
        self.name = name
        self.suffixes = suffixes
        self.takes = "a figure of matplotlib, plotly or Pillow, or the picture's bytes"
        self._raw = (bytes, bytearray, memoryview)

    def accepts(self, obj: object) -> bool:
        return isinstance(obj, self._raw) or self._drawer(obj) is not None

    def encode(self, obj: object) -> Callable[[BinaryIO], None]:
        if isinstance(obj, self._raw):
            return writing(bytes(obj))
        draw = self._drawer(obj)
        if draw is None:
            self.refuse(obj)
        try:
            return writing(draw())
        except Exception as error:  # noqa: BLE001 - a format or engine it lacks; each library has its own errors
            self.refuse(obj, f"a {type(obj).__qualname__} that cannot draw itself as {self.name} ({error})")

    def decode(self, file: BinaryIO, _: TrustPolicy, /) -> object:
        return file.read()

    def _drawer(self, obj: Any) -> Callable[[], bytes] | None:
        if isinstance(obj, type):
            return None
        for figure in (obj, getattr(obj, "figure", None)):
            save: Any = getattr(figure, "savefig", None)
            if callable(save):
                return lambda: _saved(save, self.name)
        if callable(getattr(obj, "to_image", None)):
            return lambda: bytes(obj.to_image(format=self.name))
        is_image = callable(getattr(obj, "save", None)) and hasattr(obj, "mode") and hasattr(obj, "format")
        if is_image and self.name in _PILLOW:
            return lambda: _saved(obj.save, _PILLOW[self.name])
        return None


def _saved(save: Callable[..., object], kind: str) -> bytes:
    buffer = io.BytesIO()
    save(buffer, format=kind)
    return buffer.getvalue()


CODECS = (
    FigureCodec("png", (".png",)),
    FigureCodec("jpg", (".jpg", ".jpeg")),
    FigureCodec("svg", (".svg",)),
    FigureCodec("pdf", (".pdf",)),
)
