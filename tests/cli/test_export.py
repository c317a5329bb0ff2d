"""``aqrec export parquet``, ``csv`` and ``jsonl``."""

from pathlib import Path

import pandas as pd
import pytest

from tests.cli.conftest import Cli, Lab


def test_tables_are_written_and_summed_up(cli: Cli, lab: Lab, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ended = cli("export", "parquet", out, "-s", lab.path).ok()
    assert f"{out}/runs.parquet: 4 runs, " in ended.out
    assert f"{out}/metrics.parquet: " in ended.out
    assert "requests, " in ended.out
    assert set(pd.read_parquet(out / "runs.parquet")["run_id"]) == {*lab.ids, lab.failed}
    assert (pd.read_parquet(out / "metrics.parquet")["key"] == "loss").sum() == 3 * 60
    again = cli("export", "parquet", out, "-s", lab.path)
    assert again.code == 1
    assert "has runs.parquet and metrics.parquet already" in again.err
    cli("export", "parquet", out, "-s", lab.path, "--force").ok()


def test_runs_columns_and_histories_are_chosen(cli: Cli, lab: Lab, tmp_path: Path) -> None:
    chosen = (
        "params.lr > 0.03",
        "-e",
        "alpha",
        "-b",
        "params.lr",
        "-f",
        "run_name",
        "-f",
        "params.lr",
        "-k",
        "loss",
    )
    done = cli("export", "csv", tmp_path, *chosen, "-n", 1, "-s", lab.path, "--json").json()
    assert (done["runs"]["rows"], done["metrics"]["rows"]) == (1, 60)
    assert (tmp_path / "runs.csv").read_text() == '"run_name","params.lr"\n"lgb-1",0.04\n'
    done = cli(
        "export", "jsonl", tmp_path, "--table", "metrics", "--deleted", "-s", lab.path, "--json"
    ).json()
    assert (done["runs"], done["metrics"]["rows"]) == (None, 0)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("params.lr >",), 1, "params.lr >"),
        (("-e", "nobody"), 1, "nobody"),
        (("--all", "--deleted"), 2, "choose one"),
        (("--table", "params"), 2, "params"),
        (("--dest-option", "endpoint_url=x"), 1, "a folder has none"),
    ],
)
def test_mistakes_make_nothing(
    cli: Cli, lab: Lab, tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    ended = cli("export", "parquet", tmp_path / "out", *arguments, "-s", lab.path)
    assert ended.code == code
    assert said in ended.err
    assert not (tmp_path / "out").exists()
