"""Whether each record of a task comes after those whose files it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from aqrec.errors import InvalidInputError
from aqrec.tasks._documents import Path, Problems
from aqrec.templates._plan import Template, files_needed, files_promised

__all__ = ["Found", "check_order"]


class Found(NamedTuple):
    """A record of a task.

    Attributes
    ----------
    path
        Where it stands.
    factory
        Its class, or whatever makes it; None if that is wrong or cannot be told.
    kwargs
        Its arguments.
    made
        The record, made on trial; None if that was not tried or cannot be told.
    """

    path: Path
    factory: Callable[..., Any] | None
    kwargs: Mapping[str, Any]
    made: Any = None


def check_order(problems: Problems, records: Sequence[Found]) -> None:
    """Note the records whose files an earlier one would have to make and none does.

    Behind a record that is no template nothing is noted: nobody knows what it makes.
    """
    made: set[str] = set()
    for number, (path, factory, kwargs, _) in enumerate(records):
        if not (isinstance(factory, type) and issubclass(factory, Template)):
            return
        if kwargs.get("on_missing", "raise") == "raise":
            try:
                lacking = {file: maker for file, maker in files_needed(factory).items() if file not in made}
            except InvalidInputError as error:
                problems.add(path, str(error))
                continue
            if lacking:
                file, maker = next(iter(lacking.items()))
                later = [found for found in records[number:] if _makes(found.factory, file)]
                problems.add(
                    path,
                    f"{factory.__name__} needs {file!r}, which {maker.__name__} makes: "
                    f"{'move it behind that record' if later else f'put {maker.__name__} before it'}",
                )
        made.update(_promises(factory))


def _makes(factory: Any, file: str) -> bool:
    return isinstance(factory, type) and issubclass(factory, Template) and file in _promises(factory)


def _promises(template: type[Template]) -> set[str]:
    try:
        return set(files_promised(template))
    except InvalidInputError:  # its files depend on what it is told; whoever depends on it is told so
        return set()
