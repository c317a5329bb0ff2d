"""The blocking face of aqrec: the same names, for scripts, notebooks and threads.

``with aqrec.sync.open_recorder("./lab", experiment="alpha") as recorder:`` records a run. Logging appends to
the bounded buffer on the calling thread; every other call waits for aqrec's own thread, so it works inside a
running event loop, too (and blocks that loop). Where the text of a call speaks of a task, a thread that runs
no event loop is one; where it speaks of cancelling, Ctrl-C is meant. Both faces share the active recorders
and the default store.
"""

from aqrec import errors
from aqrec.format._records import STATUS_FA, STATUS_FI, STATUS_R, STATUS_S
from aqrec.options import BufferOptions, FlushOptions, Options, RetryOptions, SpoolOptions
from aqrec.recording import Comparison, Page
from aqrec.sync._experiment import Experiment
from aqrec.sync._global import R
from aqrec.sync._manager import ExperimentManager, open_recorder
from aqrec.sync._recorder import Recorder
from aqrec.sync._spools import sync_spool

__all__ = [
    "STATUS_FA",
    "STATUS_FI",
    "STATUS_R",
    "STATUS_S",
    "BufferOptions",
    "Comparison",
    "Experiment",
    "ExperimentManager",
    "FlushOptions",
    "Options",
    "Page",
    "R",
    "Recorder",
    "RetryOptions",
    "SpoolOptions",
    "errors",
    "open_recorder",
    "sync_spool",
]
