"""The machine, interpreter and user of this process."""

from __future__ import annotations

import os
import sys

import msgspec

from aqrec.provenance._text import storable

__all__ = ["HostState", "host_state", "usable_cpus"]


class HostState(msgspec.Struct, frozen=True):
    """Machine, interpreter and user of one process.

    Attributes
    ----------
    hostname
        The machine's network name.
    platform
        Operating system, kernel, machine type and C library in one line.
    python
        Version of the language, e.g. ``3.11.7``.
    implementation
        ``cpython``, ``pypy`` ...
    executable
        Path of the interpreter.
    pid
        Process id.
    cpus
        CPUs that this process may use.
    user
        Login name, or the numeric id where it has no name.
    cwd
        Current folder; empty when it was deleted.
    """

    hostname: str = ""
    platform: str = ""
    python: str = ""
    implementation: str = ""
    executable: str = ""
    pid: int = 0
    cpus: int = 1
    user: str = ""
    cwd: str = ""


def host_state() -> HostState:
    """Describe this process: machine, interpreter, user and current folder."""
    import platform  # noqa: PLC0415 -- 2 ms that importing aqrec need not pay

    return HostState(
        hostname=storable(platform.node()),
        platform=storable(platform.platform()),
        python=platform.python_version(),
        implementation=sys.implementation.name,
        executable=storable(sys.executable or ""),
        pid=os.getpid(),
        cpus=usable_cpus(),
        user=storable(_user()),
        cwd=storable(_cwd()),
    )


def usable_cpus() -> int:
    """Return the number of CPUs that this process may use; where the system does not tell, those of the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _user() -> str:
    import getpass  # noqa: PLC0415 -- loads the terminal modules

    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        # A container often runs under an id without an account.
        return str(os.getuid()) if hasattr(os, "getuid") else ""


def _cwd() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 -- Path adds nothing but an import
    except OSError:
        return ""
