"""Values as people read them."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqrec.cli._text import ago, cut, duration, iso, moment, number, one_line, plain, plural, size


@given(st.text())
def test_nothing_from_a_store_steers_the_terminal(text: str) -> None:
    shown = plain(text)
    assert not [c for c in shown if unicodedata.category(c) == "Cc"]
    assert not set("\u202e\u2066\u2028") & set(shown)


def test_harmless_text_is_left_alone() -> None:
    assert plain("Ünïcode 数据 [bold]") == "Ünïcode 数据 [bold]"
    assert plain("a\nb\x1b[0m", keep="\n") == "a\nb\\x1b[0m"


def test_a_cut_value_tells_how_long_it_was() -> None:
    assert cut("abc", 3) == "abc"
    assert cut("x" * 5000, 100).endswith("x… (5,000 characters)")
    assert len(cut("x" * 5000, 100)) == 100


def test_params_keep_their_type_visible() -> None:
    assert one_line("1") == "1"
    assert one_line(["1", 1, None, True]) == '["1", 1, null, true]'
    assert one_line("a\nb") == "a\\nb"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1.0, "1"),
        (-3.0, "-3"),
        (0.0141234567, "0.0141235"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (1e300, "1e+300"),
        (123456789.0, "123456789"),
    ],
)
def test_numbers_have_six_digits_and_whole_ones_all(value: float, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_950, "1.0 MB"),
        (1_500_000, "1.5 MB"),
        (10**16, "10000.0 TB"),
    ],
)
def test_sizes_have_one_decimal(count: int, shown: str) -> None:
    assert size(count) == shown


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [
        (-5, "0 ms"),
        (340, "340 ms"),
        (59_999, "59.9 s"),
        (60_000, "1 min 0 s"),
        (3_660_000, "1 h 1 min"),
        (90_000_000, "1 d 1 h"),
    ],
)
def test_durations_have_two_units(milliseconds: int, shown: str) -> None:
    assert duration(milliseconds) == shown


@pytest.mark.parametrize(
    ("before", "shown"),
    [
        (-5, "now"),
        (999, "now"),
        (59_000, "59 s ago"),
        (60_000, "1 min ago"),
        (7_200_000, "2 h ago"),
        (10**11, "1,157 d ago"),
    ],
)
def test_ages_have_one_unit(before: int, shown: str) -> None:
    assert ago(10**12 - before, 10**12) == shown


def test_plurals() -> None:
    assert (plural(1, "run"), plural(2000, "run")) == ("1 run", "2,000 runs")


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_every_time_that_can_be_stored_is_shown(milliseconds: int) -> None:
    assert moment(milliseconds, seconds=True)
    assert str(iso(milliseconds)).endswith("+00:00")


def test_a_time_beyond_all_dates_is_shown_by_its_year() -> None:
    assert iso(1_795_600_000_000_000) == "58870-04-19T09:46:40.000+00:00"
    assert moment(1_795_600_000_000_000).startswith("58870-04-19")
