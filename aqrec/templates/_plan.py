"""What a template makes and what it needs, as names: no I/O, the same for both faces."""

from __future__ import annotations

import inspect
import posixpath
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeVar

from aqrec._checks import check_arguments, flag, generator, number, one_of, or_none, whole
from aqrec.errors import InvalidInputError
from aqrec.templates._definition import check_definition, file_names, objects_by_name

__all__ = [
    "Files",
    "OnMissing",
    "Template",
    "by_folder",
    "check_recorder",
    "check_told",
    "files_needed",
    "files_promised",
]

R = TypeVar("R")

_RULES = {
    **dict.fromkeys(("ana_long_short", "plots", "shuffle_init_score", "skip_existing"), flag),
    "ann_scaler": number(above=0),
    "label_col": whole(),
    "on_missing": one_of("raise", "skip"),
    "rng": or_none(generator),
}

OnMissing = Literal["raise", "skip"]
"""What `generate` does without its inputs"""


class Template:
    """A template by its names."""

    artifact_path: ClassVar[str | None] = None
    """Folder of the template's files below the run's artifacts; None: their root"""
    depend_cls: ClassVar[type[Template] | None] = None
    """Template whose files this one needs, and so on through what that one needs"""
    requires: ClassVar[tuple[type[Template], ...]] = ()
    """Further templates whose files this one needs; they come after `depend_cls`"""
    splits: ClassVar[bool] = False
    """Whether `generate` itself hands parts of its work to the workers of `generate_all`"""
    _advice: ClassVar[Mapping[str, str]] = {}
    """What to add, by path, when an input is missing"""
    _awaited: ClassVar[bool]
    """Whether `generate` is awaited; set by the two faces"""

    def __init_subclass__(cls, **keywords: Any) -> None:
        """Refuse a subclass that could not work.

        Raises
        ------
        InvalidInputError
            `artifact_path`, `depend_cls` or `requires` is something else than it should be, or `generate` is a plain
            function where it is awaited, or a coroutine function where it is not.
        """
        super().__init_subclass__(**keywords)
        check_definition(cls, Template, awaited=cls._awaited)

    @classmethod
    def get_path(cls, name: str | None = None) -> str:
        """Return the artifact path of a file of this template, or of its folder ("" for the root)."""
        return "/".join(part for part in (cls.artifact_path, name) if part)

    def list(self) -> Sequence[str]:
        """Return the names of the files that `generate` makes, without their folder.

        Templates that depend on this one ask an instance whose constructor has not run: give attributes that
        are read here a default on the class.
        """
        return []

    def _own(self) -> Files:
        return {self.get_path(name): type(self) for name in file_names(type(self), self.list())}

    def _objects(self, made: object) -> tuple[dict[str, Any] | None, Files]:
        """Return the objects to save of what `_generate` has made, and which promised files are not among them."""
        names = file_names(type(self), self.list())
        objects = objects_by_name(type(self), made, names)
        if objects is None:
            return None, {}
        return objects, {self.get_path(name): type(self) for name in names if name not in objects}

    def _inputs(self, *args: Any, **kwargs: Any) -> Files:
        """Return what `generate`, called with these arguments, needs."""
        del args, kwargs
        return files_needed(type(self))

    def _places(self, name: str, parents: bool) -> Files:
        """Return where a file may be, the nearest place first."""
        places: Files = {}
        for template in (type(self), *(_parents(type(self)) if parents else ())):
            places.setdefault(template.get_path(name), template)
        return places

    def wanted(self, include_self: bool = False, parents: bool = True) -> Files:
        """Return the artifact paths that `check` looks for, each with the template that makes it."""
        return {**(self._inputs() if parents else {}), **(self._own() if include_self else {})}

    def _missing_text(self, run_id: str, missing: Files) -> str:
        files = ", ".join(f"{path!r} (made by {maker.__name__})" for path, maker in missing.items())
        makers = " and ".join(dict.fromkeys(f"{maker.__name__}.generate()" for maker in missing.values()))
        advice = "".join(f"; {text}" for path, text in self._advice.items() if path in missing)
        return f"{type(self).__name__}: run {run_id} lacks {files}; call {makers} on it first{advice}"

    def _not_found_text(self, run_id: str, places: Files) -> str:
        tried = ", ".join(f"{path!r} (would be made by {maker.__name__})" for path, maker in places.items())
        return f"{type(self).__name__}: run {run_id} has none of {tried}; generate that template on it first"


Files = dict[str, type[Template]]
"""Artifact paths, each with the template that makes it"""


def files_needed(template: type[Template]) -> Files:
    """Return what any instance of a template needs."""
    needed: Files = {}
    for parent in _parents(template):
        for path in files_promised(parent):
            needed.setdefault(path, parent)
    return needed


def files_promised(template: type[Template]) -> Sequence[str]:
    """Return the paths of the files that any instance of a template makes."""
    # The constructor's arguments, a model or a data set, are not known to a template that comes later.
    blank = object.__new__(template)
    try:
        names = blank.list()
    except AttributeError as error:
        raise InvalidInputError(
            f"{template.__name__}.list() reads {error.name!r}, which only an instance has, but other "
            f"templates depend on the class: give {error.name!r} a default in the body of {template.__name__}"
        ) from error
    return [template.get_path(name) for name in file_names(template, names)]


def _parents(template: type[Template]) -> Iterator[type[Template]]:
    """Yield the templates whose files a template needs, the nearest first, each once."""
    waiting: deque[type[Template]] = deque((template,))
    seen: set[type[Template]] = {template}
    while waiting:
        one = waiting.popleft()
        for parent in (one.depend_cls, *one.requires):
            if parent is not None and parent not in seen:
                seen.add(parent)
                waiting.append(parent)
                yield parent


def by_folder(paths: Iterable[str]) -> dict[str, set[str]]:
    """Return the paths by the folder that lists them."""
    folders: dict[str, set[str]] = {}
    for path in paths:
        folders.setdefault(posixpath.dirname(path), set()).add(path)
    return folders


def check_recorder(template: Template, recorder: R | None, *, blocking: bool) -> R:
    """Return the recorder if it is one of the template's own face."""
    name = type(template).__name__
    if recorder is None:
        raise InvalidInputError(f"{name} has recorder=None; give it the recorder of the run to work on")
    load = getattr(recorder, "load_object", None)
    if load is None or inspect.iscoroutinefunction(load) == blocking:
        mine, other = ("aqrec.sync", "aqrec") if blocking else ("aqrec", "aqrec.sync")
        raise InvalidInputError(
            f"{name} has recorder={recorder!r}; a template of {mine}.templates needs an {mine}.Recorder, "
            f"those of {other}.templates take an {other}.Recorder"
        )
    return recorder


def check_told(given: Mapping[str, Any]) -> None:
    """Refuse arguments of a template, as its constructor's ``locals()`` has them, that have no meaning."""
    check_arguments(_RULES, given)
