"""What `PortAnaRecord` and `MultiPassPortAnaRecord` compute, save and log."""

import asyncio
import concurrent.futures
import inspect
import threading
from typing import Any

import numpy as np
import pandas as pd
import pytest

import aqrec
import aqrec.sync.templates as blocking
from aqrec.analysis import resample_report, risk_analysis
from aqrec.backtest import positions_frame
from aqrec.errors import InvalidInputError, InvalidValueError, MissingInputError
from aqrec.templates import MultiPassPortAnaRecord, PortAnaRecord, SigAnaRecord, SignalRecord, generate_all
from tests._support import run_script
from tests.backtest.golden import CASES, GOLDEN, case, market, prediction, quotes, table
from tests.templates.cases import Model, run, run_blocking

MEASURES = ["mean", "std", "annualized_return", "information_ratio", "max_drawdown"]
SYN40 = "g01_syn40_default"


def config(name: str = SYN40) -> dict[str, Any]:
    facts = case(name)
    return {"strategy": facts["strategy"], "backtest": facts["backtest"]}


async def predicted(recorder: Any, name: str = SYN40) -> None:
    await SignalRecord(Model(prediction(name)), None, recorder).generate()


@pytest.mark.parametrize("name", CASES)
async def test_files_and_metrics_are_qlibs(name: str, local_url: str) -> None:
    facts = case(name)
    async with run(local_url) as recorder:
        await predicted(recorder, name)
        record = PortAnaRecord(recorder, config(name), quotes=market(facts["dataset"]))
        await record.generate()
        await record.check(include_self=True)
        promised = {
            path
            for path in facts["artifacts"]
            if path.startswith("portfolio_analysis/") and "multi" not in path
        }
        assert set(await recorder.list_artifacts("portfolio_analysis")) == promised
        files = {file: await record.load(file) for file in record.list()}
        metrics = await recorder.list_metrics()
    report = table(f"{name}/report_normal.parquet").set_index("datetime")
    for column in report:
        tolerance = 1e-6 if column == "cash" else 1e-9
        np.testing.assert_allclose(
            files["report_normal_1day.pkl"][column], report[column], rtol=1e-9, atol=tolerance
        )
    indicators = table(f"{name}/indicators_normal.parquet").set_index("datetime")
    pd.testing.assert_frame_equal(files["indicators_normal_1day.pkl"], indicators, rtol=1e-9, atol=1e-9)
    held = positions_frame(files["positions_normal_1day.pkl"])
    np.testing.assert_allclose(held["amount"], table(f"{name}/positions.parquet")["amount"], rtol=1e-9)
    assert len(files["indicators_normal_1day_obj.pkl"].orders) == len(table(f"{name}/orders.parquet"))
    risk = table(f"{name}/port_analysis.parquet")
    analysis = files["port_analysis_1day.pkl"]
    assert analysis.columns.tolist() == ["risk"]
    assert analysis.index.tolist() == list(zip(risk["group"], risk["measure"], strict=True))
    np.testing.assert_allclose(analysis["risk"], risk["risk"], rtol=1e-9)
    summary = table(f"{name}/indicator_analysis.parquet")
    assert files["indicator_analysis_1day.pkl"].index.tolist() == summary["indicator"].tolist()
    np.testing.assert_allclose(files["indicator_analysis_1day.pkl"]["value"], summary["value"], rtol=1e-9)
    assert len(metrics) == 13
    if "multipass" not in facts:  # whose last pass has logged them again
        for key, value in metrics.items():
            assert value == pytest.approx(facts["logged_metrics"][key], rel=1e-9), key
    for group, measure, value in risk.itertuples(index=False):
        assert metrics[f"1day.{group}.{measure}"] == pytest.approx(value, rel=1e-9)


def multi_pass(recorder: Any, kind: Any = MultiPassPortAnaRecord, **options: Any) -> Any:
    facts = case(SYN40)
    options.setdefault("rng", np.random.RandomState(facts["multipass"]["np_seed"]))
    return kind(recorder, facts["multipass"]["pass_num"], config=config(), quotes=market("syn40"), **options)


