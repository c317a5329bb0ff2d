"""Stored metadata: the marker, catalog events and the run document.

All are msgspec Structs that grow by defaulted fields only. Readers skip fields they do not know and keep events of a kind
they do not know.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from aqrec.errors import CorruptError

__all__ = [
    "FORMAT_VERSION",
    "REAPED",
    "STATUSES",
    "STATUS_FA",
    "STATUS_FI",
    "STATUS_R",
    "STATUS_S",
    "ArtifactRef",
    "ArtifactSaved",
    "ArtifactVersion",
    "Event",
    "ExperimentCreated",
    "ExperimentDeleted",
    "ExperimentRestored",
    "Footer",
    "Heartbeat",
    "LogHeader",
    "Marker",
    "MetricSummary",
    "MetricsSummarised",
    "ParamsLogged",
    "PointsDropped",
    "RunCreated",
    "RunDeleted",
    "RunEvent",
    "RunPurged",
    "RunRenamed",
    "RunRestored",
    "Sealed",
    "StatusSet",
    "TagsDeleted",
    "TagsSet",
    "UnknownEvent",
    "decode_events",
    "encode_events",
    "join_events",
    "unfamiliar",
]

FORMAT_VERSION: Final = 1

STATUS_S: Final = "SCHEDULED"
STATUS_R: Final = "RUNNING"
STATUS_FI: Final = "FINISHED"
STATUS_FA: Final = "FAILED"
REAPED: Final = "aqrec.reaped"
"""Tag of runs that were set FAILED because their writers were not heard of: what was known of that"""

STATUSES: Final = (STATUS_S, STATUS_R, STATUS_FI, STATUS_FA)


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """``aqrec.json``: makes a folder a store, and says who may read it."""

    format: int = FORMAT_VERSION
    store_id: str
    created: int
    """ms since epoch"""
    features: list[str] = []
    """Names of features a reader must know to read the store correctly."""


class LogHeader(msgspec.Struct, frozen=True, kw_only=True):
    """First frame of a journal segment or event log."""

    format: int = FORMAT_VERSION
    writer: str
    created: int
    first: int = 0
    """Sequence number of the first frame; it supersedes frames from this number on in earlier segments of the writer."""
    host: str = ""
    pid: int = 0


class MetricSummary(msgspec.Struct, array_like=True):
    """What is known of one key of one writer without its history: numbers of points, the latest one, the range.

    `minimum` and `maximum` ignore NaN (NaN when there is nothing else). `step` None: logged without a step.
    """

    count: int
    step: int | None
    timestamp: int
    value: float
    minimum: float
    maximum: float


class ArtifactVersion(msgspec.Struct, frozen=True, kw_only=True):
    """What the bytes of an artifact are."""

    size: int
    checksum: str
    codec: str = "bytes"
    compression: str | None = None


class ArtifactPart(msgspec.Struct, frozen=True, kw_only=True):
    """Where a part of a large artifact's bytes lies, and what it must be; no other save ever writes its key."""

    key: str
    size: int
    checksum: str


class ArtifactRef(msgspec.Struct, frozen=True, kw_only=True):
    """Where an artifact's bytes lie, and what they must be.

    Those of a large one are its `parts`, one after the other; `key` is then only the name of the folder they were put in.
    Where `store` is a URL, all of them lie in that other store. Where `packed` names a compression, the parts are those of the compressed
    bytes, and all else is said of what they unpack to.

    A replacement is recorded before the bytes under its key change, so that a crash in between loses neither version:
    until then the key holds one of the `earlier` ones.
    """

    path: str
    key: str
    size: int
    checksum: str
    codec: str = "bytes"
    compression: str | None = None
    modified: int = 0
    writer: str = ""
    earlier: list[ArtifactVersion] = []
    parts: list[ArtifactPart] = []
    store: str = ""
    packed: str | None = None

    @property
    def objects(self) -> list[ArtifactPart]:
        """What its bytes lie in, one after the other."""
        return self.parts or [ArtifactPart(key=self.key, size=self.size, checksum=self.checksum)]

    @property
    def version(self) -> ArtifactVersion:
        """What the bytes are when the replacement is done."""
        return ArtifactVersion(
            size=self.size, checksum=self.checksum, codec=self.codec, compression=self.compression
        )

    def of(self, version: ArtifactVersion) -> ArtifactRef:
        """Return a reference to another version of the bytes under the key."""
        return msgspec.structs.replace(
            self,
            size=version.size,
            checksum=version.checksum,
            codec=version.codec,
            compression=version.compression,
            earlier=[],
        )


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", omit_defaults=True):
    """Something that happened; `clock` (see `HybridClock`) orders events of all writers."""

    clock: int


class ExperimentCreated(Event, frozen=True, kw_only=True, tag="experiment"):
    experiment_id: str
    name: str


class ExperimentDeleted(Event, frozen=True, kw_only=True, tag="experiment_deleted"):
    experiment_id: str


class ExperimentRestored(Event, frozen=True, kw_only=True, tag="experiment_restored"):
    experiment_id: str


class Heartbeat(Event, frozen=True, kw_only=True, tag="heartbeat"):
    """The writer lives, and so do the runs it records."""

    runs: list[str] = []


class RunEvent(Event, frozen=True, kw_only=True):
    """An event of one run."""

    run_id: str


