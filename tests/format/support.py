"""Strategies and comparisons for what is stored."""

import math
import struct
from typing import Any

from hypothesis import strategies as st

from aqrec.format import _records as records
from aqrec.format import _values as values

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
KEYS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
INTEGERS = (
    st.integers() | st.integers(-(2**70), 2**70) | st.sampled_from([2**63 - 1, 2**63, 2**64, -(2**63) - 1])
)
PLAIN = st.none() | st.booleans() | INTEGERS | st.floats() | TEXT
VALUES = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(TEXT | st.sampled_from(["$float", "$dict", "$int"]), inner, max_size=3)
    ),
    max_leaves=8,
)
MAPPINGS = st.dictionaries(KEYS, VALUES, max_size=5)


def identical(a: Any, b: Any) -> bool:
    """Whether two values are the same to the bit, types and the order of lists included; all NaN are one."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, list):
        return len(a) == len(b) and all(map(identical, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(identical(value, b[key]) for key, value in a.items())
    return bool(a == b)


RUN = "0190"
# Few clocks, so that events of different writers meet on one.
CLOCKS = st.integers(0, 6)
_WRITERS = st.sampled_from(["w1", "w2"])
_SHORT = st.sampled_from(["a", "b"])
_SMALL = st.sampled_from([1, 1.0, True, "1", None, math.nan, [1], {"x": 2}])
_TIMES = st.integers(1, 9)


def _raw(mapping: dict[str, Any]) -> Any:
    import msgspec

    return msgspec.Raw(values.pack(mapping))


_PACKED = st.dictionaries(_SHORT, _SMALL, max_size=2).map(_raw)
_REFS = st.builds(
    records.ArtifactRef,
    path=_SHORT,
    key=_SHORT,
    size=_TIMES,
    checksum=st.sampled_from(["c1", "c2"]),
    modified=_TIMES,
    writer=_WRITERS,
    earlier=st.lists(
        st.builds(records.ArtifactVersion, size=_TIMES, checksum=st.sampled_from(["c3", "c4"])), max_size=2
    ),
)
_RUN_EVENTS: list[st.SearchStrategy[records.RunEvent]] = [
    st.builds(
        records.RunCreated,
        clock=CLOCKS,
        run_id=st.just(RUN),
        experiment_id=_SHORT,
        experiment_name=_SHORT,
        name=_SHORT,
        parent=st.none() | _SHORT,
        created=_TIMES,
        writer=_WRITERS,
        own_id=st.booleans(),
    ),
    st.builds(records.RunRenamed, clock=CLOCKS, run_id=st.just(RUN), name=_SHORT),
    st.builds(
        records.StatusSet,
        clock=CLOCKS,
        run_id=st.just(RUN),
        status=st.sampled_from(records.STATUSES),
        time=_TIMES,
        reason=_SHORT,
    ),
    st.builds(records.ParamsLogged, clock=CLOCKS, run_id=st.just(RUN), params=_PACKED, quiet=st.booleans()),
    st.builds(records.TagsSet, clock=CLOCKS, run_id=st.just(RUN), tags=_PACKED),
    st.builds(records.TagsDeleted, clock=CLOCKS, run_id=st.just(RUN), keys=st.lists(_SHORT, max_size=2)),
    st.builds(records.ArtifactSaved, clock=CLOCKS, run_id=st.just(RUN), ref=_REFS),
    st.builds(
        records.Sealed,
        clock=CLOCKS,
        run_id=st.just(RUN),
        writer=_WRITERS,
        key=_SHORT,
        through=_TIMES,
        points=_TIMES,
    ),
    st.builds(records.PointsDropped, clock=CLOCKS, run_id=st.just(RUN), writer=_WRITERS, count=_TIMES),
    st.builds(records.RunDeleted, clock=CLOCKS, run_id=st.just(RUN)),
    st.builds(records.RunRestored, clock=CLOCKS, run_id=st.just(RUN)),
    st.builds(records.RunPurged, clock=CLOCKS, run_id=st.just(RUN)),
]


@st.composite
def _summaries(draw: st.DrawFn) -> records.RunEvent:
    """Summaries as a writer makes them: equal counts are equal summaries."""
    count = draw(_TIMES)
    writer = draw(_WRITERS)
    summary = records.MetricSummary(
        count, count, 1000 + count, count / 2, -1.0, math.nan if writer == "w1" else 2.0
    )
    return records.MetricsSummarised(
        clock=draw(CLOCKS), run_id=RUN, writer=writer, through=count, metrics={draw(_SHORT): summary}
    )


RUN_EVENTS = st.one_of(*_RUN_EVENTS, _summaries())