def check_passes(made: Any, metrics: dict[str, float], prefix: str = "pass.") -> None:
    expected = table(f"{SYN40}/multi_pass_port_analysis.parquet")
    found = made["multi_pass_port_analysis_1day.pkl"]
    assert found.index.tolist() == list(zip(expected["group"], expected["measure"], strict=True))
    for column in ("mean", "std", "mean_std"):
        np.testing.assert_allclose(found[column], expected[column], rtol=1e-9)
    logged = case(SYN40)["logged_metrics"]
    wanted = {key for key in logged if key.startswith(("1day", "mean", "std"))}
    names = {key: f"{prefix}{key}" if key.startswith("1day") else key for key in wanted}
    assert set(names.values()) == set(metrics)
    for key, name in names.items():
        assert metrics[name] == pytest.approx(logged[key], rel=1e-9), key


async def test_many_passes_have_qlibs_figures(store_url: str) -> None:
    async with run(store_url) as recorder:
        await predicted(recorder)
        made = await multi_pass(recorder).generate()
        check_passes(made, await recorder.list_metrics())
        assert await recorder.list_artifacts("portfolio_analysis") == [
            "portfolio_analysis/multi_pass_port_analysis_1day.pkl"
        ]
        history = await recorder.metric_history("pass.1day.excess_return_with_cost.mean")
        assert history["step"].tolist() == [1, 2, 3]


async def test_qlibs_way_of_seeding_works_where_it_is_asked_for(memory_url: str) -> None:
    async with run(memory_url) as recorder:
        await predicted(recorder)
        state = np.random.get_state()
        try:
            np.random.seed(case(SYN40)["multipass"]["np_seed"])
            made = await multi_pass(recorder, rng=None, qlib_compat=True).generate()
        finally:
            np.random.set_state(state)
        check_passes(made, await recorder.list_metrics(), prefix="")


async def test_passes_are_the_same_by_processes(local_url: str) -> None:
    async with run(local_url) as recorder:
        await predicted(recorder)
        record = multi_pass(recorder)
        await generate_all([record], executor="processes", workers=2)
        check_passes(
            {"multi_pass_port_analysis_1day.pkl": await record.load("multi_pass_port_analysis_1day.pkl")},
            await recorder.list_metrics(),
        )


def test_passes_are_the_same_on_the_blocking_face(local_url: str) -> None:
    with run_blocking(local_url) as recorder:
        blocking.SignalRecord(Model(prediction(SYN40)), None, recorder).generate()
        made = multi_pass(recorder, blocking.MultiPassPortAnaRecord).generate()
        check_passes(made, recorder.list_metrics())
    with run_blocking(local_url) as recorder, concurrent.futures.ThreadPoolExecutor(2) as pool:
        blocking.SignalRecord(Model(prediction(SYN40)), None, recorder).generate()
        blocking.generate_all([multi_pass(recorder, blocking.MultiPassPortAnaRecord)], executor=pool)
        check_passes(
            {
                "multi_pass_port_analysis_1day.pkl": recorder.load_object(
                    "portfolio_analysis/multi_pass_port_analysis_1day.pkl"
                )
            },
            recorder.list_metrics(),
        )


async def test_quotes_may_be_a_path_which_workers_read_themselves(local_url: str) -> None:
    path = GOLDEN / "inputs" / "syn40" / "quote.parquet"
    async with run(local_url) as recorder:
        await predicted(recorder)
        one = PortAnaRecord(recorder, config(), quotes=path)
        many = MultiPassPortAnaRecord(recorder, 2, False, config(), quotes=path)
        await generate_all([one, many], executor="processes", workers=2)
        risk = (await one.load("port_analysis_1day.pkl"))["risk"]
        mean = (await many.load("multi_pass_port_analysis_1day.pkl"))["mean"]
        np.testing.assert_allclose(mean, risk.loc[mean.index], rtol=1e-9)
        history = await recorder.metric_history("1day.excess_return_with_cost.mean")
        assert history["value"].tolist() == [risk[("excess_return_with_cost", "mean")]], "a pass hides it"


