"""Prices as dense arrays."""

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from aqrec.errors import InvalidInputError
from aqrec.quotes import Market

DAYS = pd.to_datetime(["2024-01-02", "2024-01-03"])


def long_table(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "instrument": ["B", "A", "B"],
            "datetime": [DAYS[1], DAYS[0], DAYS[0]],
            "$close": np.array([3.0, 1.0, 2.0], dtype=np.float32),
            **columns,
        }
    )


def test_a_long_table_becomes_a_grid_with_gaps() -> None:
    market = Market.from_frame(long_table(volume=[30, 10, 20], name=["x", "y", "z"]))
    assert market.instruments == ("A", "B")
    assert market.days.tolist() == DAYS.as_unit("ns").to_numpy().tolist()
    assert list(market.fields) == ["$close", "$volume"]
    assert market.field("$close").dtype == np.float32
    np.testing.assert_array_equal(market.field("$close"), [[1.0, 2.0], [np.nan, 3.0]])
    np.testing.assert_array_equal(market.field("$volume"), [[10.0, 20.0], [np.nan, 30.0]])
    assert repr(market) == "<Market 2 instruments, 2 days, 2024-01-02 to 2024-01-03, $close, $volume>"


def test_keys_may_be_in_the_index_and_missing_days_in_a_calendar() -> None:
    frame = long_table().set_index(["instrument", "datetime"])
    market = Market.from_frame(frame, ["2024-01-04", "2024-01-03", "2024-01-02"])
    assert market.field("$close").shape == (3, 2)
    assert np.isnan(market.field("$close")[2]).all()


def test_numbers_may_be_kept_as_objects() -> None:
    market = Market.from_frame(long_table(volume=[Decimal(30), None, Decimal(20)], factor=[None] * 3))
    np.testing.assert_array_equal(market.field("$volume"), [[np.nan, 20.0], [np.nan, 30.0]])
    assert np.isnan(market.field("$factor")).all()


def test_days_may_be_numbers() -> None:
    market = Market.from_frame(long_table(datetime=[20240103, 20240102, 20240102]))
    assert market.days.tolist() == DAYS.as_unit("ns").to_numpy().tolist()


def test_columns_come_in_the_order_of_names() -> None:
    market = Market(DAYS, ["B", "A"], {"$close": np.array([[2, 1], [4, 3]])})
    np.testing.assert_array_equal(market.field("$close"), [[1.0, 2.0], [3.0, 4.0]])
    more = market.including(["AA", "B"])
    assert more.instruments == ("A", "AA", "B")
    np.testing.assert_array_equal(more.field("$close"), [[1.0, np.nan, 2.0], [3.0, np.nan, 4.0]])
    assert market.including(["A"]) is market


@pytest.mark.parametrize(
    ("frame", "match"),
    [
        (pd.Series([1.0]), "DataFrame"),
        (long_table().drop(columns="instrument"), "'instrument'"),
        (pd.concat([long_table()] * 2), "several rows of 'B' on 2024-01-03"),
        (long_table(datetime=DAYS[0].tz_localize("UTC")), "time zone"),
        (long_table(datetime=DAYS[0] + pd.Timedelta(hours=1)), "time of day"),
        (long_table(datetime="today it is"), "each must be a date"),
        (long_table(instrument=[None, "A", "B"]), "without an instrument"),
        (long_table(datetime=[pd.NaT, *DAYS]), "without an instrument or a day"),
        (long_table(instrument=["", "A", "B"]), "without an instrument"),
        (long_table(datetime=[0, 1, 2]), "each must be a date.*, not 0"),
        (long_table(datetime=[2022, 2023, 2024]), "each must be a date.*, not 2022"),
        (long_table(close=[1.0, 2.0, 3.0]), r"field \$close is given twice, as '\$close' and 'close'"),
        (
            long_table(volume=["1,000", "2", "3"]),
            "column 'volume' of quotes must hold real numbers.*to_numeric",
        ),
        (long_table(factor=["x", None, 1.0]), "column 'factor'"),
        (long_table(**{"$mood": ["good", "bad", "good"]}), r"column '\$mood'"),
        (long_table(open=[1j, 1, 1]), "column 'open'"),
        (long_table().iloc[:, [0, 1, 2, 2]], r"several columns '\$close'"),
    ],
)
def test_a_table_that_is_none_is_refused(frame: Any, match: str) -> None:
    with pytest.raises(InvalidInputError, match=match):
        Market.from_frame(frame)


def test_a_row_outside_of_the_calendar_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="2024-01-03, which is not in the calendar"):
        Market.from_frame(long_table(), DAYS[:1])


@pytest.mark.parametrize(
    ("days", "names", "shape", "match"),
    [
        (DAYS[::-1], ["A"], (2, 1), "ascending"),
        (DAYS, ["A", "A"], (2, 2), "'A'"),
        (DAYS, ["A"], (1, 2), "shape"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(days: Any, names: Any, shape: Any, match: str) -> None:
    with pytest.raises(InvalidInputError, match=match):
        Market(days, names, {"$close": np.zeros(shape)})
    with pytest.raises(InvalidInputError, match=r"no field '\$open'"):
        Market(DAYS, ["A"], {"$close": np.zeros((2, 1))}).field("$open")


def test_fields_that_are_no_numbers_are_refused() -> None:
    for values in (np.full((2, 1), "1.0"), np.full((2, 1), 1j), np.full((2, 1), "x", dtype=object)):
        with pytest.raises(InvalidInputError, match="'close' must hold real numbers"):
            Market(DAYS, ["A"], {"close": values})
    with pytest.raises(InvalidInputError, match="given twice"):
        Market(DAYS, ["A"], {"close": np.ones((2, 1)), "$close": np.ones((2, 1))})


def test_references_are_what_is_compared_with_until_it_is_traded() -> None:
    listed = np.array([[True, False], [True, True]])
    market = Market(DAYS, ["B", "A"], {"close": np.ones((2, 2))}, listed=listed).comparing(["B", "Z"])
    assert market.references == {"B"}
    more = market.including(["C", "B"])
    assert more.references == set()
    assert more.listed is not None
    assert more.listed.tolist() == [[False, True, True], [True, True, True]]
    assert market.comparing(["B"]) is market
