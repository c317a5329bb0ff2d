"""Record templates: what a finished experiment should leave in its run, made by one awaited call.

`SignalRecord` saves what a model predicts; `SigAnaRecord`, `HFSignalRecord` and `SignalMseRecord` tell how good that
is, `MultiSegRecord` does it for several segments. Templates of your own derive from `ACRecordTemp`. `generate_all`
makes many templates at once.
`aqrec.sync.templates` has the same names for blocking code.
"""

from aqrec.templates._base import ACRecordTemp, RecordTemp
from aqrec.templates._dataset import LabelledDataset
from aqrec.templates._portfolio import MultiPassPortAnaRecord, PortAnaRecord
from aqrec.templates._schedule import generate_all
from aqrec.templates._segments import MultiSegRecord
from aqrec.templates._signal import HFSignalRecord, SigAnaRecord, SignalMseRecord, SignalRecord

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