async def test_passes_without_a_shuffle_are_all_alike(memory_url: str) -> None:
    async with run(memory_url) as recorder:
        await predicted(recorder)
        made = await multi_pass(recorder, shuffle_init_score=False).generate()
        found = made["multi_pass_port_analysis_1day.pkl"]
        assert (found["std"] < 1e-12).all()
        single = table(f"{SYN40}/port_analysis.parquet").set_index(["group", "measure"])["risk"]
        np.testing.assert_allclose(found["mean"], single.loc[found.index], rtol=1e-9)


async def test_a_seed_makes_passes_repeatable_and_no_global_state_changes(memory_url: str) -> None:
    before = np.random.get_state()[1].copy()
    async with run(memory_url) as recorder:
        await predicted(recorder)
        first, again, other = [
            (await multi_pass(recorder, rng=rng).generate())["multi_pass_port_analysis_1day.pkl"]
            for rng in (1, 1, 2)
        ]
    pd.testing.assert_frame_equal(first, again)
    assert not np.allclose(first["mean"], other["mean"])
    np.testing.assert_array_equal(np.random.get_state()[1], before)


async def test_the_order_of_the_predictions_rows_and_their_name_do_not_stop_the_shuffle(
    memory_url: str,
) -> None:
    """Qlib's shuffle is lost on an unsorted prediction, and fails on a column of another name."""
    shuffled = prediction(SYN40).rename(columns={"score": "mine"}).sample(frac=1, random_state=0)
    async with run(memory_url) as recorder:
        await SignalRecord(Model(shuffled), None, recorder).generate()
        made = await multi_pass(recorder, rng=0).generate()
        assert (made["multi_pass_port_analysis_1day.pkl"]["std"] > 0).all()


async def test_without_a_prediction_the_error_says_who_makes_it(memory_url: str) -> None:
    async with run(memory_url) as recorder:
        with pytest.raises(MissingInputError, match=r"lacks 'pred\.pkl' \(made by SignalRecord\)"):
            await PortAnaRecord(recorder, config(), quotes=quotes("syn40")).generate()
        assert (
            await PortAnaRecord(recorder, config(), quotes=quotes("syn40"), on_missing="skip").generate()
            is None
        )


async def test_an_empty_prediction_and_a_late_start_are_named(memory_url: str) -> None:
    async with run(memory_url) as recorder:
        await SignalRecord(Model(prediction(SYN40).iloc[:0]), None, recorder).generate()
        with pytest.raises(MissingInputError, match="the prediction is empty"):
            await PortAnaRecord(recorder, config(), quotes=market("syn40")).generate()
        await predicted(recorder)
        late = config()
        late["backtest"] = {**late["backtest"], "start_time": "2030-01-01"}
        with pytest.raises(InvalidInputError, match=r"the prediction ends on .* before the backtest's start"):
            await MultiPassPortAnaRecord(recorder, config=late, quotes=market("syn40")).generate()
        with pytest.raises(InvalidInputError, match="PortAnaRecord has no prices to trade at: give quotes="):
            await PortAnaRecord(recorder, config()).generate()
        assert await recorder.list_artifacts("portfolio_analysis") == []


NESTED = "qlib.backtest.executor.NestedExecutor"
STRATEGY = {"class": "TopkDropoutStrategy", "kwargs": {"signal": "<PRED>", "topk": 5, "n_drop": 1}}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"config": {"strategy": STRATEGY}},
            "config lacks backtest; its keys are backtest, executor, strategy",
        ),
        ({"config": {"strategy": STRATEGY, "backtest": {}, "model": 1}}, "config has the unknown model"),
        (
            {"config": {"strategy": STRATEGY, "backtest": {"acount": 1}}},
            r"config\['backtest'\] has the unknown acount",
        ),
        ({"config": {"strategy": STRATEGY, "backtest": 1}}, r"config\['backtest'\] is 1; give a dict"),
        ({"config": 1}, "config is 1; give a dict"),
        (
            {"risk_analysis_freq": "5min"},
            "risk_analysis_freq names '5min', but the executor reports only 1day.* can be made of reported days",
        ),
        ({"indicator_analysis_freq": ["1day", "5min"]}, "indicator_analysis_freq names '5min'"),
        ({"risk_analysis_freq": "fortnight"}, "'fortnight' is no frequency such as"),
        (
            {
                "config": {
                    "strategy": STRATEGY,
                    "backtest": {},
                    "executor": {
                        "class": "SimulatorExecutor",
                        "kwargs": {"generate_portfolio_metrics": False},
                    },
                }
            },
            r"config\['executor'\] reports nothing, .* set generate_portfolio_metrics to true",
        ),
        (
            {"config": {"strategy": STRATEGY, "backtest": {}, "executor": {"class": NESTED, "kwargs": {}}}},
            "reports nothing",
        ),
        ({"indicator_analysis_method": "median"}, "indicator_analysis_method is 'median'; choose"),
    ],
)
async def test_a_config_that_means_nothing_is_refused_at_once(
    memory_url: str, options: Any, text: str
) -> None:
    async with run(memory_url) as recorder:
        with pytest.raises(InvalidInputError, match=text):
            PortAnaRecord(recorder, **options)


