"""A workflow is checked before anything is done, and all that is wrong is told at once."""

import asyncio
import io
import re
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import aqrec.sync.workflow as blocking
from aqrec import workflow
from aqrec.errors import InvalidWorkflowError
from aqrec.tasks import _checking

DATA = Path(__file__).parent / "data"
GOOD = """\
task:
  model: {class: Mean, module_path: tests.workflow.parts}
  dataset: {class: Panel, module_path: tests.workflow.parts}
"""


@pytest.fixture
def no_qlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_checking, "has_qlib", lambda: False)


def found(tmp_path: Path, text: str) -> list[tuple[int | None, str]]:
    path = tmp_path / "w.yaml"
    path.write_text(text)
    with pytest.raises(InvalidWorkflowError) as caught:
        blocking.check(path)
    error = caught.value
    assert all(f"line {problem.line}, " in str(error) for problem in error.problems if problem.line)
    return [(problem.line, f"{problem.key}: {problem.text}") for problem in error.problems]


def test_a_good_workflow_is_given_back(tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    path.write_text(GOOD)
    assert blocking.check(path)["task"]["model"] == {"class": "Mean", "module_path": "tests.workflow.parts"}


async def test_the_async_face_checks_the_same(tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    path.write_text(GOOD)
    assert await workflow.check(path) == await asyncio.to_thread(blocking.check, path)
    with pytest.raises(InvalidWorkflowError):
        await workflow.check({"task": 3})


@pytest.mark.parametrize("name", ["qrun.yaml", "alpha360.yaml"])
@pytest.mark.usefixtures("no_qlib")
def test_files_of_qlib_are_good_where_qlib_is_not_installed(name: str) -> None:
    """Their keys and types are checked; their classes are looked up only where Qlib is."""
    config = blocking.check(DATA / name)
    assert config["task"]["record"][0]["class"] == "SignalRecord"


@pytest.mark.usefixtures("no_qlib")
def test_to_run_them_qlib_is_needed_and_nothing_is_written(tmp_path: Path) -> None:
    store = tmp_path / "lab"
    with pytest.raises(InvalidWorkflowError, match="pip install pyqlib") as caught:
        blocking.run(DATA / "alpha360.yaml", uri=str(store))
    assert len(caught.value.problems) == 1
    assert not store.exists()


def test_all_that_is_wrong_is_told_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """\
experment_name: x
extra: &known 3
more: 4
sys: {paths: 3}
task:
  models: 1
  model:
    class: Maen
    module_path: tests.workflow.parts
  dataset:
    class: Panel
    module_path: tests.workflow.prats
    kwargs: [1]
  record:
    - class: SignalRecord
      module_path: qlib.workflow.record_temp
      kwargs: {model: <MODLE>}
    - class: SigAnaRecord
      modul_path: qlib.workflow.record_temp
      kwargs: {ana_longshort: true}
    - 3
    - {class: NotARecord, module_path: tests.workflow.parts, kwargs: {size: 3}}
"""
    problems = found(tmp_path, text)
    expected = [
        (1, "experment_name: unknown key; did you mean experiment_name?"),
        (3, "more: unknown key; known are"),
        (4, "sys.paths: unknown key; did you mean path?"),
        (6, "task.models: unknown key; did you mean model?"),
        (8, "task.model.class: module tests.workflow.parts has no 'Maen'; did you mean Mean?"),
        (12, "task.dataset.module_path: module 'tests.workflow.prats' cannot be imported"),
        (13, "task.dataset.kwargs: expected a mapping of arguments, not a list"),
        (17, "task.record[0].kwargs.model: unknown placeholder <MODLE>; did you mean <MODEL>?"),
        (19, "task.record[1].modul_path: unknown key; did you mean module_path?"),
        (
            20,
            "task.record[1].kwargs.ana_longshort: SigAnaRecord has no parameter 'ana_longshort'; did you mean",
        ),
        (21, "task.record[2]: expected a mapping with the keys class, module_path and kwargs, not a number"),
        (22, "task.record[3].class: NotARecord has no method generate()"),
    ]
    assert [line for line, _ in problems] == [line for line, _ in expected]
    for (_, message), (_, beginning) in zip(problems, expected, strict=True):
        assert message.startswith(beginning)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("experiment_name: 3", "experiment_name: expected text, not a number"),
        ("experiment_name: ''", "experiment_name: experiment name '' is empty"),
        ("qlib_init: [1]", "qlib_init: expected a mapping of the arguments of qlib.init(), not a list"),
        ("sys: 3", "sys: expected a mapping with the keys path and rel_path, not a number"),
        ("sys: {path: [3]}", "sys.path: expected a folder or a list of folders, not a list"),
    ],
)
def test_wrong_types_are_told(tmp_path: Path, change: str, message: str) -> None:
    assert [text[: len(message)] for _, text in found(tmp_path, f"{GOOD}{change}\n")] == [message]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("3", "task.model: expected a mapping with the keys class, module_path and kwargs, not a number"),
        ("", "task.model: expected a mapping with the keys class, module_path and kwargs, not nothing"),
        ("{module_path: tests.workflow.parts}", "task.model: the key class is missing"),
        ("{class: 3}", "task.model.class: expected the name of a class, not a number"),
        ("{class: Mean}", "task.model.class: 'Mean' lacks its module"),
        (
            "{class: Mean, module_path: 3}",
            "task.model.module_path: expected the name of a module, not a number",
        ),
        ("tests.workflow.parts.Panel", "task.model: Panel has no method fit()"),
        (
            "{class: tests.workflow.parts.Mean, kwargs: {1: 2}}",
            "task.model.kwargs[1]: the name of an argument is text",
        ),
        ("{class: tests.workflow.parts.mean}", "task.model.kwargs: mean needs factor"),
        ("{class: tests.workflow.parts.__all__}", "task.model.class: is a list, which cannot be called"),
        ("file://nothing.pkl", "task.model: there is no file 'nothing.pkl'"),
        (
            "{class: tests.workflow.parts.Mean, kwargs: {when: {class: Gone, module_path: tests.workflow.parts}}}",
            "task.model.kwargs.when.class: module tests.workflow.parts has no 'Gone'",
        ),
    ],
)
def test_what_cannot_be_made_is_told(tmp_path: Path, model: str, message: str) -> None:
    text = f"task:\n  model: {model}\n  dataset: tests.workflow.parts.Panel\n"
    assert message in [said[: len(message)] for _, said in found(tmp_path, text)]


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "expected a mapping"), ("task:\n", "task: expected"), ("a: 1\n", "the key task")],
)
def test_a_file_without_a_task_is_told(tmp_path: Path, text: str, message: str) -> None:
    assert any(message in said for _, said in found(tmp_path, text))


