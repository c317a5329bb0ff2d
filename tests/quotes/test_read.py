"""Prices from files: tables here and elsewhere, and data folders of Qlib."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from aqrec.backtest import Exchange, backtest
from aqrec.errors import CorruptError, InvalidInputError, ObjectNotFoundError, StorageError
from aqrec.quotes import Market, read_quotes
from tests.backtest.golden import case, prediction, table
from tests.backtest.golden import market as golden_market
from tests.backtest.golden import quotes as golden_quotes

NAME = "g02_syn40_expr_vol"


def write_provider(folder: Path, market: Market, lists: dict[str, str]) -> None:
    """Write a data folder as Qlib lays it out."""
    (folder / "calendars").mkdir(parents=True)
    (folder / "instruments").mkdir()
    days = [f"{day:.10}" for day in market.days]
    (folder / "calendars" / "day.txt").write_text("\n".join(days) + "\n", encoding="utf-8")
    for name, text in lists.items():
        (folder / "instruments" / f"{name}.txt").write_text(text, encoding="utf-8")
    for name, column in market.columns.items():
        place = folder / "features" / name.lower()
        place.mkdir(parents=True)
        for field, values in market.fields.items():
            series = values[:, column]
            known = np.flatnonzero(~np.isnan(series))
            first, last = (known[0], known[-1] + 1) if len(known) else (0, 0)
            content = np.concatenate([[first], series[first:last]]).astype("<f4")
            content.tofile(place / f"{field[1:]}.day.bin")


@pytest.fixture
def provider(tmp_path: Path) -> Path:
    market = golden_market("syn40")
    first, last = (f"{market.days[i]:.10}" for i in (0, -1))
    listed = [name for name in market.instruments if name != "SH000300"]
    write_provider(
        tmp_path / "provider",
        market,
        {
            "all": "".join(f"{name}\t{first}\t{last}\n" for name in listed),
            "few": f"SH600000\t2017-03-01\t2017-03-02\nSH600000\t2017-03-06\t2017-03-06\nsh600001\t{first}\t{last}\n",
        },
    )
    return tmp_path / "provider"


def same(one: Market, two: Market) -> None:
    assert one.instruments == two.instruments
    assert set(one.fields) == set(two.fields)
    np.testing.assert_array_equal(one.days, two.days)
    for field, values in one.fields.items():
        np.testing.assert_array_equal(values, two.field(field))


def test_a_data_folder_of_qlib_is_read_without_qlib(provider: Path) -> None:
    market = read_quotes(provider, also=["SH000300"])
    same(market, golden_market("syn40"))
    assert market.field("$close").dtype == np.float32
    facts = case(NAME)
    portfolio, _ = backtest(
        **facts["backtest"], strategy=facts["strategy"], quotes=str(provider), pred=prediction(NAME)
    )
    expected = table(f"{NAME}/report_normal.parquet")
    np.testing.assert_allclose(portfolio["1day"][0]["account"], expected["account"], rtol=1e-12)


def test_a_list_of_instruments_and_its_ranges_of_days(provider: Path) -> None:
    market = read_quotes(provider, instruments="few", fields=["close"])
    assert market.instruments == ("SH600000", "SH600001")
    assert list(market.fields) == ["$close"]
    assert market.listed is not None
    assert [f"{day:.10}" for day in market.days[market.listed[:, 0]]] == [
        *("2017-03-01", "2017-03-02", "2017-03-06")
    ]
    assert market.listed[:, 1].all()
    part = read_quotes(provider, instruments=["SH600003"], start_time="2017-03-01", end_time="2017-03-03")
    assert part.instruments == ("SH600003",)
    assert [f"{day:.10}" for day in part.days] == ["2017-03-01", "2017-03-02", "2017-03-03"]


def test_a_calendar_of_the_future_comes_first_and_missing_fields_stay_away(provider: Path) -> None:
    days = (provider / "calendars" / "day.txt").read_text(encoding="utf-8")
    (provider / "calendars" / "day_future.txt").write_text(days + "2017-11-15\n", encoding="utf-8")
    for path in provider.glob("features/*/factor.day.bin"):
        path.unlink()
    market = read_quotes(provider)
    assert f"{market.days[-1]:.10}" == "2017-11-15"
    assert "$factor" not in market.fields


def test_a_benchmark_has_its_whole_past_but_is_traded_only_while_listed(provider: Path) -> None:
    market = read_quotes(provider, instruments="few", also=["SH600000", "SH000300"])
    assert market.references == {"SH000300"}
    assert market.listed is not None
    assert market.listed.sum(axis=0).tolist() == [0, 3, len(market.days)]
    column = golden_market("syn40").columns["SH600000"]
    np.testing.assert_array_equal(
        market.field("$close")[:, 1], golden_market("syn40").field("$close")[:, column]
    )
    exchange = Exchange(market)
    assert (~np.isnan(exchange.close)).sum(axis=0).tolist()[:2] == [0, 3]
    # As in Qlib, who names an instrument can trade it on all days.
    named = Exchange(market, codes=["SH600000"])
    assert (~np.isnan(named.close)).sum(axis=0).tolist() == [0, 180, 0]


def test_a_list_may_be_open_ended(provider: Path) -> None:
    (provider / "instruments" / "few.txt").write_text("SH600000\t0001-01-01\t9999-12-31\n", encoding="utf-8")
    assert read_quotes(provider, instruments="few").listed is None


def test_an_instrument_without_prices_is_told(provider: Path) -> None:
    for keywords in ({"instruments": ["SH600000", "NONE"]}, {"also": ["NONE"]}):
        with pytest.raises(ObjectNotFoundError, match="no close of NONE"):
            read_quotes(provider, **keywords)  # type: ignore[arg-type]
    with (provider / "instruments" / "all.txt").open("a", encoding="utf-8") as file:
        file.write("NONE\t2017-03-01\t2017-03-02\n")
    assert "NONE" in read_quotes(provider).columns


@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
def test_a_company_may_be_called_na(tmp_path: Path, ending: str) -> None:
    frame = pd.DataFrame(
        {"instrument": ["NA", "nan", "0700"], "datetime": 20240102, "close": [1.0, np.nan, 3.0]}
    )
    path = tmp_path / f"prices.{ending}"
    frame.to_csv(path, index=False, na_rep="NaN")
    market = read_quotes(path)
    assert market.instruments == ("0700", "NA", "nan")
    np.testing.assert_array_equal(market.field("$close"), [[3.0, 1.0, np.nan]])


def test_a_row_without_an_instrument_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("instrument,datetime,close\n,2024-01-02,1\n", encoding="utf-8")
    with pytest.raises(InvalidInputError, match="without an instrument"):
        read_quotes(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("keywords", "match"),
    [
        ({"start_time": 5}, "start_time must be a date"),
        ({"end_time": "9999-12-31"}, "end_time must be a date"),
        ({"start_time": pd.Timestamp("2005-01-03", tz="UTC")}, "start_time must be without a time zone"),
        ({"instruments": 5}, "instruments must be names, not 5"),
        ({"also": [5]}, "also must be names, not 5"),
    ],
)
def test_arguments_that_have_no_meaning_are_refused(tmp_path: Path, keywords: Any, match: str) -> None:
    with pytest.raises(InvalidInputError, match=match):
        read_quotes(tmp_path / "not there", **keywords)


@pytest.mark.parametrize("ending", ["parquet", "csv", "csv.gz"])
def test_a_table_may_be_parquet_or_csv(tmp_path: Path, ending: str) -> None:
    frame = golden_quotes("real4")
    path = tmp_path / f"prices.{ending}"
    if ending == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False)
    market = read_quotes(path.as_uri())
    np.testing.assert_allclose(
        market.field("$close"), golden_market("real4").field("$close"), rtol=1e-6, atol=0
    )
    assert read_quotes(path, instruments=["IBM"], also=["SPX"]).instruments == ("IBM", "SPX")


def test_a_folder_of_parquet_files_is_one_table(tmp_path: Path) -> None:
    for year, part in (frame := golden_quotes("real4")).groupby(frame["datetime"].dt.year):
        part.to_parquet(tmp_path / f"{year}.parquet")
    same(read_quotes(tmp_path), golden_market("real4"))


@pytest.fixture
def remote(provider: Path) -> Iterator[str]:
    """The provider and a table in fsspec's memory."""
    import fsspec

    system = fsspec.filesystem("memory")
    system.put(f"{provider}/", "/aqrec-quotes/provider/", recursive=True)
    with system.open("/aqrec-quotes/real4.parquet", "wb") as file:
        golden_quotes("real4").to_parquet(file)
    yield "memory://aqrec-quotes"
    system.rm("/aqrec-quotes", recursive=True)


