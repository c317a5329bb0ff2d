"""The state of the git work tree that a run was started from."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import msgspec

from aqrec.provenance._environment import current_environment
from aqrec.provenance._redaction import redact_url
from aqrec.provenance._text import readable, storable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aqrec.provenance._processes import Outcome

__all__ = ["GitState", "find_root", "git_state", "read_git"]

_MAX_DIFF = 10 << 20
_MAX_LISTING = 1 << 20
_MAX_UNTRACKED = 1_000
_PATIENCE = {"untracked": 1.0}
"""Seconds for what may take long: an untracked folder can hold millions of files, and the end of a run waits for this"""

# Set inside hooks and by some tools; they would point git at another repository than the folder's own.
_ELSEWHERE = frozenset(
    {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_DIR",
        "GIT_GRAFT_FILE",
        "GIT_INDEX_FILE",
        "GIT_NAMESPACE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_PREFIX",
        "GIT_SHALLOW_FILE",
        "GIT_WORK_TREE",
    },
)
# GIT_OPTIONAL_LOCKS=0 is --no-optional-locks for git of any age; a partial clone must not fetch.
_SETTINGS = {
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "LANGUAGE": "C",
    "LC_ALL": "C",
}
# A user's configuration must neither start programs nor change the form of the text, and git diff would
# lock and rewrite the index although locks are optional.
_CONFIG = {
    "color.status": "never",
    "color.ui": "never",
    "column.ui": "never",
    "core.fsmonitor": "false",
    "diff.autoRefreshIndex": "false",
    "diff.mnemonicPrefix": "false",
    "diff.noprefix": "false",
    "diff.relative": "false",
    "diff.submodule": "short",
}
_GIT = ("git", "--no-pager", *(part for key, value in _CONFIG.items() for part in ("-c", f"{key}={value}")))
_DIFF = ("diff", "--no-color", "--no-ext-diff", "--no-textconv")
_REMOTES = (*_GIT, "config", "-z", "--get-regexp", r"^remote\..*\.url$")

_TREE_COMMANDS = {
    "overview": (*_GIT, "status", "--porcelain=v2", "--branch", "-z", "--untracked-files=normal"),
    "untracked": (*_GIT, "ls-files", "-z", "--others", "--exclude-standard"),
    "status": (*_GIT, "status"),
    "diff": (*_GIT, *_DIFF),
    "staged": (*_GIT, *_DIFF, "--cached"),
    "remotes": _REMOTES,
}
_HEAD_COMMANDS = {
    "commit": (*_GIT, "rev-parse", "--verify", "--quiet", "HEAD"),
    "branch": (*_GIT, "symbolic-ref", "--short", "--quiet", "HEAD"),
}
_TREE_TEXTS = frozenset({"overview", "untracked", "status", "diff", "staged"})
_LIMITS = {
    "overview": _MAX_LISTING,
    "untracked": _MAX_LISTING,
    "status": _MAX_LISTING,
    "diff": _MAX_DIFF,
    "staged": _MAX_DIFF,
    "remotes": _MAX_LISTING,
    "commit": 1 << 10,
    "branch": 1 << 12,
}


class GitState(msgspec.Struct, frozen=True):
    """A repository at one moment.

    Attributes
    ----------
    root
        Top folder of the work tree; the repository itself when it is bare.
    commit
        Hash of HEAD; None before the first commit.
    branch
        Branch of HEAD; None when HEAD is detached.
    dirty
        Whether a tracked file differs from HEAD, staged or not; None when git could not tell.
    remote
        URL of the branch's upstream, else of ``origin``, else of the first remote; without credentials.
    diff, staged, status
        What ``git diff``, ``git diff --cached`` and ``git status`` print at the root; None when they failed
        or there is no work tree. Bytes, because the files need not be UTF-8. A diff longer than 10 MiB (a
        status longer than 1 MiB) is cut, and its last line says so.
    untracked
        Untracked files that are not ignored, relative to the root, at most 1,000; another repository is one
        name ending in ``/``. If git needs more than a second to look into all folders, so is each folder without
        any tracked file.
    notes
        What is missing above and why, one sentence each.
    """

    root: str
    commit: str | None = None
    branch: str | None = None
    dirty: bool | None = None
    remote: str | None = None
    diff: bytes | None = None
    staged: bytes | None = None
    status: bytes | None = None
    untracked: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def git_state(cwd: str | os.PathLike[str] | None = None, timeout: float = 5.0) -> GitState | None:
    """Read the state of the repository that contains `cwd`.

    Starts six git processes side by side, which write nothing (neither locks nor the index), and waits for
    them. Variables such as ``GIT_DIR`` are ignored: the folder decides.

    Parameters
    ----------
    cwd
        A folder; default the current one.
    timeout
        Seconds. What git has not told by then is missing from the result, or cut, and named in its notes.

    Returns
    -------
    GitState or None
        None outside a repository and where git is not installed.
    """
    root = find_root(cwd)
    return None if root is None else read_git(root, timeout)


def find_root(cwd: str | os.PathLike[str] | None = None) -> str | None:
    """Return the top folder of the repository that contains `cwd`, without asking git."""
    try:
        folder = os.path.realpath(os.curdir if cwd is None else os.fspath(cwd))
    except (OSError, ValueError):
        return None
    while True:
        marker = os.path.join(folder, ".git")  # noqa: PTH118 -- some ten calls for each run
        # In a linked work tree and in a submodule .git is a file.
        if os.path.isfile(marker) or _is_repository(marker) or _is_repository(folder):  # noqa: PTH113
            return folder
        parent = os.path.dirname(folder)  # noqa: PTH120
        if parent == folder:
            return None
        folder = parent


def read_git(root: str, timeout: float) -> GitState | None:
    """Ask git about the repository at `root`; None when git is not installed."""
    # Loads subprocess, which importing aqrec must not.
    from aqrec.provenance._processes import run_all  # noqa: PLC0415

    inherited = current_environment()
    environment = {name: value for name, value in inherited.items() if name not in _ELSEWHERE} | _SETTINGS
    deadline = time.monotonic() + timeout

    def run(commands: Mapping[str, Sequence[str]]) -> dict[str, Outcome]:
        left = max(deadline - time.monotonic(), 0.0)
        return run_all(
            commands, cwd=root, environment=environment, timeout=left, limits=_LIMITS, patience=_PATIENCE
        )

    results = run({"remotes": _REMOTES} | _HEAD_COMMANDS if _is_repository(root) else _TREE_COMMANDS)
    if all(outcome.ended == "not found" for outcome in results.values()):
        return None
    if "overview" in results and not _usable(results["overview"]) and time.monotonic() < deadline:
        # A damaged index, for example, hides the changes but not the commit.
        results |= run(_HEAD_COMMANDS)
    return _state(root, results, timeout)


def _is_repository(folder: str) -> bool:
    names = (os.path.join(folder, name) for name in ("HEAD", "objects", "refs"))  # noqa: PTH118
    return all(map(os.path.lexists, names))


def _usable(outcome: Outcome) -> bool:
    """Whether the output says something, be it cut short."""
    return outcome.code == 0 or (outcome.ended in {"too long", "timed out"} and bool(outcome.output))


def _state(root: str, results: Mapping[str, Outcome], timeout: float) -> GitState:
    notes: list[str] = []
    texts: dict[str, bytes | None] = {}
    for name, outcome in results.items():
        # No remote, no commit yet, no branch: nothing went wrong.
        quiet = outcome.code == 1 and name not in _TREE_TEXTS
        seconds = min(timeout, _PATIENCE.get(name, timeout))
        if (problem := _problem(outcome, seconds, _LIMITS[name])) and not quiet:
            notes.append(f"git {name}: {problem}")
        texts[name] = _text(outcome, problem)
    if diff := texts.get("diff"):
        texts["diff"] = _without_untouched(diff)
    overview = _Overview()
    if "overview" in results and _usable(results["overview"]):
        overview = _parse_overview(results["overview"])
    untracked = overview.untracked
    if (listing := results.get("untracked")) is not None and _usable(listing):
        names = [readable(name) for name in listing.output.split(b"\0")[:-1]]
        untracked = names if names or listing.ended == "finished" else untracked
    if len(untracked) > _MAX_UNTRACKED:
        notes.append(f"untracked: only the first {_MAX_UNTRACKED} names are kept")
    return GitState(
        root=storable(root),
        commit=overview.commit or _line(results.get("commit")),
        branch=overview.branch or _line(results.get("branch")),
        dirty=overview.dirty,
        remote=_remote(results["remotes"], overview.upstream),
        diff=texts.get("diff"),
        staged=texts.get("staged"),
        status=texts.get("status"),
        untracked=tuple(untracked[:_MAX_UNTRACKED]),
        notes=tuple(notes),
    )


def _problem(outcome: Outcome, timeout: float, limit: int) -> str:
    match outcome.ended:
        case "finished" if outcome.code == 0:
            return ""
        case "too long":
            return f"cut, because it is longer than {limit} bytes"
        case "timed out":
            return f"cut, because git did not finish within {timeout:g} s"
        case _:
            lines = readable(outcome.errors).strip().splitlines() or [f"exit code {outcome.code}"]
            return redact_url(lines[0])


def _text(outcome: Outcome, problem: str) -> bytes | None:
    if not _usable(outcome):
        return None
    return outcome.output + f"\n[{problem}]\n".encode() if problem else outcome.output


def _without_untouched(diff: bytes) -> bytes:
    """Drop the lone headers that git prints for touched files when it may not refresh its index."""
    header = b"diff --git "
    parts: list[bytes] = []
    begin = 0
    while begin < len(diff):
        end = diff.find(b"\n" + header, begin) + 1 or len(diff)
        # Inside a hunk each line has a first character of its own, so this is a header and nothing else.
        if not diff.startswith(header, begin) or diff.find(b"\n", begin, end) != end - 1:
            parts.append(diff[begin:end])
        begin = end
    return b"".join(parts)


class _Overview(msgspec.Struct, frozen=True):
    """What ``git status --porcelain=v2 --branch`` tells."""

    commit: str | None = None
    branch: str | None = None
    upstream: str = ""
    dirty: bool | None = None
    untracked: list[str] = []


def _parse_overview(outcome: Outcome) -> _Overview:
    headers: dict[str, str] = {}
    untracked: list[str] = []
    changed = False
    # What follows the last NUL is nothing, or a record that was cut off.
    records = iter(outcome.output.split(b"\0")[:-1])
    for record in records:
        kind, _, rest = record.partition(b" ")
        if kind == b"#":
            key, _, value = rest.partition(b" ")
            headers[readable(key)] = readable(value)
        elif kind == b"?":
            untracked.append(readable(rest))
        else:
            changed = True
            if kind == b"2":
                next(records, None)  # the name before the renaming
    commit, branch = headers.get("branch.oid"), headers.get("branch.head")
    return _Overview(
        commit=None if commit == "(initial)" else commit,
        branch=None if branch == "(detached)" else branch,
        upstream=headers.get("branch.upstream", ""),
        dirty=changed if changed or outcome.ended == "finished" else None,
        untracked=untracked,
    )


def _line(outcome: Outcome | None) -> str | None:
    if outcome is None or outcome.code != 0:
        return None
    return readable(outcome.output).strip() or None


def _remote(outcome: Outcome, upstream: str) -> str | None:
    urls: dict[str, str] = {}
    for record in readable(outcome.output).split("\0")[:-1]:
        key, _, url = record.partition("\n")
        urls.setdefault(key.removeprefix("remote.").removesuffix(".url"), url)
    if not urls:
        return None
    name = next((name for name in urls if upstream.startswith(f"{name}/")), "origin")
    return redact_url(urls.get(name) or next(iter(urls.values())))
