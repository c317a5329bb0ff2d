"""``aqrec retain``, ``restore`` and ``purge``."""

import shutil
from pathlib import Path

from tests.cli.conftest import Cli, Lab


def test_runs_are_retained_restored_and_purged(cli: Cli, lab: Lab, tmp_path: Path) -> None:
    path = Path(shutil.copytree(lab.path, tmp_path / "lab"))
    assert "give older_than" in cli("retain", path).err
    out = cli("retain", path, "--keep-last", 2, "-e", "alpha").ok().out
    assert "Would delete 1 run with" in out
    assert cli("retain", path, "--keep-last", 1, "-e", "alpha", "--yes", "--json").json()["dry_run"] is False
    first, second = lab.ids[:2]
    assert f"Restored {second}" in cli("restore", second, "--store", path).ok().out
    assert cli("restore", second, "--store", path).code == 1
    assert "Would purge 0 runs" in cli("purge", path).ok().out
    assert "Would purge 1 run with" in cli("purge", path, "--older-than", "0").ok().out
    assert (path / "runs" / first).exists()
    assert "Purged 1 run" in cli("purge", path, "--older-than", "0", "--yes").ok().out
    assert not list((path / "runs" / first).rglob("*.*"))
    assert cli("show", first, "--store", path).code == 1
    assert cli("show", second, "--store", path, "--json").json()["deleted"] is False
