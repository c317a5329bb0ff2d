"""``aqrec verify``."""

import shutil
from pathlib import Path

from tests.cli.conftest import Cli, Lab


def test_damage_is_shown_and_repaired(cli: Cli, lab: Lab, tmp_path: Path) -> None:
    path = Path(shutil.copytree(lab.path, tmp_path / "lab"))
    out = cli("verify", path, "--contents").ok().out
    assert "Everything is as it should be." in out
    assert "4 runs" in out
    document = path / "runs" / lab.first / "run.json"
    document.write_text("{")
    lost = path / "runs" / lab.first / "artifacts" / "pred.pkl"
    lost.unlink()
    ended = cli("verify", path, "--json")
    assert ended.code == 1
    ended = cli("verify", path, "--repair", width=200)
    assert ended.code == 1, "the artifact is lost"
    assert "repaired" in ended.out
    assert "pred.pkl: it is missing" in ended.out
    shutil.copy(lab.path / "runs" / lab.first / "artifacts" / "pred.pkl", lost)
    assert cli("verify", path, "--json").json()["ok"] is True
