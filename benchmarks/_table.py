"""The one table all benchmarks print: what was measured, against what, and whether it meets its bar."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table

__all__ = ["Row", "show"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison.

    Attributes
    ----------
    what
        What was measured, with its size.
    ours, peer
        Figures of the same `unit`, from the same run on the same machine; None where there is none.
    unit
        Of both figures, such as ``points/s`` or ``s``.
    bar
        Ratio that ours must reach. None: only reported.
    better
        Whether a higher or a lower figure is the better one; the ratio is above 1 where ours is better.
    not_run
        Why there is no figure here. Such a row has neither passed nor failed.
    """

    what: str
    unit: str
    ours: float | None = None
    peer: float | None = None
    bar: float | None = None
    better: Literal["higher", "lower"] = "higher"
    not_run: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times better ours is; None unless both figures are there."""
        if not self.ours or not self.peer:
            return None
        return self.ours / self.peer if self.better == "higher" else self.peer / self.ours

    @property
    def verdict(self) -> Literal["ok", "FAILED", "not run", "-"]:
        """Whether the bar is met; ``-`` where there is no bar."""
        if self.not_run or self.ratio is None:
            return "not run"
        if self.bar is None:
            return "-"
        return "ok" if self.ratio >= self.bar else "FAILED"


def show(title: str, rows: Sequence[Row], *, console: Console | None = None) -> bool:
    """Print the table and a closing count, and return whether no row failed its bar."""
    console = console or Console(width=None if Console().is_terminal else 120)
    table = Table(title=title, title_justify="left")
    table.add_column("what", overflow="fold")
    for column in ("ours", "peer", "ratio", "bar", "ok?"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.what + (f"\n[dim]not run: {row.not_run}[/dim]" if row.not_run else ""),
            _figure(row.ours, row.unit),
            _figure(row.peer, row.unit),
            _times(row.ratio),
            "" if row.bar is None else f"≥ {_times(row.bar)}",
            {"ok": "[green]ok[/green]", "FAILED": "[red]FAILED[/red]"}.get(row.verdict, row.verdict),
        )
    console.print(table)
    count = {verdict: sum(row.verdict == verdict for row in rows) for verdict in ("ok", "FAILED", "not run")}
    console.print(f"bars: {count['ok']} met, {count['FAILED']} missed, {count['not run']} not run")
    return count["FAILED"] == 0


def _figure(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    for size, prefix in ((1e9, " G"), (1e6, " M"), (1e3, " k"), (1, " "), (1e-3, " m"), (1e-6, " µ")):
        if abs(value) >= size:
            return f"{value / size:.3g}{prefix}{unit}"
    return f"{value * 1e9:.3g} n{unit}" if value else f"0 {unit}"


def _times(ratio: float | None) -> str:
    if ratio is None:
        return ""
    return f"{ratio:,.0f} x" if ratio >= 100 else f"{ratio:.3g} x"