def test_a_module_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_module.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    text = GOOD.replace("tests.workflow.parts", "broken_module", 1)
    [(_, message)] = found(tmp_path, text)
    assert message == "task.model.module_path: importing it fails: ZeroDivisionError: division by zero"


def test_modules_of_ones_own_lie_where_the_file_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "beside_it.py").write_text("from tests.workflow.parts import Mean as Own\n")
    path = tmp_path / "w.yaml"
    path.write_text(
        "sys: {rel_path: mine}\n"
        + GOOD.replace("class: Mean, module_path: tests.workflow.parts", "class: beside_it.Own")
    )
    config = blocking.check(path)
    assert str(tmp_path / "mine") in sys.path
    # What is recorded can be run from anywhere.
    assert config["sys"]["rel_path"] == [str(tmp_path / "mine")]


TRADING = """\
    - class: PortAnaRecord
      kwargs:
        plots: 'yes'
        config:
          strategy:
            class: TopkDropoutStrategy
            module_path: qlib.contrib.strategy
            kwargs:
              signal: <PRED>
              topk: '50'
              n_dropp: 5
              risk_degree: 2
          executor:
            class: SimulatorExecutor
            module_path: qlib.backtest.executor
            kwargs:
              time_per_step: day
              generate_metrics: true
          backtest:
            start_time: 2024-01-05
            end_time: 2024-01-02
            account: lots
            benchmark: 3
            acount: 1
            exchange_kwargs:
              open_cost: -1
              deal_price: [close]
              limit_treshold: 0.1
"""