MEANINGLESS = pytest.mark.parametrize(
    ("kind", "options", "text"),
    [
        (SigAnaRecord, {"ann_scaler": "252"}, "ann_scaler must be a finite number above 0, not '252'"),
        (SigAnaRecord, {"ann_scaler": 0}, "ann_scaler must be"),
        (SigAnaRecord, {"label_col": "LABEL0"}, "label_col must be a whole number, not 'LABEL0'"),
        (SigAnaRecord, {"ana_long_short": "false"}, "ana_long_short must be True or False"),
        (PortAnaRecord, {"skip_existing": 1}, "skip_existing must be True or False, not 1"),
        (PortAnaRecord, {"plots": "no"}, "plots must be True or False"),
        (MultiPassPortAnaRecord, {"rng": False}, "rng must be a seed, .*, or None, not False"),
        (MultiPassPortAnaRecord, {"rng": "7"}, "rng must be a seed"),
        (MultiPassPortAnaRecord, {"shuffle_init_score": "false"}, "shuffle_init_score must be"),
    ],
)


@MEANINGLESS
async def test_arguments_that_mean_nothing_are_refused_at_once(
    memory_url: str, kind: Any, options: Any, text: str
) -> None:
    async with run(memory_url) as recorder:
        with pytest.raises(InvalidInputError, match=text):
            kind(recorder, **options)


@MEANINGLESS
def test_the_blocking_face_refuses_them_too(memory_url: str, kind: Any, options: Any, text: str) -> None:
    with run_blocking(memory_url) as recorder, pytest.raises(InvalidInputError, match=text):
        getattr(blocking, kind.__name__)(recorder, **options)


async def test_a_portfolio_is_judged_at_several_frequencies(memory_url: str) -> None:
    async with run(memory_url) as recorder:
        await predicted(recorder)
        record = PortAnaRecord(
            recorder,
            config(),
            risk_analysis_freq=["day", "week", "month"],
            indicator_analysis_freq=["week"],
            quotes=market("syn40"),
        )
        await record.generate()
        await record.check(include_self=True)
        assert set(await recorder.list_artifacts("portfolio_analysis")) == {
            f"portfolio_analysis/{name}" for name in record.list()
        }
        metrics = await recorder.list_metrics()
        weekly = await record.load("report_normal_1week.pkl")
        analysis = await record.load("port_analysis_1week.pkl")
        daily = await record.load("report_normal_1day.pkl")
        indicators = await record.load("indicators_normal_1week.pkl")
    pd.testing.assert_frame_equal(weekly, resample_report(daily, "week"))
    excess = weekly["return"] - weekly["bench"] - weekly["cost"]
    expected = risk_analysis(excess, freq="week")["risk"]
    assert analysis.loc["excess_return_with_cost", "risk"].to_dict() == expected.to_dict()
    assert metrics["1week.excess_return_with_cost.mean"] == expected["mean"]
    assert indicators.index.equals(weekly.index)
    assert {key.split(".")[0] for key in metrics} == {"1day", "1week", "1month"}
    assert {key for key in metrics if key.endswith(".ffr")} == {"1week.ffr"}


