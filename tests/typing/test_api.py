"""The typed examples are complete, and they run."""

import ast
from pathlib import Path

import pytest

import aqrec
import aqrec.sync
from aqrec.recording._default import defaults
from tests.typing import api

CLASSES = ("Recorder", "Experiment", "ExperimentManager")


def test_every_public_call_is_there() -> None:
    """Each attribute of each class on each face is used in the functions of that face, or in both if it is shared."""
    tree = ast.parse(Path(api.__file__).read_text(encoding="utf-8"))
    used: dict[bool, set[str]] = {False: set(), True: set()}
    for function in tree.body:
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            blocking = isinstance(function, ast.FunctionDef)
            used[blocking] |= {node.attr for node in ast.walk(function) if isinstance(node, ast.Attribute)}
    for blocking, face in ((False, aqrec), (True, aqrec.sync)):
        classes = [getattr(face, name) for name in CLASSES] + [type(face.R)]
        public = {name for cls in classes for name in dir(cls) if not name.startswith("_")}
        assert public - used[blocking] == set()


def test_every_call_runs(memory_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("uri", "options", "storage_options", "default_exp_name"):
        monkeypatch.setattr(defaults, name, getattr(defaults, name))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    api.main(memory_url, folder)