@pytest.mark.usefixtures("no_qlib")
def test_what_a_portfolio_record_is_told_is_checked_to_the_last_key(tmp_path: Path) -> None:
    text = (
        GOOD.replace("class: Panel", "class: PricedPanel")
        + "  record:\n    - class: SignalRecord\n"
        + TRADING
    )
    problems = found(tmp_path, text)
    inside = "task.record[1].kwargs.config"
    expected = {
        8: "task.record[1].kwargs.plots: expected true or false, not text",
        13: f"{inside}.strategy.kwargs: TopkDropoutStrategy needs n_drop",
        15: f"{inside}.strategy.kwargs.topk: expected a whole number, not text",
        16: f"{inside}.strategy.kwargs.n_dropp: TopkDropoutStrategy has no parameter 'n_dropp'; did you mean n_drop?",
        23: f"{inside}.executor.kwargs.generate_metrics: SimulatorExecutor has no parameter 'generate_metrics'",
        26: f"{inside}.backtest.end_time: is before start_time, 2024-01-05",
        27: f"{inside}.backtest.account: account must be a number",
        28: f"{inside}.backtest.benchmark: the benchmark must be an instrument",
        29: f"{inside}.backtest.acount: unknown key; did you mean account?",
        31: f"{inside}.backtest.exchange_kwargs.open_cost: open_cost must be a finite number from 0 on, not -1",
        32: f"{inside}.backtest.exchange_kwargs.deal_price: deal_price must be a field or a pair",
        33: f"{inside}.backtest.exchange_kwargs.limit_treshold: unknown key; did you mean limit_threshold?",
    }
    assert [line for line, _ in problems] == list(expected)
    for line, message in problems:
        assert message.startswith(expected[line or 0]), message


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ("{config: 3}", "kwargs.config: expected a mapping"),
        ("{config: {strategy: {class: Mine}, backtest: {}}}", "strategy.class: aqrec has no 'Mine'; it has"),
        ("{config: {strategy: {kwargs: {}}, backtest: {}}}", "strategy: the key class is missing"),
        (
            "{config: {strategy: {class: TopkDropoutStrategy, kwargs: 3}, backtest: 4}}",
            "strategy.kwargs: expec",
        ),
        ("{config: {backtest: {}}}", "config: the key strategy is missing"),
        (
            (
                "{config: {strategy: {class: TopkDropoutStrategy, kwargs: {signal: <PRED>, topk: -1, n_drop: 1}}, "
                "backtest: {}}}"
            ),
            "strategy.kwargs.topk: topk must be a whole number from 0 on, not -1",
        ),
        (
            (
                "{config: {strategy: {class: TopkDropoutStrategy, "
                "kwargs: {signal: <PRED>, topk: 3, n_drop: 1, method_buy: random}}, backtest: {}}}"
            ),
            "strategy.kwargs: a random method needs rng",
        ),
        (
            "{risk_analysis_freq: fortnight}",
            "kwargs.risk_analysis_freq: risk_analysis_freq: 'fortnight' is no",
        ),
        ("{indicator_analysis_method: middle}", "indicator_analysis_method is 'middle'"),
        ("{region: eu}", "kwargs.region: expected 'cn' or 'us' or 'tw', not text"),
        (
            (
                "{config: {strategy: {class: TopkDropoutStrategy, kwargs: {signal: <PRED>, topk: 3, n_drop: 1}}, "
                "executor: {class: SimulatorExecutor, kwargs: {generate_portfolio_metrics: false}}, backtest: {}}}"
            ),
            "config['executor'] reports nothing",
        ),
    ],
)
def test_what_a_portfolio_record_cannot_be_told_is_refused(tmp_path: Path, kwargs: str, message: str) -> None:
    text = GOOD.replace("class: Panel", "class: PricedPanel") + (
        f"  record:\n    - class: SignalRecord\n    - class: PortAnaRecord\n      kwargs: {kwargs}\n"
    )
    assert any(message in said and line == 7 for line, said in found(tmp_path, text)), found(tmp_path, text)