async def test_an_executor_that_says_nothing_of_reports_makes_them(memory_url: str) -> None:
    executor = {"class": "SimulatorExecutor", "module_path": "qlib.backtest.executor", "kwargs": {}}
    async with run(memory_url) as recorder:
        await predicted(recorder)
        record = PortAnaRecord(recorder, {**config(), "executor": executor}, quotes=market("syn40"))
        await record.generate()
        await record.check(include_self=True)
        assert await record.load("port_analysis_1day.pkl") is not None
        assert len(await recorder.list_metrics()) == 13


async def test_each_level_of_an_executor_has_indicators_and_those_that_say_so_a_report(
    memory_url: str,
) -> None:
    """As Qlib does it, which is what runs nested ones."""
    inner = {"class": "SimulatorExecutor", "kwargs": {"time_per_step": "30min"}}
    outer = {"time_per_step": "day", "generate_portfolio_metrics": True, "inner_executor": inner}
    async with run(memory_url) as recorder:
        record = PortAnaRecord(
            recorder,
            {"strategy": STRATEGY, "backtest": {}, "executor": {"class": NESTED, "kwargs": outer}},
        )
        assert set(record.list()) == {
            *("report_normal_1day.pkl", "positions_normal_1day.pkl", "port_analysis_1day.pkl"),
            *(f"indicators_normal_{freq}{end}.pkl" for freq in ("1day", "30min") for end in ("", "_obj")),
            "indicator_analysis_1day.pkl",
        }


async def test_passes_need_a_signal_to_replace(memory_url: str) -> None:
    async with run(memory_url) as recorder:
        for strategy in (object(), {"class": "TopkDropoutStrategy", "kwargs": {"topk": 5}}):
            with pytest.raises(
                InvalidInputError, match="whose kwargs have a signal, which each pass replaces"
            ):
                MultiPassPortAnaRecord(recorder, config={"strategy": strategy, "backtest": {}})
        with pytest.raises(InvalidInputError, match="pass_num is 0"):
            MultiPassPortAnaRecord(recorder, 0)


async def test_the_callers_config_stays_as_it_was(memory_url: str) -> None:
    given, kept = config(), config()
    given["backtest"]["account"] = {"cash": 1e7}
    kept["backtest"]["account"] = {"cash": 1e7}
    async with run(memory_url) as recorder:
        await predicted(recorder)
        record = PortAnaRecord(recorder, given, quotes=market("syn40"))
        given["strategy"]["kwargs"]["topk"] = -1
        await record.generate()
        given["strategy"]["kwargs"]["topk"] = kept["strategy"]["kwargs"]["topk"]
    assert given == kept


async def test_the_default_config_is_qlibs(memory_url: str) -> None:
    async with run(memory_url) as recorder:
        record = PortAnaRecord(recorder)
        assert record.plan.strategy["kwargs"] == {"signal": "<PRED>", "topk": 50, "n_drop": 5}
        assert record.plan.backtest["benchmark"] == "SH000300"
        assert list(record.list()) == [
            "report_normal_1day.pkl",
            "positions_normal_1day.pkl",
            "indicators_normal_1day.pkl",
            "indicators_normal_1day_obj.pkl",
            "port_analysis_1day.pkl",
            "indicator_analysis_1day.pkl",
        ]


def test_the_constructors_begin_with_qlibs_arguments() -> None:
    names = [
        "recorder",
        "config",
        "risk_analysis_freq",
        "indicator_analysis_freq",
        "indicator_analysis_method",
        "skip_existing",
    ]
    for face in (PortAnaRecord, blocking.PortAnaRecord):
        assert list(inspect.signature(face).parameters)[:6] == names
    for face in (MultiPassPortAnaRecord, blocking.MultiPassPortAnaRecord):
        assert list(inspect.signature(face).parameters)[:3] == ["recorder", "pass_num", "shuffle_init_score"]


