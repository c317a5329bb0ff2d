"""`RecordTemp` and `ACRecordTemp`, blocking."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from aqrec.errors import LoadObjectError, MissingInputError
from aqrec.templates._calls import call_blocking
from aqrec.templates._definition import unkept_promise
from aqrec.templates._plan import (
    Files,
    OnMissing,
    Template,
    by_folder,
    check_recorder,
    check_told,
)
from aqrec.templates._saving import figures_of, save_blocking

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from aqrec.sync import Recorder

__all__ = ["ACRecordTemp", "RecordTemp"]

logger = logging.getLogger("aqrec")


class RecordTemp(Template):
    """What a run should hold; see `aqrec.templates.RecordTemp`.

    Raises
    ------
    InvalidInputError
        `recorder` is None or not an `aqrec.sync.Recorder`.
    """

    _awaited = False

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = check_recorder(self, recorder, blocking=True)

    def save(self, **objects: Any) -> None:
        """Save objects in the template's folder."""
        save_blocking(self.recorder, objects, self.artifact_path)

    def load(self, name: str, parents: bool = True) -> Any:
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
                return self.recorder.load_object(path)
            except LoadObjectError:
                if not self._missing({path: template}):
                    raise
        raise MissingInputError(self._not_found_text(self.recorder.id, places))

    def check(self, include_self: bool = False, parents: bool = True) -> None:
        """Raise `MissingInputError` if an input (`parents`) or an own file (`include_self`) is missing."""
        self._require(self.wanted(include_self, parents))

    def generate(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        """Make the files and save them; for subclasses to define."""
        raise NotImplementedError(f"{type(self).__name__} does not define generate()")

    def _missing(self, files: Files) -> Files:
        there: set[str] = set()
        for folder in by_folder(files):
            there.update(self.recorder.list_artifacts(folder))
        return {path: maker for path, maker in files.items() if path not in there}

    def _require(self, files: Files) -> None:
        missing = self._missing(files)
        if missing:
            raise MissingInputError(self._missing_text(self.recorder.id, missing))


class ACRecordTemp(RecordTemp):
    """A template that checks its inputs before it begins; see `aqrec.templates.ACRecordTemp`."""

    def __init__(
        self, recorder: Recorder, skip_existing: bool = False, on_missing: OnMissing = "raise"
    ) -> None:
        super().__init__(recorder)
        check_told(locals())
        self.skip_existing = skip_existing
        self.on_missing: OnMissing = on_missing

    def generate(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        """Check the inputs, call `_generate` with these arguments, and save what it returns, all in one call.

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
        if self.skip_existing and own and not self._missing(own):
            logger.info("aqrec: run %s has all files of %s", self.recorder.id, type(self).__name__)
            return None
        with figures_of() as figures:
            try:
                self._require(self._inputs(*args, **kwargs))
                made = call_blocking(self._generate, *args, **kwargs)
            except MissingInputError as error:
                if self.on_missing == "raise":
                    raise
                logger.warning("aqrec: nothing is made: %s", error)
                return None
            objects, absent = self._objects(made)
            if absent and (unkept := self._missing(absent)):
                raise unkept_promise(type(self), unkept)
            figures.complete = True
            if objects:
                self.save(**objects)
            for metrics, step in figures.take():  # nothing is saved, or by a save() of the user's
                self.recorder.log_batch(metrics, step=step)
            return objects

    def _generate(
        self, *args: Any, **kwargs: Any
    ) -> Mapping[str, Any] | Awaitable[Mapping[str, Any] | None] | None:
        """Return the objects to save by file name; for subclasses to define, plain or async."""
        raise NotImplementedError(f"{type(self).__name__} does not define _generate()")