class RunCreated(RunEvent, frozen=True, kw_only=True, tag="run"):
    experiment_id: str
    experiment_name: str
    name: str
    parent: str | None = None
    created: int = 0
    writer: str = ""
    own_id: bool = False
    """True if the caller chose the run's id, so that others may have chosen it too."""


class RunRenamed(RunEvent, frozen=True, kw_only=True, tag="renamed"):
    name: str


class StatusSet(RunEvent, frozen=True, kw_only=True, tag="status"):
    status: str
    time: int
    """ms since epoch"""
    reason: str = ""


class ParamsLogged(RunEvent, frozen=True, kw_only=True, tag="params"):
    params: msgspec.Raw
    quiet: bool = False
    """Recorded by aqrec itself: another value than the first one is expected and no conflict."""


class TagsSet(RunEvent, frozen=True, kw_only=True, tag="tags"):
    tags: msgspec.Raw


class TagsDeleted(RunEvent, frozen=True, kw_only=True, tag="tags_deleted"):
    keys: list[str]


class MetricsSummarised(RunEvent, frozen=True, kw_only=True, tag="metrics"):
    """Summaries of the keys that changed, of one writer."""

    writer: str
    through: int
    """Sequence number of the writer's last frame with points of the run."""
    metrics: dict[str, MetricSummary] = {}


class ArtifactSaved(RunEvent, frozen=True, kw_only=True, tag="artifact"):
    ref: ArtifactRef


class Footer(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a Parquet object, which has no checksum of its own: bytes, and their CRC-32 (zlib)."""

    size: int
    crc: int


class Sealed(RunEvent, frozen=True, kw_only=True, tag="sealed"):
    """A writer's frames up to `through` are in a Parquet object, too.

    `after`: those from the next number on, where somebody else than the writer has sealed them; a writer goes on where it stopped.
    """

    writer: str
    key: str
    through: int
    points: int
    footer: Footer | None = None
    after: int | None = None


class PointsDropped(RunEvent, frozen=True, kw_only=True, tag="dropped"):
    """How many points of the run the overflow policy of a writer has dropped so far."""

    writer: str
    count: int


class RunDeleted(RunEvent, frozen=True, kw_only=True, tag="deleted"):
    pass


class RunRestored(RunEvent, frozen=True, kw_only=True, tag="restored"):
    pass


class RunPurged(RunEvent, frozen=True, kw_only=True, tag="purged"):
    """The run is gone for good, whatever else is or will be told of it."""


class UnknownEvent(msgspec.Struct, frozen=True):
    """An event of a later version, kept as it was stored."""

    raw: bytes


_Known = (
    ExperimentCreated
    | ExperimentDeleted
    | ExperimentRestored
    | Heartbeat
    | RunCreated
    | RunRenamed
    | StatusSet
    | ParamsLogged
    | TagsSet
    | TagsDeleted
    | MetricsSummarised
    | ArtifactSaved
    | Sealed
    | PointsDropped
    | RunDeleted
    | RunRestored
    | RunPurged
)

_encoder = msgspec.msgpack.Encoder()
_known = msgspec.msgpack.Decoder(list[_Known])
_raws = msgspec.msgpack.Decoder(list[msgspec.Raw])
_one = msgspec.msgpack.Decoder(_Known)
_any: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder()


def encode_events(events: list[Event]) -> bytes:
    """Return the payload of an EVENTS frame."""
    return _encoder.encode(events)


def decode_events(payload: bytes) -> list[Event | UnknownEvent]:
    """Return the events of an EVENTS frame; one of an unknown kind does not hide its neighbours."""
    try:
        return _known.decode(payload)  # type: ignore[return-value]
    except msgspec.DecodeError:
        pass
    try:
        raws = _raws.decode(payload)
    except msgspec.DecodeError as error:
        raise CorruptError(f"an events frame with a good checksum is no msgpack list: {error}") from error
    events: list[Event | UnknownEvent] = []
    for raw in raws:
        try:
            events.append(_one.decode(raw))
        except msgspec.DecodeError:
            events.append(UnknownEvent(bytes(raw)))
    return events


def unfamiliar(payload: bytes, events: list[Event | UnknownEvent]) -> list[bytes]:
    """Return which of a frame's events, as stored, this version would not write back as they are.

    Those of unknown kinds, and those with fields of a later version: folding them here must not lose them.
    """
    if not any(isinstance(event, UnknownEvent) for event in events) and _encoder.encode(events) == payload:
        return []
    return [
        bytes(raw)
        for raw, event in zip(_raws.decode(payload), events, strict=True)
        if isinstance(event, UnknownEvent) or not _keeps(_encoder.encode(event), bytes(raw))
    ]


def _keeps(written: bytes, stored: bytes) -> bool:
    """Whether what would be written has all that was stored; an event of an earlier version may lack a field."""
    return written == stored or _has(msgspec.msgpack.decode(written), msgspec.msgpack.decode(stored))


def _has(new: Any, old: Any) -> bool:
    if isinstance(old, dict) and isinstance(new, dict):
        fields: dict[Any, Any] = old
        return all(key in new and _has(new[key], value) for key, value in fields.items())
    if isinstance(old, list) and isinstance(new, list):
        before: list[Any] = old
        after: list[Any] = new
        return len(before) == len(after) and all(map(_has, after, before))
    return _encoder.encode(new) == _encoder.encode(old)


def join_events(raws: list[bytes]) -> bytes:
    """Return stored events as the payload of a frame."""
    return _encoder.encode([msgspec.Raw(raw) for raw in raws])
