"""What a file of this project looks like, and which files agree with each other."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import aqrec
from tests._support import MINORS, ROOT

MAX_LINES = 600
FORBIDDEN = {
    "a path of somebody's machine": re.compile(r"(?<![\w.])/(work|root|home/\w+)/"),
    "a number of a tracker": re.compile(r"\bissues? " + "#", re.IGNORECASE),
    "unfinished": re.compile(r"\b(TO" + "DO|FIX" + r"ME|XX" + r"X)\b"),
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def tree() -> list[Path]:
    """The project's own files: what git tracks or would, or in an unpacked archive everything but caches."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listing.returncode == 0 and (ROOT / ".git").exists():
        paths = [ROOT / name.decode() for name in listing.stdout.split(b"\0") if name]
    else:
        paths = [
            p for p in ROOT.rglob("*") if not any(part.startswith(".") for part in p.relative_to(ROOT).parts)
        ]
    return sorted(p for p in paths if p.is_file() and "__pycache__" not in p.parts)


def test_no_module_outgrows_what_one_can_read_at_a_sitting() -> None:
    lengths = {p: len(p.read_text(encoding="utf-8").splitlines()) for p in (ROOT / "aqrec").rglob("*.py")}
    assert len(lengths) > 10
    assert {str(p.relative_to(ROOT)): n for p, n in lengths.items() if n >= MAX_LINES} == {}


def test_no_file_speaks_of_what_a_reader_cannot_see() -> None:
    found = []
    for path in tree():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for what, pattern in FORBIDDEN.items():
            for match in pattern.finditer(text):
                line = text.count("\n", 0, match.start()) + 1
                found.append(f"{path.relative_to(ROOT)}:{line}: {match[0]!r}: {what}")
    assert found == []


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("a path of somebody's machine", "see /" + "work/x"),
        ("a number of a tracker", "Issue " + "#12"),
        ("unfinished", "# TO" + "DO: more"),
    ],
)
def test_the_search_for_such_words_finds_them(what: str, text: str) -> None:
    assert FORBIDDEN[what].search(text)


def test_the_changelog_begins_with_this_version() -> None:
    top = re.search(r"^## \[?v?(\d[\w.]*)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert top is not None, "CHANGELOG.md has no entry '## VERSION'"
    assert top[1] == PROJECT["project"]["version"] == aqrec.__version__


def test_the_wheel_ships_the_type_marker() -> None:
    assert (ROOT / "aqrec" / "py.typed").is_file()
    assert PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["aqrec"]


def test_every_licence_named_is_there() -> None:
    assert [name for name in PROJECT["project"]["license-files"] if not (ROOT / name).is_file()] == []


def test_the_supported_pythons_are_named_alike_everywhere() -> None:
    prefix = "Programming Language :: Python :: 3."
    classified = [c.rpartition(" ")[2] for c in PROJECT["project"]["classifiers"] if c.startswith(prefix)]
    assert classified == list(MINORS)
    assert PROJECT["project"]["requires-python"] == f">={MINORS[0]}"
    assert (
        PROJECT["tool"]["mypy"]["python_version"] == PROJECT["tool"]["pyright"]["pythonVersion"] == MINORS[0]
    )


@pytest.mark.parametrize("name", ["demo", "tests"])
def test_ci_runs_the_very_commands_that_the_readme_gives(name: str) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(rf"<!-- {name}:begin -->\s+```\w*\n(.*?)\n```\s+<!-- {name}:end -->", readme, re.DOTALL)
    assert block is not None, f"README.md has no code block between its {name}:begin and {name}:end marks"
    shown = subprocess.run(
        ["bash", ".ci/run", "--show", name], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert shown.strip() == block[1].strip()
    assert f'step {name} bash -euo pipefail -c "${name}"' in (ROOT / ".ci" / "run").read_text(
        encoding="utf-8"
    )
