from __future__ import annotations

import os
import subprocess
import sys
import threading

import msgspec
import pytest

from aqrec.provenance import GitState, Provenance, collect, git_state, host_state, packages
from aqrec.provenance import _collect as module
from aqrec.provenance._cache import RecentValues


@pytest.fixture
def looks(monkeypatch):
    """Each look at a repository, counted; nothing remembered from earlier tests."""
    roots = []
    read = module.read_git

    def counted(root, timeout):
        roots.append(root)
        return read(root, timeout)

    monkeypatch.setattr(module, "read_git", counted)
    monkeypatch.setattr(module, "_git_states", RecentValues())
    return roots


def test_everything_is_collected(repository, monkeypatch):
    monkeypatch.setenv("_QLIB_REGION", "us")
    monkeypatch.setattr(sys, "argv", ["train.py", "--lr", "0.1"])

    origin = collect(repository.root)

    assert origin.git == git_state(repository.root)
    assert origin.host == host_state()
    assert origin.packages == packages()
    assert origin.params() == {"cmd-sys.argv": "train.py --lr 0.1", "_QLIB_REGION": "us"}
    assert origin.tags() == {
        "mlflow.user": origin.host.user,
        "mlflow.source.name": "train.py",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": origin.git.commit,
    }


def test_artifacts_of_a_repository(repository, monkeypatch):
    """Qlib's three files hold what git prints, and the description the rest."""
    monkeypatch.setenv("_QLIB_REGION", "us")
    repository.write("model.py", "alpha = 2\n")
    repository.write("staged.py", "x\n")
    repository.git("add", "staged.py")
    repository.write("notes.txt", "x")

    origin = collect(repository.root)
    files = origin.artifacts()

    assert {name: text for name, text in files.items() if name != "environment.json"} == {
        "code_diff.txt": repository.git("diff"),
        "code_status.txt": repository.git("status"),
        "code_cached.txt": repository.git("diff", "--cached"),
    }
    description = msgspec.json.decode(files["environment.json"])
    assert description["git"] == {
        "root": str(repository.root),
        "commit": origin.git.commit,
        "branch": "main",
        "dirty": True,
        "remote": None,
        "untracked": ["notes.txt"],
        "notes": [],
    }
    assert description["python"]["version"] == ".".join(map(str, sys.version_info[:3]))
    assert description["packages"]["msgspec"] == msgspec.__version__
    assert description["environment"]["_QLIB_REGION"] == "us"
    assert description["host"]["pid"] == os.getpid()


def test_outside_a_repository(tmp_path):
    """Without a repository there are no code files, not empty ones."""
    origin = collect(tmp_path)

    assert list(origin.artifacts()) == ["environment.json"]
    assert msgspec.json.decode(origin.artifacts()["environment.json"])["git"] is None
    assert "mlflow.source.git.commit" not in origin.tags()


def test_what_git_could_not_tell_is_no_file():
    git = GitState(root="/r", status=b"clean", diff=None, staged=None)
    origin = Provenance("a.py", "a.py", "LOCAL", {}, host_state(), {}, git)

    assert sorted(origin.artifacts()) == ["code_status.txt", "environment.json"]


def test_command_line_param_cannot_be_replaced_by_the_environment():
    origin = Provenance("a.py", "a.py", "LOCAL", {"cmd-sys.argv": "x"}, host_state(), {})

    assert origin.params() == {"cmd-sys.argv": "a.py"}


def test_foreign_bytes_reach_the_files(monkeypatch, tmp_path):
    """Bytes that are not UTF-8 in arguments, environment and folders do not stop the description."""
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", [os.fsdecode(b"\xff.py")])
    monkeypatch.setenv("_QLIB_NAME", os.fsdecode(b"\xfe"))

    description = msgspec.json.decode(collect().artifacts()["environment.json"])

    assert description["argv"] == r"\udcff.py"
    assert description["environment"] == {"_QLIB_NAME": r"\udcfe"}
    assert description["host"]["cwd"].endswith(r"caf\udce9")


def test_many_runs_share_one_look(repository, looks):
    """A thousand short runs in many threads start git once."""
    threads = [
        threading.Thread(target=lambda: [collect(repository.root, max_age=600) for _ in range(100)])
        for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert looks == [str(repository.root)]


def test_folders_of_one_tree_share_one_look(repository, looks):
    repository.write("src/a.py", "x")

    states = [collect(folder, max_age=600).git for folder in (repository.root, repository.root / "src")]

    assert states[0] is states[1]
    assert len(looks) == 1


def test_zero_age_looks_each_time(repository, looks):
    before = collect(repository.root, max_age=0).git
    repository.write("model.py", "alpha = 2\n")

    assert (before.dirty, collect(repository.root, max_age=0).git.dirty) == (False, True)
    assert len(looks) == 2


def test_packages_are_listed_anew_when_the_path_changes(tmp_path, monkeypatch):
    """What was listed for one path is not taken for another, however young it is."""
    monkeypatch.setattr(module, "_package_lists", RecentValues())
    (tmp_path / "thing-1.0.dist-info").mkdir()

    assert "thing" not in collect(tmp_path, max_age=600).packages
    monkeypatch.syspath_prepend(tmp_path)
    assert collect(tmp_path, max_age=600).packages["thing"] == "1.0"
    assert collect(tmp_path, max_age=600).packages is collect(tmp_path, max_age=600).packages


def test_importing_loads_nothing_heavy():
    """Nothing that starts processes or describes the platform is loaded before it is needed."""
    script = (
        "import sys, aqrec, fnmatch, msgspec, threading; before = set(sys.modules); import aqrec.provenance;"
        "print(*sorted(name for name in set(sys.modules) - before if not name.startswith('aqrec')))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []
