"""A run's document is the same whatever order its events arrive in, and however often."""

import json
import math
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aqrec.errors import CorruptError
from aqrec.format import _values as values
from aqrec.format._document import (
    RunDocument,
    apply,
    copy_document,
    document_from_json,
    document_to_json,
    latest,
    merge_summary,
    same,
)
from aqrec.format._records import (
    ArtifactRef,
    ArtifactSaved,
    MetricsSummarised,
    MetricSummary,
    ParamsLogged,
    RunCreated,
    RunEvent,
    StatusSet,
    TagsDeleted,
    TagsSet,
)
from tests.format.support import MAPPINGS, RUN, RUN_EVENTS, identical


def fold(events: Sequence[RunEvent]) -> RunDocument:
    doc = RunDocument(run_id=RUN)
    for event in events:
        apply(doc, event)
    return doc


def as_json(doc: RunDocument) -> Any:
    return json.loads(document_to_json(doc))


def params(clock: int, *, quiet: bool = False, **values_of: Any) -> ParamsLogged:
    import msgspec

    return ParamsLogged(clock=clock, run_id=RUN, params=msgspec.Raw(values.pack(values_of)), quiet=quiet)


@given(st.lists(RUN_EVENTS, max_size=10), st.randoms(use_true_random=False))
@example([params(1, x=1), params(2, x=2), params(3, x=1)], random.Random(1))
@example([params(1, quiet=True, x=1), params(2, x=2)], random.Random(2))
@example([params(2, quiet=True, x=1), params(1, x=2)], random.Random(3))
@example([params(1, x=1), params(1, x=2)], random.Random(4))
def test_order_and_repetition_of_events_do_not_matter(events: list[RunEvent], chance: random.Random) -> None:
    expected = as_json(fold(events))
    for _ in range(3):
        shuffled = [*events, *chance.sample(events, len(events) // 2)]
        chance.shuffle(shuffled)
        assert as_json(fold(shuffled)) == expected


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(0, 11)), max_size=40),
    st.randoms(use_true_random=False),
)
def test_of_many_writers_of_an_artifact_the_latest_are_kept(
    saves: list[tuple[int, int]], chance: random.Random
) -> None:
    events = [
        ArtifactSaved(
            clock=clock,
            run_id=RUN,
            ref=ArtifactRef(path="a", key="a", size=clock, checksum=f"c{writer}", writer=f"w{writer:02}"),
        )
        for clock, writer in saves
    ]
    latest_of = {writer: max(clock for clock, who in saves if who == writer) for _, writer in saves}
    expected = sorted((-clock, f"w{writer:02}") for writer, clock in latest_of.items())[:9]
    chance.shuffle(events)
    doc = fold(events)
    found = [*doc.artifacts.values(), *(rival.ref for rival in doc.rivals.get("a", []))]
    assert [(-ref.size, ref.writer) for ref in found] == expected


@given(st.lists(RUN_EVENTS, max_size=12))
def test_json_of_a_document_reads_back_the_same(events: list[RunEvent]) -> None:
    doc = fold(events)
    again = document_from_json(document_to_json(doc))
    assert as_json(again) == as_json(doc)
    assert identical(again.params, doc.params)
    assert identical(again.tags, doc.tags)


@given(st.lists(RUN_EVENTS, max_size=12), st.lists(RUN_EVENTS, max_size=12))
def test_a_copy_goes_its_own_way(before: list[RunEvent], after: list[RunEvent]) -> None:
    """What is folded into a copy, or changed in a value that somebody got from it, does not show in the original."""
    doc = fold(before)
    known = document_to_json(doc)
    copied = copy_document(doc)
    assert document_to_json(copied) == known
    for event in after:
        apply(copied, event)
    for value in (*copied.params.values(), *copied.tags.values()):
        if isinstance(value, (list, dict)):
            value.clear()
    assert document_to_json(doc) == known


@given(MAPPINGS)
def test_any_params_survive_run_json(mapping: dict[str, Any]) -> None:
    doc = RunDocument(run_id=RUN, params=mapping, tags=mapping, param_conflicts={"x": list(mapping.values())})
    again = document_from_json(document_to_json(doc))
    assert identical(again.params, mapping)
    assert identical(again.tags, mapping)
    assert identical(again.param_conflicts, {"x": list(mapping.values())})


@given(st.floats(), st.floats(), st.floats(), st.none() | st.integers(-(2**63), 2**63 - 1))
def test_summaries_survive_run_json(value: float, low: float, high: float, step: int | None) -> None:
    summary = MetricSummary(3, step, 5, value, low, high)
    doc = RunDocument(run_id=RUN, metrics={"w": {"k": summary}})
    assert identical(
        list(msgspec_fields(document_from_json(document_to_json(doc)).metrics["w"]["k"])),
        list(msgspec_fields(summary)),
    )


