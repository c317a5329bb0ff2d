from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from aqrec.provenance import GitState, git_state
from aqrec.provenance import _git as module


def test_clean_tree(repository):
    """A clean tree has a commit, a branch and empty diffs."""
    state = git_state(repository.root)

    assert state == GitState(
        root=str(repository.root),
        commit=repository.git("rev-parse", "HEAD").decode().strip(),
        branch="main",
        dirty=False,
        diff=b"",
        staged=b"",
        status=repository.git("status"),
    )


def test_changes_are_told_apart(repository):
    """Staged, unstaged and untracked changes each have their place; diffs are git's own, byte for byte."""
    repository.write("staged.py", "beta = 2\n")
    repository.git("add", "staged.py")
    repository.write("model.py", "alpha = 3\n")
    repository.write("notes.txt", "x")
    repository.write("scratch/one.txt", "x")

    state = git_state(repository.root)

    assert state.dirty is True
    assert state.untracked == ("notes.txt", "scratch/one.txt")
    assert b"+alpha = 3" in state.diff
    assert b"beta" not in state.diff
    assert b"+beta = 2" in state.staged
    assert (state.diff, state.staged) == (repository.git("diff"), repository.git("diff", "--cached"))
    assert state.status == repository.git("status")


def test_untracked_files_alone_are_not_dirty(repository):
    repository.write("notes.txt", "x")

    state = git_state(repository.root)

    assert (state.dirty, state.untracked) == (False, ("notes.txt",))


def test_ignored_files_are_left_out(repository):
    repository.write(".gitignore", "*.log\n")
    repository.write("run.log", "x")

    assert git_state(repository.root).untracked == (".gitignore",)


@pytest.mark.parametrize("below", ["", "src", "src/deep"])
def test_any_folder_of_the_tree_describes_the_whole(repository, below):
    repository.write("src/deep/a.py", "x")
    repository.commit()
    repository.write("model.py", "alpha = 2\n")

    assert git_state(repository.root / below) == git_state(repository.root)
    assert b"alpha = 2" in git_state(repository.root / below).diff


def test_current_folder_is_the_default(repository, monkeypatch):
    monkeypatch.chdir(repository.root)

    assert git_state() == git_state(repository.root)


def test_symbolic_link_into_a_tree(repository, tmp_path):
    """The folder that a link leads to counts, as for git itself."""
    repository.write("src/a.py", "x")
    link = tmp_path / "link"
    link.symlink_to(repository.root / "src")

    assert git_state(link).root == str(repository.root)


def test_outside_a_repository(tmp_path):
    assert git_state(tmp_path) is None


@pytest.mark.parametrize("cwd", ["gone", "with\0nul", "file.txt/x"])
def test_impossible_folder(tmp_path, cwd):
    (tmp_path / "file.txt").write_text("x")

    assert git_state(f"{tmp_path}/{cwd}") is None


def test_deleted_current_folder(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    assert git_state() is None


def test_without_git(repository, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))

    assert git_state(repository.root) is None


def test_no_commit_yet(make_repository):
    """Before the first commit the index is compared with nothing."""
    made = make_repository()
    made.write("model.py", "alpha = 1\n")
    made.git("add", "model.py")

    state = git_state(made.root)

    assert (state.commit, state.branch, state.dirty, state.notes) == (None, "main", True, ())
    assert b"+alpha = 1" in state.staged


def test_detached_head(repository):
    commit = repository.git("rev-parse", "HEAD").decode().strip()
    repository.git("checkout", "--quiet", "--detach")

    state = git_state(repository.root)

    assert (state.commit, state.branch) == (commit, None)


def test_bare_repository(make_repository, repository):
    """A bare repository has a commit and a branch, and neither diff nor status."""
    bare = make_repository("bare.git", "--bare")
    repository.git("push", "--quiet", str(bare.root), "main")

    state = git_state(bare.root)

    commit = repository.git("rev-parse", "HEAD").decode().strip()
    assert state == GitState(root=str(bare.root), commit=commit, branch="main")


