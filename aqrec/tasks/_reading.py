"""Workflow files: text → Jinja → YAML 1.2 → a document with places, merged over its base files.

ruamel.yaml parses the text, as in Qlib's qrun. Of what it parses only the nodes are used, which know their lines; the values are
built here, so that every key has its place, and nothing but plain data can come out of a file.
"""

from __future__ import annotations

import os
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from aqrec.errors import InvalidInputError, InvalidWorkflowError, WorkflowProblem
from aqrec.tasks._documents import Branch, Document, Place, dotted, error_of, merged, tree_of
from aqrec.tasks._jinja import Rendered, needed, rendered

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aqrec.tasks._documents import Path

__all__ = ["BASE", "read"]

BASE = "BASE_CONFIG_PATH"
_MOST_VALUES = 200_000
"""A file of a few lines can stand for any number of values by aliases of aliases."""
_DEEPEST = 100
_MERGE = "tag:yaml.org,2002:merge"


def read(config: str | os.PathLike[str] | Mapping[str, Any], *, recorded: bool = False) -> Document:
    """Return a workflow from a file, or from a mapping; base files are merged below it, and not named any more.

    Environment variables that the file names are filled in by Jinja; one that is not set is empty. A `recorded`
    workflow has what its base files said already: they are not read.

    Raises
    ------
    InvalidWorkflowError
        The text is no YAML, a key comes twice, a base file is missing or leads back to itself.
    OSError
        The file cannot be read.
    """
    if isinstance(config, str | os.PathLike):
        return _read_file(FilePath(config), ())
    document = Document(tree_of(config))
    return _without_base(document) if recorded else _based(document, FilePath.cwd(), ())


def _read_file(path: FilePath, above: tuple[FilePath, ...]) -> Document:
    name = str(path)
    text = _text(path)
    document = Document(_Builder(name, text, rendered(text, name)).build(), name)
    return _based(document, path.parent, (*above, path.resolve()))


def _based(document: Document, folder: FilePath, above: tuple[FilePath, ...]) -> Document:
    """Merge the base file, looked for from the current folder, then from the document's own."""
    content = document.tree.content
    if not isinstance(content, dict) or BASE not in content:
        return document
    place, branch = content[BASE]
    named = branch.content
    if named is None:
        return _without_base(document)
    if not isinstance(named, str) or not named:
        raise _refused(document, BASE, branch.place, f"expected the path of a file, not {_kind(named)}")
    candidates = [FilePath(named), folder / named]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        raise _refused(
            document,
            BASE,
            branch.place,
            f"there is no such file below {FilePath.cwd()}"
            + (f" or {folder}" if folder != FilePath() else ""),
        )
    if found.resolve() in above:
        raise _refused(document, BASE, place, "the file is its own base")
    base = _read_file(found, above)
    return _without_base(Document(merged(base.tree, document.tree), document.file))


def _without_base(document: Document) -> Document:
    tree = document.tree
    if not isinstance(tree.content, dict) or BASE not in tree.content:
        return document
    content = {key: entry for key, entry in tree.content.items() if key != BASE}
    return Document(Branch(content, tree.place, anchored=tree.anchored), document.file)


def _text(path: FilePath) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start})") from None


def _refused(document: Document, key: str, place: Place | None, text: str) -> InvalidWorkflowError:
    return error_of([_problem(key, text, place, document.file)], document.file)


def _problem(key: str, text: str, place: Place | None, file: str | None) -> WorkflowProblem:
    if place is None:
        return WorkflowProblem(key, text, file)
    return WorkflowProblem(key, text, place.file, place.line, place.column, place.source)


def _kind(value: object) -> str:
    return "nothing" if value is None else type(value).__name__


