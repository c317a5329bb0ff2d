"""``aqrec demo``: the main job, from prices to a portfolio judged."""

import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aqrec.analysis import calc_ic, calc_long_short_return, risk_analysis
from aqrec.demo import DemoDataset, RidgeModel, load_prices
from aqrec.plots import plot_portfolio
from aqrec.sync import ExperimentManager
from tests.cli.conftest import Cli
from tests.cli.test_app import _on_a_terminal


@pytest.fixture(scope="module")
def truth() -> tuple[pd.Series, pd.Series, RidgeModel]:  # type: ignore[type-arg]
    """Prediction and label, computed without recording anything."""
    dataset = DemoDataset()
    model = RidgeModel(refit="year").fit(dataset)
    label = dataset.prepare("test", col_set="label", data_key="raw").iloc[:, 0]
    return model.predict(dataset), label, model


def test_a_demo_records_what_was_computed(
    cli: Cli, tmp_path: Path, truth: tuple[pd.Series, pd.Series, RidgeModel]
) -> None:  # type: ignore[type-arg]
    """Every figure it records is the one that aqrec.demo and aqrec.analysis give directly."""
    pred, label, model = truth
    ic, ric = calc_ic(pred, label)
    spread, average = calc_long_short_return(pred, label)
    store = tmp_path / "store"

    run = cli("demo", "--store", store, "--refit", "year", "--json").json()

    assert run["status"] == "FINISHED"
    last = {key: row["last"] for key, row in run["metrics"].items()}
    expected = {
        "IC": ic.mean(),
        "ICIR": ic.mean() / ic.std(),
        "Rank IC": ric.mean(),
        "Rank ICIR": ric.mean() / ric.std(),
        "Long-Short Ann Return": spread.mean() * 252,
        "Long-Short Ann Sharpe": spread.mean() / spread.std() * 252**0.5,
        "Long-Avg Ann Return": average.mean() * 252,
        "Long-Avg Ann Sharpe": average.mean() / average.std() * 252**0.5,
    }
    assert {key: last[key] for key in expected} == pytest.approx(expected, rel=1e-12)
    assert run["params"]["alpha"] == model.alpha
    assert run["params"]["segments"]["test"] == ["2001-01-01", "2022-12-31"]
    paths = {ref["path"] for ref in run["artifacts"]}
    files = {"ic.pkl", "ric.pkl", "long_short_r.pkl", "long_avg_r.pkl", "groups.png", "signal.html"}
    assert {"portfolio_analysis/report_1day.html", "portfolio_analysis/drawdown_1day.png"} <= paths
    assert paths >= {
        "pred.pkl",
        "label.pkl",
        "model.pkl",
        "environment.json",
        *(f"sig_analysis/{f}" for f in files),
    }

    with ExperimentManager(str(store)) as manager:
        recorder = manager.get_recorder(recorder_id=run["run_id"])
        report = recorder.load_object("portfolio_analysis/report_normal_1day.pkl")
        held = recorder.load_object("portfolio_analysis/positions_normal_1day.pkl")
        excess = risk_analysis(report["return"] - report["bench"] - report["cost"])["risk"]
        key = "1day.excess_return_with_cost.annualized_return"
        assert last[key] == pytest.approx(excess["annualized_return"], rel=1e-12)
        assert {len(day.stocks) for day in list(held.values())[5:]} == {10}
        everything = load_prices().pct_change().mean(axis=1).loc[report.index]
        np.testing.assert_allclose(report["bench"], everything, atol=1e-6)
        pd.testing.assert_series_equal(recorder.load_object("sig_analysis/ic.pkl"), ic)
        pd.testing.assert_series_equal(recorder.load_object("pred.pkl")["score"], pred)
        folds = recorder.metric_history("test_ic")
        assert folds["step"].tolist() == list(range(1, 23))
        assert folds["value"].tolist() == pytest.approx(ic.groupby(ic.index.year).mean().tolist(), rel=1e-12)
        assert recorder.metric_history("train_loss")["step"].tolist() == list(range(1, 23))


def test_a_demo_tells_how_to_look_further_and_each_way_works(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run twice in one store, with and without matplotlib, in a narrow terminal, below a folder whose name must be quoted."""
    monkeypatch.chdir(tmp_path)
    shown = [cli("demo", "--store", "./my lab", "--refit", "year", width=60).ok()]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    shown.append(cli("demo", "--store", "./my lab", "--refit", "year", width=60).ok())
    falls: list[list[str]] = []
    for ended, pictures in zip(shown, (["signal.html", "report_1day.html"], []), strict=True):
        assert ended.err == ""
        assert "\x1b" not in ended.out
        for text in (
            "IC ",
            "ICIR",
            "Rank IC ",
            "Rank ICIR",
            "Long-Short Ann Return",
            "Cumulative IC",
            "before costs",
            "max drawdown",
        ):
            assert text in ended.out
        said = " ".join(ended.out.split())
        [(mine, bench)] = re.findall(r"Compounded, .* fell by (\S+)% and the benchmark by (\S+)%\.", said)
        falls.append([mine, bench])
        commands = re.findall(r"^  (aqrec .*)$", ended.out, re.MULTILINE)
        assert [shlex.split(command)[1] for command in commands] == ["ls", "show", "history", "get"]
        for command in commands:
            cli(*shlex.split(command)[1:]).ok()
        pages = re.findall(r"^  (.*\.html)$", ended.out, re.MULTILINE)
        assert [Path(page).name for page in pages] == pictures
        assert ("pip install 'aqrec[plots]'" in ended.out) == (not pictures)
        assert all(Path(page).is_file() for page in pages)
        [folder] = re.findall(r"^Files\n  (.*)$", ended.out, re.MULTILINE)
        assert (Path(folder) / "run.json").is_file()
        other = [line for line in ended.out.splitlines() if len(line) > 60 and not line.startswith("  ")]
        assert other == []
    listed = cli("ls", "./my lab", "-e", "demo", "--json").json()
    assert [run["status"] for run in listed["runs"]] == ["FINISHED"] * 2
    with ExperimentManager("./my lab") as manager:
        recorder = manager.get_recorder(recorder_id=listed["runs"][0]["run_id"])
        picture = plot_portfolio(recorder.load_object("portfolio_analysis/report_normal_1day.pkl"))[
            "drawdown"
        ]
    labels = " ".join(str(line.get_label()) for line in picture.axes[0].lines)
    assert falls == [re.findall(r"-(\S+)% at worst", labels)] * 2


def test_a_terminal_sees_progress_that_goes_away(tmp_path: Path) -> None:
    seen = _on_a_terminal("demo", "--store", tmp_path / "store", "--refit", "year")
    assert "Fitting" in seen
    assert "22/22" in seen
    final = seen[seen.rindex("demo/ridge") :]
    assert "Fitting" not in final
    assert "Cumulative IC" in final


@pytest.mark.parametrize("store", ["/proc/aqrec", "s3://bucket/x"])
def test_a_demo_that_cannot_write_says_so_at_once(cli: Cli, store: str) -> None:
    ended = cli("demo", "--store", store)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
