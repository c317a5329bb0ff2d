"""Which stored events this version would write back whole."""

from typing import Any

import msgspec
import pytest

from aqrec.format._records import ArtifactRef, ArtifactSaved, decode_events, encode_events, unfamiliar

EVENT = ArtifactSaved(
    clock=1, run_id="r", ref=ArtifactRef(path="a", key="runs/r/artifacts/a", size=3, checksum="xxh3_128:0")
)


def stored(**changes: Any) -> dict[str, Any]:
    """Return the event as it is stored, with other fields in its reference; None leaves one out."""
    (event,) = msgspec.msgpack.decode(encode_events([EVENT]))
    ref = {**event["ref"], **changes}
    return {**event, "ref": {key: value for key, value in ref.items() if value is not None}}


@pytest.mark.parametrize(
    ("event", "known"),
    [
        (stored(), True),
        (stored(parts=None), True),
        (stored(parts=None, earlier=None, writer=None), True),
        (stored(earlier=[{"size": 1, "checksum": "x"}]), True),
        (stored(earlier=[{"size": 1, "checksum": "x", "later": 1}]), False),
        (stored(later=1), False),
        ({**stored(), "later": []}, False),
        ({"kind": "later", "clock": 1}, False),
    ],
)
def test_what_lacks_a_field_of_ours_is_known_and_what_has_another_is_kept(
    event: dict[str, Any], known: bool
) -> None:
    payload = msgspec.msgpack.encode([stored(), event])
    expected = [] if known else [msgspec.msgpack.encode(event)]
    assert unfamiliar(payload, decode_events(payload)) == expected