async def test_the_loop_runs_while_a_backtest_does(memory_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from aqrec.templates import _backtest_figures

    threads: set[int] = set()
    original = _backtest_figures.backtest

    def noted(*args: Any, **kwargs: Any) -> Any:
        threads.add(threading.get_ident())
        return original(*args, **kwargs)

    monkeypatch.setattr(_backtest_figures, "backtest", noted)
    async with run(memory_url) as recorder:
        await predicted(recorder)
        await PortAnaRecord(recorder, config(), quotes=market("syn40")).generate()
        await multi_pass(recorder).generate()
    assert threads
    assert threading.get_ident() not in threads


async def test_another_process_loads_all_of_it_without_being_told_to_trust_it(local_url: str) -> None:
    async with run(local_url) as recorder:
        await predicted(recorder)
        await PortAnaRecord(recorder, config(), quotes=market("syn40")).generate()
    code = """
        import sys
        from aqrec.sync import ExperimentManager
        from aqrec.sync.templates import PortAnaRecord

        with ExperimentManager(sys.argv[1]) as manager:
            record = PortAnaRecord(manager.get_recorder(recorder_id=sys.argv[2]))
            files = {name: record.load(name) for name in record.list()}
        last = list(files["positions_normal_1day.pkl"].values())[-1]
        print(len(last.stocks), len(files["indicators_normal_1day_obj.pkl"].orders))
    """
    done = await asyncio.to_thread(lambda: run_script(code, local_url, recorder.id))
    held = table(f"{SYN40}/account.parquet")["n_stock"].iloc[-1]
    assert done.check().stdout.split() == [str(held), str(len(table(f"{SYN40}/orders.parquet")))]


async def test_a_grid_of_parameters_is_made_at_once_each_in_its_own_run(local_url: str) -> None:
    async with aqrec.ExperimentManager(local_url, options=aqrec.Options(provenance=False)) as manager:
        experiment = await manager.create_exp("grid")
        templates: list[Any] = []
        for topk in (3, 8):
            recorder = await experiment.create_recorder(f"topk={topk}")
            changed = config()
            changed["strategy"] = {
                **changed["strategy"],
                "kwargs": {"signal": "<PRED>", "topk": topk, "n_drop": 1},
            }
            templates += [
                PortAnaRecord(recorder, changed, quotes=market("syn40")),
                SignalRecord(Model(prediction(SYN40)), None, recorder),
            ]
        await generate_all(templates)
        held = [
            len(list((await t.load("positions_normal_1day.pkl")).values())[-1].stocks) for t in templates[::2]
        ]
        assert 3 <= held[0] < 8 <= held[1], "what cannot be sold stays"


async def test_a_prediction_that_is_no_table_is_refused(memory_url: str) -> None:
    async with run(memory_url) as recorder:
        await recorder.save_objects(**{"pred.pkl": pd.DataFrame({"score": [1.0]})})
        with pytest.raises(InvalidValueError, match="no table indexed by"):
            await PortAnaRecord(recorder, config(), quotes=market("syn40")).generate()


async def test_pictures_are_saved_beside_the_numbers(local_url: str) -> None:
    async with run(local_url) as recorder:
        await predicted(recorder)
        plain = set(PortAnaRecord(recorder, config(), quotes=market("syn40")).list())
        record = PortAnaRecord(recorder, config(), quotes=market("syn40"), skip_existing=True, plots=True)
        assert set(record.list()) - plain == {
            "cumulative_return_1day.png",
            "drawdown_1day.png",
            "turnover_1day.png",
            "report_1day.html",
        }
        made = await record.generate()
        assert made is not None
        assert made.keys() == set(record.list())
        await record.check(include_self=True)
        assert (await record.load("drawdown_1day.png")).startswith(b"\x89PNG")
        page = await record.load("report_1day.html")
        worst = made["port_analysis_1day.pkl"].loc[("excess_return_with_cost", "max_drawdown"), "risk"]
        assert "<tr><th>max drawdown of the running sum</th><td>" in page
        assert f"<td>{worst:.2%}</td>" in page
        assert "-0.0000" not in page
        assert page.count("data:image/svg+xml") == 3
        assert await record.generate() is None


async def test_pictures_without_matplotlib_are_refused_at_once(
    memory_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    async with run(memory_url) as recorder:
        for template in (PortAnaRecord, SigAnaRecord):
            with pytest.raises(
                InvalidInputError, match=r"plots need matplotlib.*pip install 'aqrec\[plots\]'"
            ):
                template(recorder, plots=True)
