"""``aqrec run``: a workflow file from beginning to end, and again from its record."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests._support import ROOT
from tests.cli.conftest import Cli
from tests.cli.test_app import _on_a_terminal

EXAMPLE = ROOT / "examples" / "workflow.yaml"
SMALL = """\
task:
  model: {class: tests.workflow.parts.Mean}
  dataset: {class: tests.workflow.parts.Panel}
  record: {class: SignalRecord}
"""
FAILS = """\
task:
  model: {class: tests.workflow.parts.Failing}
  dataset: {class: tests.workflow.parts.Panel}
"""


@pytest.fixture(autouse=True)
def _own_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The command adds the current folder to `sys.path`."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)


def test_the_example_runs_and_runs_again_from_its_record(cli: Cli) -> None:
    """Its last lines are commands, and each works."""
    first = cli("run", EXAMPLE, "--store", "./my lab").ok()
    assert first.err == ""
    heading = first.out.splitlines()[0]
    assert heading.startswith("workflow/")
    assert "FINISHED" in heading
    for metric in ("IC", "ICIR", "Rank IC", "1day.excess_return_with_cost.annualized_return"):
        assert re.search(rf"^{metric} +-?0\.\d+$", first.out, re.MULTILINE)
    commands = re.findall(r"^  (aqrec .*)$", first.out, re.MULTILINE)
    assert [shlex.split(command)[1] for command in commands] == ["show", "run"]
    show, again = (cli(*shlex.split(command)[1:]).ok().out for command in commands)
    assert "RidgeModel" in show
    assert "all metrics equal those of run" in again
    runs = cli("ls", "./my lab", "-e", "workflow", "--json").json()["runs"]
    assert len(runs) == 2
    [folder] = re.findall(r"^Files\n  (.*)$", first.out, re.MULTILINE)
    assert (Path(folder) / "run.json").is_file()


def test_a_run_that_differs_from_its_record_shows_by_how_much(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "chance.py").write_text(
        "import aqrec.sync, itertools, pathlib\n"
        "class Model:\n"
        "    def fit(self, dataset):\n"
        "        file = pathlib.Path('count')\n"
        "        count = int(file.read_text()) + 1 if file.exists() else 0\n"
        "        file.write_text(str(count))\n"
        "        aqrec.sync.R.log_metrics(same=1.0, loss=0.5 + count / 4)\n"
    )
    (tmp_path / "w.yaml").write_text("task: {model: chance.Model, dataset: tests.workflow.parts.Panel}\n")
    cli("run", "w.yaml", "-s", "lab", "-e", "alpha", "--name", "one").ok()
    again = cli("run", "--from", "alpha/one", "-s", "lab").ok()
    assert re.search(r"^loss +0\.75 +0\.5 +\+0\.25 *$", again.out, re.MULTILINE)
    assert "1 metric differs from run" in again.out


def test_the_result_can_be_read_by_a_program(cli: Cli, tmp_path: Path) -> None:
    """What models print goes elsewhere."""
    (tmp_path / "talks.py").write_text(
        "class Model:\n    def fit(self, dataset):\n        print('fitting')\n"
    )
    (tmp_path / "w.yaml").write_text("task: {model: talks.Model, dataset: tests.workflow.parts.Panel}\n")
    ended = cli("run", "w.yaml", "-s", "lab", "--json")
    assert ended.json()["status"] == "FINISHED"
    assert ended.err == "fitting\n"


def test_a_file_can_be_checked_alone(cli: Cli, tmp_path: Path) -> None:
    assert cli("run", EXAMPLE, "--check").ok().out.endswith("is good: a model, a data set, 3 records\n")
    assert list(tmp_path.iterdir()) == []


def test_each_problem_is_shown_below_its_line(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_text(
        "experment_name: x\ntask:\n  model: {class: RigdeModel, module_path: aqrec.demo}\n  dataset: aqrec.demo.DemoDataset\n"
    )
    for words in (["--store", "lab"], ["--check"]):
        ended = cli("run", "w.yaml", *words)
        assert (ended.code, ended.out) == (1, "")
        assert ended.err.splitlines() == [
            "error: w.yaml has 2 problems; nothing was run",
            "",
            "  1 | experment_name: x",
            "    | ^",
            "      experment_name: unknown key; did you mean experiment_name?",
            "",
            "  3 |   model: {class: RigdeModel, module_path: aqrec.demo}",
            "    |                  ^",
            "      task.model.class: module aqrec.demo has no 'RigdeModel'; did you mean RidgeModel?",
        ]
    assert [path.name for path in tmp_path.iterdir()] == ["w.yaml"]


def test_a_model_that_fails_shows_where_and_keeps_its_run(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_text(FAILS)
    ended = cli("run", "w.yaml", "--store", "lab")
    assert ended.code == 1
    assert "parts.py" in ended.err
    assert "error: no data of that kind" in ended.err
    [command] = re.findall(r"^hint: .*: aqrec (.*)$", ended.err, re.MULTILINE)
    assert "FAILED" in cli(*shlex.split(command)).ok().out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "give either WORKFLOW or --from RUN"),
        (["w.yaml", "--from", "x"], 2, "give either WORKFLOW or --from RUN"),
        (["--from", "x", "--check"], 2, "--check takes a WORKFLOW"),
        (["nothing.yaml"], 1, "No such file or directory: nothing.yaml"),
        (["--from", "x", "-s", "nowhere"], 1, "there is no aqrec store"),
    ],
)
def test_wrong_usage_is_told(cli: Cli, words: list[str], code: int, message: str) -> None:
    ended = cli("run", *words)
    assert ended.code == code
    assert message in ended.err


def test_a_terminal_sees_progress_that_goes_away(tmp_path: Path) -> None:
    """The last redraw before it goes is never left out."""
    (tmp_path / "w.yaml").write_text(SMALL)
    seen = _on_a_terminal("run", tmp_path / "w.yaml", "--store", tmp_path / "lab")
    assert re.search(r"(data set|model|SignalRecord|done) .*[0-3]/3", seen)
    assert "3/3" not in seen[seen.rindex("FINISHED") :]


def test_without_the_extra_packages_it_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['ruamel.yaml'] = None\n"
        f"sys.argv = ['aqrec', 'run', {str(EXAMPLE)!r}, '--check']\n"
        "from aqrec.cli import main; main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60, cwd=ROOT
    )
    assert ended.returncode == 1
    assert "pip install 'aqrec[workflow]'" in ended.stderr
    assert json.dumps(ended.stdout) == '""'
