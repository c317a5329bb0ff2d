"""Packed sorting against plain stable sorting, above all where packing loses digits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from aqrec.analysis._order import average_ties, gather, leading_columns, stable_order

from .reference import ranks

close_together = st.integers(-6, 6).map(lambda i: 1.0 + i * np.finfo(float).eps)
anything = st.one_of(
    st.sampled_from([0.0, -0.0, 1.5, np.inf, -np.inf, 5e-324, -5e-324, np.nan, -np.nan]),
    close_together,
    close_together.map(lambda v: -v),
    st.floats(allow_nan=False),
)


def matrices(elements: st.SearchStrategy[float], width: int = 64) -> st.SearchStrategy[np.ndarray]:
    return npst.arrays(
        np.float64, st.tuples(st.integers(1, 5), st.integers(1, 12) | st.just(width)), elements=elements
    )


def absent(values: np.ndarray) -> np.ndarray | None:
    missing = np.isnan(values)
    return missing if missing.any() else None


def plain(values: np.ndarray) -> np.ndarray:
    return np.argsort(values, axis=1, kind="stable")


@given(matrices(anything))
def test_stable_order_is_that_of_a_stable_sort_with_nan_last(values: np.ndarray) -> None:
    order, tied = stable_order(values, absent(values), exact=False)
    np.testing.assert_array_equal(order, plain(values))
    ordered = np.take_along_axis(values, order, axis=1)
    equal = ordered[:, 1:] == ordered[:, :-1]
    np.testing.assert_array_equal(np.zeros_like(equal) if tied is None else tied, equal)


@given(matrices(st.floats(width=32, allow_nan=True)))
def test_float32_values_need_no_second_look(values: np.ndarray) -> None:
    order, tied = stable_order(values, absent(values), exact=True)
    np.testing.assert_array_equal(order, plain(values))
    ordered = np.take_along_axis(values, order, axis=1)
    equal = ordered[:, 1:] == ordered[:, :-1]
    np.testing.assert_array_equal(np.zeros_like(equal) if tied is None else tied, equal)


@given(matrices(anything), st.data())
def test_leading_columns_are_the_head_of_the_order(values: np.ndarray, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, values.shape[1]))
    smallest = leading_columns(values, absent(values), count, largest=False, exact=False)
    np.testing.assert_array_equal(smallest, plain(values)[:, :count])
    largest = leading_columns(values, absent(values), count, largest=True, exact=False)
    np.testing.assert_array_equal(largest, plain(-values)[:, :count])


@given(matrices(st.floats(width=32, allow_nan=True)), st.data())
def test_leading_columns_of_float32_values(values: np.ndarray, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, values.shape[1]))
    for largest in (False, True):
        columns = leading_columns(values, absent(values), count, largest=largest, exact=True)
        np.testing.assert_array_equal(columns, plain(-values if largest else values)[:, :count])


@pytest.mark.parametrize("width", [2, 3, 1000, 5000])
def test_values_that_differ_in_their_last_digit_are_told_apart(width: int) -> None:
    rng = np.random.default_rng(width)
    values = 1.0 + rng.permuted(np.tile(np.arange(width), (3, 1)), axis=1) * np.finfo(float).eps
    order, tied = stable_order(values, None, exact=False)
    assert tied is None
    np.testing.assert_array_equal(order, plain(values))
    count = width // 2
    np.testing.assert_array_equal(
        leading_columns(values, None, count, largest=True, exact=False), plain(-values)[:, :count]
    )


@given(matrices(st.sampled_from([1.0, 2.0, 3.0, 4.0]), width=30))
def test_ties_get_their_mean_rank(values: np.ndarray) -> None:
    order, tied = stable_order(values, None, exact=False)
    ranked = np.repeat(np.arange(1.0, values.shape[1] + 1)[None, :], values.shape[0], axis=0)
    if tied is not None:
        cubes = average_ties(ranked, tied)
        groups = [np.unique(row, return_counts=True)[1].astype(float) for row in values]
        np.testing.assert_array_equal(cubes, [(t**3 - t).sum() for t in groups])
    expected = np.array([ranks(row) for row in values.tolist()])
    np.testing.assert_array_equal(ranked, gather(expected, order))
