"""Stand-ins that a restricted pickle gets in place of classes and functions.

The BUILD opcode sets attributes on whatever object the pickle points it at. Were that a class or a
function, the pickle would change it for the whole process. So a pickle never gets hold of one that can
be assigned to, only of a stand-in that makes instances of it, or calls it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aqrec.errors import UntrustedObjectError

if TYPE_CHECKING:
    from collections.abc import Callable


class SealedClass(type):
    """Metaclass of the stand-ins for classes."""

    sealed: type

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return cls.sealed(*_opened(args), **kwargs)

    def __setattr__(cls, name: str, value: object) -> None:
        raise UntrustedObjectError(f"a pickle tries to change the class {cls.__name__}")


class SealedFunction:
    """Stand-in for a function."""

    __slots__ = ("_function",)
    _function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *args: Any) -> Any:
        return self._function(*_opened(args))

    def __setattr__(self, name: str, value: object) -> None:
        raise UntrustedObjectError(f"a pickle tries to change the function {self._function.__qualname__}")


class Inert:
    """Stand-in for a class that honest pickles only pass to a function, never instantiate."""

    __slots__ = ("name",)
    name: str

    def __init__(self, name: str) -> None:
        object.__setattr__(self, "name", name)

    def __setattr__(self, name: str, value: object) -> None:
        raise UntrustedObjectError(f"a pickle tries to change the class {self.name}")


def seal_class(target: type) -> SealedClass:
    """Make a class whose construction gives instances of ``target``."""

    def new(_: type, *args: Any, **kwargs: Any) -> Any:
        return target.__new__(target, *_opened(args), **kwargs)

    name = f"{target.__module__}.{target.__qualname__}"
    return SealedClass(name, (), {"__slots__": (), "__new__": new, "sealed": target})


def _opened(args: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(arg.sealed if isinstance(arg, SealedClass) else arg for arg in args)