def test_a_portfolio_record_without_prices_is_told(tmp_path: Path) -> None:
    records = "  record:\n    - class: SignalRecord\n    - class: PortAnaRecord\n"
    [(line, message)] = found(tmp_path, GOOD + records)
    assert line == 6
    assert message.startswith("task.record[1].kwargs: PortAnaRecord has no prices to trade at: give quotes=")
    (tmp_path / "w.yaml").write_text(GOOD.replace("class: Panel", "class: PricedPanel") + records)
    blocking.check(tmp_path / "w.yaml")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("AsyncNote, kwargs: {skip_exist: true}", "does not fit: ACRecordTemp.__init__() got an unexpected"),
        ("OwnPrices, kwargs: {quotes: q.csv}", "got multiple values for keyword argument 'quotes'"),
        (
            "Portfolio, kwargs: {plot: true}",
            "does not fit: PortAnaRecord.__init__() got an unexpected keyword",
        ),
        ("Portfolio", "Portfolio has no prices to trade at"),
        ("NoPrices", "NoPrices has no prices to trade at"),
    ],
)
def test_records_that_would_fail_after_the_training_are_told(
    tmp_path: Path, record: str, message: str
) -> None:
    text = (
        f"{GOOD}  record:\n    - SignalRecord\n    - {{module_path: tests.workflow.parts, class: {record}}}\n"
    )
    told = found(tmp_path, text)
    assert any(message in said and line == 6 for line, said in told), told


def test_records_that_hand_their_arguments_on_are_good(tmp_path: Path) -> None:
    for record in (
        "AsyncNote, kwargs: {skip_existing: true}",
        "OwnPrices",
        "Portfolio, kwargs: {quotes: <PRED>}",
    ):
        text = f"{GOOD}  record:\n    - SignalRecord\n    - {{module_path: tests.workflow.parts, class: {record}}}\n"
        (tmp_path / "w.yaml").write_text(text)
        blocking.check(tmp_path / "w.yaml")


QUOTES = "instrument,datetime,close\n" + "".join(f"NA,2024-01-0{day},1{day}\n" for day in range(1, 7))
PORTFOLIO = """\
  record:
    - SignalRecord
    - class: PortAnaRecord
      kwargs:
        quotes: prices.csv
        config:
          strategy: {class: TopkDropoutStrategy, kwargs: {signal: <PRED>, topk: 2, n_drop: 1}}
          backtest:
            benchmark: NA
"""