def msgspec_fields(summary: MetricSummary) -> tuple[Any, ...]:
    return tuple(getattr(summary, name) for name in summary.__struct_fields__)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"null", b'{"run_id": 3}', b'{"run_id":"x","metrics":{"w":{"k":[1]}}}', b"\xff"],
)
def test_a_broken_run_json_is_named_corrupt(text: bytes) -> None:
    with pytest.raises(CorruptError):
        document_from_json(text)


def test_fields_of_a_later_version_are_passed_over() -> None:
    plain = as_json(RunDocument(run_id=RUN, name="n")) | {"invented_later": [1]}
    assert document_from_json(json.dumps(plain).encode()).name == "n"


def test_the_first_param_stands_and_others_are_kept_as_conflicts() -> None:
    doc = fold([params(5, lr=0.1), params(3, lr=0.2), params(4, lr=math.nan), params(6, lr=0.2)])
    assert doc.params == {"lr": 0.2}
    assert sorted(map(str, doc.param_conflicts["lr"])) == ["0.1", "nan"]


def test_values_of_other_types_are_other_values() -> None:
    assert not same(1, 1.0)
    assert not same(1, True)
    assert same(math.nan, math.nan)
    assert not same([1, {"a": 2}], [1, {"a": 2.0}])
    assert same({"a": [None, "x"]}, {"a": [None, "x"]})


def test_a_tag_deleted_later_is_gone_and_one_set_later_is_there() -> None:
    import msgspec

    tags = TagsSet(clock=2, run_id=RUN, tags=msgspec.Raw(values.pack({"t": 1})))
    assert fold([tags, TagsDeleted(clock=3, run_id=RUN, keys=["t"])]).tags == {}
    assert fold([TagsDeleted(clock=1, run_id=RUN, keys=["t"]), tags]).tags == {"t": 1}


def test_status_follows_the_clock_and_start_is_the_earliest() -> None:
    def status(clock: int, name: str, time: int) -> StatusSet:
        return StatusSet(clock=clock, run_id=RUN, status=name, time=time)

    doc = fold([status(3, "FAILED", 30), status(1, "RUNNING", 10), status(2, "FINISHED", 20)])
    assert (doc.status, doc.start_time, doc.end_time) == ("FAILED", 10, 30)
    apply(doc, status(4, "RUNNING", 40))
    assert (doc.status, doc.start_time, doc.end_time) == ("RUNNING", 10, None)


def test_a_run_is_known_once_its_creation_was_read() -> None:
    doc = fold([params(1, a=1)])
    assert not doc.known
    apply(
        doc,
        RunCreated(
            clock=9, run_id=RUN, experiment_id="e", experiment_name="alpha", name="n", created=4, writer="w"
        ),
    )
    assert doc.known
    assert (doc.experiment_name, doc.name, doc.params) == ("alpha", "n", {"a": 1})


# --- summaries

POINTS = st.lists(
    st.tuples(st.none() | st.integers(-2, 3), st.integers(0, 4), st.floats(allow_nan=True, width=16)),
    min_size=1,
    max_size=12,
)


@given(POINTS, st.integers(0, 12))
def test_merged_summaries_equal_the_summary_of_all_points(
    points: list[tuple[int | None, int, float]], cut: int
) -> None:
    def summarise(part: list[tuple[int | None, int, float]]) -> MetricSummary | None:
        total: MetricSummary | None = None
        for step, stamp, value in part:
            total = merge_summary(total, MetricSummary(1, step, stamp, value, value, value))
        return total

    whole = summarise(points)
    assert whole is not None
    ranked = sorted(points, key=lambda p: (-(2**63) if p[0] is None else p[0], p[1]))
    numbers = [value for _, _, value in points if not math.isnan(value)]
    assert whole.count == len(points)
    assert (whole.step, whole.timestamp) == ranked[-1][:2]
    assert identical(whole.minimum, min(numbers)) if numbers else math.isnan(whole.minimum)
    assert whole.maximum == max(numbers) if numbers else math.isnan(whole.maximum)
    first, second = summarise(points[:cut]), summarise(points[cut:])
    merged = first if second is None else merge_summary(first, second)
    assert merged is not None
    assert str(merged) == str(whole)


def test_the_latest_value_over_writers_is_that_of_the_greatest_step() -> None:
    def told(writer: str, step: int | None, stamp: int, value: float) -> MetricsSummarised:
        return MetricsSummarised(
            clock=1,
            run_id=RUN,
            writer=writer,
            through=0,
            metrics={"loss": MetricSummary(1, step, stamp, value, value, value)},
        )

    doc = fold([told("a", 5, 10, 0.5), told("b", 4, 99, 0.4), told("c", None, 200, 0.3)])
    assert latest(doc)["loss"].value == 0.5
    assert latest(doc)["loss"].count == 3
    assert latest(doc)["loss"].minimum == 0.3
