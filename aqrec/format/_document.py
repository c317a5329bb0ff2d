"""The run document: the state of a run, folded from its events in any order."""

from __future__ import annotations

import copy
import json
from typing import Any

import msgspec

from aqrec.errors import CorruptError
from aqrec.format import _values as values
from aqrec.format._records import (
    FORMAT_VERSION,
    STATUS_R,
    STATUS_S,
    ArtifactRef,
    ArtifactSaved,
    Footer,
    MetricsSummarised,
    MetricSummary,
    ParamsLogged,
    PointsDropped,
    RunCreated,
    RunDeleted,
    RunEvent,
    RunPurged,
    RunRenamed,
    RunRestored,
    Sealed,
    StatusSet,
    TagsDeleted,
    TagsSet,
)

__all__ = [
    "ArtifactRival",
    "RunDocument",
    "SealedPart",
    "apply",
    "archived_rivals",
    "copy_document",
    "document_from_json",
    "document_to_json",
    "latest",
    "merge_summary",
    "sealed_parts",
    "sealed_spans",
]


_MAX_RIVALS = 8


class SealedPart(msgspec.Struct, frozen=True, kw_only=True):
    """One Parquet object with points of the run."""

    writer: str
    key: str
    through: int
    points: int
    footer: Footer | None = None
    after: int | None = None
    """The frame behind which it begins, where not the writer itself has sealed it"""


class ArtifactRival(msgspec.Struct, frozen=True, kw_only=True):
    """Another writer's save of an artifact: writers that raced for its key left the bytes of one of them."""

    clock: int
    ref: ArtifactRef


class RunDocument(msgspec.Struct, kw_only=True):
    """All that is known of a run without reading its metric history.

    Times are ms since epoch. `clocks` remembers which event each mutable field came from, so that events may be applied
    in any order, and more than once, with one outcome.
    """

    run_id: str
    format: int = FORMAT_VERSION
    experiment_id: str = ""
    experiment_name: str = ""
    name: str = ""
    parent: str | None = None
    status: str = STATUS_S
    status_reason: str = ""
    created: int = 0
    start_time: int | None = None
    end_time: int | None = None
    params: dict[str, Any] = {}
    param_conflicts: dict[str, list[Any]] = {}
    tags: dict[str, Any] = {}
    metrics: dict[str, dict[str, MetricSummary]] = {}
    """writer -> key -> summary"""
    through: dict[str, int] = {}
    """writer -> sequence number of its last frame with points"""
    artifacts: dict[str, ArtifactRef] = {}
    rivals: dict[str, list[ArtifactRival]] = {}
    """path -> the latest save of each other writer, the latest first"""
    sealed: list[SealedPart] = []
    dropped: dict[str, int] = {}
    deleted: bool = False
    creator: str = ""
    own_id: bool = False
    clocks: dict[str, int] = {}
    purged: bool = False
    """Gone for good: only `artifacts`, `rivals` and `sealed` are kept, which say what there is to delete"""

    @property
    def known(self) -> bool:
        """Whether the run's creation has been read; its other events may arrive first."""
        return "run" in self.clocks


def copy_document(doc: RunDocument) -> RunDocument:
    """Return a copy of its own: neither events applied to one of the two nor changed values of params and tags show in the other.

    It costs a twentieth of ``copy.deepcopy``: references, summaries and sealed parts are replaced, never changed, so both share them.
    """
    return msgspec.structs.replace(
        doc,
        params=_copy_values(doc.params),
        param_conflicts={key: copy.deepcopy(conflicts) for key, conflicts in doc.param_conflicts.items()},
        tags=_copy_values(doc.tags),
        metrics={writer: dict(summaries) for writer, summaries in doc.metrics.items()},
        through=dict(doc.through),
        artifacts=dict(doc.artifacts),
        rivals={path: list(rivals) for path, rivals in doc.rivals.items()},
        sealed=list(doc.sealed),
        dropped=dict(doc.dropped),
        clocks=dict(doc.clocks),
    )