class _Builder:
    """Makes branches of ruamel's nodes."""

    def __init__(self, file: str, source: str, text: Rendered) -> None:
        self._file = file
        # The file's own lines are quoted, not what Jinja put in: that may be a password.
        same = text.lines is not None or text.text.count("\n") == source.count("\n")
        self._lines = source.splitlines() if same else []
        self._text = text
        self._yaml: Any = needed("ruamel.yaml").YAML(typ="safe", pure=True)
        self._problems: list[WorkflowProblem] = []
        self._values = 0

    def build(self) -> Branch:
        """Return the only document of the text."""
        errors = needed("ruamel.yaml.error")
        try:
            node = self._yaml.compose(self._text.text)
        except errors.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            what = ", ".join(part for part in (error.context, error.problem) if part)
            raise self._refused((), f"no YAML: {what}", mark) from None
        except errors.YAMLError as error:
            raise self._refused((), f"no YAML: {error}", None) from None
        except RecursionError:
            raise self._refused((), "nested too deeply", None) from None
        if node is None:
            return Branch(None, None)
        tree = self._branch(node, ())
        if self._problems:
            raise error_of(self._problems, self._file)
        return tree

    def _branch(self, node: Any, path: Path) -> Branch:
        self._values += 1
        if self._values > _MOST_VALUES:
            raise self._refused(path, f"more than {_MOST_VALUES:,} values, counting aliases", node.start_mark)
        if len(path) > _DEEPEST:
            raise self._refused(path, f"nested deeper than {_DEEPEST} levels", node.start_mark)
        kind: str = node.id
        place = self._place(node.start_mark)
        anchored = node.anchor is not None
        if kind == "scalar":
            return Branch(self._scalar(node, path), place, anchored=anchored)
        if node.tag not in {"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}:
            self._note(path, f"the tag {node.tag} is not known here", node.start_mark)
        if kind == "sequence":
            parts = [self._branch(item, (*path, number)) for number, item in enumerate(node.value)]
            return Branch(parts, place, anchored=anchored or any(part.anchored for part in parts))
        content = self._mapping(node, path)
        return Branch(content, place, anchored=anchored or any(part.anchored for _, part in content.values()))

    def _mapping(self, node: Any, path: Path) -> dict[Any, tuple[Place | None, Branch]]:
        own: dict[Any, tuple[Place | None, Branch]] = {}
        below: dict[Any, tuple[Place | None, Branch]] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                for key, entry in self._merge(value_node, path).items():
                    below.setdefault(key, entry)
                continue
            if key_node.id != "scalar":
                self._note(path, "a key must be text, a number or a date", key_node.start_mark)
                continue
            key = self._scalar(key_node, path)
            place = self._place(key_node.start_mark)
            if key in own:
                first = own[key][0]
                self._note(
                    (*path, key),
                    f"the key comes twice, first in line {first.line if first else '?'}",
                    key_node.start_mark,
                )
            branch = self._branch(value_node, (*path, key))
            if value_node.id == "scalar" and value_node.start_mark.index == value_node.end_mark.index:
                # YAML sees that there is none where the next thing begins.
                branch.place = self._place(key_node.end_mark)
            own[key] = (place, branch)
        return {**below, **own}

    def _merge(self, node: Any, path: Path) -> dict[Any, tuple[Place | None, Branch]]:
        """Return what ``<<`` brings: a mapping, or a list of them of which the first wins."""
        found: dict[Any, tuple[Place | None, Branch]] = {}
        for part in node.value if node.id == "sequence" else [node]:
            if part.id != "mapping":
                self._note(path, "<< takes a mapping or a list of mappings", part.start_mark)
                continue
            branch = self._branch(part, path)
            for key, entry in branch.content.items():
                found.setdefault(key, entry)
        return found

    def _scalar(self, node: Any, path: Path) -> Any:
        errors = needed("ruamel.yaml.error")
        try:
            return self._yaml.constructor.construct_object(node, deep=True)
        except errors.MarkedYAMLError:
            self._note(path, f"the tag {node.tag} is not known here", node.start_mark)
        except ValueError as error:
            self._note(path, f"no {node.tag.rpartition(':')[2]}: {error}", node.start_mark)
        return None

    def _place(self, mark: Any) -> Place:
        line = self._text.line(mark.line + 1)
        source = self._lines[line - 1] if line <= len(self._lines) else ""
        return Place(self._file, line, mark.column + 1, source)

    def _note(self, path: Path, text: str, mark: Any) -> None:
        self._problems.append(_problem(dotted(path), text, self._place(mark), self._file))

    def _refused(self, path: Path, text: str, mark: Any) -> InvalidWorkflowError:
        place = None if mark is None else self._place(mark)
        return error_of([*self._problems, _problem(dotted(path), text, place, self._file)], self._file)
