"""Small plots made of characters. Pure functions on plain numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Chart", "chart", "sparkline"]

_BLOCKS = "▁▂▃▄▅▆▇█"
_BLOCKS_ASCII = "_.-~=+*#"
# Dots of a Braille cell, by row and column (Unicode, block Braille Patterns).
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BRAILLE = 0x2800


def sparkline(values: Sequence[float], width: int, *, ascii_only: bool = False) -> str:
    """Return one line of blocks, at most `width` of them; when there are more values, each block is a mean.

    The lowest block is the least value, the highest the greatest. What is not finite is left blank.
    """
    means = _means(values, width)
    finite = [value for value in means if math.isfinite(value)]
    if not finite:
        return " " * len(means)
    low, high = min(finite), max(finite)
    blocks = _BLOCKS_ASCII if ascii_only else _BLOCKS

    def block(value: float) -> str:
        return blocks[_place(value, low, high, len(blocks))] if math.isfinite(value) else " "

    return "".join(map(block, means))


def _place(value: float, low: float, high: float, places: int) -> int:
    """Return which of so many places from low to high a value takes."""
    # Halves first: the difference of two finite numbers may not be finite.
    span = high / 2 - low / 2
    return round((value / 2 - low / 2) / span * (places - 1)) if span else (places - 1) // 2


def _means(values: Sequence[float], width: int) -> list[float]:
    count = len(values)
    if count <= width:
        return list(values)
    means: list[float] = []
    for column in range(width):
        part = [
            v for v in values[column * count // width : (column + 1) * count // width] if math.isfinite(v)
        ]
        means.append(math.fsum(value / len(part) for value in part) if part else math.nan)
    return means


class Chart(NamedTuple):
    """A line chart: the rows of its plot from top to bottom, and the ranges they span."""

    rows: list[str]
    low: float
    high: float
    first: float
    last: float


def chart(
    x: Sequence[float], y: Sequence[float], width: int, height: int, *, ascii_only: bool = False
) -> Chart | None:
    """Return a line through the finite points, or None if there are none.

    Extremes are kept: where points share a column of dots, it spans from the lowest to the highest.
    """
    points = [(a, b) for a, b in zip(x, y, strict=True) if math.isfinite(a) and math.isfinite(b)]
    if not points:
        return None
    points = _thinned(points, 4 * width)
    first, last = min(a for a, _ in points), max(a for a, _ in points)
    low, high = min(b for _, b in points), max(b for _, b in points)
    across, down = (1, 1) if ascii_only else (2, 4)
    columns, rows = width * across, height * down

    grid = [[False] * columns for _ in range(rows)]
    before: tuple[int, int] | None = None
    for a, b in points:
        here = (_place(a, first, last, columns), rows - 1 - _place(b, low, high, rows))
        _draw(grid, before or here, here)
        before = here
    text = _stars(grid) if ascii_only else _braille(grid)
    return Chart(text, low, high, first, last)


def _thinned(points: list[tuple[float, float]], parts: int) -> list[tuple[float, float]]:
    """Return the ends and extremes of `parts` stretches: the same line at a bounded cost."""
    count = len(points)
    if count <= 4 * parts:
        return points
    kept: list[tuple[float, float]] = []
    for number in range(parts):
        start, end = number * count // parts, (number + 1) * count // parts
        stretch = range(start, end)
        lowest = min(stretch, key=lambda i: points[i][1])
        highest = max(stretch, key=lambda i: points[i][1])
        kept += [points[i] for i in sorted({start, lowest, highest, end - 1})]
    return kept


def _draw(grid: list[list[bool]], start: tuple[int, int], end: tuple[int, int]) -> None:
    (x0, y0), (x1, y1) = start, end
    steps = max(abs(x1 - x0), abs(y1 - y0), 1)
    for step in range(steps + 1):
        grid[y0 + round((y1 - y0) * step / steps)][x0 + round((x1 - x0) * step / steps)] = True


def _stars(grid: list[list[bool]]) -> list[str]:
    return ["".join("*" if dot else " " for dot in row).rstrip() for row in grid]


def _braille(grid: list[list[bool]]) -> list[str]:
    lines: list[str] = []
    for top in range(0, len(grid), 4):
        cells: list[str] = []
        for left in range(0, len(grid[0]), 2):
            bits = 0
            for row in range(4):
                for column in range(2):
                    bits |= _DOTS[row][column] * grid[top + row][left + column]
            cells.append(chr(_BRAILLE + bits) if bits else " ")
        lines.append("".join(cells).rstrip())
    return lines
