"""``aqrec archive``."""

import shutil
from pathlib import Path

from tests.cli.conftest import Cli, Lab


def test_artifacts_are_archived_and_brought_back(cli: Cli, lab: Lab, tmp_path: Path) -> None:
    path = Path(shutil.copytree(lab.path, tmp_path / "lab"))
    cold = tmp_path / "cold"
    assert "needs the URL" in cli("archive", "--store", path).err
    told = cli("archive", cold, "--store", path, "-e", "alpha", "--keep-last", 1).ok().out
    assert "Would move" in told
    assert "add --yes" in told
    assert lab.ids[0] in told
    assert lab.ids[2] not in told
    assert not cold.exists()
    out = cli("archive", cold, "--store", path, "-e", "alpha", "--keep-last", 1, "--yes").ok().out
    assert "of 2 runs." in out
    assert "requests" in out
    assert not [file for file in (path / "runs" / lab.ids[0] / "artifacts").rglob("*") if file.is_file()]
    assert "score" in cli("get", lab.ids[0], "pred.pkl", "--print", "--store", path).ok().out
    cli("get", lab.ids[0], "pred.pkl", tmp_path / "out", "--store", path).ok()
    assert (tmp_path / "out").exists()
    assert cli("verify", path, "--contents", "--json").json()["problems"] == []
    done = cli("archive", "--back", "--store", path, "--yes", "--json").json()
    assert len(done["runs"]) == 2
    assert done["moved"] == sum(run["artifacts"] for run in done["runs"])
    assert not [file for file in cold.rglob("*") if file.is_file()]
    assert "Would compress" in cli("archive", "--compress", "--store", path).ok().out
    packed = cli("archive", "--compress", "--store", path, "--yes", "--json").json()
    assert packed["moved"] + sum(packed["kept"].values()) == sum(run["artifacts"] for run in packed["runs"])
    assert packed["moved"] > 0
    assert "Would move 0 artifacts" in cli("archive", "--back", "--store", path).ok().out
