"""What Qlib itself computed, number by number, down to the types."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from aqrec import analysis

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
FUNCTIONS = json.loads((GOLDEN / "g04_functions" / "functions.json").read_text(encoding="utf-8"))
TOLERANCE = {"rtol": 1e-12, "atol": 1e-12}


def table(path: str) -> pd.DataFrame:
    return pd.read_parquet(GOLDEN / path)


def signal(path: str) -> pd.Series:
    return table(path).set_index(["datetime", "instrument"]).iloc[:, 0]


def case(name: str) -> dict[str, Any]:
    return json.loads((GOLDEN / name / "case.json").read_text(encoding="utf-8"))


def computed(column: str) -> pd.Series:
    """Run the function that a column ``output|keyword=value|...`` of the golden table stands for."""
    output, *words = column.split("|")
    arguments: dict[str, Any] = {k: json.loads(v.lower()) for k, v in (word.split("=") for word in words)}
    pred, label = signal("g04_functions/pred.parquet"), signal("g04_functions/label.parquet")
    if output == "autocorr":
        return analysis.pred_autocorr(pred, **arguments)
    function, place = {
        "ic": (analysis.calc_ic, 0),
        "ric": (analysis.calc_ic, 1),
        "long_short_r": (analysis.calc_long_short_return, 0),
        "long_avg_r": (analysis.calc_long_short_return, 1),
        "long_pre": (analysis.calc_long_short_prec, 0),
        "short_pre": (analysis.calc_long_short_prec, 1),
    }[output]
    return function(pred, label, **arguments)[place]


@pytest.mark.parametrize("column", list(FUNCTIONS["lengths"]))
def test_functions_on_messy_input(column: str) -> None:
    expected = table("g04_functions/signal_functions.parquet").set_index("datetime")[column]
    actual = computed(column)
    assert len(actual) == FUNCTIONS["lengths"][column]
    assert actual.dtype == FUNCTIONS["dtypes"][column]
    assert actual.index.isin(expected.index).all()
    assert actual.index.is_monotonic_increasing
    np.testing.assert_allclose(
        actual.reindex(expected.index).to_numpy(np.float64),
        expected.astype(FUNCTIONS["dtypes"][column]).to_numpy(np.float64),
        **TOLERANCE,
    )


def full_returns() -> dict[str, pd.Series]:
    stored = table("g04_functions/returns.parquet").set_index("datetime")["r"]
    full = stored.dropna()
    return {"with_nan": stored, "full": full, "constant": full * 0, "one_row": full.iloc[:1]}


@pytest.mark.parametrize("key", list(FUNCTIONS["risk_analysis"]))
def test_risk_analysis(key: str) -> None:
    series, mode, scale = key.split("|")
    name, value = scale.split("=")
    arguments: dict[str, Any] = {name: int(value) if name == "N" else value}
    figures = analysis.risk_analysis(full_returns()[series], mode=mode, **arguments)
    expected = FUNCTIONS["risk_analysis"][key]
    assert list(figures.index) == list(expected)
    np.testing.assert_allclose(figures["risk"], list(expected.values()), **TOLERANCE)


@pytest.mark.parametrize("method", list(FUNCTIONS["indicator_analysis"]))
def test_indicator_analysis(method: Any) -> None:
    figures = analysis.indicator_analysis(table("g04_functions/indicators.parquet"), method)["value"]
    expected = FUNCTIONS["indicator_analysis"][method]
    assert list(figures.index) == list(expected)
    np.testing.assert_allclose(figures, list(expected.values()), **TOLERANCE)


@pytest.mark.parametrize("name", ["g01_syn40_default", "g03_real4_open_lots"])
def test_signal_analysis_of_a_whole_workflow(name: str) -> None:
    facts = case(name)
    expected = table(f"{name}/signal_analysis.parquet").set_index("datetime")
    pred, label = signal(facts["files"]["pred"]), signal(facts["files"]["label"])
    series = {
        **dict(zip(["ic", "ric"], analysis.calc_ic(pred, label), strict=True)),
        **dict(
            zip(["long_short_r", "long_avg_r"], analysis.calc_long_short_return(pred, label), strict=True)
        ),
    }
    if "hf_long_pre" in expected:
        series |= {f"hf_{key}": value for key, value in series.items()}
        precisions = analysis.calc_long_short_prec(pred, label, is_alpha=True)
        series |= dict(zip(["hf_long_pre", "hf_short_pre"], precisions, strict=True))
    else:
        with pytest.raises(ValueError, match="instruments"):
            analysis.calc_long_short_prec(pred, label, is_alpha=True)
    assert set(series) == set(expected)
    for column, actual in series.items():
        assert actual.dtype == expected[column].dtype
        np.testing.assert_allclose(
            actual.reindex(expected.index).to_numpy(np.float64),
            expected[column].to_numpy(np.float64),
            **TOLERANCE,
        )
        assert len(actual) <= len(expected)


def test_signal_analysis_of_a_qrun() -> None:
    files = case("g05_qrun")["files"]
    expected = table("g05_qrun/signal_analysis.parquet").set_index("datetime")
    coefficients = analysis.calc_ic(signal(files["pred"]), signal(files["label"]))
    for name, actual in zip(["ic", "ric"], coefficients, strict=True):
        assert actual.index.tolist() == expected.index.tolist()
        np.testing.assert_allclose(actual, expected[name], **TOLERANCE)
    assert coefficients[0].mean() == pytest.approx(case("g05_qrun")["logged_metrics"]["IC"], rel=1e-9)


@pytest.mark.parametrize(
    "name", ["g01_syn40_default", "g02_syn40_expr_vol", "g03_real4_open_lots", "g05_qrun"]
)
def test_figures_of_a_backtest(name: str) -> None:
    report = table(f"{name}/report_normal.parquet").set_index("datetime")
    excess = report["return"] - report["bench"]
    expected = table(f"{name}/port_analysis.parquet").set_index(["group", "measure"])["risk"]
    for group, returns in {
        "excess_return_without_cost": excess,
        "excess_return_with_cost": excess - report["cost"],
    }.items():
        figures = analysis.risk_analysis(returns, freq="1day")["risk"]
        assert list(figures.index) == list(expected[group].index)
        np.testing.assert_allclose(figures, expected[group], **TOLERANCE)
    indicators = analysis.indicator_analysis(table(f"{name}/indicators_normal.parquet"))["value"]
    recorded = table(f"{name}/indicator_analysis.parquet").set_index("indicator")["value"]
    assert list(indicators.index) == list(recorded.index)
    np.testing.assert_allclose(indicators, recorded, **TOLERANCE)