def test_any_url_of_fsspec_will_do(remote: str) -> None:
    same(read_quotes(f"{remote}/real4.parquet"), golden_market("real4"))
    same(read_quotes(f"{remote}/provider", also=["SH000300"]), golden_market("syn40"))
    with pytest.raises(ObjectNotFoundError, match="nothing"):
        read_quotes(f"{remote}/nothing.parquet")


def test_urls_may_be_chained(remote: str, tmp_path: Path) -> None:
    same(read_quotes(f"simplecache::{remote}/real4.parquet"), golden_market("real4"))
    golden_quotes("real4").to_csv(tmp_path / "real4.csv", index=False)
    with zipfile.ZipFile(tmp_path / "prices.zip", "w") as packed:
        packed.write(tmp_path / "real4.csv", "real4.csv")
    for chain in ("zip://real4.csv::", "simplecache::zip://real4.csv::"):
        same(read_quotes(f"{chain}file://{tmp_path}/prices.zip"), read_quotes(tmp_path / "real4.csv"))
    (tmp_path / "a::b.csv").write_bytes((tmp_path / "real4.csv").read_bytes())
    same(read_quotes(f"{tmp_path}/a::b.csv"), read_quotes(tmp_path / "real4.csv"))
    with pytest.raises(InvalidInputError) as refused:
        read_quotes("simplecache::nowhere://user:secret@host/prices.csv")
    assert "secret" not in str(refused.value)