def test_linked_work_tree(repository, tmp_path):
    repository.git("worktree", "add", "--quiet", "-b", "side", str(tmp_path / "side"))
    (tmp_path / "side" / "model.py").write_text("alpha = 9\n")

    state = git_state(tmp_path / "side")

    assert (state.root, state.branch, state.dirty) == (str(tmp_path / "side"), "side", True)
    assert git_state(repository.root).dirty is False


def test_submodule(make_repository, repository):
    """A submodule is a repository of its own, and a change in it makes the outer one dirty."""
    outer = make_repository("outer")
    outer.git("submodule", "--quiet", "add", str(repository.root), "inner")
    outer.commit()
    outer.write("inner/model.py", "alpha = 5\n")

    inner, whole = git_state(outer.root / "inner"), git_state(outer.root)

    assert (inner.root, inner.dirty) == (str(outer.root / "inner"), True)
    assert inner.commit == repository.git("rev-parse", "HEAD").decode().strip()
    assert whole.dirty is True
    assert b"-dirty" in whole.diff


def test_renamed_file(repository):
    """The old name of a renamed file is not taken for another record, whatever it looks like."""
    repository.write("? old", "a line that is long enough to be recognised\n" * 5)
    repository.commit()
    repository.git("mv", "--", "? old", "new")

    state = git_state(repository.root)

    assert (state.dirty, state.untracked) == (True, ())


def test_names_and_texts_that_are_not_utf8(repository):
    r"""Foreign bytes stay as they are in a diff, and are written out as ``\xff`` in a name."""
    repository.write("model.py", b"name = '\xff\xfe'\n")
    repository.write(b"caf\xe9.txt", "x")

    state = git_state(repository.root)

    assert b"\xff\xfe" in state.diff
    assert state.untracked == (r"caf\xe9.txt",)


def test_repository_in_a_folder_that_is_not_utf8(make_repository):
    made = make_repository(os.fsdecode(b"caf\xe9"))

    assert git_state(made.root).root.endswith(r"caf\udce9")


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://ada:hunter2@example.org/a.git", "https://example.org/a.git"),
        ("ssh://git:hunter2@example.org/a.git", "ssh://git@example.org/a.git"),
        ("git@example.org:team/a.git", "git@example.org:team/a.git"),
        ("/srv/git/a.git", "/srv/git/a.git"),
    ],
)
def test_remote_without_credentials(repository, url, kept):
    repository.git("remote", "add", "origin", url)

    assert git_state(repository.root).remote == kept


def test_remote_of_the_upstream_comes_first(repository, make_repository):
    """The branch's upstream, else origin, else whatever there is."""
    first = make_repository("a.git", "--bare")
    repository.git("remote", "add", "aaa", str(first.root))
    assert git_state(repository.root).remote == str(first.root)

    repository.git("remote", "add", "origin", "https://example.org/origin.git")
    assert git_state(repository.root).remote == "https://example.org/origin.git"

    repository.git("push", "--quiet", "--set-upstream", "aaa", "main")
    assert git_state(repository.root).remote == str(first.root)


def test_users_configuration_changes_nothing(repository, monkeypatch, tmp_path, capfd):
    """Colours, pagers, monitors, external diffs and text converters of the user are not used."""
    touched = tmp_path / "touched"
    config = tmp_path / "gitconfig"
    config.write_text(
        "[color]\n ui = always\n diff = always\n status = always\n"
        f"[core]\n pager = touch {touched}\n fsmonitor = touch {touched}; true\n"
        f"[diff]\n external = touch {touched}\n noprefix = true\n"
        f'[diff "py"]\n textconv = touch {touched}; echo\n'
        f"[pager]\n diff = touch {touched}\n status = touch {touched}\n",
    )
    repository.write(".gitattributes", "*.py diff=py\n")
    repository.commit()
    repository.write("model.py", "alpha = 2\n")
    plain = git_state(repository.root)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", f"touch {touched}")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")

    assert git_state(repository.root) == plain
    assert b"--- a/model.py\n+++ b/model.py" in plain.diff
    assert not touched.exists()
    assert capfd.readouterr() == ("", "")


