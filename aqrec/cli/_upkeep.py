"""What commands that keep a store in order share: lengths of time, progress, and what it took."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

from aqrec.cli._console import stderr
from aqrec.cli._text import plural, size
from aqrec.errors import InvalidInputError
from aqrec.upkeep import Policy

if TYPE_CHECKING:
    from aqrec.upkeep import Cost, Progress

__all__ = ["cost_text", "policy_of", "seconds", "shown_progress"]

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


def seconds(option: str, text: str) -> float:
    """Return the seconds of a length of time such as ``90``, ``15m``, ``12h``, ``7d`` or ``2w``."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text.lower())
    if match is None or match[2] not in _UNITS:
        raise InvalidInputError(
            f"{option} {text!r}: write a length of time such as 90 (seconds), 15m, 12h or 7d"
        )
    return float(match[1]) * _UNITS[match[2]]


def policy_of(
    older_than: str | None,
    keep_last: int | None,
    status: str | None,
    filter_string: str,
    experiments: Sequence[str] | None,
) -> Policy:
    """Return what the options that choose ended runs say, unchecked."""
    return Policy(
        older_than=None if older_than is None else seconds("--older-than", older_than),
        keep_last=keep_last,
        status=status,
        filter_string=filter_string,
        experiment_names=experiments or None,
    )


def cost_text(cost: Cost) -> str:
    """Return what upkeep took."""
    return f"{plural(cost.requests, 'request')}, {size(cost.received)} read, {size(cost.sent)} written."


@contextlib.contextmanager
def shown_progress() -> Generator[Progress]:
    """Show how far it is on a terminal's standard error."""
    console = stderr()
    if not console.is_terminal or console.is_dumb_terminal:
        yield lambda _what, _done, _total: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # noqa: PLC0415

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda what, done, total: progress.update(
            task, description=what, completed=done, total=total or None
        )
