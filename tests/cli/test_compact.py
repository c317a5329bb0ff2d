"""``aqrec compact``."""

import shutil
from pathlib import Path

from tests.cli.conftest import Cli, Lab


def test_a_store_is_folded_and_shows_the_same(cli: Cli, lab: Lab, tmp_path: Path) -> None:
    lab = lab._replace(path=Path(shutil.copytree(lab.path, tmp_path / "lab")))  # others use it as it was
    before = cli("ls", lab.path, "--json").json()
    out = cli("compact", lab.path).ok().out
    assert "Folded" in out
    assert list((lab.path / "catalog" / "heads").iterdir())
    assert cli("ls", lab.path, "--json").json() == before
    again = cli("compact", lab.path, "--grace", 0, "--json").json()
    assert again["folded"] == 0
    assert again["snapshots"] == 1
    assert again["rows"] == sum(
        known["runs"] for known in cli("ls", lab.path, "--all", "--json").json()["experiments"]
    )


def test_a_folder_that_is_no_store_stays_as_it_is(cli: Cli, tmp_path: Path) -> None:
    ended = cli("compact", tmp_path)
    assert ended.code == 1
    assert "no aqrec store" in ended.err
    assert not list(tmp_path.iterdir())
