"""How logged records become durable bytes: buffer, engine thread, journal, sealing, and every way a process can end."""

from aqrec.engine._buffer import DONE, Done, PointLog, Room, join
from aqrec.engine._engine import Engine
from aqrec.engine._exit import disown, own, shut_down
from aqrec.engine._leaving import leaving
from aqrec.engine._marker import ensure_marker, read_marker
from aqrec.engine._outage import Outage
from aqrec.engine._registry import acquire_engine, engines, engines_of, release_engine
from aqrec.engine._runtime import THREAD_NAME, Runtime, bridge, current_runtime, follow
from aqrec.engine._statistics import Statistics
from aqrec.engine._summary import RunState

__all__ = [
    "DONE",
    "THREAD_NAME",
    "Done",
    "Engine",
    "Outage",
    "PointLog",
    "Room",
    "RunState",
    "Runtime",
    "Statistics",
    "acquire_engine",
    "bridge",
    "current_runtime",
    "disown",
    "engines",
    "engines_of",
    "ensure_marker",
    "follow",
    "join",
    "leaving",
    "own",
    "read_marker",
    "release_engine",
    "shut_down",
]
