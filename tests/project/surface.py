"""What users can import: the names in the ``__all__`` of the public modules.

After a wanted change of the surface: ``python -m tests.project.surface``.
"""

import importlib
import importlib.util
import inspect
import pkgutil
import re
from pathlib import Path
from types import ModuleType
from typing import ParamSpec, TypeVar

import aqrec

__all__ = ["PINNED", "PUBLIC", "current_surface", "faces", "shown_names", "sort_key"]

# What users import from; the other packages are how it works inside.
PUBLIC = (
    "aqrec",
    "aqrec.analysis",
    "aqrec.artifacts",
    "aqrec.backtest",
    "aqrec.errors",
    "aqrec.integrations.mlflow",
    "aqrec.integrations.qlib",
    "aqrec.options",
    "aqrec.plots",
    "aqrec.quotes",
    "aqrec.serialization",
    "aqrec.stores",
    "aqrec.sync",
    "aqrec.sync.templates",
    "aqrec.sync.workflow",
    "aqrec.templates",
    "aqrec.testing",
    "aqrec.workflow",
)
# What a module needs before its names can be looked at.
NEEDS = {"aqrec.integrations.qlib": "qlib"}
PINNED = Path(__file__).with_name("surface.txt")


def faces() -> list[str]:
    """Return the dotted names of all modules of the package that have no underscore in them and can be looked at here."""
    names = [aqrec.__name__]
    for info in pkgutil.walk_packages(aqrec.__path__, prefix="aqrec."):
        if not any(part.startswith("_") for part in info.name.split(".")):
            names.append(info.name)
    return sorted(name for name in names if name not in NEEDS or importlib.util.find_spec(NEEDS[name]))


def current_surface() -> list[str]:
    """Return ``module.name`` for every name of the public modules, sorted."""
    return sorted(f"{module}.{name}" for module in PUBLIC for name in importlib.import_module(module).__all__)


def shown_names(module: ModuleType) -> set[str]:
    """Return the names without underscore that the module, or its package if it is one, defines itself."""
    own = f"{module.__name__}."
    is_package = hasattr(module, "__path__")

    def is_own(value: object) -> bool:
        if inspect.ismodule(value) or isinstance(value, TypeVar | ParamSpec):
            return False
        home = getattr(value, "__module__", None)
        if not isinstance(home, str):
            return False
        return home == module.__name__ or (is_package and home.startswith(own))

    return {name for name, value in vars(module).items() if not name.startswith("_") and is_own(value)}


def sort_key(name: str) -> tuple[int, str]:
    """Constants first, then classes, then the rest, as the linter sorts ``__all__``."""
    if len(name) > 1 and re.fullmatch(r"[A-Z][A-Z0-9_]*", name):
        return 0, name
    return (1 if name[:1].isupper() else 2), name


if __name__ == "__main__":
    PINNED.write_text("\n".join(current_surface()) + "\n", encoding="utf-8")