def _copy_values(named: dict[str, Any]) -> dict[str, Any]:
    return {
        key: copy.deepcopy(value) if isinstance(value, (list, dict)) else value
        for key, value in named.items()
    }


def _order(value: object) -> bytes:
    """Return bytes by which different values are put in one order everywhere."""
    return values.pack({"": msgspec.to_builtins(value)})


def _newer(doc: RunDocument, field: str, clock: int, new: object, old: object) -> bool:
    known = doc.clocks.get(field, -1)
    # Two writers may draw the same clock: then the value decides, for every reader alike.
    if clock < known or (clock == known and _order(new) <= _order(old)):
        return False
    doc.clocks[field] = clock
    return True


def apply(doc: RunDocument, event: RunEvent) -> None:  # noqa: PLR0912 - one branch an event kind
    """Fold one event into `doc`."""
    clock = event.clock
    if isinstance(event, RunPurged):
        _purge(doc)
        return
    if doc.purged and not isinstance(event, (ArtifactSaved, Sealed)):
        return
    if isinstance(event, MetricsSummarised):
        mine = doc.metrics.setdefault(event.writer, {})
        for key, summary in event.metrics.items():
            known = mine.get(key)
            if known is None or summary.count >= known.count:
                mine[key] = summary
        doc.through[event.writer] = max(event.through, doc.through.get(event.writer, -1))
    elif isinstance(event, StatusSet):
        _apply_status(doc, event)
    elif isinstance(event, ParamsLogged):
        _apply_params(doc, event)
    elif isinstance(event, TagsSet):
        for key, value in values.unpack(event.tags).items():
            if _newer(doc, f"tags.{key}", clock, [value], [doc.tags[key]] if key in doc.tags else []):
                doc.tags[key] = value
    elif isinstance(event, TagsDeleted):
        for key in event.keys:
            if _newer(doc, f"tags.{key}", clock, [], [doc.tags[key]] if key in doc.tags else []):
                doc.tags.pop(key, None)
    elif isinstance(event, ArtifactSaved):
        _apply_artifact(doc, event)
    elif isinstance(event, RunCreated):
        _apply_creation(doc, event)
    elif isinstance(event, RunRenamed):
        if _newer(doc, "name", clock, event.name, doc.name):
            doc.name = event.name
    elif isinstance(event, Sealed):
        part = SealedPart(
            writer=event.writer,
            key=event.key,
            through=event.through,
            points=event.points,
            footer=event.footer,
            after=event.after,
        )
        if part not in doc.sealed:
            doc.sealed.append(part)
            doc.sealed.sort(key=_order_of_part)
    elif isinstance(event, PointsDropped):
        doc.dropped[event.writer] = max(event.count, doc.dropped.get(event.writer, 0))
    elif isinstance(event, (RunDeleted, RunRestored)):
        deleted = isinstance(event, RunDeleted)
        if _newer(doc, "deleted", clock, deleted, doc.deleted):
            doc.deleted = deleted


def _order_of_part(part: SealedPart) -> tuple[Any, ...]:
    return part.writer, part.through, part.key, part.points, -2 if part.after is None else part.after


def sealed_parts(doc: RunDocument) -> list[SealedPart]:
    """Return the sealed parts that hold each point once, by writer and number.

    A writer that was taken for dead may have sealed what somebody else had sealed for it. Where parts overlap, the one that reaches
    furthest is read, of those the one that begins first, and of those the one of the greatest key, which is the latest.
    """
    return [part for part, _ in sealed_spans(doc)]


def sealed_spans(doc: RunDocument) -> list[tuple[SealedPart, int]]:
    """Return `sealed_parts`, each with the number of the frame behind which it begins."""
    starts: list[tuple[SealedPart, int]] = []
    own: dict[str, int] = {}
    for part in sorted(doc.sealed, key=_order_of_part):
        if part.after is None:
            starts.append((part, own.get(part.writer, -1)))
            own[part.writer] = part.through
        else:
            starts.append((part, part.after))
    starts.sort(key=lambda item: (item[0].writer, item[0].through, -item[1], item[0].key), reverse=True)
    chosen: list[tuple[SealedPart, int]] = []
    free: dict[str, int] = {}
    for part, start in starts:
        if part.through <= free.get(part.writer, part.through):
            chosen.append((part, start))
            free[part.writer] = start
    chosen.reverse()
    return chosen


