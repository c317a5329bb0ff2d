"""Everything about a run's origin in one value."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from aqrec.provenance._cache import RecentValues
from aqrec.provenance._command import argv_text, source_name, source_type
from aqrec.provenance._environment import selected_environment
from aqrec.provenance._git import GitState, find_root, read_git
from aqrec.provenance._host import HostState, host_state
from aqrec.provenance._packages import packages

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Provenance", "collect"]

_git_states: RecentValues[GitState | None] = RecentValues()
_package_lists: RecentValues[dict[str, str]] = RecentValues()
os.register_at_fork(after_in_child=_git_states.clear)
os.register_at_fork(after_in_child=_package_lists.clear)


class Provenance(msgspec.Struct, frozen=True):
    """Where a run came from.

    Attributes
    ----------
    argv
        The command line, joined by spaces.
    source_name, source_type
        The program, in MLflow's sense.
    environment
        Selected environment variables, secrets masked.
    host
        Machine, interpreter and user.
    packages
        Version by normalised package name.
    git
        The repository of the current folder; None outside one.
    """

    argv: str
    source_name: str
    source_type: str
    environment: dict[str, str]
    host: HostState
    packages: dict[str, str]
    git: GitState | None = None

    def params(self) -> dict[str, str]:
        """Return Qlib's params: ``cmd-sys.argv``, and the environment variables under their own names."""
        return {**self.environment, "cmd-sys.argv": self.argv}

    def tags(self) -> dict[str, str]:
        """Return MLflow's tags of a run's origin: user, source name, source type and, if known, commit."""
        tags = {
            "mlflow.user": self.host.user,
            "mlflow.source.name": self.source_name,
            "mlflow.source.type": self.source_type,
        }
        if self.git is not None and self.git.commit is not None:
            tags["mlflow.source.git.commit"] = self.git.commit
        return tags

    def artifacts(self) -> dict[str, bytes]:
        """Return the files to keep with the run, by artifact path.

        ``environment.json`` always; inside a repository Qlib's ``code_diff.txt``, ``code_status.txt`` and
        ``code_cached.txt`` (git diff, status, diff --cached), except those that git could not tell.
        """
        files = {"environment.json": self._environment_json()}
        if self.git is not None:
            code = {
                "code_diff.txt": self.git.diff,
                "code_status.txt": self.git.status,
                "code_cached.txt": self.git.staged,
            }
            files |= {name: text for name, text in code.items() if text is not None}
        return files

    def _environment_json(self) -> bytes:
        host, git = self.host, self.git
        document: dict[str, Any] = {
            "argv": self.argv,
            "source": {"name": self.source_name, "type": self.source_type},
            "python": {
                "version": host.python,
                "implementation": host.implementation,
                "executable": host.executable,
            },
            "host": {
                "hostname": host.hostname,
                "platform": host.platform,
                "cpus": host.cpus,
                "user": host.user,
                "pid": host.pid,
                "cwd": host.cwd,
            },
            "git": None
            if git is None
            else {
                "root": git.root,
                "commit": git.commit,
                "branch": git.branch,
                "dirty": git.dirty,
                "remote": git.remote,
                "untracked": git.untracked,
                "notes": git.notes,
            },
            "environment": self.environment,
            "packages": self.packages,
        }
        return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def collect(
    cwd: str | os.PathLike[str] | None = None,
    patterns: Iterable[str] = ("_QLIB_*",),
    *,
    git_timeout: float = 5.0,
    max_age: float = 2.0,
) -> Provenance:
    """Collect everything about this process that a run should keep.

    Blocks for some 10 ms, or a fraction of one if it did so just before; at most for `git_timeout` when git
    hangs. Never raises because of what it finds. Safe in any thread and after a fork.

    Parameters
    ----------
    cwd
        Folder whose repository is described; default the current one.
    patterns
        Environment variables to keep, see `selected_environment`.
    git_timeout
        Seconds for all git processes together.
    max_age
        Seconds for which the state of a repository and the list of packages are used again by later calls in
        this process: many short runs share one look at them. 0 looks each time.
    """
    root = find_root(cwd)
    git = None
    if root is not None:
        git = _git_states.get(root, lambda: read_git(root, git_timeout), max_age)
    return Provenance(
        argv=argv_text(),
        source_name=source_name(),
        source_type=source_type(),
        environment=selected_environment(patterns),
        host=host_state(),
        packages=_package_lists.get("\0".join(map(str, sys.path)), packages, max_age),
        git=git,
    )
