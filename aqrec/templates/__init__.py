"""Record templates: what a finished experiment should leave in its run, made by one awaited call.

`SignalRecord` saves what a model predicts, `SigAnaRecord` how good that is. Templates of your own derive from
`ACRecordTemp`.
`aqrec.sync.templates` has the same classes for blocking code.
"""

from aqrec.templates._base import ACRecordTemp, RecordTemp
from aqrec.templates._dataset import LabelledDataset
from aqrec.templates._signal import SigAnaRecord, SignalRecord

__all__ = ["ACRecordTemp", "LabelledDataset", "RecordTemp", "SigAnaRecord", "SignalRecord"]
