"""One session per job; `nox -l` lists them.

Each session makes an environment of its own. ``nox --no-venv -s NAME`` uses the one nox itself runs in
instead: install the ``dev`` dependency group there first.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from pathlib import Path

import nox

ROOT = Path(__file__).resolve().parent
# Not through the tests package: that imports what nox's own environment does not have.
sys.path.insert(0, str(ROOT / "tests" / "_support"))

from pythons import MINORS, found_pythons  # noqa: E402

nox.needs_version = ">=2024.10.9"
nox.options.sessions = ["lint", "types", "imports", "tests", "docs", "examples", "wheel"]
nox.options.reuse_existing_virtualenvs = True
# A missing interpreter is named and skipped; only the oldest must exist in CI, see below.
nox.options.error_on_missing_interpreters = False

PROJECT = nox.project.load_toml("pyproject.toml")
IN_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}

if IN_CI and MINORS[0] not in found_pythons():
    raise SystemExit(f"Python {MINORS[0]} not found: it must exist in CI")
# Version managers keep interpreters where PATH does not reach, or reaches only a shim that does not start.
os.environ["PATH"] = os.pathsep.join([*(str(p.parent) for p in found_pythons().values()), os.environ["PATH"]])


def prepare(session: nox.Session, *groups: str, project: bool = True) -> None:
    """Install dependency groups and, editable, the project, if the session has an environment of its own."""
    if session.virtualenv.venv_backend == "none":
        return
    editable = ["--editable", "."] if project else []
    session.install(*nox.project.dependency_groups(PROJECT, *groups), *editable, silent=True)


@nox.session(python=MINORS)
def tests(session: nox.Session) -> None:
    """Run the whole suite on each Python found; arguments after -- go to pytest."""
    prepare(session, "test")
    session.run("pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    prepare(session, "lint", project=False)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types strictly with mypy and pyright: the package, and the scripts that use it as people do."""
    prepare(session, "types")
    targets = ["aqrec", *(["tests/typing"] if (ROOT / "tests" / "typing").is_dir() else [])]
    session.run("mypy", *targets)
    session.run("pyright", *targets)


@nox.session
def imports(session: nox.Session) -> None:
    """Check that modules import only from the layers below them."""
    prepare(session, "imports")
    session.run("lint-imports")


@nox.session
def docs(session: nox.Session) -> None:
    """Run every code block of the documentation."""
    prepare(session, "test")
    session.run("pytest", "docs", "README.md", *session.posargs)


@nox.session
def examples(session: nox.Session) -> None:
    """Run every example from beginning to end, each in an empty folder."""
    prepare(session, "test")
    scripts = sorted((ROOT / "examples").glob("[!_]*.py"))
    if not scripts:
        session.error("there are no examples")
    for script in scripts:
        with tempfile.TemporaryDirectory() as folder, session.chdir(folder):
            session.run("python", "-W", "error", str(script))
    for workflow in sorted((ROOT / "examples").glob("*.yaml")):
        with tempfile.TemporaryDirectory() as folder, session.chdir(folder):
            session.run("python", "-W", "error", "-m", "aqrec.cli", "run", str(workflow))


@nox.session
def qlib(session: nox.Session) -> None:
    """Run real Qlib and LightGBM on a small provider folder: its workflows in aqrec, and all of it on aqrec stores."""
    prepare(session, "test")
    if session.virtualenv.venv_backend != "none":
        session.install("pyqlib>=0.9.7", "lightgbm>=4", "mongomock>=4", silent=True)
    elif importlib.util.find_spec("qlib") is None:
        session.error("Qlib is not installed here: run the session without --no-venv")
    session.run("pytest", "tests/qlib", "docs/howto/qlib.md", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Run the benchmarks, quickly; ``-- --full`` measures longer."""
    prepare(session, "test")
    for script in sorted((ROOT / "benchmarks").glob("[!_]*.py")):
        session.run("python", str(script.relative_to(ROOT)), *(session.posargs or ["--quick"]))


@nox.session
def soak(session: nox.Session) -> None:
    """Run the long crash, fuzz and property tests (hours)."""
    prepare(session, "test")
    session.run("pytest", *(session.posargs or ["--timeout=7200"]), env={"HYPOTHESIS_PROFILE": "long"})


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the wheel and use it where there is nothing else of ours."""
    if session.virtualenv.venv_backend == "none":
        session.error("this session needs an environment of its own: run it without --no-venv")
    session.install("build", silent=True)
    with tempfile.TemporaryDirectory() as folder:
        session.run("python", "-m", "build", "--outdir", folder, silent=True)
        (built,) = Path(folder).glob("*.whl")
        session.install(str(built), silent=True)
        session.install("--force-reinstall", "--no-deps", str(built), silent=True)
        with session.chdir(folder):
            session.run("python", "-W", "error", str(ROOT / "tests" / "_support" / "smoke.py"))
