"""What all commands have in common: help, errors, exit codes, and that looking changes nothing."""

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import aqrec
from tests._support import ROOT, run_script
from tests.cli.conftest import Cli, Lab

COMMANDS = ("demo", "get", "history", "ls", "show")


def _aqrec(*args: object, **env: str) -> "subprocess.CompletedProcess[str]":
    """Run the command in a process of its own."""
    clean = {
        key: value for key, value in os.environ.items() if key not in {"COLUMNS", "NO_COLOR", "FORCE_COLOR"}
    }
    return subprocess.run(
        [sys.executable, "-m", "aqrec.cli", *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**clean, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", **env},
    )


def _files(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in folder.rglob("*")}


def _reading(lab: Lab, store: object) -> list[list[object]]:
    run = lab.first
    return [
        ["ls", store],
        ["ls", store, "--experiment", "alpha", "--all"],
        ["show", run, "--store", store],
        ["history", run, "loss", "--store", store],
        ["get", run, "pred.pkl", "--print", "--store", store],
    ]


def test_the_version_is_the_packages(cli: Cli) -> None:
    assert cli("--version").ok().out == f"aqrec {aqrec.__version__}\n"


@pytest.mark.parametrize("width", [60, 100])
def test_help_names_every_command(cli: Cli, width: int) -> None:
    shown = cli("--help", width=width).ok().out
    assert [name for name in COMMANDS if f" {name} " not in shown] == []
    assert max(map(len, shown.splitlines())) <= width


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(cli: Cli, command: str) -> None:
    assert "--json" in cli(command, "-h").ok().out or command == "get"


def test_starting_up_loads_no_tables() -> None:
    """``aqrec --version`` and ``aqrec --help`` are quick because pandas and its like stay out."""
    heavy = "{'pandas', 'numpy', 'pyarrow', 'yaml', 'matplotlib'}"
    code = f"""
        import sys
        from aqrec.cli import app
        for words in (["--version"], ["--help"], ["ls", "--help"]):
            try:
                app(words)
            except SystemExit as ended:
                assert not ended.code
        assert not {heavy} & set(sys.modules), sys.modules
    """
    run_script(code).check()


def test_listing_a_store_loads_no_pandas(lab: Lab) -> None:
    code = """
        import sys
        from aqrec.cli import app
        try:
            app(["ls", sys.argv[1], "--experiment", "alpha"])
        except SystemExit as ended:
            assert not ended.code
        assert "pandas" not in sys.modules
    """
    assert "lgb-0" in run_script(code, str(lab.path)).check().stdout


def test_looking_into_a_store_changes_nothing_in_it(cli: Cli, lab: Lab) -> None:
    before = _files(lab.path)
    for words in _reading(lab, lab.path):
        cli(*words).ok()
    assert _files(lab.path) == before


def test_a_missing_store_is_an_error_and_is_not_made(cli: Cli, lab: Lab, tmp_path: Path) -> None:
    for words in _reading(lab, tmp_path / "nothing"):
        ended = cli(*words)
        assert (ended.code, ended.out) == (1, "")
        assert ended.err.startswith(
            f"error: there is no aqrec store in {tmp_path / 'nothing'} (no such folder); "
        )
        assert "aqrec demo --store" in ended.err
    assert list(tmp_path.iterdir()) == []


def test_the_default_store_is_aqruns_here_and_is_not_made(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = cli("ls")
    assert ended.code == 1
    assert f"there is no aqrec store in {tmp_path / 'aqruns'}" in ended.err
    assert "AQREC_URI" in ended.err
    assert list(tmp_path.iterdir()) == []


def test_aqrec_uri_names_the_store(cli: Cli, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AQREC_URI", lab.path.as_uri())
    assert "alpha" in cli("ls").ok().out
    assert lab.first in cli("show", lab.first).ok().out


def test_a_url_names_the_same_store_as_a_path(cli: Cli, lab: Lab) -> None:
    assert cli("ls", lab.path.as_uri(), "--json").json() == cli("ls", lab.path, "--json").json()


def test_a_folder_of_stores_is_not_one_but_tells_them(cli: Cli, lab: Lab) -> None:
    ended = cli("ls", lab.path.parent)
    assert ended.code == 1
    assert f"did you mean {lab.path}?" in ended.err


@pytest.mark.parametrize("store", ["s3://bucket/lab", "nonsense://x", ""])
def test_a_store_that_cannot_be_opened_is_one_line(cli: Cli, store: str) -> None:
    ended = cli("ls", store)
    assert ended.code == 1
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1


def test_a_secret_in_a_url_is_not_shown(cli: Cli) -> None:
    ended = cli("ls", "s3://key:verysecret@bucket/lab")
    assert ended.code == 1
    assert "verysecret" not in ended.err


@pytest.mark.parametrize(
    "words",
    [
        ["shw"],
        ["show"],
        ["ls", "--limit", "-1"],
        ["ls", "--unknown"],
        ["history", "run"],
        ["history", "run", "key", "--csv", "--json"],
        ["get", "run", "path", "dest", "--print"],
        ["ls", "one", "--store", "two"],
        ["demo", "--refit", "never"],
    ],
)
def test_wrong_usage_is_exit_code_2(cli: Cli, words: list[str]) -> None:
    ended = cli(*words)
    assert (ended.code, ended.out) == (2, "")
    assert "Usage: aqrec" in ended.err


@pytest.mark.parametrize("where", ["before", "after", "environment"])
def test_the_way_to_an_error_is_shown_on_demand(
    cli: Cli, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words: list[object] = ["ls", tmp_path]
    if where == "before":
        words.insert(0, "--traceback")
    elif where == "after":
        words.append("--traceback")
    assert "Traceback" not in cli("ls", tmp_path).err
    if where == "environment":
        monkeypatch.setenv("AQREC_DEBUG", "1")
    ended = cli(*words)
    assert ended.code == 1
    assert "Traceback (most recent call last)" in ended.err
    assert "NotFoundError: there is no aqrec store" in ended.err


def test_a_pipe_gets_no_escape_sequences(lab: Lab) -> None:
    for words in (["show", lab.first, "-s", lab.path], ["ls", "/nowhere"]):
        ended = _aqrec(*words)
        assert "\x1b" not in ended.stdout + ended.stderr


def test_a_pipe_gets_whole_names_however_narrow_the_terminal_is(
    cli: Cli, new_run: Callable[..., str], tmp_path: Path
) -> None:
    name = "an experiment whose name is longer than any terminal should have to be " + "o" * 30
    new_run(experiment=name)
    assert name in cli("ls", tmp_path / "own", width=None).ok().out
    assert "…" in cli("ls", tmp_path / "own", width=60).ok().out


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(cli: Cli, lab: Lab, width: int) -> None:
    for words in [*_reading(lab, lab.path), ["history", lab.first, "loss", "val_ic", "-p", "-s", lab.path]]:
        lines = cli(*words, width=width).ok().out.splitlines()
        # The run's folder stays in one piece, to be copied.
        too_long = [line for line in lines if len(line) > width and not line.startswith("files ")]
        assert too_long == [], words


def test_what_the_terminal_cannot_show_does_not_end_a_command(lab: Lab) -> None:
    """In a locale without UTF-8 plots are drawn in ASCII and names are escaped."""
    ended = _aqrec("history", lab.first, "loss", "--plot", "-s", lab.path, PYTHONIOENCODING="ascii")
    assert ended.returncode == 0, ended.stderr
    assert "***" in ended.stdout
    text = _aqrec("get", lab.first, "conf/deep/t.txt", "--print", "-s", lab.path, PYTHONIOENCODING="ascii")
    assert text.stdout.startswith("h\\xe9llo\n")


def test_json_survives_a_terminal_without_utf8(new_run: Callable[..., str], tmp_path: Path) -> None:
    new_run(experiment="数据")
    ended = _aqrec("ls", tmp_path / "own", "--json", PYTHONIOENCODING="ascii")
    assert "\\u6570\\u636e" in ended.stdout


def _on_a_terminal(*args: object, **env: str) -> str:
    """Run the command on a pseudo terminal of 100 columns; return what arrives there."""
    master, slave = pty.openpty()
    clean = {key: value for key, value in os.environ.items() if key not in {"NO_COLOR", "FORCE_COLOR"}}
    with subprocess.Popen(
        [sys.executable, "-m", "aqrec.cli", *map(str, args)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**clean, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": "100", **env},
    ) as process:
        os.close(slave)
        seen = b""
        try:
            while part := os.read(master, 65536):
                seen += part
        except OSError:  # how Linux tells that the other end is closed
            pass
        finally:
            os.close(master)
        assert process.wait(60) == 0
    return seen.decode()


def test_a_terminal_gets_colours_unless_it_wants_none(lab: Lab) -> None:
    red = "\x1b[1;31mFAILED"
    assert red in _on_a_terminal("ls", lab.path, "-e", "beta")
    assert red not in _on_a_terminal("ls", lab.path, "-e", "beta", NO_COLOR="1")


def test_text_of_an_artifact_cannot_steer_a_terminal(lab: Lab) -> None:
    words = ("get", lab.first, "conf/deep/t.txt", "--print", "-s", lab.path)
    assert "\\x1b[31mred" in _on_a_terminal(*words)
    assert "\x1b[31mred" in _aqrec(*words).stdout


def test_a_reader_who_leaves_early_is_no_error(lab: Lab) -> None:
    """``aqrec history … | head -1`` ends without a traceback."""
    command = f"{sys.executable} -m aqrec.cli history {lab.first} loss --csv -s {lab.path} | head -c 3"
    ended = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (ended.stdout, ended.stderr) == ("key", "")
