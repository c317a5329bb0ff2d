"""What commands print: results on standard output, progress and errors on standard error."""

from __future__ import annotations

import json
import math
import os
import sys
from typing import TYPE_CHECKING, Any

from aqrec.cli._text import plain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from aqrec.format._document import RunDocument

__all__ = [
    "ascii_only",
    "cell",
    "data_table",
    "json_text",
    "note",
    "print_error",
    "print_json",
    "status_cell",
    "status_text",
    "stderr",
    "stdout",
]

_PIPE_WIDTH = 160
_STYLES = {"FINISHED": "green", "RUNNING": "yellow", "FAILED": "bold red", "SCHEDULED": "cyan"}


def stdout() -> Console:
    """Return the console for results. Text is literal; a pipe gets long lines, not cut ones."""
    from rich.console import Console  # noqa: PLC0415 - `aqrec --version` does without

    narrow = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(markup=False, emoji=False, highlight=False, width=None if narrow else _PIPE_WIDTH)


def stderr() -> Console:
    """Return the console for progress and errors."""
    from rich.console import Console  # noqa: PLC0415

    return Console(stderr=True, markup=False, emoji=False, highlight=False)


def ascii_only(console: Console) -> bool:
    """Whether the console cannot show blocks and Braille."""
    return console.options.ascii_only


def cell(text: str, style: str = "") -> Text:
    """Return text from a store as a literal, harmless piece of output."""
    from rich.text import Text  # noqa: PLC0415

    return Text(plain(text), style=style)


def status_cell(status: str) -> Text:
    """Return a status in its colour."""
    return cell(status, _STYLES.get(status, ""))


def status_text(doc: RunDocument, *, deleted: bool = False) -> Text:
    """Return a run's status in its colour."""
    text = status_cell(doc.status)
    if deleted:
        text.append(" deleted", "dim")
    return text


def data_table(title: str | None = None) -> Table:
    """Return an empty table in the one look that all tables have."""
    from rich import box  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        header_style="bold",
        padding=(0, 1),
        pad_edge=False,
        show_edge=False,
    )


def note(console: Console, text: str) -> None:
    """Print a remark below a result."""
    console.print(plain(text), style="dim")


def print_json(value: Any) -> None:
    """Print one JSON document; see `json_text`."""
    sys.stdout.write(json_text(value))


def json_text(value: Any) -> str:
    """Return one JSON document; a number that JSON cannot hold becomes the text NaN, Infinity or -Infinity."""
    utf8 = (sys.stdout.encoding or "utf-8").lower().replace("-", "") == "utf8"
    return json.dumps(_strict(value), indent=2, ensure_ascii=not utf8, allow_nan=False) + "\n"


def _strict(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_strict(item) for item in value]
    return value


def print_error(error: BaseException) -> None:
    """Print what went wrong, and the notes of the error as hints."""
    console = stderr()
    from rich.text import Text  # noqa: PLC0415

    console.print(Text.assemble(("error: ", "bold red"), plain(_message(error), keep="\n")), soft_wrap=True)
    for hint in getattr(error, "__notes__", ()):
        console.print(Text.assemble(("hint: ", "bold"), plain(hint)), soft_wrap=True)


def _message(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.strerror}: {error.filename}"
    return str(error) or type(error).__name__