def test_quotes_lie_where_one_stands_or_beside_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recorded path is absolute, so that the run can be repeated from anywhere."""

    def quotes(config: Any) -> Any:
        return blocking.check(config)["task"]["record"][1]["kwargs"]["quotes"]

    own, here = tmp_path / "own", tmp_path / "here"
    for folder in (own, here):
        folder.mkdir()
    monkeypatch.chdir(here)
    (own / "prices.csv").write_text(QUOTES)
    (own / "base.yaml").write_text(GOOD + PORTFOLIO)
    (own / "w.yaml").write_text(GOOD + PORTFOLIO)
    (tmp_path / "based.yaml").write_text("BASE_CONFIG_PATH: own/base.yaml\n")
    assert quotes(own / "w.yaml") == quotes(tmp_path / "based.yaml") == str(own / "prices.csv")
    (here / "prices.csv").write_text(QUOTES)
    assert quotes(own / "w.yaml") == str(here / "prices.csv")


def test_quotes_and_benchmarks_that_are_not_there_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    [(line, said)] = found(tmp_path, GOOD + PORTFOLIO)
    assert line == 8
    assert said.startswith(
        "task.record[1].kwargs.quotes: there is no file or folder 'prices.csv', looked for bel"
    )
    frame = pd.read_csv(io.StringIO(QUOTES), keep_default_na=False)
    provider = tmp_path / "provider"
    for folder in ("calendars", "features/na"):
        (provider / folder).mkdir(parents=True)
    (provider / "features" / "na" / "close.day.bin").touch()
    (tmp_path / "parts").mkdir()
    frame.to_parquet(tmp_path / "parts" / "1.parquet")
    frame.set_index(["instrument", "datetime"]).to_parquet(tmp_path / "prices.parquet")
    (tmp_path / "prices.csv").write_text(QUOTES)
    for kind in ("prices.csv", "prices.parquet", "parts", "provider"):
        text = GOOD + PORTFOLIO.replace("prices.csv", kind)
        (tmp_path / "w.yaml").write_text(text)
        blocking.check(tmp_path / "w.yaml")
        [(line, said)] = found(tmp_path, text.replace("benchmark: NA", "benchmark: [NA, B]"))
        assert (line, said.partition(" is not in")[0]) == (
            12,
            "task.record[1].kwargs.config.backtest.benchmark: the benchmark 'B'",
        )
    [(line, said)] = found(tmp_path, GOOD + PORTFOLIO.replace("prices.csv", "w.yaml"))
    assert (line, "neither .parquet nor .csv" in said) == (8, True)
    (tmp_path / "prices.csv").write_text("a,b\n1,2\n")
    [(line, said)] = found(tmp_path, GOOD + PORTFOLIO)
    assert (line, "cannot be read" in said) == (8, True)


def test_records_that_come_before_what_they_need_are_told(tmp_path: Path) -> None:
    text = f"""{GOOD}  record:
    - class: SigAnaRecord
    - class: SignalRecord
    - class: AsyncNote
      module_path: tests.workflow.parts
    - class: SignalMseRecord
"""
    assert found(tmp_path, text) == [
        (
            5,
            "task.record[0]: SigAnaRecord needs 'pred.pkl', which SignalRecord makes: move it behind that record",
        )
    ]
    text = f"{GOOD}  record: {{class: SigAnaRecord}}\n"
    [(line, message)] = found(tmp_path, text)
    assert (line, message.rpartition(": ")[2]) == (4, "put SignalRecord before it")
    (tmp_path / "w.yaml").write_text(text.replace("SigAnaRecord", "SigAnaRecord, kwargs: {on_missing: skip}"))
    blocking.check(tmp_path / "w.yaml")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("{factor: high}", "task.model.kwargs.factor: expected a number, not text"),
        ("{noise: 'no'}", "task.model.kwargs.noise: expected a number, not text"),
    ],
)
def test_text_where_a_number_is_annotated_is_told(tmp_path: Path, model: str, message: str) -> None:
    text = GOOD.replace("{class: Mean,", f"{{class: Mean, kwargs: {model},")
    assert [said for _, said in found(tmp_path, text)] == [message]


def test_annotations_of_others_are_not_taken_at_their_word(tmp_path: Path) -> None:
    """A whole number may stand for a float, null for anything, and a list for what it likes."""
    for kwargs in ("{factor: 2}", "{factor: null}", "{factor: [1, 2]}", "{when: text}", "{factor: <MODEL>}"):
        (tmp_path / "w.yaml").write_text(GOOD.replace("{class: Mean,", f"{{class: Mean, kwargs: {kwargs},"))
        blocking.check(tmp_path / "w.yaml")


def test_a_dict_may_have_keys_of_its_own() -> None:
    """A dict has lost the anchors that tell such keys from slips."""
    task: dict[str, Any] = {"model": "tests.workflow.parts.Mean", "dataset": "tests.workflow.parts.Panel"}
    blocking.check({"windows": [1, 2], "task": {**task, "owner": "me"}})
    with pytest.raises(InvalidWorkflowError, match="did you mean experiment_name"):
        blocking.check({"experiment_nam": "x", "task": task})
    with pytest.raises(InvalidWorkflowError, match=re.escape("task.record: expected")):
        blocking.check({"task": {**task, "record": 3}})