def archived_rivals(doc: RunDocument, ref: ArtifactRef) -> list[ArtifactRef]:
    """Return the copies in other stores that stand in for an artifact whose bytes are not under its own key.

    That is how a writer leaves it that does not know that the artifact was archived, and dies while it replaces it.
    """
    if ref.store or ref.parts:
        return []
    return [rival.ref for rival in doc.rivals.get(ref.path, ()) if rival.ref.store]


def _purge(doc: RunDocument) -> None:
    """Forget all but what tells which objects are to be deleted."""
    empty = RunDocument(run_id=doc.run_id, format=doc.format)
    kept = {"artifacts", "rivals", "sealed"}
    clocks = {field: clock for field, clock in doc.clocks.items() if field.startswith("artifacts.")}
    for field in set(doc.__struct_fields__) - kept:
        setattr(doc, field, getattr(empty, field))
    doc.clocks, doc.purged = clocks, True


def _apply_status(doc: RunDocument, event: StatusSet) -> None:
    if event.status == STATUS_R:
        doc.start_time = event.time if doc.start_time is None else min(event.time, doc.start_time)
    end = None if event.status in (STATUS_R, STATUS_S) else event.time
    new, old = (event.status, end, event.reason), (doc.status, doc.end_time, doc.status_reason)
    if _newer(doc, "status", event.clock, new, old):
        doc.status, doc.end_time, doc.status_reason = new


def _apply_artifact(doc: RunDocument, event: ArtifactSaved) -> None:
    """Let the latest save stand, and remember the latest of each other writer."""
    path, field = event.ref.path, f"artifacts.{event.ref.path}"
    saves = {rival.ref.writer: rival for rival in doc.rivals.get(path, ())}
    known = doc.artifacts.get(path)
    if known is not None:
        saves[known.writer] = ArtifactRival(clock=doc.clocks[field], ref=known)
    mine = saves.get(event.ref.writer)
    if mine is not None and (
        event.clock < mine.clock or (event.clock == mine.clock and _order(event.ref) <= _order(mine.ref))
    ):
        return
    saves[event.ref.writer] = ArtifactRival(clock=event.clock, ref=event.ref)
    latest_save, *rivals = sorted(saves.values(), key=lambda save: (-save.clock, save.ref.writer))
    doc.artifacts[path], doc.clocks[field] = latest_save.ref, latest_save.clock
    if rivals:
        doc.rivals[path] = rivals[:_MAX_RIVALS]


def _apply_creation(doc: RunDocument, event: RunCreated) -> None:
    """Let the first creation stand: processes may race for a run id of their own choice."""
    renamed = "name" in doc.clocks
    name = doc.name if renamed else event.name
    new = (
        event.experiment_id,
        event.experiment_name,
        event.parent,
        event.created,
        event.writer,
        event.own_id,
    )
    old = (doc.experiment_id, doc.experiment_name, doc.parent, doc.created, doc.creator, doc.own_id)
    first = doc.clocks.get("run")
    if (
        first is None
        or event.clock < first
        or (event.clock == first and _order([new, name]) < _order([old, doc.name]))
    ):
        doc.clocks["run"], doc.name = event.clock, name
        doc.experiment_id, doc.experiment_name, doc.parent = new[:3]
        doc.created, doc.creator, doc.own_id = new[3:]


