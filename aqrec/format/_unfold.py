"""Run documents back into events: how what one reader has folded joins what another one has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from aqrec.format import _values as values
from aqrec.format._document import RunDocument, apply
from aqrec.format._records import (
    STATUS_R,
    ArtifactSaved,
    MetricsSummarised,
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

__all__ = ["merge", "unfold"]

_BEFORE_ALL: Final = -2
"""Clock of an event that loses against every other one, and against none having been"""
_BEHIND_ALL: Final = 2**63 - 1


def merge(doc: RunDocument, other: RunDocument) -> None:
    """Fold everything that `other` knows into `doc`; in any order and any number of times with one outcome."""
    for event in unfold(other):
        apply(doc, event)


def unfold(doc: RunDocument) -> Iterator[RunEvent]:
    """Yield events that fold to a document equal to `doc`."""
    run, clocks = doc.run_id, doc.clocks
    if doc.purged:
        yield RunPurged(clock=0, run_id=run)
    if "name" in clocks:
        yield RunRenamed(clock=clocks["name"], run_id=run, name=doc.name)
    if "run" in clocks:
        yield RunCreated(
            clock=clocks["run"],
            run_id=run,
            experiment_id=doc.experiment_id,
            experiment_name=doc.experiment_name,
            name=doc.name,
            parent=doc.parent,
            created=doc.created,
            writer=doc.creator,
            own_id=doc.own_id,
        )
    if doc.start_time is not None:
        yield StatusSet(clock=_BEFORE_ALL, run_id=run, status=STATUS_R, time=doc.start_time)
    if "status" in clocks:
        time = doc.end_time if doc.end_time is not None else doc.start_time
        yield StatusSet(
            clock=clocks["status"], run_id=run, status=doc.status, time=time or 0, reason=doc.status_reason
        )
    if "deleted" in clocks:
        kind = RunDeleted if doc.deleted else RunRestored
        yield kind(clock=clocks["deleted"], run_id=run)
    yield from _params(doc)
    yield from _tags(doc)
    for writer, through in doc.through.items():
        metrics = doc.metrics.get(writer, {})
        yield MetricsSummarised(clock=0, run_id=run, writer=writer, through=through, metrics=metrics)
    for part in doc.sealed:
        yield Sealed(clock=0, run_id=run, **msgspec.structs.asdict(part))
    for writer, count in doc.dropped.items():
        yield PointsDropped(clock=0, run_id=run, writer=writer, count=count)
    for path, ref in doc.artifacts.items():
        yield ArtifactSaved(clock=clocks[f"artifacts.{path}"], run_id=run, ref=ref)
        for rival in doc.rivals.get(path, ()):
            yield ArtifactSaved(clock=rival.clock, run_id=run, ref=rival.ref)


def _packed(key: str, value: Any) -> msgspec.Raw:
    return msgspec.Raw(values.pack({key: value}))


def _params(doc: RunDocument) -> Iterator[RunEvent]:
    for key, value in doc.params.items():
        yield ParamsLogged(
            clock=doc.clocks[f"params.{key}"],
            run_id=doc.run_id,
            params=_packed(key, value),
            quiet=f"quiet.{key}" in doc.clocks,
        )
        for other in doc.param_conflicts.get(key, ()):
            yield ParamsLogged(clock=_BEHIND_ALL, run_id=doc.run_id, params=_packed(key, other))


def _tags(doc: RunDocument) -> Iterator[RunEvent]:
    for field, clock in doc.clocks.items():
        kind, _, key = field.partition(".")
        if kind != "tags":
            continue
        if key in doc.tags:
            yield TagsSet(clock=clock, run_id=doc.run_id, tags=_packed(key, doc.tags[key]))
        else:
            yield TagsDeleted(clock=clock, run_id=doc.run_id, keys=[key])
