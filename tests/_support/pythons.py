"""Finding the supported interpreters of this machine and giving each what aqrec needs at run time.

Only the standard library is imported here: the noxfile uses the search, too.
"""

import contextlib
import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

__all__ = ["MINORS", "EnvironmentUnavailableError", "PythonEnvs", "found_pythons"]

MINORS = ("3.11", "3.12", "3.13")

_ROOT = Path(__file__).resolve().parents[2]
_INSTALL_TIMEOUT = 900


class EnvironmentUnavailableError(Exception):
    """An interpreter cannot be given the run-time dependencies here; the message says why."""


@functools.cache
def found_pythons() -> dict[str, Path]:
    """Return the working interpreters of this machine by minor version, in the order of `MINORS`.

    Looked for: the running interpreter, ``python3.N`` and ``python3`` on PATH, pyenv's versions. What does
    not start (pyenv leaves such shims on PATH), makes no environments or is another version is passed over.
    """
    found: dict[str, Path] = {}
    for minor in MINORS:
        for candidate in _candidates(minor):
            if (executable := _probe(candidate, minor)) is not None:
                found[minor] = executable
                break
    return found


def _candidates(minor: str) -> Iterator[Path]:
    if minor == "{}.{}".format(*sys.version_info):
        yield Path(sys.executable)
    for name in (f"python{minor}", "python3"):
        if path := shutil.which(name):
            yield Path(path)
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    # The highest patch release first; names such as 3.13.0rc2 or 3.13t sort wherever they like.
    for folder in sorted(versions.glob(f"{minor}*"), key=lambda p: (len(p.name), p.name), reverse=True):
        yield folder / "bin" / f"python{minor}"


def _probe(candidate: Path, minor: str) -> Path | None:
    code = "import ensurepip, sys, venv; print('{}.{}'.format(*sys.version_info)); print(sys.executable)"
    try:
        answer = subprocess.run(
            [candidate, "-I", "-c", code], capture_output=True, text=True, timeout=30, check=True, cwd="/"
        ).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return None
    return Path(answer[1]) if answer[0] == minor else None


class PythonEnvs:
    """Environments with aqrec's run-time dependencies, one per interpreter, made at first need and kept.

    They live below `cache` under a name with a hash of the dependencies, so changed requirements make a new
    one. Several processes may ask for one at once; the first makes it and the others wait. The project itself
    is not installed: `tests._support.run_script` puts the tree on the path.
    """

    def __init__(self, cache: Path = _ROOT / ".cache" / "envs") -> None:
        self._cache = cache

    def get(self, minor: str) -> Path:
        """Return the executable for `minor`; the running interpreter, unchanged, for its own version.

        Raises
        ------
        LookupError
            There is no such interpreter on this machine.
        EnvironmentUnavailableError
            There is one, but the dependencies cannot be installed, as without a network.
        """
        if minor == "{}.{}".format(*sys.version_info):
            return Path(sys.executable)
        if minor not in found_pythons():
            raise LookupError(f"Python {minor} not found")
        requirements = _runtime_requirements()
        digest = hashlib.sha256("\n".join(requirements).encode()).hexdigest()[:10]
        folder = self._cache / f"{minor}-{digest}"
        executable = folder / "bin" / "python"
        complete = folder / "complete"
        with _locked(self._cache / f"{minor}-{digest}.lock"):
            if not complete.exists():
                shutil.rmtree(folder, ignore_errors=True)
                _run(minor, found_pythons()[minor], "-m", "venv", str(folder))
                install = ["-m", "pip", "install", "--quiet", "--only-binary=:all:"]
                _run(minor, executable, *install, *requirements)
                complete.touch()
        return executable


def _runtime_requirements() -> list[str]:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return sorted(project["dependencies"])


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _run(minor: str, *command: str | Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_INSTALL_TIMEOUT, check=False, env=environment
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise EnvironmentUnavailableError(f"no environment for Python {minor}: {error}") from error
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip()).rpartition("\n")[2]
        raise EnvironmentUnavailableError(f"no environment for Python {minor}: {reason}")
