"""Environment variables filled into a workflow's text by Jinja, and which line of the file each line of the result comes from."""

from __future__ import annotations

import os
import re
import traceback
from importlib import import_module
from typing import Any, NamedTuple

from aqrec.errors import InvalidInputError, InvalidWorkflowError, WorkflowProblem
from aqrec.tasks._documents import error_of

__all__ = ["Rendered", "needed", "rendered"]

_MARKS = ("{{", "{%", "{#")
# Characters for private use: a text that has them itself is told by the comparison below.
_MARKER = re.compile("\ue0f0([0-9]+)\ue0f1")


class Rendered(NamedTuple):
    """A text without its Jinja.

    Attributes
    ----------
    text
        What came out.
    lines
        For each line of it, the number of the file's line it comes from, from 1; None where they are the same.
    """

    text: str
    lines: list[int] | None = None

    def line(self, number: int) -> int:
        """Return the line of the file that a line of the text comes from, both from 1."""
        if self.lines is None:
            return number
        return self.lines[min(number, len(self.lines)) - 1]


def rendered(text: str, name: str) -> Rendered:
    """Fill in the environment variables that a text names; one that is not set is empty.

    Raises
    ------
    InvalidWorkflowError
        It is no template, or does what the sandbox does not allow.
    """
    if not any(mark in text for mark in _MARKS):
        return Rendered(text)
    jinja = needed("jinja2")
    plain = _environment()
    try:
        variables = needed("jinja2.meta").find_undeclared_variables(plain.parse(text))
        known = {name: os.environ[name] for name in variables if name in os.environ}
        result = str(plain.from_string(text).render(known))
        marked = str(_environment(marking=True).from_string(text).render(known))
    except jinja.TemplateSyntaxError as error:
        raise _of_line(name, text, error.lineno, f"Jinja: {error.message}") from None
    except Exception as error:  # noqa: BLE001 - expressions may fail in any way
        frames = [at for at in traceback.extract_tb(error.__traceback__) if at.filename == "<template>"]
        told = str(error) if isinstance(error, jinja.TemplateError) else f"{type(error).__name__}: {error}"
        if not frames:
            raise error_of([WorkflowProblem("", f"Jinja: {told}", name)], name) from None
        raise _of_line(name, text, frames[-1].lineno or 1, f"Jinja: {told}") from None
    # They differ if a filter looked into what was marked.
    return Rendered(result, _origins(marked) if _MARKER.sub("", marked) == result else None)


def _environment(*, marking: bool = False) -> Any:
    environment: Any = needed("jinja2.sandbox").SandboxedEnvironment(keep_trailing_newline=True)
    if marking:
        environment.add_extension(_marking())
    return environment


def _marking() -> type[Any]:
    """Return an extension that marks the lines of a template, after Jinja has taken away the white space around its blocks."""
    tokens = needed("jinja2.lexer")

    class Marking(needed("jinja2.ext").Extension):  # type: ignore[misc]  # jinja2 is an extra
        def filter_stream(self, stream: Any) -> Any:
            for token in stream:
                if token.type == "data":
                    parts = str(token.value).split("\n")
                    marked = [
                        f"\ue0f0{token.lineno + number}\ue0f1{part}" for number, part in enumerate(parts)
                    ]
                    yield tokens.Token(token.lineno, token.type, "\n".join(marked))
                else:
                    yield token

    return Marking


def _origins(marked: str) -> list[int]:
    """Return the line of the template that each line comes from: where it begins, or what comes before it does."""
    origins: list[int] = []
    last = 1
    for line in marked.split("\n"):
        found = _MARKER.findall(line)
        begins = _MARKER.match(line)
        origins.append(int(begins[1]) if begins else int(found[0]) if found and not origins else last)
        last = int(found[-1]) if found else last
    return origins


def needed(module: str) -> Any:
    """Import what only workflow files need."""
    try:
        return import_module(module)
    except ImportError as error:
        raise InvalidInputError(
            f"workflow files need {module.partition('.')[0]}, which is not installed: pip install 'aqrec[workflow]'"
        ) from error


def _of_line(file: str, text: str, line: int, what: str) -> InvalidWorkflowError:
    lines = text.splitlines()
    source = lines[line - 1] if 0 < line <= len(lines) else ""
    return error_of([WorkflowProblem("", what, file, line, 1, source)], file)
