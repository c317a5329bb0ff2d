"""Saves of templates: their files, then their metrics, and once begun to the end, also in a worker process that has to leave."""

from __future__ import annotations

import contextlib
import os
import threading
from concurrent.futures import Future
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import anyio

from aqrec.engine._runtime import bridge
from aqrec.recording._artifacts import save_objects

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from multiprocessing.connection import Connection

    from aqrec.recording._run import Run

    Recorder = Any  # of either face
    Batch = tuple[dict[str, float], int | None]

__all__ = ["Figures", "figures_of", "leave_after", "log_with_files", "save", "save_blocking"]

PATIENCE = 30.0
"""Seconds for which a cancelled save is waited for"""

_idle = threading.Condition()
_begun = 0


class Figures:
    """Metrics that are to be logged when the files of a template are stored."""

    def __init__(self) -> None:
        self._batches: list[Batch] = []
        self.complete = False
        """Whether the next save is that of the files"""

    def add(self, metrics: Mapping[str, float], step: int | None) -> None:
        """Keep metrics until then."""
        self._batches.append((dict(metrics), step))

    def take(self) -> Sequence[Batch]:
        """Return the metrics, if it is time, and forget them."""
        if not self.complete:
            return []
        taken, self._batches = self._batches, []
        return taken


_figures: ContextVar[Figures | None] = ContextVar("aqrec_template_figures", default=None)


@contextlib.contextmanager
def figures_of() -> Generator[Figures]:
    """Keep the metrics of what is generated inside."""
    figures = Figures()
    token = _figures.set(figures)
    try:
        yield figures
    finally:
        _figures.reset(token)


def log_with_files(recorder: Recorder, metrics: Mapping[str, float], step: int | None = None) -> None:
    """Log metrics when the files of the template are stored; at once where none is being generated."""
    figures = _figures.get()
    if figures is None:
        recorder.log_batch(metrics, step=step)
    else:
        figures.add(metrics, step)


async def save(recorder: Recorder, objects: Mapping[str, Any], folder: str | None) -> None:
    """Save objects and log the figures kept for them.

    Cancelled, it waits up to `PATIENCE` until all of it is done.
    """
    done: Future[None] = Future()
    run = _run_of(recorder)
    try:
        await run.session.run(_work(run, objects, folder, done), shield=True)
    except anyio.get_cancelled_exc_class():
        with anyio.move_on_after(PATIENCE, shield=True):
            await bridge(done)
        raise


def save_blocking(recorder: Recorder, objects: Mapping[str, Any], folder: str | None) -> None:
    """Do the same, blocking; a second Ctrl-C ends the wait."""
    done: Future[None] = Future()
    run = _run_of(recorder)
    try:
        run.session.call(_work(run, objects, folder, done), shield=True)
    except KeyboardInterrupt:
        with contextlib.suppress(TimeoutError):
            done.result(PATIENCE)
        raise


def _run_of(recorder: Any) -> Run:
    run: Run = recorder._run  # the same below both faces
    return run


def _work(run: Run, objects: Mapping[str, Any], folder: str | None, done: Future[None]) -> Any:
    figures = _figures.get()
    batches = () if figures is None else figures.take()

    async def log() -> None:
        for metrics, step in batches:
            room = run.log_batch(metrics, None, None, step, None)
            if room is not None:
                await room

    async def work() -> None:
        try:
            with _saving():
                await save_objects(run, objects, folder, None, then=log)
        finally:
            if not done.done():
                done.set_result(None)

    return work()


@contextlib.contextmanager
def _saving() -> Generator[None]:
    """Hold the process for a save."""
    global _begun  # noqa: PLW0603 - it counts for the process
    with _idle:
        _begun += 1
    try:
        yield
    finally:
        with _idle:
            _begun -= 1
            _idle.notify_all()


def leave_after(end: Connection) -> None:
    """End this process when the other end of the pipe is closed and no save is under way.

    Whoever holds the other end closes it to cancel, or dies.
    """
    with contextlib.suppress(EOFError, OSError):
        end.recv_bytes()
    with _idle:
        _idle.wait_for(lambda: _begun == 0)
        os._exit(1)
