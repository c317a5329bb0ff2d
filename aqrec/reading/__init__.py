"""From stored bytes back to answers: catalog, filters, search results, metric histories."""

from aqrec.reading._catalog import Catalog, ExperimentDocument
from aqrec.reading._history import read_metric_history
from aqrec.reading._search import to_frame
from aqrec.reading._selection import Selection

__all__ = ["Catalog", "ExperimentDocument", "Selection", "read_metric_history", "to_frame"]
