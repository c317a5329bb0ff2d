"""`RecordTemp` and `ACRecordTemp`, async."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from aqrec.errors import LoadObjectError, MissingInputError
from aqrec.templates._calls import call
from aqrec.templates._definition import unkept_promise
from aqrec.templates._plan import (
    Files,
    OnMissing,
    Template,
    by_folder,
    check_recorder,
    check_told,
)
from aqrec.templates._saving import figures_of, save

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from aqrec.recording import Recorder

__all__ = ["ACRecordTemp", "RecordTemp"]

logger = logging.getLogger("aqrec")


class RecordTemp(Template):
    """What a run should hold: a folder, the files in it, and how they are made.

    Subclasses set `artifact_path` and `depend_cls`, and define `list` and `generate`. `ACRecordTemp` does
    the checking.

    Parameters
    ----------
    recorder
        Recorder of the run, which may be running or ended.

    Raises
    ------
    InvalidInputError
        `recorder` is None or not an `aqrec.Recorder`.
    """

    _awaited = True

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = check_recorder(self, recorder, blocking=False)

    async def save(self, **objects: Any) -> None:
        """Save objects in the template's folder; waits and raises as `Recorder.save_objects`.

        Once begun it goes on to its end, for which a cancelled call waits up to 30 seconds.
        """
        await save(self.recorder, objects, self.artifact_path)

    async def load(self, name: str, parents: bool = True) -> Any:
        """Load a file of this template or, with `parents`, of the nearest one it depends on that has it.

        Raises
        ------
        MissingInputError
            None of the folders has it.
        LoadObjectError
            It is there and cannot be loaded; no other folder is tried then.
        """
        places = self._places(name, parents)
        for path, template in places.items():
            try:
                return await self.recorder.load_object(path)
            except LoadObjectError:
                if not await self._missing({path: template}):
                    raise
        raise MissingInputError(self._not_found_text(self.recorder.id, places))

    async def check(self, include_self: bool = False, parents: bool = True) -> None:
        """Raise `MissingInputError` if an input (`parents`) or an own file (`include_self`) is missing.

        The inputs are those of `generate` without arguments. The message names each missing file, its run,
        and the template that makes it.
        """
        await self._require(self.wanted(include_self, parents))

    async def generate(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        """Make the files and save them; for subclasses to define."""
        raise NotImplementedError(f"{type(self).__name__} does not define generate()")

    async def _missing(self, files: Files) -> Files:
        there: set[str] = set()
        for folder in by_folder(files):
            there.update(await self.recorder.list_artifacts(folder))
        return {path: maker for path, maker in files.items() if path not in there}

    async def _require(self, files: Files) -> None:
        missing = await self._missing(files)
        if missing:
            raise MissingInputError(self._missing_text(self.recorder.id, missing))


class ACRecordTemp(RecordTemp):
    """A template that checks its inputs before it begins, and can leave alone what is already there.

    Subclasses define `list` and `_generate`, which returns the objects to save by file name (None:
    nothing). It may be a coroutine function or a plain one; a plain one runs in a worker thread, where
    ``anyio.from_thread.run(self.load, name)`` loads.

    Parameters
    ----------
    recorder
        As for `RecordTemp`.
    skip_existing
        Make nothing if all files of `list` are there.
    on_missing
        Without its inputs, `generate` raises (``"raise"``), or logs a warning and returns None (``"skip"``,
        as Qlib does).

    Examples
    --------
    >>> import asyncio, uuid
    >>> import aqrec, pandas as pd
    >>> from aqrec.templates import ACRecordTemp, SignalRecord
    >>>
    >>> class Breadth(ACRecordTemp):
    ...     artifact_path = "breadth"
    ...     depend_cls = SignalRecord
    ...
    ...     def list(self):
    ...         return ["breadth.pkl"]
    ...
    ...     async def _generate(self):
    ...         pred = await self.load("pred.pkl")
    ...         return {"breadth.pkl": (pred["score"] > 0).groupby(level="datetime").mean()}
    >>>
    >>> class Constant:
    ...     def predict(self, dataset):
    ...         return pd.Series([1.0, -1.0], index=dataset)
    >>>
    >>> async def main():
    ...     rows = pd.MultiIndex.from_product([["2024-01-02"], ["A", "B"]], names=["datetime", "instrument"])
    ...     async with aqrec.open_recorder(f"memory://{uuid.uuid4().hex}", experiment="alpha") as recorder:
    ...         await SignalRecord(Constant(), rows, recorder).generate()
    ...         await Breadth(recorder, skip_existing=True).generate()
    ...         breadth = await Breadth(recorder).load("breadth.pkl")
    ...         print(await recorder.list_artifacts("breadth"), breadth.item())
    >>>
    >>> asyncio.run(main())
    ['breadth/breadth.pkl'] 0.5
    """

    def __init__(
        self, recorder: Recorder, skip_existing: bool = False, on_missing: OnMissing = "raise"
    ) -> None:
        super().__init__(recorder)
        check_told(locals())
        self.skip_existing = skip_existing
        self.on_missing: OnMissing = on_missing

    async def generate(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        """Check the inputs, call `_generate` with these arguments, and save what it returns, all in one call.

        Waits until everything is made, then until it is durable. Cancelling it before the save leaves no
        file and no metric; a plain function that a thread is running goes on to its end, and its result is dropped.
        Once the save has begun it goes on to its end, for which a cancelled call waits up to 30 seconds.
        With `skip_existing`, the next call makes all files unless all are there.

        Returns
        -------
        dict
            The objects by file name; None if there was nothing to make.

        Raises
        ------
        MissingInputError
            Inputs are missing or empty; the message names each file and the template that makes it.
        InvalidInputError
            What `_generate` returned is not what `list` names; nothing was saved.
        """
        own = self._own()
        if self.skip_existing and own and not await self._missing(own):
            logger.info("aqrec: run %s has all files of %s", self.recorder.id, type(self).__name__)
            return None
        with figures_of() as figures:
            try:
                await self._require(self._inputs(*args, **kwargs))
                made = await call(self._generate, *args, **kwargs)
            except MissingInputError as error:
                if self.on_missing == "raise":
                    raise
                logger.warning("aqrec: nothing is made: %s", error)
                return None
            objects, absent = self._objects(made)
            if absent and (unkept := await self._missing(absent)):
                raise unkept_promise(type(self), unkept)
            figures.complete = True
            if objects:
                await self.save(**objects)
            for metrics, step in figures.take():  # nothing is saved, or by a save() of the user's
                await self.recorder.log_batch(metrics, step=step)
            return objects

    def _generate(
        self, *args: Any, **kwargs: Any
    ) -> Mapping[str, Any] | Awaitable[Mapping[str, Any] | None] | None:
        """Return the objects to save by file name; for subclasses to define."""
        raise NotImplementedError(f"{type(self).__name__} does not define _generate()")