def test_variables_of_a_hook_do_not_lead_elsewhere(repository, make_repository, monkeypatch):
    """Inside a hook of another repository the folder still decides."""
    other = make_repository("other")
    monkeypatch.setenv("GIT_DIR", str(other.root / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other.root))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other.root / "none"))

    state = git_state(repository.root)

    assert (state.root, state.dirty) == (str(repository.root), False)
    assert state.commit is not None


def test_touched_files_are_no_changes(repository):
    """A file whose time alone has changed is not in the diff, wherever it stands among the others."""
    for name in ("a.py", "b.py", "z.py"):
        repository.write(name, "diff --git a b\n")
    repository.commit()
    for name in ("a.py", "model.py", "z.py"):
        os.utime(repository.root / name, (1_000_000_000, 1_000_000_000))
    repository.write("b.py", "diff --git a c\n")

    state = git_state(repository.root)

    assert state.diff.count(b"\ndiff --git ") == 0
    assert state.diff == repository.git("diff")


@pytest.mark.parametrize("locked", [True, False])
def test_nothing_is_written(repository, locked):
    """Looking waits for no lock, and leaves the index as it is even where git would refresh it."""
    os.utime(repository.root / "model.py", (1_000_000_000, 1_000_000_000))
    if locked:
        repository.write(".git/index.lock", "")
    before = (repository.root / ".git/index").read_bytes()

    state = git_state(repository.root)

    assert (state.dirty, state.notes) == (False, ())
    assert (repository.root / ".git/index").read_bytes() == before


def test_git_can_neither_ask_nor_translate(repository, fake_git, monkeypatch):
    """Git reads nothing, speaks English, and asks nobody for a password."""
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    fake_git('read -r answer && echo "$answer"; echo "$LC_ALL $LANGUAGE $GIT_TERMINAL_PROMPT"')

    assert git_state(repository.root).status == b"C C 0\n"


def test_long_diff_is_cut(repository, monkeypatch):
    """A diff above the limit ends with a line that says so; everything else is whole."""
    monkeypatch.setitem(module._LIMITS, "diff", 1000)
    repository.write("model.py", "beta = 2\n" * 100_000)

    state = git_state(repository.root)

    assert state.diff[:1000] == repository.git("diff")[:1000]
    assert state.diff[1000:] == b"\n[cut, because it is longer than 1000 bytes]\n"
    assert state.notes == ("git diff: cut, because it is longer than 1000 bytes",)
    assert (state.dirty, state.staged) == (True, b"")


def test_output_of_exactly_the_limit_is_whole(repository, monkeypatch):
    repository.write("model.py", "alpha = 2\n")
    diff = repository.git("diff")
    monkeypatch.setitem(module._LIMITS, "diff", len(diff))

    state = git_state(repository.root)

    assert (state.diff, state.notes) == (diff, ())


def test_many_untracked_files(repository, monkeypatch):
    monkeypatch.setattr(module, "_MAX_UNTRACKED", 3)
    for number in range(5):
        repository.write(f"{number}.txt", "")

    state = git_state(repository.root)

    assert state.untracked == ("0.txt", "1.txt", "2.txt")
    assert state.notes == ("untracked: only the first 3 names are kept",)


def test_untracked_files_that_take_long_are_named_by_their_folders(repository, fake_git, monkeypatch):
    monkeypatch.setitem(module._PATIENCE, "untracked", 0.3)
    git = shutil.which("git")
    fake_git(f'case "$*" in *ls-files*) exec sleep 600;; esac; exec {git} "$@"')
    repository.write("notes.txt", "x")
    repository.write("data/deep/one.bin", "x")
    begin = time.monotonic()

    state = git_state(repository.root, timeout=60)

    assert time.monotonic() - begin < 30
    assert state.untracked == ("data/", "notes.txt")
    assert state.notes == ("git untracked: cut, because git did not finish within 0.3 s",)
    assert state.dirty is False