def _apply_params(doc: RunDocument, event: ParamsLogged) -> None:
    """Let the first value of a key stand; every other one that was logged loudly is a conflict."""
    for key, value in values.unpack(event.params).items():
        field, quiet = f"params.{key}", f"quiet.{key}"
        first = doc.clocks.get(field)
        if first is None:
            doc.params[key], doc.clocks[field] = value, event.clock
            if event.quiet:
                doc.clocks[quiet] = 0
            continue
        conflicts = doc.param_conflicts.get(key, [])
        if (event.clock, _order(value)) < (first, _order(doc.params[key])):
            if quiet not in doc.clocks:
                conflicts = [*conflicts, doc.params[key]]
            doc.params[key], doc.clocks[field] = value, event.clock
            loud = not event.quiet or any(same(value, other) for other in conflicts)
        else:
            loud = not event.quiet and same(value, doc.params[key])
            if not event.quiet:
                conflicts = [*conflicts, value]
            loud = loud or quiet not in doc.clocks
        if loud:
            doc.clocks.pop(quiet, None)
        else:
            doc.clocks[quiet] = 0
        doc.param_conflicts.pop(key, None)
        if others := _distinct(conflicts, doc.params[key]):
            doc.param_conflicts[key] = others


def _distinct(found: list[Any], winner: object) -> list[Any]:
    """Return the values that are not the winner, each once, in an order that is the same everywhere."""
    kept: list[Any] = []
    for value in found:
        if not same(value, winner) and not any(same(value, other) for other in kept):
            kept.append(value)
    return sorted(kept, key=_order)


def same(a: object, b: object) -> bool:
    """Whether two normalised values are the same: type-true, and NaN equals NaN."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (a != a and b != b)  # noqa: PLR0124 - NaN
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(value, b[key]) for key, value in a.items())
    return a == b


def _rank(step: int | None, timestamp: int) -> tuple[bool, int, int]:
    return (step is not None, step or 0, timestamp)


def merge_summary(old: MetricSummary | None, new: MetricSummary) -> MetricSummary:
    """Return the summary of the points of `old` followed by those of `new`."""
    if old is None:
        return new
    last = new if _rank(new.step, new.timestamp) >= _rank(old.step, old.timestamp) else old
    return MetricSummary(
        count=old.count + new.count,
        step=last.step,
        timestamp=last.timestamp,
        value=last.value,
        minimum=_pick(min, old.minimum, new.minimum),
        maximum=_pick(max, old.maximum, new.maximum),
    )


def _pick(choose: Any, a: float, b: float) -> float:
    if a != a:  # noqa: PLR0124 - NaN
        return b
    return a if b != b else choose(a, b)  # noqa: PLR0124


def latest(doc: RunDocument) -> dict[str, MetricSummary]:
    """Return one summary a key over all writers; the latest point is the one of the greatest step, then time."""
    merged: dict[str, MetricSummary] = {}
    for writer in sorted(doc.metrics):
        for key, summary in doc.metrics[writer].items():
            merged[key] = merge_summary(merged.get(key), summary)
    return merged


_JSON_FIELDS = ("params", "param_conflicts", "tags")


def document_to_json(doc: RunDocument) -> bytes:
    """Return ``run.json``: the document as strict, readable JSON."""
    plain: dict[str, Any] = msgspec.to_builtins(doc)
    for field in _JSON_FIELDS:
        plain[field] = {key: values.to_json(value) for key, value in plain[field].items()}
    for metrics in plain["metrics"].values():
        for key, row in metrics.items():
            metrics[key] = [values.to_json(item) for item in row]
    return json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False).encode()


def document_from_json(data: bytes) -> RunDocument:
    """Return the document that `document_to_json` wrote, or raise `CorruptError`."""
    try:
        plain = json.loads(data)
        for field in _JSON_FIELDS:
            plain[field] = {key: values.from_json(value) for key, value in plain.get(field, {}).items()}
        for metrics in plain.get("metrics", {}).values():
            for key, row in metrics.items():
                metrics[key] = [values.from_json(item) for item in row]
        return msgspec.convert(plain, RunDocument)
    except (ValueError, TypeError, AttributeError, msgspec.ValidationError) as error:
        raise CorruptError(f"run.json cannot be read: {error}") from error
