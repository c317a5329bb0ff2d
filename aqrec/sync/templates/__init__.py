"""Record templates for blocking code: the names of `aqrec.templates`, with the same arguments.

Models, data sets and ``_generate`` run in the calling thread. Those that are async are awaited there, on a
loop of their own, or in another thread where a loop runs already, as in a notebook.
"""

from aqrec.sync.templates._base import ACRecordTemp, RecordTemp
from aqrec.sync.templates._portfolio import MultiPassPortAnaRecord, PortAnaRecord
from aqrec.sync.templates._schedule import generate_all
from aqrec.sync.templates._signal import (
    HFSignalRecord,
    MultiSegRecord,
    SigAnaRecord,
    SignalMseRecord,
    SignalRecord,
)
from aqrec.templates._dataset import LabelledDataset

__all__ = [
    "ACRecordTemp",
    "HFSignalRecord",
    "LabelledDataset",
    "MultiPassPortAnaRecord",
    "MultiSegRecord",
    "PortAnaRecord",
    "RecordTemp",
    "SigAnaRecord",
    "SignalMseRecord",
    "SignalRecord",
    "generate_all",
]