def test_cut_overview_says_only_what_is_certain(repository, monkeypatch):
    """A record cut in its middle is dropped, and a tree not fully seen is not called clean."""
    for number in range(50):
        repository.write(f"untracked-{number:02}.txt", "")
    monkeypatch.setitem(module._LIMITS, "overview", 200)
    monkeypatch.setitem(module._LIMITS, "untracked", 200)

    state = git_state(repository.root)

    assert state.dirty is None
    assert state.untracked == tuple(f"untracked-{number:02}.txt" for number in range(len(state.untracked)))
    assert 0 < len(state.untracked) < 50
    assert state.commit is not None


def test_damaged_index(repository):
    """A commit can still be told when the changes cannot; what is unknown is None, not empty."""
    repository.write(".git/index", b"nonsense")

    state = git_state(repository.root)

    assert state.commit == repository.git("rev-parse", "HEAD").decode().strip()
    assert (state.branch, state.dirty, state.diff, state.status) == ("main", None, None, None)
    assert any("index file" in note for note in state.notes)


def test_refusal_is_noted(repository, fake_git, capfd):
    """When git refuses the repository the state has its place and the reason, and stderr stays clean."""
    fake_git("echo 'fatal: detected dubious ownership' >&2; exit 128")

    state = git_state(repository.root)

    assert (state.root, state.commit, state.diff) == (str(repository.root), None, None)
    assert "git status: fatal: detected dubious ownership" in state.notes
    assert capfd.readouterr() == ("", "")


def test_git_that_cannot_be_started(repository, fake_git, tmp_path, monkeypatch):
    fake_git("")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin" / "git").write_text("#!/no/such/interpreter\n")
    assert git_state(repository.root) is None

    (tmp_path / "bin" / "git").write_bytes(b"\x7fELF nonsense")
    assert any("Exec format error" in note for note in git_state(repository.root).notes)


def test_hanging_git_is_killed(repository, fake_git, tmp_path):
    """At the timeout git and its children die, and what was printed by then is kept."""
    fake_git(f"echo begun; sleep 600 & echo $! >> {tmp_path}/pids; wait")
    begin = time.monotonic()

    state = git_state(repository.root, timeout=0.5)

    assert time.monotonic() - begin < 5
    assert state.diff == b"begun\n\n[cut, because git did not finish within 0.5 s]\n"
    assert (state.commit, state.dirty) == (None, None)
    assert "git diff: cut, because git did not finish within 0.5 s" in state.notes
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 6
    assert not [pid for pid in pids if _is_running(pid)]


def test_one_hanging_command_spares_the_others(repository, fake_git):
    git = shutil.which("git")
    fake_git(f'case "$*" in *diff*--cached) exec sleep 600;; esac; exec {git} "$@"')
    repository.write("model.py", "alpha = 2\n")

    state = git_state(repository.root, timeout=1.0)

    assert state.staged is None
    assert (state.branch, state.dirty, state.diff) == ("main", True, repository.git("diff"))
    assert state.notes == ("git staged: cut, because git did not finish within 1 s",)


def test_descriptors_are_given_back(repository):
    git_state(repository.root)
    before = len(list(Path("/proc/self/fd").iterdir()))

    for _ in range(3):
        git_state(repository.root)

    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_many_threads_see_the_same(repository):
    states = []

    def look():
        states.append(git_state(repository.root, timeout=30))

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert states == [git_state(repository.root)] * 8


def _is_running(pid: int) -> bool:
    """Whether the process still runs; one that is dead and only waits to be collected does not."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return False
        if state in {"Z", "X"}:
            return False
        threading.Event().wait(0.01)
    return True
