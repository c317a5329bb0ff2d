from __future__ import annotations

import sys
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
