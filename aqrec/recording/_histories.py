"""Histories of many runs and metrics, read side by side. Coroutines run on the engine thread."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from aqrec._checks import check_texts
from aqrec.errors import InvalidInputError
from aqrec.format._document import copy_document
from aqrec.format._parquet import After
from aqrec.reading import LEAST_POINTS, frame_of, long_frame, read_points, thinned, wide_frame

if TYPE_CHECKING:
    import pandas as pd

    from aqrec.format._document import RunDocument
    from aqrec.format._parquet import HistoryPart
    from aqrec.recording._run import Run
    from aqrec.recording._session import Session

__all__ = ["HistoryForm", "Part", "histories", "history"]

HistoryForm = Literal["long", "wide"]

_AT_ONCE: Final = 8
_FORMS: Final = ("long", "wide")


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Which points are asked for; see `Recorder.metric_history`."""

    after_step: int | None = None
    after_time: dt.datetime | int | None = None
    max_points: int | None = None

    def after(self) -> After:
        """Return what they come after; raise `InvalidInputError` for what makes no sense."""
        step, time, most = self.after_step, self.after_time, self.max_points
        if step is not None and type(step) is not int:
            raise InvalidInputError(f"after_step={step!r}: give a whole number, or None")
        if most is not None and (type(most) is not int or most < LEAST_POINTS):
            raise InvalidInputError(
                f"max_points={most!r}: give a whole number from {LEAST_POINTS} on, or None for all points"
            )
        if isinstance(time, dt.datetime):
            if time.tzinfo is None:
                raise InvalidInputError(f"after_time={time!r} has no time zone; give one, such as UTC")
            time = (time - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(milliseconds=1)
        elif time is not None and type(time) is not int:
            raise InvalidInputError(f"after_time={time!r}: give a datetime, ms since epoch, or None")
        return After(step, time)


async def history(run: Run, key: str, part: Part) -> pd.DataFrame:
    """Return the points of one metric of a run; see `Recorder.metric_history`."""
    if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance] - what a caller gave
        raise InvalidInputError(f"key={key!r}: give the name of a metric, which is text")
    after = part.after()
    (points,) = (await run.read_points([key], after)).values()
    return await asyncio.get_running_loop().run_in_executor(
        None, lambda: frame_of(thinned(points, part.max_points))
    )


async def histories(
    session: Session, run_ids: Sequence[str], keys: Sequence[str] | None, form: str, part: Part
) -> pd.DataFrame:
    """Return the points of metrics (None: all) of runs as one table; see `ExperimentManager.metric_histories`."""
    after = part.after()
    if form not in _FORMS:
        raise InvalidInputError(f"form={form!r}: choose one of {', '.join(_FORMS)}")
    check_texts("keys", keys)
    wanted = None if keys is None else list(dict.fromkeys(keys))
    catalog = await session.refresh()
    if wanted is None:  # a key may be new
        await catalog.catch_up(run_ids)
    docs = [copy_document(await catalog.find_run(run_id)) for run_id in dict.fromkeys(run_ids)]
    slots = asyncio.Semaphore(_AT_ONCE)

    async def read(doc: RunDocument) -> dict[str, HistoryPart]:
        known: list[RunDocument] = [doc]

        async def document() -> RunDocument:
            # All runs are looked up at once; a single one only if it changed while it was read.
            if known:
                return known.pop()
            return copy_document(await (await session.refresh()).find_run(doc.run_id))

        async with slots:
            points = await read_points(session.engine.store, document, wanted, after)
        return {key: thinned(found, part.max_points) for key, found in points.items()}

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(read(doc)) for doc in docs]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    pieces = [
        (doc.run_id, key, points)
        for doc, task in zip(docs, tasks, strict=True)
        for key, points in task.result().items()
        if len(points.values) or keys is not None
    ]
    made: Any = long_frame if form == "long" else wide_frame
    return await asyncio.get_running_loop().run_in_executor(None, made, pieces)
