"""``aqrec import mlruns`` and ``aqrec export mlruns``."""

from pathlib import Path

from tests.cli.conftest import Cli
from tests.integrations.mlflow.stores import Given, content, write_file_store, write_sqlite

RUNS = [Given("a" * 32, metrics={"m": [(1, 0.5, 0)]}), Given("b" * 32, "beta", status="FAILED")]


def test_a_folder_goes_in_and_comes_out(cli: Cli, tmp_path: Path) -> None:
    source = write_file_store(tmp_path / "mlruns", RUNS)
    lab, out = tmp_path / "lab", tmp_path / "out"
    assert "Imported 2 runs with 1 point" in cli("import", "mlruns", source, "--store", lab).ok().out
    assert "2 runs had nothing new" in cli("import", "mlruns", source, "--store", lab).ok().out
    assert "Exported 1 run" in cli("export", "mlruns", out, "-s", lab, "-e", "beta").ok().out
    assert list(content(out)) == ["b" * 32]
    found = cli("export", "mlruns", out, "-s", lab, "--json").json()
    assert (found["runs"], found["failed"]) == (2, {})
    assert content(out).keys() == content(source).keys()


def test_what_stands_against_it_is_said(cli: Cli, tmp_path: Path) -> None:
    base = write_sqlite(tmp_path / "mlflow.db", [*RUNS, Given("-bad")])
    ended = cli("import", "mlruns", f"sqlite:///{base}", "-s", tmp_path / "lab", "--json")
    assert ended.code == 1
    assert "-bad: recorder id '-bad'" in ended.err
    assert '"runs": 2' in ended.out
    ended = cli("import", "mlruns", tmp_path / "absent", "-s", tmp_path / "lab")
    assert (ended.code, "no folder" in ended.err) == (1, True)
    assert cli("import", "mlruns", base, "--artifacts", "burn").code == 2
