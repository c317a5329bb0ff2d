"""Pictures of signals and portfolios: what they show, and that they stand alone."""

import base64
import io
import re
import xml.etree.ElementTree as ET
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from aqrec.analysis import calc_ic
from aqrec.errors import InvalidInputError
from aqrec.plots import group_returns, html_page, plot_portfolio, plot_signal, png
from tests._support import run_script


def a_report(days: int = 300, drift: float = 0.001, bench: bool = True) -> pd.DataFrame:
    random = np.random.default_rng(0)
    index = pd.date_range("2020-01-01", periods=days, name="datetime")
    return pd.DataFrame(
        {
            "return": random.normal(drift, 0.01, days),
            "cost": 0.0002,
            "bench": random.normal(0.0003, 0.01, days).astype(np.float32) * bench,
            "turnover": random.uniform(0.1, 0.4, days),
        },
        index,
    )


def a_signal(days: int = 60, names: int = 13) -> tuple["pd.Series[Any]", "pd.Series[Any]"]:
    random = np.random.default_rng(1)
    rows = pd.MultiIndex.from_product(
        [pd.date_range("2024-01-01", periods=days), [f"S{i:02}" for i in range(names)]],
        names=["datetime", "instrument"],
    )
    pred = pd.Series(random.normal(size=len(rows)), rows)
    return pred, 0.5 * pred + random.normal(size=len(rows))


def lines(figure: Any, axes: int = 0) -> dict[str, Any]:
    return {
        line.get_label(): line for line in figure.axes[axes].lines if not line.get_label().startswith("_")
    }


def test_the_portfolios_lines_are_its_compounded_returns() -> None:
    report = a_report()
    figures = plot_portfolio(report)
    assert list(figures) == ["cumulative_return", "drawdown", "turnover"]
    with_costs = (1 + report["return"] - report["cost"]).cumprod()
    drawn = {
        label.split("  ")[0]: line.get_ydata() for label, line in lines(figures["cumulative_return"]).items()
    }
    np.testing.assert_allclose(drawn["With costs"], with_costs)
    np.testing.assert_allclose(drawn["Without costs"], (1 + report["return"]).cumprod())
    np.testing.assert_allclose(drawn["Benchmark"], (1 + report["bench"].astype(float)).cumprod())
    label = next(label for label in lines(figures["cumulative_return"]) if label.startswith("With costs"))
    assert label.endswith(f"{with_costs.iloc[-1] - 1:+,.0%}")
    below = next(line for label, line in lines(figures["drawdown"]).items() if label.startswith("With costs"))
    np.testing.assert_allclose(below.get_ydata(), with_costs / with_costs.cummax().clip(lower=1.0) - 1)


def test_a_loss_of_the_first_bar_is_a_drawdown() -> None:
    report = a_report(3)
    report["return"] = [-0.1, 0.0, 0.0]
    report["cost"] = 0.0
    below = next(iter(lines(plot_portfolio(report)["drawdown"]).values()))
    np.testing.assert_allclose(below.get_ydata(), -0.1)


@pytest.mark.parametrize(("drift", "scale"), [(0.0, "linear"), (0.02, "log")])
def test_large_growth_gets_a_logarithmic_axis(drift: float, scale: str) -> None:
    assert plot_portfolio(a_report(drift=drift))["cumulative_return"].axes[0].get_yscale() == scale


def test_a_drawdown_says_whose_it_is_in_round_shares() -> None:
    axes = plot_portfolio(a_report())["drawdown"].axes[0]
    assert axes.get_title(loc="left") == "Drawdown of the account and of the benchmark"
    form = axes.yaxis.get_major_formatter()
    assert [form(share) for share in (0.0, -0.05, -0.125)] == [
        "0%",
        "\N{MINUS SIGN}5%",
        "\N{MINUS SIGN}12.5%",
    ]


@pytest.mark.parametrize("days", [1, 5, 15])
def test_a_test_of_a_few_days_is_drawn_so_that_it_can_be_read(days: int) -> None:
    """No panel is empty, and no two marks of an axis have the same text."""
    figures = {**plot_portfolio(a_report(days)), **plot_signal(*a_signal(days))}
    for name, figure in figures.items():
        assert png(figure)
        for axes in figure.axes if name != "ic_monthly" else []:
            for line in axes.lines:
                values = np.asarray(line.get_ydata(), dtype=float)
                assert np.isfinite(values).all()
                assert len(values) > 1 or line.get_marker() not in {"None", None}
            low, high = sorted(axes.get_ylim())
            marks = zip(axes.yaxis.get_majorticklocs(), axes.yaxis.get_majorticklabels(), strict=True)
            texts = [text.get_text() for place, text in marks if low <= place <= high]
            assert len(texts) == len(set(texts)), texts
    dates = [text.get_text() for text in figures["ic"].axes[2].get_xticklabels()]
    assert all(":" not in date and len(date) == len("2024-01-01") for date in dates)
    if days <= 5:
        assert dates == [f"2024-01-0{day}" for day in range(1, days + 1)]
    assert lines(figures["ic"])["Each day"].get_markersize() > 5
    assert lines(figures["turnover"])["Each bar"].get_linewidth() > 1
    earned = [label.split("  ")[1] for label in lines(figures["cumulative_return"])]
    assert all("." in text or abs(float(text.rstrip("%"))) >= 10 for text in earned)


def test_without_a_benchmark_none_is_drawn() -> None:
    figures = plot_portfolio(a_report(bench=False))
    for name in ("cumulative_return", "drawdown"):
        assert not [label for label in lines(figures[name]) if "Benchmark" in label]


