"""``aqrec gc``."""

import os
import shutil
import time
from pathlib import Path

import pytest

from aqrec.cli._upkeep import seconds
from aqrec.errors import InvalidInputError
from aqrec.format import _layout as layout
from aqrec.format._ids import new_id
from tests.cli.conftest import Cli, Lab


def test_orphans_are_shown_first_and_deleted_with_yes(cli: Cli, lab: Lab, tmp_path: Path) -> None:
    path = Path(shutil.copytree(lab.path, tmp_path / "lab"))
    orphan = path / layout.artifact_parts_folder(lab.first, "big.npy") / new_id() / "000000"
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(b"x" * 1000)
    before = cli("ls", path, "--json").json()
    assert "no orphans" in cli("gc", path, "--yes").ok().out
    old = time.time() - 30 * 3600
    for file in path.rglob("*"):
        os.utime(file, (old, old))
    assert "no orphans" in cli("gc", path).ok().out, "it is not 7 days old"
    out = cli("gc", path, "--grace", "1d").ok().out
    assert "Would delete 1 orphan of 1.0 kB" in out
    assert orphan.exists()
    done = cli("gc", path, "--grace", "24h", "--yes", "--json").json()
    assert [(found["kind"], found["size"]) for found in done["orphans"]] == [("part", 1000)]
    assert done["cost"]["requests"] > 0
    assert not orphan.exists()
    assert cli("ls", path, "--json").json() == before
    ended = cli("gc", path, "--grace", "5s")
    assert ended.code == 1
    assert "at least 3600 seconds" in ended.err


def test_lengths_of_time() -> None:
    assert [seconds("--grace", text) for text in ("90", "1.5h", "2 d", "15m", "1w")] == [
        90,
        5400,
        172_800,
        900,
        604_800,
    ]
    for text in ("", "week", "-1", "3 y"):
        with pytest.raises(InvalidInputError, match="--grace"):
            seconds("--grace", text)
