"""Async-native, serverless experiment recorder whose whole store is one URL.

``async with aqrec.open_recorder("./lab", experiment="alpha") as recorder:`` records a run; `aqrec.sync` holds the same names
for blocking code. Public modules: `errors`, `options`, `stores`, `serialization`, `artifacts`, `analysis`, `backtest`, `quotes`, `templates`,
`workflow`, `testing`.
"""

from typing import TYPE_CHECKING

from aqrec import _lazy

if TYPE_CHECKING:
    from aqrec import errors
    from aqrec.format._records import STATUS_FA, STATUS_FI, STATUS_R, STATUS_S
    from aqrec.options import BufferOptions, FlushOptions, Options, RetryOptions, SpoolOptions
    from aqrec.recording import (
        Comparison,
        Experiment,
        ExperimentManager,
        Page,
        R,
        Recorder,
        open_recorder,
        sync_spool,
    )

__version__ = "0.3.0"

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
    "__version__",
    "errors",
    "open_recorder",
    "sync_spool",
]

__getattr__, __dir__ = _lazy.lazy_names(
    "aqrec",
    {
        "errors": "aqrec.errors",
        **dict.fromkeys(("STATUS_FA", "STATUS_FI", "STATUS_R", "STATUS_S"), "aqrec.format._records"),
        **dict.fromkeys(
            ("BufferOptions", "FlushOptions", "Options", "RetryOptions", "SpoolOptions"), "aqrec.options"
        ),
        **dict.fromkeys(
            (
                "Comparison",
                "Experiment",
                "ExperimentManager",
                "Page",
                "R",
                "Recorder",
                "open_recorder",
                "sync_spool",
            ),
            "aqrec.recording",
        ),
    },
)
