"""A workflow is checked before anything is done, and all that is wrong is told at once."""

import asyncio
import re
import sys
from pathlib import Path
from typing import Any

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
        ("experiment_name: ''", "experiment_name: experiment name '': use 1 to"),
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


def test_a_dict_may_have_keys_of_its_own() -> None:
    """A dict has lost the anchors that tell such keys from slips."""
    task: dict[str, Any] = {"model": "tests.workflow.parts.Mean", "dataset": "tests.workflow.parts.Panel"}
    blocking.check({"windows": [1, 2], "task": {**task, "owner": "me"}})
    with pytest.raises(InvalidWorkflowError, match="did you mean experiment_name"):
        blocking.check({"experiment_nam": "x", "task": task})
    with pytest.raises(InvalidWorkflowError, match=re.escape("task.record: expected")):
        blocking.check({"task": {**task, "record": 3}})
