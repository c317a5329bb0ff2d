"""From stored bytes back to answers: catalog, filters, search results, metric histories."""

from aqrec.format._experiment import ExperimentDocument
from aqrec.reading._catalog import Catalog, EventLog
from aqrec.reading._history import read_metric_history
from aqrec.reading._runs import standing
from aqrec.reading._search import to_frame
from aqrec.reading._selection import Selection

__all__ = [
    "Catalog",
    "EventLog",
    "ExperimentDocument",
    "Selection",
    "read_metric_history",
    "standing",
    "to_frame",
]
