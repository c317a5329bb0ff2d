from __future__ import annotations

import getpass
import os
import platform
import sys
from pathlib import Path

from aqrec.provenance import host_state


def test_this_process():
    state = host_state()

    assert state.hostname == platform.node()
    assert state.platform.startswith("Linux")
    assert state.python == ".".join(map(str, sys.version_info[:3]))
    assert (state.implementation, state.executable) == (sys.implementation.name, sys.executable)
    assert (state.pid, state.cwd) == (os.getpid(), str(Path.cwd()))
    assert state.cpus == len(os.sched_getaffinity(0))
    assert state.user == getpass.getuser()


def test_user_without_an_account(monkeypatch):
    """Containers run under ids that no account has."""

    def unknown():
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", unknown)

    assert host_state().user == str(os.getuid())


def test_deleted_folder(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    assert host_state().cwd == ""
