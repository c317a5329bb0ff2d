"""Codecs of plain bytes, text and web pages."""

from __future__ import annotations

import io
import shutil
from typing import TYPE_CHECKING, Any, BinaryIO

from aqrec.artifacts._codec import Codec, writing

if TYPE_CHECKING:
    from collections.abc import Callable

    from aqrec.artifacts._trust import TrustPolicy


class BytesCodec(Codec):
    """Bytes as they are; they load as ``bytes``."""

    name = "bytes"
    takes = "bytes, bytearray or memoryview"

    def accepts(self, obj: object) -> bool:
        return isinstance(obj, bytes | bytearray | memoryview)

    def encode(self, obj: object) -> Callable[[BinaryIO], None]:
        if not isinstance(obj, bytes | bytearray | memoryview):
            self.refuse(obj)
        # A view with gaps has no bytes of its own to write.
        data = obj.tobytes() if isinstance(obj, memoryview) and not obj.c_contiguous else obj
        return writing(data)

    def decode(self, file: BinaryIO, _: TrustPolicy, /) -> object:
        # read() would join its pieces at the end and so need the memory twice.
        data = io.BytesIO()
        shutil.copyfileobj(file, data, 1 << 18)
        return data.getvalue()


class TextCodec(Codec):
    """Text in UTF-8, line ends untouched; it loads as ``str``."""

    name = "text"
    suffixes: tuple[str, ...] = (".txt", ".md", ".log", ".diff", ".csv")
    takes = "text (str)"

    def accepts(self, obj: object) -> bool:
        return isinstance(obj, str)

    def encode(self, obj: object) -> Callable[[BinaryIO], None]:
        if not isinstance(obj, str):
            self.refuse(obj)
        data = self._utf8(obj)
        return writing(data)

    def decode(self, file: BinaryIO, _: TrustPolicy, /) -> object:
        return file.read().decode("utf-8")

    def _utf8(self, text: str) -> bytes:
        try:
            return text.encode("utf-8")
        except UnicodeEncodeError as error:
            self.refuse(text, f"text that UTF-8 cannot hold ({error})")


class HtmlCodec(TextCodec):
    """A web page, or an object that can show itself as one; it loads as ``str``."""

    name = "html"
    suffixes = (".html", ".htm")
    takes = "text (str) or an object with to_html(), write_html(file) or _repr_html_()"

    def accepts(self, obj: object) -> bool:
        return isinstance(obj, str) or any(
            callable(getattr(obj, name, None)) for name in ("to_html", "write_html", "_repr_html_")
        )

    def encode(self, obj: object) -> Callable[[BinaryIO], None]:
        if not self.accepts(obj) or isinstance(obj, type):
            self.refuse(obj)
        page = obj if isinstance(obj, str) else self._page(obj)
        if not isinstance(page, str):
            self.refuse(obj, f"a {type(obj).__qualname__} that shows itself as {type(page).__qualname__}")
        data = self._utf8(page)
        return writing(data)

    def _page(self, obj: Any) -> object:
        if callable(getattr(obj, "to_html", None)):
            return obj.to_html()
        if callable(getattr(obj, "write_html", None)):
            buffer = io.StringIO()
            obj.write_html(buffer)
            return buffer.getvalue()
        return obj._repr_html_()


CODECS = (BytesCodec(), TextCodec(), HtmlCodec())
