"""Plots made of characters."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqrec.cli._plot import chart, sparkline

FLOATS = st.lists(st.floats(), max_size=200)


def test_the_least_is_the_lowest_block_and_the_greatest_the_highest() -> None:
    assert sparkline([0, 7, 3, 1], 10) == "▁█▄▂"
    assert sparkline([0, 7, 3, 1], 10, ascii_only=True) == "_#~."


def test_what_is_not_finite_is_blank() -> None:
    assert sparkline([0, math.nan, 1, math.inf], 10) == "▁ █ "
    assert sparkline([math.nan] * 3, 10) == "   "


def test_equal_values_are_a_flat_line() -> None:
    assert len(set(sparkline([2.5] * 9, 20))) == 1


@pytest.mark.parametrize("values", [[1.7e308, -1.7e308], [0.0, 5e-324], [1.7e308] * 50])
def test_numbers_at_the_ends_of_their_range_can_be_drawn(values: list[float]) -> None:
    assert len(sparkline(values, 10)) == min(len(values), 10)
    assert chart(range(len(values)), values, 10, 2) is not None


def test_many_values_become_means_of_equal_stretches() -> None:
    assert sparkline([0, 0, 5, 9, 1, 1], 3) == sparkline([0, 7, 1], 3)


@given(FLOATS, st.integers(1, 40))
def test_a_sparkline_never_exceeds_its_width(values: list[float], width: int) -> None:
    assert len(sparkline(values, width)) == min(len(values), width)


@given(FLOATS, st.integers(1, 30), st.integers(1, 8), st.booleans())
def test_a_chart_never_exceeds_its_frame(
    values: list[float], width: int, height: int, ascii_only: bool
) -> None:
    drawn = chart(range(len(values)), values, width, height, ascii_only=ascii_only)
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        assert drawn is None
        return
    assert drawn is not None
    assert len(drawn.rows) == height
    assert all(len(row) <= width for row in drawn.rows)
    assert (drawn.low, drawn.high) == (min(finite), max(finite))
    assert any(drawn.rows)


def test_a_rising_line_goes_from_the_lower_left_to_the_upper_right() -> None:
    drawn = chart([0, 1, 2], [0, 1, 2], 3, 3, ascii_only=True)
    assert drawn is not None
    assert drawn.rows == ["  *", " *", "*"]


def test_a_line_is_drawn_in_braille_dots() -> None:
    drawn = chart([0, 1], [0, 0], 2, 1)
    assert drawn is not None
    assert drawn.rows == ["⠤⠤"]


def test_x_counts_so_gaps_between_steps_are_seen() -> None:
    drawn = chart([0, 1, 9], [0, 9, 9], 10, 10, ascii_only=True)
    assert drawn is not None
    assert drawn.rows[0] == " *********"


def test_a_spike_among_many_points_is_seen() -> None:
    values = [0.0] * 100_000
    values[77_777] = 1.0
    drawn = chart(range(len(values)), values, 40, 5, ascii_only=True)
    assert drawn is not None
    assert drawn.rows[0].strip() == "*"
    assert drawn.rows[0].index("*") in {30, 31}
