from __future__ import annotations

import sys
import time
from types import SimpleNamespace

import pytest

from aqrec.provenance import argv_text, source_name, source_type


@pytest.fixture
def kernel(monkeypatch):
    """An IPython kernel, as the modules and the shell that one leaves behind."""
    shell = SimpleNamespace(kernel=object(), user_ns={})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setattr(sys, "argv", ["/x/ipykernel_launcher.py", "-f", "kernel.json"])
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    return shell


def test_arguments_are_joined_as_typed(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["qrun", "my config.yaml", ""])

    assert argv_text() == "qrun my config.yaml "


@pytest.mark.parametrize(
    ("argv", "kept"),
    [
        ("run.py --password=hunter2", "run.py --password=***"),
        ("run.py --password hunter2 --lr 0.1", "run.py --password *** --lr 0.1"),
        ("run.py --use-token --lr 0.1", "run.py --use-token --lr 0.1"),
        ("run.py -token=-x=1 x", "run.py -token=*** x"),
        ("run.py db.password=a:b@c&d", "run.py db.password=***"),
        ("env AWS_SECRET_ACCESS_KEY=x/y lr=1", "env AWS_SECRET_ACCESS_KEY=*** lr=1"),
        ("run.py api_key:x lr:1", "run.py api_key:*** lr:1"),
        ("run.py --db postgres://me:pw@host/db", "run.py --db postgres://host/db"),
        ("run.py --db=https://host/a?sig=1 b", "run.py --db=https://host/a b"),
        ("run.py data/tokens.csv --out s3://bucket/keys", "run.py data/tokens.csv --out s3://bucket/keys"),
        ("run.py --monitor loss C:/x", "run.py --monitor loss C:/x"),
    ],
)
def test_secrets_of_the_command_line_stay_out(monkeypatch, argv, kept):
    monkeypatch.setattr(sys, "argv", argv.split(" "))

    assert argv_text() == kept


@pytest.mark.parametrize(
    ("argument", "kept"),
    [
        ("--password=two words, and more", "--password=***"),
        ("host=x password=y user=z", "host=x password=*** user=z"),
        ("{'api_key': 'x y', 'lr': 1}", "{'api_key': ***, 'lr': 1}"),
        ('{"token":"x","lr":1}', '{"token":***,"lr":1}'),
        ("db={user: a, password: b}", "db={user: a, password: ***}"),
        ("--conn=Password=y;Port=1", "--conn=Password=***;Port=1"),
        ("--conn=Server=x;Password=y;Port=1", "--conn=Server=x;Password=***;Port=1"),
        ("=" * 9 + "key", "=" * 9 + "key"),
    ],
)
def test_secrets_inside_of_an_argument_stay_out(monkeypatch, argument, kept):
    monkeypatch.setattr(sys, "argv", ["run.py", argument])

    assert argv_text() == f"run.py {kept}"


def test_a_long_argument_is_read_in_linear_time(monkeypatch):
    for part in ("a", "a=", "key", "key ", "key=", "key:'", "-", "://"):
        monkeypatch.setattr(sys, "argv", [part * (200_000 // len(part))])
        begin = time.monotonic()
        argv_text()
        assert time.monotonic() - begin < 10, part


@pytest.mark.parametrize(
    ("argv", "name"),
    [(["run/train.py", "-v"], "run/train.py"), (["-c"], "-c"), ([""], "<console>"), ([], "<console>")],
)
def test_script(monkeypatch, argv, name):
    monkeypatch.setattr(sys, "argv", argv)

    assert (source_name(), source_type()) == (name, "LOCAL")


def test_embedded_interpreter_without_arguments(monkeypatch):
    monkeypatch.delattr(sys, "argv")

    assert (argv_text(), source_name()) == ("", "<console>")


def test_notebook(kernel, monkeypatch):
    """A notebook is named by its front end, or not at all."""
    assert (source_name(), source_type()) == ("<notebook>", "NOTEBOOK")

    monkeypatch.setenv("JPY_SESSION_NAME", "/notebooks/alpha.ipynb")
    assert source_name() == "/notebooks/alpha.ipynb"

    kernel.user_ns["__vsc_ipynb_file__"] = "/notebooks/beta.ipynb"
    assert source_name() == "/notebooks/beta.ipynb"


def test_ipython_in_a_terminal_is_no_notebook(monkeypatch):
    shell = SimpleNamespace(user_ns={})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))

    assert source_type() == "LOCAL"


def test_ipython_imported_by_a_script_is_no_notebook(monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))

    assert source_type() == "LOCAL"
