"""How far a `generate_all` is, shown where somebody can see it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["Display", "shown"]


class Display(Protocol):
    """What a schedule tells."""

    def begin(self, number: int, name: str) -> None:
        """Tell that a template is begun."""

    def tell(self, number: int, done: int, total: int) -> None:
        """Tell how many parts of a template are done."""

    def end(self, number: int) -> None:
        """Tell that a template is made, or will not be."""


class _Nothing:
    def begin(self, number: int, name: str) -> None:
        del number, name

    def tell(self, number: int, done: int, total: int) -> None:
        del number, done, total

    def end(self, number: int) -> None:
        del number


@contextlib.contextmanager
def shown(total: int, progress: bool | None) -> Generator[Display]:
    """Show a bar for all templates and a line for each one that is under way, on standard error.

    With None only on a terminal or in a notebook; what is shown there goes away at the end.
    """
    from rich.console import Console  # noqa: PLC0415 - loaded by those who generate

    console = Console(stderr=True, markup=False, emoji=False, highlight=False)
    seen = console.is_jupyter or (console.is_terminal and not console.is_dumb_terminal)
    if not (seen if progress is None else progress):
        yield _Nothing()
        return
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=seen) as bars:
        whole = bars.add_task("Templates", total=total)
        lines: dict[int, TaskID] = {}

        class Bars:
            def begin(self, number: int, name: str) -> None:
                lines[number] = bars.add_task(f"  {name}", total=None)

            def tell(self, number: int, done: int, total: int) -> None:
                bars.update(lines[number], completed=done, total=total)

            def end(self, number: int) -> None:
                if number in lines:
                    bars.remove_task(lines.pop(number))
                bars.advance(whole)

        yield Bars()
