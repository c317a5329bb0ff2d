"""What is known of a metric without reading its points."""

import math
import struct

from hypothesis import given
from hypothesis import strategies as st

from aqrec.engine._summary import _summarise, _summarise_few
from aqrec.format._points import PointsFrame, columns
from aqrec.format._records import MetricSummary

NUMBERS = st.one_of(st.sampled_from([0.0, 1.0, math.nan, math.inf, -math.inf]), st.floats())
ROWS = st.lists(
    st.tuples(st.integers(-2, 2), st.integers(0, 3), st.lists(NUMBERS, min_size=3, max_size=3)),
    min_size=1,
    max_size=12,
)


def shown(summary: MetricSummary) -> tuple[object, ...]:
    numbers = (summary.value, summary.minimum, summary.maximum)
    return (
        summary.count,
        summary.step,
        summary.timestamp,
        *("nan" if math.isnan(n) else n for n in numbers),
    )


def summarise(rows: list[tuple[int, int, list[float]]], *, stepped: bool) -> list[list[MetricSummary]]:
    packed = b"".join(
        struct.pack("<q", step) * stepped + struct.pack("<q3d", stamp, *values)
        for step, stamp, values in rows
    )
    frame = PointsFrame(0, "r", ["a", "b", "c"], packed, stepped)
    return [_summarise_few(frame), _summarise(columns(frame), len(rows))]


@given(rows=ROWS, stepped=st.booleans())
def test_few_points_are_summarised_as_many_are(
    rows: list[tuple[int, int, list[float]]], stepped: bool
) -> None:
    few, many = summarise(rows, stepped=stepped)
    assert list(map(shown, few)) == list(map(shown, many))


def test_the_last_of_the_greatest_step_and_time_counts_and_nan_is_no_extreme() -> None:
    rows = [
        (1, 5, [9.0, math.nan, math.nan]),
        (2, 3, [1.0, 2.0, math.nan]),
        (2, 3, [4.0, math.nan, math.nan]),
        (0, 9, [5.0, 7.0, math.nan]),
    ]
    for found in summarise(rows, stepped=True):
        assert list(map(shown, found)) == [
            (4, 2, 3, 4.0, 1.0, 9.0),
            (4, 2, 3, "nan", 2.0, 7.0),
            (4, 2, 3, "nan", "nan", "nan"),
        ]
    for found in summarise(rows, stepped=False):
        assert shown(found[0]) == (4, None, 9, 5.0, 1.0, 9.0)
