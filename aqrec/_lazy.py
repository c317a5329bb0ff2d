"""Names that are imported when they are first used, so that ``import aqrec`` costs next to nothing."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["lazy_names"]


def lazy_names(
    package: str, names: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the module functions ``__getattr__`` and ``__dir__`` for `package` (PEP 562).

    `names` maps each public name to the module that defines it; a module stands for itself.
    """
    namespace = importlib.import_module(package).__dict__

    def get(name: str) -> Any:
        try:
            home = names[name]
        except KeyError:
            raise AttributeError(f"module {package!r} has no attribute {name!r}") from None
        module = importlib.import_module(home)
        value = module if home == f"{package}.{name}" else getattr(module, name)
        namespace[name] = value
        return value

    return get, lambda: sorted({*namespace, *names})
