"""`generate_all`: many templates at once, each after those it depends on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import anyio

from aqrec.errors import InvalidInputError
from aqrec.templates._base import RecordTemp
from aqrec.templates._plan import Template
from aqrec.templates._progress import shown
from aqrec.templates._travel import make_parcel
from aqrec.templates._workers import Face, choose_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aqrec.templates._workers import ExecutorChoice, Workers

__all__ = ["generate_all", "listed", "run_all"]


async def generate_all(
    templates: Iterable[RecordTemp],
    *,
    executor: ExecutorChoice = "threads",
    workers: int | None = None,
    progress: bool | None = None,
) -> None:
    """Make templates, of one run or of many, at once; each after those of its run whose files it needs.

    Waits until all of them are made and durable. If some fail, those that need their files are left out, the others
    are made to their end, and then all failures are raised together.

    Parameters
    ----------
    templates
        Whose `generate` needs no arguments, in any order. What a template needs and none of the others makes must be
        in its run already.
    executor
        Where they are made. ``"threads"``: here; awaitable code on this loop, plain code and the figures of the
        built-in templates in threads. ``"processes"``: in new processes of this machine, which end with the call.
        A ``concurrent.futures.Executor``, or a ``distributed.Client`` (extra ``aqrec[dask]``), blocking or async:
        there; it is left as it was. In another process a template, pickled without its recorder, opens the run again
        by the store's URL and writes to it itself; a template that splits its work (``splits``), such as
        `MultiPassPortAnaRecord`, stays here, and its parts go to the workers.
    workers
        Threads or processes; default: one for each processor this process may use. On an executor or a cluster: how
        many templates it is given at a time.
    progress
        Show on standard error how far it is: True, False, or None: if that is a terminal.

    Raises
    ------
    InvalidInputError
        Before anything is made: a template comes twice, two make the same file, they wait for each other, or
        `executor` or `workers` is nothing that can be used.
    ExceptionGroup
        With what went wrong in each template that failed; the notes name it, its run, and what was left out.

    Notes
    -----
    Cancelling ends the wait, begins no further template, and leaves the files of each template all or not at all.
    A thread's computation goes on to its end, and its result is dropped. Our own processes end at once, or after the
    save they are in. What somebody else's executor or cluster is computing already cannot be stopped: it is made to
    its end, and its files may appear later.
    """
    await run_all(listed(templates), choose_workers(executor, workers, AsyncFace()), progress)


def listed(templates: object) -> list[Any]:
    """Return the templates that are meant."""
    if isinstance(templates, Template):
        raise InvalidInputError(
            f"templates is one {type(templates).__name__}; give a list of them, or generate this one by itself"
        )
    if not isinstance(templates, Iterable):
        raise InvalidInputError(f"templates is {templates!r}; give a list of templates")
    return list(templates)


class AsyncFace(Face):
    """Awaitable templates."""

    asynchronous = True
    maker = staticmethod(make_parcel)

    def check(self, template: object) -> None:
        if not isinstance(template, RecordTemp):
            raise InvalidInputError(f"templates: {template!r} is no template of aqrec.templates")

    async def flush(self, template: Any) -> None:
        await template.recorder.flush()

    async def here(self, template: Any) -> None:
        await template.generate()

    def elsewhere(self, template: Any) -> None:
        asyncio.run(template.generate())


async def run_all(templates: Sequence[Template], workers: Workers, progress: bool | None) -> None:
    """Make templates of either face."""
    needs = _needs(templates, workers.face.check)
    if not templates:
        return
    with shown(len(templates), progress) as display:
        async with workers:
            schedule = _Schedule(templates, needs, workers)
            async with anyio.create_task_group() as group:
                for number in range(len(templates)):
                    group.start_soon(schedule.one, number, display)
            schedule.raise_failures()


class _Schedule:
    def __init__(self, templates: Sequence[Template], needs: Sequence[set[int]], workers: Workers) -> None:
        self.templates = templates
        self.needs = needs
        self.workers = workers
        self.over = [anyio.Event() for _ in templates]
        self.room = anyio.Semaphore(workers.at_once)
        self.failures: dict[int, Exception] = {}
        self.blamed: dict[int, int] = {}
        """Templates that were left out, with the one whose failure is the reason"""

    async def one(self, number: int, display: Any) -> None:
        for needed in self.needs[number]:
            await self.over[needed].wait()
        causes = sorted(
            self.blamed.get(needed, needed) for needed in self.needs[number] if self.failed(needed)
        )
        if causes:
            self.blamed[number] = causes[0]
        else:
            async with self.room:
                display.begin(number, _name(self.templates[number]))
                try:
                    await self.workers.make(
                        self.templates[number], lambda done, total: display.tell(number, done, total)
                    )
                except Exception as error:  # noqa: BLE001 - the others go on; it is raised at the end
                    self.failures[number] = error
        display.end(number)
        self.over[number].set()

    def failed(self, number: int) -> bool:
        return number in self.failures or number in self.blamed

    def raise_failures(self) -> None:
        if not self.failures:
            return
        for number, error in self.failures.items():
            left_out = [
                _name(self.templates[other]) for other, cause in self.blamed.items() if cause == number
            ]
            because = f"; because of it these were not made: {', '.join(left_out)}" if left_out else ""
            error.add_note(f"aqrec: raised by {_name(self.templates[number])}{because}")
        left = f", and {len(self.blamed)} that need their files were left out" if self.blamed else ""
        raise ExceptionGroup(
            f"{len(self.failures)} of {len(self.templates)} templates failed{left}",
            list(self.failures.values()),
        )


def _name(template: Any) -> str:
    return f"{type(template).__name__} of run {template.recorder.name or template.recorder.id} ({template.recorder.id})"


def _needs(templates: Sequence[Any], check: Callable[[object], None]) -> list[set[int]]:
    """Return for each template the numbers of those it must wait for."""
    makers: dict[tuple[str, str, str], int] = {}
    seen: set[int] = set()
    for number, template in enumerate(templates):
        check(template)
        if id(template) in seen:
            raise InvalidInputError(f"templates: {_name(template)} comes twice")
        seen.add(id(template))
        for path in template.wanted(include_self=True, parents=False):
            other = makers.setdefault((template.recorder.uri, template.recorder.id, path), number)
            if other != number:
                raise InvalidInputError(
                    f"templates: {_name(templates[other])} and {_name(template)} both make {path!r}; give each its own "
                    "run, or generate one after the other"
                )
    needs: list[set[int]] = []
    for number, template in enumerate(templates):
        run = template.recorder.uri, template.recorder.id
        needs.append({makers[*run, path] for path in template.wanted() if (*run, path) in makers} - {number})
    _check_order(templates, needs)
    return needs


def _check_order(templates: Sequence[Any], needs: Sequence[set[int]]) -> None:
    """Refuse templates that wait for each other."""
    left = {number: set(wanted) for number, wanted in enumerate(needs)}
    while left:
        ready = {number for number, wanted in left.items() if not wanted}
        if not ready:
            names = ", ".join(_name(templates[number]) for number in left)
            raise InvalidInputError(f"templates: these wait for each other's files: {names}")
        left = {number: wanted - ready for number, wanted in left.items() if number not in ready}
