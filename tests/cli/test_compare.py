"""``aqrec compare`` and `ExperimentManager.compare`: what distinguishes runs."""

import math
from pathlib import Path

import pandas as pd
import pytest

import aqrec
from aqrec.errors import InvalidInputError, RecorderNotFoundError
from aqrec.options import Options
from aqrec.sync import ExperimentManager
from tests.cli.conftest import Cli

QUICK = Options(provenance=False)
CODE = {
    "a": ("1" * 40, "+lr = 1\n"),
    "b": ("1" * 40, "+lr = 1\n"),
    "c": ("2" * 40, "+lr = 2"),
    "d": (None, ""),
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store nobody changes."""
    url = str(tmp_path_factory.mktemp("compare") / "lab")
    with ExperimentManager(url, options=QUICK) as manager:
        experiment = manager.create_exp("alpha")
        for number, (name, (commit, changes)) in enumerate(CODE.items()):
            with experiment.create_recorder(name) as recorder:
                recorder.log_params(lr=number / 10, model="lgb", seed=None if name == "a" else 1)
                if name == "c":
                    recorder.log_params(only="here")
                recorder.log_metrics(loss=1 - number / 4, nan=math.nan)
                if name != "d":
                    recorder.log_metrics(ic=number)
                recorder.set_tags(stage="test" if number else "prod", owner="me")
                if commit:
                    recorder.save_objects(
                        **{"environment.json": {"git": {"commit": commit}}, "code_diff.txt": changes}
                    )
    return url


def ids(manager: ExperimentManager) -> dict[str, str]:
    return {
        recorder.name: recorder.id for recorder in manager.list_recorders(experiment_name="alpha").values()
    }


def test_what_differs_side_by_side(url: str) -> None:
    with ExperimentManager(url, options=QUICK) as manager:
        known = ids(manager)
        runs = [known[name] for name in "abcd"]
        found = manager.compare([manager.get_recorder(recorder_id=runs[0]), *runs[1:], runs[1]])
        assert found.runs.index.tolist() == runs
        assert found.runs["name"].tolist() == ["a", "b", "c", "d"]
        assert str(found.runs["start_time"].dtype) == "datetime64[ms, UTC]"
        assert (found.runs["duration"] >= 0).all()
        assert found.params.columns.tolist() == runs
        assert found.params.index.tolist() == ["lr", "only", "seed"]
        assert found.params.loc["only"].tolist() == [None, None, "here", None]
        assert found.params.loc["lr"].tolist() == [0.0, 0.1, 0.2, 0.3]
        assert found.tags.index.tolist() == ["stage"]
        assert found.metrics.loc["ic"].tolist()[:3] == [0.0, 1.0, 2.0]
        assert math.isnan(found.metrics.loc["ic", runs[3]])
        assert found.metrics.dtypes.unique().tolist() == ["float64"]
        same, other, unknown = found.code
        assert (same.run_id, same.same, same.diff) == (runs[1], True, "")
        assert (other.same, other.commits) == (False, ("1" * 40, "2" * 40))
        assert [line for line in other.diff.splitlines() if line[:2] in {"-+", "++"} and "lr" in line] == [
            "-+lr = 1",
            "++lr = 2",
        ]
        assert (unknown.same, unknown.commits) == (None, ("1" * 40, None))
        whole = manager.compare(runs[:2], everything=True)
        assert whole.params.index.tolist() == ["lr", "model", "seed"]
        assert whole.tags.index.tolist() == ["owner", "stage"]
        assert repr(whole) == "Comparison of 2 runs: 3 params, 2 tags, 3 metrics"


async def test_the_async_face_compares_likewise(url: str) -> None:
    async with aqrec.ExperimentManager(url, options=QUICK) as manager:
        recorders = list((await manager.list_recorders(experiment_name="alpha")).values())
        found = await manager.compare(recorders[:2])
        assert isinstance(found.params, pd.DataFrame)
        with pytest.raises(InvalidInputError, match="two runs or more; 1 given"):
            await manager.compare([recorders[0], recorders[0].id])
        with pytest.raises(RecorderNotFoundError):
            await manager.compare([recorders[0], "unknown"])


def test_the_command_shows_it(cli: Cli, url: str) -> None:
    out = cli("compare", "alpha/a", "alpha/c", "-s", url).ok().out
    lines = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.strip()}
    assert lines["name"] == ["a", "c"]
    assert lines["lr"] == ["0.0", "0.2"]
    assert lines["ic"] == ["0", "2", "+2"]
    assert lines["loss"] == ["1", "0.5", "-0.5"]
    assert lines["only"] == ["-", "here"]
    assert "model" not in lines
    assert "commit 222222222222, not 111111111111" in out
    assert "lr = 2" not in out
    assert "++lr = 2" in cli("compare", "alpha/a", "alpha/c", "-s", url, "--diff").ok().out
    assert "model" in cli("compare", "alpha/a", "alpha/c", "-s", url, "--all").ok().out
    assert "the same as" in cli("compare", "alpha/a", "alpha/b", "-s", url).ok().out
    assert "not recorded here or in" in cli("compare", "alpha/d", "alpha/b", "-s", url).ok().out


def test_many_runs_come_in_blocks_that_fit(cli: Cli, url: str) -> None:
    out = cli("compare", "alpha/a", "alpha/b", "alpha/c", "alpha/d", "-s", url, width=70).ok().out
    assert max(map(len, out.splitlines())) <= 70
    assert [line.split()[1:] for line in out.splitlines() if line.startswith("name")] == [
        ["a", "b"],
        ["c", "d"],
    ]


def test_json_holds_all_of_it(cli: Cli, url: str) -> None:
    found = cli("compare", "alpha/a", "alpha/c", "-s", url, "--json").json()
    first, other = (run["run_id"] for run in found["runs"])
    assert found["params"]["only"] == {first: None, other: "here"}
    assert found["metrics"]["ic"] == {first: 0.0, other: 2.0}
    assert found["metrics"]["nan"] == {first: None, other: None}
    assert found["code"][0]["same"] is False


def test_one_run_cannot_be_compared(cli: Cli, url: str, tmp_path: Path) -> None:
    assert "two different runs" in cli("compare", "alpha/a", "alpha/a", "-s", url).err
    assert cli("compare", "alpha/a", "alpha/zz", "-s", url).code == 1