def test_a_url_without_a_driver_or_a_server_says_so() -> None:
    with pytest.raises(InvalidInputError, match="Protocol not known"):
        read_quotes("nowhere://host/prices.csv")
    with pytest.raises(InvalidInputError, match="ValueError, whose text") as refused:
        read_quotes("nowhere://user:secret@host/prices.csv")
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None
    with pytest.raises(StorageError, match="cannot be read") as caught:
        read_quotes(
            "s3://key:secret@bucket/prices.csv",
            storage_options={
                "anon": True,
                "client_kwargs": {"endpoint_url": "http://127.0.0.1:1"},
                "config_kwargs": {"retries": {"max_attempts": 1}},
            },
        )
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "error", "match"),
    [
        (b"", CorruptError, "0 bytes"),
        (b"12345", CorruptError, "5 bytes"),
        (np.array([0.5, 1.0], "<f4").tobytes(), CorruptError, "begin with"),
        (np.array([190.0] + [1.0] * 900, "<f4").tobytes(), CorruptError, "calendar"),
    ],
)
def test_a_damaged_file_of_values_is_named(provider: Path, content: bytes, error: Any, match: str) -> None:
    (provider / "features" / "sh600003" / "close.day.bin").write_bytes(content)
    with pytest.raises(error, match=match) as caught:
        read_quotes(provider)
    assert "features/sh600003/close.day.bin" in str(caught.value)


def test_what_a_data_folder_lacks_is_named(provider: Path) -> None:
    with pytest.raises(InvalidInputError, match="it has all, few"):
        read_quotes(provider, instruments="csi300")
    with pytest.raises(ObjectNotFoundError, match="NONE"):
        read_quotes(provider, instruments=["NONE"])
    (provider / "instruments" / "few.txt").write_text("SH600000 2017-03-01\n", encoding="utf-8")
    with pytest.raises(CorruptError, match="line 1"):
        read_quotes(provider, instruments="few")
    (provider / "calendars" / "day.txt").write_text("someday\n", encoding="utf-8")
    with pytest.raises(CorruptError, match=r"calendars/day\.txt"):
        read_quotes(provider)
    (provider / "calendars" / "day.txt").unlink()
    with pytest.raises(ObjectNotFoundError, match=r"day_future\.txt"):
        read_quotes(provider)


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x", encoding="utf-8")
    (tmp_path / "a.parquet").write_text("x", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    golden_quotes("real4").head(3).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(InvalidInputError, match=r"neither \.parquet nor \.csv"):
        read_quotes(tmp_path / "a.txt")
    with pytest.raises(CorruptError, match=r"a\.parquet"):
        read_quotes(tmp_path / "a.parquet")
    with pytest.raises(InvalidInputError, match="no Parquet files"):
        read_quotes(tmp_path / "empty")
    with pytest.raises(ObjectNotFoundError, match=r"b\.csv"):
        read_quotes(tmp_path / "b.csv")
    with pytest.raises(ObjectNotFoundError, match="NONE"):
        read_quotes(tmp_path / "a.csv", instruments=["NONE"])
    with pytest.raises(InvalidInputError, match="csi300"):
        read_quotes(tmp_path / "a.csv", instruments="csi300")


def test_reading_takes_only_what_the_backtest_names(provider: Path) -> None:
    for path in provider.glob("features/*/volume.day.bin"):
        path.rename(path.with_name("turnover.day.bin"))
    facts = case("g01_syn40_default")["backtest"]
    keywords = {"limit_threshold": ("$turnover > 1e30", "$turnover > 1e30"), "deal_price": ["$open", "close"]}
    portfolio, _ = backtest(
        "2017-03-01",
        "2017-03-31",
        {"class": "TopkDropoutStrategy", "kwargs": {"signal": "<PRED>", "topk": 2, "n_drop": 1}},
        benchmark=facts["benchmark"],
        exchange_kwargs=keywords,
        quotes=provider,
        pred=prediction("g01_syn40_default"),
    )
    assert portfolio["1day"][0]["turnover"].iloc[0] > 0.9
