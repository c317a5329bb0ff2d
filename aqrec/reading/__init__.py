"""From stored bytes back to answers: catalog, filters, search results, metric histories."""

from aqrec.format._experiment import ExperimentDocument
from aqrec.reading._answer import Answer
from aqrec.reading._arrow import schema_of, to_arrow
from aqrec.reading._catalog import Catalog, EventLog
from aqrec.reading._fields import Field, parse_fields
from aqrec.reading._frame import to_frame
from aqrec.reading._histories import LEAST_POINTS, long_frame, thinned, wide_frame
from aqrec.reading._history import frame_of, read_metric_history, read_points
from aqrec.reading._pages import PageToken
from aqrec.reading._runs import standing
from aqrec.reading._selection import Selection
from aqrec.reading._tails import may_have_more

__all__ = [
    "LEAST_POINTS",
    "Answer",
    "Catalog",
    "EventLog",
    "ExperimentDocument",
    "Field",
    "PageToken",
    "Selection",
    "frame_of",
    "long_frame",
    "may_have_more",
    "parse_fields",
    "read_metric_history",
    "read_points",
    "schema_of",
    "standing",
    "thinned",
    "to_arrow",
    "to_frame",
    "wide_frame",
]
