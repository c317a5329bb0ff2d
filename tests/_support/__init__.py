"""Helpers that several test modules share; nothing here is a test."""

from tests._support.blocking import forbid_blocking
from tests._support.pythons import (
    MINORS,
    EnvironmentUnavailableError,
    PythonEnvs,
    found_pythons,
)
from tests._support.scripts import ROOT, ScriptResult, run_script
from tests._support.threads import no_thread_left
from tests._support.waiting import wait_until

__all__ = [
    "MINORS",
    "ROOT",
    "EnvironmentUnavailableError",
    "PythonEnvs",
    "ScriptResult",
    "forbid_blocking",
    "found_pythons",
    "no_thread_left",
    "run_script",
    "wait_until",
]
