"""``aqrec get --print``: one artifact on the terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, cast

from aqrec.artifacts import TrustPolicy, default_trust, read_object
from aqrec.cli._console import cell, data_table, note, stdout
from aqrec.cli._data import StoreView, opened
from aqrec.cli._text import cut, plain, plural, size
from aqrec.errors import CorruptError, InvalidInputError, LoadObjectError, UntrustedObjectError
from aqrec.recording._files import artifacts_below
from aqrec.recording._reading import get_stream, read_artifact

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from rich.console import Console
    from rich.text import Text

    from aqrec.artifacts._trust import TrustMode
    from aqrec.cli._where import Where
    from aqrec.format._document import RunDocument
    from aqrec.format._records import ArtifactRef

__all__ = ["print_artifact"]

_TEXTS = frozenset({"html", "json", "svg", "text", "yaml"})
_FIGURES = frozenset({"jpg", "pdf", "png"})
_HEAD = 10
_VALUE = 200
_LINES = 60


def print_artifact(text: str, path: str, place: Where, trust: str | None, allow: list[str]) -> None:
    """Print an artifact; see the command's help."""
    policy = default_trust(cast("TrustMode | None", trust), allow)
    with opened(place) as view:
        doc = view.find(text)
        clean = path.strip("/")
        found = artifacts_below(doc, clean)
        ref = found.get(clean)
        if ref is None:
            raise InvalidInputError(
                f"{path!r} is a folder of {plural(len(found), 'artifact')}; print one of {', '.join(found)}"
            )
        if ref.codec in _TEXTS:
            _print_text(_load_text(view, doc, ref.path))
            return
        if ref.codec in _FIGURES:
            raise InvalidInputError(f"{ref.path!r} is a figure; copy it with: aqrec get RUN {ref.path} DEST")
        if ref.codec == "bytes":
            _print_bytes(view, doc, ref)
            return
        try:
            loaded = view.load(doc, ref.path, policy)
        except UntrustedObjectError as error:
            if error.allowable:
                error.add_note(f"on the command line that is --allow {error.allowable}, or --trust trusted")
            raise
    _print_object(stdout(), ref, loaded)


def _load_text(view: StoreView, doc: RunDocument, path: str) -> str:
    run = view.run(doc)

    async def use(ref: ArtifactRef) -> object:
        def read(file: Any) -> object:
            return read_object(
                file,
                codec="text",
                compression=ref.compression,
                size=ref.size,
                checksum=ref.checksum,
                trust=TrustPolicy("never"),
                name=ref.path,
            )

        return await get_stream(run, ref, read)

    return cast("str", view.call(read_artifact(run, path, use, doc)))


def _print_text(text: str) -> None:
    if sys.stdout.isatty():
        text = plain(text, keep="\n\t")
    sys.stdout.write(text if text.endswith("\n") or not text else f"{text}\n")


def _print_bytes(view: StoreView, doc: RunDocument, ref: ArtifactRef) -> None:
    try:
        _print_text(_load_text(view, doc, ref.path))
    except LoadObjectError as error:
        if isinstance(error.__cause__, CorruptError):
            raise
        raise InvalidInputError(
            f"{ref.path!r} is no text; copy its {size(ref.size)} with: aqrec get RUN {ref.path} DEST"
        ) from error


def _print_object(console: Console, ref: ArtifactRef, loaded: object) -> None:
    from rich.pretty import Pretty  # noqa: PLC0415

    kind = type(loaded)
    head = cell(ref.path, "bold cyan")
    head.append(f"  {plain(kind.__name__)}, {size(ref.size)}", "dim")
    module = kind.__module__.partition(".")[0]
    if module == "pandas" and hasattr(loaded, "iloc"):
        _print_table(console, head, loaded)
        return
    if module == "numpy" and hasattr(loaded, "shape"):
        array = cast("np.ndarray[Any, Any]", loaded)
        head.append(f", shape {array.shape}, {array.dtype}", "dim")
    console.print(head)
    console.print(Pretty(loaded, max_length=20, max_string=_VALUE, max_depth=6))


def _print_table(console: Console, head: Text, loaded: Any) -> None:
    frame: pd.DataFrame = loaded.to_frame() if loaded.ndim == 1 else loaded
    rows, columns = frame.shape
    head.append(f", {plural(rows, 'row')} of {plural(columns, 'column')}", "dim")
    console.print(head)
    part = frame.iloc[:_HEAD]
    levels = [str(name) if name is not None else "" for name in part.index.names]
    fitting = max((console.width - 14 * len(levels)) // 12, 1)
    table = data_table()
    for name in levels:
        table.add_column(cell(name, "dim"), style="dim", no_wrap=True, overflow="ellipsis")
    for name in part.columns[:fitting]:
        table.add_column(cell(str(name)), justify="right", no_wrap=True, overflow="ellipsis")
    for label, row in zip(
        part.index.tolist(), part.iloc[:, :fitting].itertuples(index=False, name=None), strict=True
    ):
        labels = label if isinstance(label, tuple) else (label,)
        table.add_row(*(cell(_value(item)) for item in (*labels, *row)))
    console.print(table)
    if rows > _HEAD or columns > fitting:
        left = [plural(rows - _HEAD, "more row")] if rows > _HEAD else []
        left += [plural(columns - fitting, "more column")] if columns > fitting else []
        note(console, f"… {' and '.join(left)}")


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    midnight = str(value).removesuffix(" 00:00:00") if hasattr(value, "isoformat") else str(value)
    return cut(midnight, _VALUE)
