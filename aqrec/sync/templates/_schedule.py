"""`generate_all`, blocking."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from aqrec.errors import InvalidInputError
from aqrec.sync._manager import ExperimentManager
from aqrec.sync.templates._base import RecordTemp
from aqrec.templates._calls import call_blocking
from aqrec.templates._schedule import listed, run_all
from aqrec.templates._travel import unpack
from aqrec.templates._workers import Face, choose_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aqrec.templates._workers import ExecutorChoice

__all__ = ["generate_all"]


def generate_all(
    templates: Iterable[RecordTemp],
    *,
    executor: ExecutorChoice = "threads",
    workers: int | None = None,
    progress: bool | None = None,
) -> None:
    """Make templates, of one run or of many, at once; each after those of its run whose files it needs.

    As `aqrec.templates.generate_all`, with these differences: ``"threads"`` makes each template in a thread; a Dask
    client must be a blocking one; Ctrl-C begins no further template and waits for those that threads are making.
    """
    work: Callable[[], Any] = partial(
        run_all, listed(templates), choose_workers(executor, workers, BlockingFace()), progress
    )
    call_blocking(work)


class BlockingFace(Face):
    """Blocking templates."""

    asynchronous = False

    def check(self, template: object) -> None:
        if not isinstance(template, RecordTemp):
            raise InvalidInputError(f"templates: {template!r} is no template of aqrec.sync.templates")

    async def flush(self, template: Any) -> None:
        await anyio.to_thread.run_sync(template.recorder.flush)

    async def here(self, template: Any) -> None:
        await anyio.to_thread.run_sync(template.generate)

    def elsewhere(self, template: Any) -> None:
        template.generate()

    @staticmethod
    def maker(parcel: bytes) -> None:
        """Make a template on a worker: open its store, generate, wait until all is durable."""
        made = unpack(parcel)
        run = made.run
        with ExperimentManager(run.url, options=run.options, storage_options=run.storage_options) as manager:
            recorder = manager.get_recorder(recorder_id=run.run_id)
            made.template(recorder).generate()
            recorder.flush()
