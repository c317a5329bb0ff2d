"""What a subclass of a template must be like, told when it is defined or before it makes anything."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from aqrec.errors import InvalidInputError, InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["check_definition", "file_names", "objects_by_name", "unkept_promise"]


def check_definition(template: type[Any], base: type[Any], *, awaited: bool) -> None:
    """Refuse a subclass whose attributes mean nothing, or whose `generate` is of the other face."""
    name = template.__name__
    folder = template.artifact_path
    if folder is not None and not isinstance(folder, str):
        raise InvalidInputError(
            f"{name}.artifact_path is {folder!r}; give the name of a folder, or None for the root"
        )
    if template.depend_cls is not None:
        _check_needed(name, "depend_cls", template.depend_cls, base)
    requires: Any = template.requires
    if not isinstance(requires, tuple | list):
        alone = getattr(requires, "__name__", repr(requires))
        raise InvalidInputError(f"{name}.requires is {alone}; give a tuple of templates: ({alone},)")
    for number, needed in enumerate(requires):
        _check_needed(name, f"requires[{number}]", needed, base)
    _check_generate(template, awaited=awaited)


def _check_needed(name: str, what: str, needed: Any, base: type[Any]) -> None:
    if not (isinstance(needed, type) and issubclass(needed, base)):
        raise InvalidInputError(
            f"{name}.{what} is {needed!r}; give the class of the template that makes what {name} needs, such as SignalRecord"
        )


def _check_generate(template: type[Any], *, awaited: bool) -> None:
    generate: Any = template.generate
    # A decorator may hide a coroutine function behind a plain one.
    coroutine = any(map(inspect.iscoroutinefunction, (generate, inspect.unwrap(generate))))
    if awaited and not coroutine:
        raise InvalidInputError(
            f"{template.__name__}.generate is a plain function, but templates of aqrec.templates are awaited: write "
            "async def generate, or define _generate, which may be plain, on an ACRecordTemp; or derive from "
            "aqrec.sync.templates"
        )
    if not awaited and coroutine:
        raise InvalidInputError(
            f"{template.__name__}.generate is a coroutine function, but templates of aqrec.sync.templates block: write "
            "def generate, or define _generate, which may be async, on an ACRecordTemp; or derive from aqrec.templates"
        )


def file_names(template: type[Any], names: Any) -> list[str]:
    """Return what `Template.list` has returned, if it is names of files."""
    if inspect.iscoroutine(names):
        names.close()
        raise InvalidInputError(f"{template.__name__}.list() is a coroutine function; write def list(self)")
    if isinstance(names, str | bytes | Mapping) or not isinstance(names, Iterable):
        raise InvalidValueError(
            f"{template.__name__}.list() returned {names!r}; return a list of file names, such as ['figures.pkl']"
        )
    found: list[Any] = list(names)
    for name in found:
        if not isinstance(name, str) or not name:
            raise InvalidValueError(
                f"{template.__name__}.list() returned {found!r}, in which {name!r} is no file name"
            )
    return found


def objects_by_name(template: type[Any], made: object, promised: Sequence[str]) -> dict[str, Any] | None:
    """Return what a `_generate` has made as a dict of objects by file name; refuse names that `list` does not promise."""
    if made is None:
        return None
    if not isinstance(made, Mapping):
        raise InvalidValueError(
            f"{template.__name__}._generate() returned {type(made).__name__}; "
            "return a dict of objects by file name, or None to save nothing"
        )
    objects = {str(name): value for name, value in made.items()}
    surplus = [name for name in objects if promised and name not in promised]
    if surplus:
        raise InvalidInputError(
            f"{template.__name__}._generate() returned {_listed(surplus)}, which {template.__name__}.list() does not "
            f"name: it promises {_listed(promised)}. Nothing was saved; make the two agree"
        )
    return objects


def unkept_promise(template: type[Any], absent: Iterable[str]) -> InvalidInputError:
    """Return the error for files that are promised, and neither returned nor in the run."""
    return InvalidInputError(
        f"{template.__name__}.list() promises {_listed(absent)}, which {template.__name__}._generate() did not return. "
        "Nothing was saved; make the two agree, or return None to save nothing"
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
