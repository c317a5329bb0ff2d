"""Runs, experiments and their manager: the async face, and what both faces stand on."""

from aqrec.recording._comparing import Comparison
from aqrec.recording._default import defaults
from aqrec.recording._experiment import Experiment
from aqrec.recording._global import GlobalRecorder
from aqrec.recording._manager import ExperimentManager, open_recorder
from aqrec.recording._recorder import Recorder
from aqrec.recording._searching import Page
from aqrec.recording._spools import sync_spool

R = GlobalRecorder(defaults)
"""The recorder of this task."""

__all__ = [
    "Comparison",
    "Experiment",
    "ExperimentManager",
    "GlobalRecorder",
    "Page",
    "R",
    "Recorder",
    "open_recorder",
    "sync_spool",
]