@pytest.mark.parametrize("report", [a_report(0), a_report().drop(columns="cost")])
def test_what_cannot_be_drawn_is_named(report: pd.DataFrame) -> None:
    with pytest.raises(InvalidInputError, match=r"the report (has no rows|lacks \['cost'\])"):
        plot_portfolio(report)
    pred, label = a_signal()
    with pytest.raises(InvalidInputError, match="there is no day"):
        plot_signal(pred.iloc[:0], label.iloc[:0])


def test_figures_without_anything_to_draw_say_so() -> None:
    pred, label = a_signal()
    for name, figure in plot_signal(pred, label * np.nan).items():
        (said,) = [text.get_text() for text in figure.axes[0].texts]
        assert said.startswith("No row has both" if name == "groups" else "No day has one")
        assert png(figure)


def test_the_signals_lines_are_its_figures() -> None:
    pred, label = a_signal()
    ic, ric = calc_ic(pred, label)
    figures = plot_signal(pred, label)
    assert list(figures) == ["ic", "ic_monthly", "groups"]
    np.testing.assert_allclose(lines(figures["ic"])["Each day"].get_ydata(), ic)
    np.testing.assert_allclose(lines(figures["ic"], 1)["IC"].get_ydata()[-1], ic.iloc[-21:].mean())
    np.testing.assert_allclose(lines(figures["ic"], 2)["Rank IC"].get_ydata(), ric.cumsum())
    daily, mean = (figures["ic"].axes[number].get_ylim()[1] for number in (0, 1))
    assert mean < 0.8 * daily, "the mean has a scale of its own, on which it can be seen"
    assert f"mean {ic.mean():.4f}" in figures["ic"].axes[0].get_title(loc="left")
    cells = figures["ic_monthly"].axes[0].images[0].get_array()
    assert cells.shape == (1, 12)
    np.testing.assert_allclose(cells[0, 1], ic.loc["2024-02"].mean())
    assert np.ma.getmaskarray(np.ma.masked_invalid(cells))[0, 2:].all()


def test_groups_are_ranked_by_the_days_prediction() -> None:
    pred, label = a_signal(days=2, names=10)
    pred.iloc[3], label.iloc[4] = np.nan, np.nan
    means = group_returns(pred, label)
    assert list(means) == [*(f"Group {n}" for n in range(1, 6)), "Long-short"]
    second = label.loc["2024-01-02"].loc[pred.loc["2024-01-02"].sort_values(ascending=False).index]
    for number in range(5):
        assert means.iloc[1, number] == pytest.approx(second.iloc[2 * number : 2 * number + 2].mean())
    assert means["Long-short"].iloc[1] == pytest.approx((means["Group 1"] - means["Group 5"]).iloc[1] / 2)
    first = pd.concat([pred, label], axis=1).loc["2024-01-01"].dropna()
    assert means.iloc[0, 0] == pytest.approx(first.sort_values(0, ascending=False)[1].iloc[:2].mean())


def test_a_day_of_few_names_has_no_figure_for_some_groups() -> None:
    pred, label = a_signal(days=2, names=3)
    means = group_returns(pred, label)
    assert means.notna().sum(axis=1).tolist() == [3, 3]
    assert png(plot_signal(pred, label)["groups"])


def test_pictures_are_png_and_show_something() -> None:
    pred, label = a_signal()
    for figure in [*plot_portfolio(a_report()).values(), *plot_signal(pred, label).values()]:
        pixels = imread(io.BytesIO(png(figure)), format="png")
        assert pixels.shape[1] > 1000
        assert 0.01 < (pixels[..., :3].min(axis=2) < 0.8).mean() < 0.95


def test_the_page_needs_nothing_else() -> None:
    table = pd.DataFrame({"with <costs>": [0.000123456, -1.0, "<1%"]}, ["mean", "std & co", "text"])
    page = html_page("Mine & yours", plot_portfolio(a_report()), {"Risk": table})
    assert "<title>Mine &amp; yours</title>" in page
    assert "<th>with &lt;costs&gt;</th>" in page
    assert "<tr><th>mean</th><td>0.0001235</td></tr>" in page
    assert "<tr><th>std &amp; co</th><td>-1.000</td></tr>" in page
    assert "<tr><th>text</th><td>&lt;1%</td></tr>" in page
    assert not re.search(r"<script|<link|src=\"(?!data:)", page)
    pictures = re.findall(r'<img alt="(.*?)" src="data:image/svg\+xml;base64,(.*?)">', page)
    assert [alt for alt, _ in pictures] == ["cumulative_return", "drawdown", "turnover"]
    for _, data in pictures:
        assert ET.fromstring(base64.b64decode(data)).tag.endswith("svg")


def test_long_series_stay_small() -> None:
    assert len(html_page("Long", plot_portfolio(a_report(6000)))) < 2_500_000


def test_matplotlibs_global_state_is_left_alone() -> None:
    before = dict(mpl.rcParams)
    for figure in plot_portfolio(a_report()).values():
        png(figure)
    assert dict(mpl.rcParams) == before
    run_script(
        """
        import sys
        import aqrec.plots
        assert "matplotlib" not in sys.modules
        aqrec.plots.require_matplotlib()
        from tests.plots.test_plots import a_report
        aqrec.plots.png(aqrec.plots.plot_portfolio(a_report())["turnover"])
        assert "matplotlib.pyplot" not in sys.modules
        """
    ).check()
