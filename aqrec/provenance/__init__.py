"""Where a run came from: command line, environment, git, host and packages.

Every function here blocks, and never raises because of what it finds; call it off the event loop.
Importing this package starts nothing and loads nothing heavy.
"""

from aqrec.provenance._collect import Provenance, collect
from aqrec.provenance._command import argv_text, source_name, source_type
from aqrec.provenance._environment import selected_environment
from aqrec.provenance._git import GitState, git_state
from aqrec.provenance._host import HostState, host_state
from aqrec.provenance._packages import packages

__all__ = [
    "GitState",
    "HostState",
    "Provenance",
    "argv_text",
    "collect",
    "git_state",
    "host_state",
    "packages",
    "selected_environment",
    "source_name",
    "source_type",
]
