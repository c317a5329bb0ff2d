"""Write ``reference.md`` from the docstrings: ``python docs/make_reference.py``; a test holds that it is up to date."""

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MODULES = (
    "aqrec",
    "aqrec.sync",
    "aqrec.options",
    "aqrec.templates",
    "aqrec.sync.templates",
    "aqrec.workflow",
    "aqrec.sync.workflow",
    "aqrec.analysis",
    "aqrec.backtest",
    "aqrec.quotes",
    "aqrec.plots",
    "aqrec.artifacts",
    "aqrec.serialization",
    "aqrec.stores",
    "aqrec.integrations.mlflow",
    "aqrec.testing",
    "aqrec.errors",
)
PAGE = Path(__file__).with_name("reference.md")


def first_sentence(thing: Any) -> str:
    """Return the first paragraph of a docstring on one line."""
    text = (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ")
    return re.sub(r"``([^`]*)``", r"`\1`", text)


def signature(thing: Any) -> str:
    """Return parameters without types: the docstrings and the source have those."""
    try:
        found = inspect.signature(thing)
    except (TypeError, ValueError):
        return ""
    plain = [parameter.replace(annotation=parameter.empty) for parameter in found.parameters.values()]
    kept = [parameter for parameter in plain if parameter.name not in ("self", "cls")]
    text = ", ".join(re.sub(r"<[^>]*>", "…", str(parameter)) for parameter in kept)
    text = re.sub(r"(\w*Options)\(.*?\)(?=, |$)", r"\1()", text)
    return f"({text})"


def members(cls: type) -> Iterator[str]:
    """Yield a line for each public method and property, in the order of the source."""
    seen: set[str] = set()
    for owner in reversed(cls.__mro__):
        if not owner.__module__.startswith("aqrec"):
            continue
        for name, member in vars(owner).items():
            if name.startswith("_") or name in seen:
                continue
            seen.add(name)
            plain = getattr(cls, name)
            if isinstance(member, property):
                yield f"  - `{name}`: {first_sentence(member)}"
            elif callable(plain) and inspect.getdoc(plain):
                prefix = "await " if inspect.iscoroutinefunction(plain) else ""
                yield f"  - `{prefix}{name}{signature(plain)}`: {first_sentence(plain)}"


def lines() -> Iterator[str]:
    """Yield the page."""
    yield "# Reference"
    yield ""
    yield "Each public name, made from the docstrings, which say more: parameters, units, what is waited for, errors."
    yield "`help(aqrec.Recorder.log_metrics)` shows them."
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        yield ""
        yield f"## {module_name}"
        yield ""
        yield first_sentence(module)
        yield ""
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isclass(thing):
                yield f"- **`{name}`**: {first_sentence(thing)}"
                if not issubclass(thing, BaseException):
                    yield from members(thing)
            elif inspect.isfunction(thing):
                prefix = "await " if inspect.iscoroutinefunction(thing) else ""
                yield f"- **`{prefix}{name}{signature(thing)}`**: {first_sentence(thing)}"
            elif inspect.ismodule(thing):
                yield f"- **`{name}`**: {first_sentence(thing)}"
            elif name == "R":
                yield f"- **`{name}`**: {first_sentence(type(thing))}"
                yield from members(type(thing))
            else:
                yield f"- **`{name}`**" + (
                    f" = `{thing!r}`" if isinstance(thing, str) and name != "__version__" else ""
                )


def main() -> None:
    """Write the page."""
    PAGE.write_text("\n".join(lines()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
