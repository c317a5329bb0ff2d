"""A workflow as it was read: plain values, and where in which file each key and value stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from aqrec.errors import InvalidWorkflowError, WorkflowProblem

__all__ = [
    "DROP",
    "Branch",
    "Document",
    "Path",
    "Place",
    "Problems",
    "dotted",
    "error_of",
    "merged",
    "tree_of",
]

DROP = "__DROP__"
"""A value that deletes the key below it, as in Qlib"""

Path = tuple[Any, ...]
"""Keys and positions from the root of a document"""


class Place(NamedTuple):
    """Where something stands in a file; line and column from 1."""

    file: str
    line: int
    column: int
    source: str


class Branch:
    """One value of a document: a dict of branches beside the places of their keys, a list of branches, or a plain value."""

    __slots__ = ("anchored", "content", "place")

    def __init__(self, content: Any, place: Place | None, *, anchored: bool = False) -> None:
        self.content: Any = content
        self.place = place
        self.anchored = anchored
        """Whether a YAML anchor marks this value or one inside of it"""

    def plain(self) -> Any:
        """Return the value without places, made anew."""
        if isinstance(self.content, dict):
            return {key: branch.plain() for key, (_, branch) in self.content.items()}
        if isinstance(self.content, list):
            return [branch.plain() for branch in self.content]
        return self.content


def tree_of(value: Any) -> Branch:
    """Return values that come from no file: copies of dicts, lists and tuples, the rest as it is."""
    if isinstance(value, Mapping):
        return Branch({key: (None, tree_of(item)) for key, item in value.items()}, None)
    if isinstance(value, list):
        return Branch([tree_of(item) for item in value], None)
    return Branch(value, None)


def merged(base: Branch, own: Branch) -> Branch:
    """Return `base` with what `own` says instead: dicts key by key, all else as a whole; `DROP` deletes a key."""
    if not isinstance(own.content, dict):
        return own
    below = base.content if isinstance(base.content, dict) else {}
    result = dict(below)
    for key, (place, branch) in own.content.items():
        if branch.content == DROP:
            result.pop(key, None)
        elif key in below:
            result[key] = (place, merged(below[key][1], branch))
        else:
            result[key] = (place, merged(Branch({}, None), branch))
    return Branch(result, own.place, anchored=own.anchored or base.anchored)


class Document:
    """A workflow with its places.

    Attributes
    ----------
    tree
        The values with their places.
    file
        The file it was read from; None if it was given as a dict.
    """

    def __init__(self, tree: Branch, file: str | None = None) -> None:
        self.tree = tree
        self.file = file

    def place(self, path: Path, *, key: bool = False) -> Place | None:
        """Return where a value stands, or its key; what is missing is looked for at its parent's."""
        branch, place = self.tree, self.tree.place
        for step in path:
            if isinstance(branch.content, dict) and step in branch.content:
                key_place, branch = branch.content[step]
                place = (key_place if key else branch.place) or place
            elif isinstance(branch.content, list) and isinstance(step, int) and step < len(branch.content):
                branch = branch.content[step]
                place = branch.place or place
            else:
                break
        return place

    def key_place(self, path: Path) -> Place | None:
        """Return where a key stands."""
        return self.place(path, key=True)

    def anchored(self, key: Any) -> bool:
        """Whether a YAML anchor marks the value of a key of the root, or one inside of it."""
        content = self.tree.content
        return isinstance(content, dict) and key in content and content[key][1].anchored


def dotted(path: Path) -> str:
    """Return a path as people write it: ``task.record[0].class``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


class Problems:
    """What was found wrong so far."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._found: dict[WorkflowProblem, None] = {}

    def add(self, path: Path, text: str, *, key: bool = False) -> None:
        """Note what is wrong with a value, or with its key."""
        place = self.document.place(path, key=key)
        name = dotted(path)
        problem = WorkflowProblem(name, text)
        if place is not None:
            problem = WorkflowProblem(name, text, place.file, place.line, place.column, place.source)
        self._found[problem] = None

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._found)

    def raise_any(self) -> None:
        """Raise `InvalidWorkflowError` if there are any."""
        if self._found:
            raise error_of(self._found, self.document.file)


def error_of(problems: Iterable[WorkflowProblem], file: str | None) -> InvalidWorkflowError:
    """Return the error that says all of it, in the order of the file."""
    ordered = sorted(problems, key=lambda problem: (problem.file != file, problem.line or 0))
    what = file or "the workflow"
    count = f"{len(ordered)} problem{'s' if len(ordered) != 1 else ''}"
    lines = [_line(problem, file) for problem in ordered]
    return InvalidWorkflowError("\n".join([f"{what} has {count}; nothing was run", *lines]), tuple(ordered))


def _line(problem: WorkflowProblem, file: str | None) -> str:
    other = f"{problem.file}, " if problem.file not in {None, file} else ""
    where = f"{other}line {problem.line}, " if problem.line is not None else ""
    return f"  {where}{problem.key + ': ' if problem.key else ''}{problem.text}"
