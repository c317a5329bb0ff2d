"""``--option KEY=VALUE``: what a store's driver needs, given to any command and shown by none."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from aqrec.errors import InvalidInputError
from aqrec.stores import LocalStore, Store, register_store
from aqrec.stores._options import Knob, take_options
from aqrec.sync import open_recorder
from tests.cli.conftest import QUIET, Cli
from tests.cli.test_run import SMALL, _own_path  # noqa: F401 - as for every run of a workflow

SECRET = "hunter2"
OPTIONS = ("--option", f"secret={SECRET}", "-o", "region=eu")


def _open(url: str, storage_options: Mapping[str, Any]) -> Store:
    if storage_options != {"secret": SECRET, "region": "eu"}:
        raise InvalidInputError(f"{url} needs its options, not {sorted(storage_options)}")
    return LocalStore("/" + url.partition("://")[2])


register_store("locked", _open)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A store that opens to whom has its options, with one run."""
    url = f"locked:/{tmp_path}/lab"
    options = {"secret": SECRET, "region": "eu"}
    with open_recorder(url, experiment="e", name="r", options=QUIET, storage_options=options) as recorder:
        recorder.log_metrics(step=1, loss=0.5)
        recorder.save_objects(**{"a.json": [1]})
    return url


COMMANDS = {
    "ls": ["ls", "URL"],
    "show": ["show", "e/r", "--store", "URL"],
    "history": ["history", "e/r", "loss", "--store", "URL"],
    "plot": ["history", "e/r", "loss", "--plot", "--store", "URL"],
    "get": ["get", "e/r", "a.json", "copy.json", "--store", "URL"],
    "print": ["get", "e/r", "a.json", "--print", "--store", "URL"],
    "compact": ["compact", "URL"],
    "run": ["run", "w.yaml", "--store", "URL"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_hands_them_to_the_driver(cli: Cli, tmp_path: Path, url: str, name: str) -> None:
    (tmp_path / "w.yaml").write_text(SMALL)
    words = [url if word == "URL" else word for word in COMMANDS[name]]
    refused = cli(*words)
    assert refused.code == 1
    assert "needs its options, not []" in refused.err
    done = cli(*words, *OPTIONS).ok()
    assert SECRET not in done.out + done.err


def test_the_demo_hands_them_on_too(cli: Cli, url: str) -> None:
    refused = cli("demo", "--store", url, "-o", f"password={SECRET}")
    assert "needs its options, not ['password']" in refused.err
    assert SECRET not in refused.out + refused.err


def test_the_commands_that_are_shown_work_but_for_what_is_secret(cli: Cli, tmp_path: Path, url: str) -> None:
    (tmp_path / "w.yaml").write_text(SMALL)
    done = cli("run", "w.yaml", "--store", url, *OPTIONS).ok()
    commands = re.findall(r"^  (aqrec .*)$", done.out, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        assert "--option secret=… --option region=eu" in command
        assert cli(*shlex.split(command.replace("secret=…", f"secret={SECRET}"))[1:]).ok()


@pytest.mark.parametrize("text", [SECRET, f"={SECRET}", SECRET.upper()])
def test_what_is_no_option_is_refused_and_not_shown(cli: Cli, url: str, text: str) -> None:
    ended = cli("ls", url, "-o", text)
    assert ended.code == 1
    assert "KEY=VALUE" in ended.err
    assert text not in ended.err


@pytest.mark.parametrize("value", ["0012", "1.10", "12345678901234567890123", "1e5", "7"])
def test_a_password_of_digits_arrives_as_it_was_given(value: str) -> None:
    from aqrec.cli._where import where

    given = where(None, [f"secret={value}"]).options
    assert take_options("s3://bucket", given, {"secret": Knob(str)}) == {"secret": value}
