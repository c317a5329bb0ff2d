"""What two readers have folded joins to what one reader of everything has."""

import json
import random
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from aqrec.format._document import RunDocument, apply, document_to_json
from aqrec.format._records import RunEvent
from aqrec.format._unfold import merge
from tests.format.support import RUN, RUN_EVENTS


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
