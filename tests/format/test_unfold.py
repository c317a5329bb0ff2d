"""What two readers have folded joins to what one reader of everything has."""

import json
import random
from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from aqrec.format._document import ArtifactRival, RunDocument, SealedPart, apply, document_to_json
from aqrec.format._records import ArtifactRef, ArtifactVersion, Footer, MetricSummary, RunEvent, RunPurged
from aqrec.format._unfold import merge
from tests.format.support import RUN, RUN_EVENTS


def test_nothing_of_a_document_is_left_out() -> None:
    """A field that is added to a document must come back, too."""
    ref = ArtifactRef(
        path="a", key="k", size=1, checksum="c", writer="w", earlier=[ArtifactVersion(size=2, checksum="d")]
    )
    doc = RunDocument(
        run_id=RUN,
        experiment_id="e",
        experiment_name="alpha",
        name="n",
        parent="p",
        status="FINISHED",
        status_reason="why",
        created=1,
        start_time=2,
        end_time=3,
        params={"a": 1},
        param_conflicts={"a": [2]},
        tags={"t": 1},
        metrics={"w": {"m": MetricSummary(1, 2, 3, 4.0, 5.0, 6.0)}},
        through={"w": 7},
        artifacts={"a": ref},
        rivals={"a": [ArtifactRival(clock=1, ref=msgspec.structs.replace(ref, writer="v"))]},
        sealed=[SealedPart(writer="w", key="k", through=7, points=1, footer=Footer(size=1, crc=2))],
        dropped={"w": 8},
        deleted=True,
        creator="w",
        own_id=True,
        clocks={"run": 1, "name": 2, "status": 3, "deleted": 4, "params.a": 5, "tags.t": 6, "artifacts.a": 7},
    )
    empty = RunDocument(run_id="")
    for name in RunDocument.__struct_fields__:
        assert name in {"format", "purged"} or getattr(doc, name) != getattr(empty, name), (
            f"give {name} a value here"
        )
    again = RunDocument(run_id=RUN)
    merge(again, doc)
    assert again == doc
    apply(doc, RunPurged(clock=1, run_id=RUN))
    assert doc.purged
    assert not doc.known
    merge(again, doc)
    assert again == doc


def fold(events: Sequence[RunEvent]) -> RunDocument:
    doc = RunDocument(run_id=RUN)
    for event in events:
        apply(doc, event)
    return doc


def as_json(doc: RunDocument) -> Any:
    return json.loads(document_to_json(doc))


@given(st.lists(RUN_EVENTS, max_size=12))
def test_a_document_unfolds_to_an_equal_one(events: list[RunEvent]) -> None:
    doc, again = fold(events), RunDocument(run_id=RUN)
    merge(again, doc)
    assert as_json(again) == as_json(doc)


@given(st.lists(RUN_EVENTS, max_size=12), st.randoms(use_true_random=False))
def test_merged_parts_are_the_fold_of_all_their_events(events: list[RunEvent], chance: random.Random) -> None:
    """Parts may overlap, come in any order and more than once."""
    parts: list[list[RunEvent]] = [[], [], []]
    for event in events:
        for part in chance.sample(parts, chance.randint(1, 3)):
            part.append(event)
    docs = [fold(part) for part in (*parts, parts[0])]
    chance.shuffle(docs)
    whole = RunDocument(run_id=RUN)
    for doc in docs:
        merge(whole, doc)
    assert as_json(whole) == as_json(fold(events))
