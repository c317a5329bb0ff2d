"""Unpickling that calls nothing but what is on the allow-list or what the caller added to it."""

from __future__ import annotations

import copyreg
import pickle
import sys
from importlib import import_module
from types import ModuleType
from typing import Any, BinaryIO, NoReturn

from aqrec.artifacts._allowed import CLASSES, CONSTANTS, FUNCTIONS, GUARDS, INERT, SHARED
from aqrec.artifacts._sealed import Inert, SealedFunction, seal_class
from aqrec.artifacts._trust import ENVIRONMENT_VARIABLE, PATTERN, TrustPolicy
from aqrec.errors import LoadObjectError, UntrustedObjectError


class RestrictedUnpickler(pickle.Unpickler):
    """Resolves the globals of a pickle by the allow-list."""

    def __init__(self, file: BinaryIO, trust: TrustPolicy, name: str) -> None:
        super().__init__(file)
        self._trust = trust
        self._name = name
        # Stand-ins handed out, with the number of references each has when nobody else holds it.
        self.sealed: dict[str, tuple[object, int]] = {}

    def find_class(self, module: str, name: str, /) -> Any:
        key = f"{module}:{name}"
        # The caller's names come first: they are served as they are, also as data.
        if self._allows(module, name):
            return self._resolve(module, name)
        if key in CONSTANTS or key in SHARED:
            return self._resolve(module, name)
        if key in self.sealed:
            return self.sealed[key][0]
        if key in CLASSES:
            stand_in: object = seal_class(self._resolve(module, name))
        elif key in INERT:
            stand_in = Inert(INERT[key])
        elif key in GUARDS:
            stand_in = SealedFunction(GUARDS[key])
        elif key in FUNCTIONS:
            stand_in = SealedFunction(self._resolve(module, name))
        else:
            raise _refusal(f"{self._name} asks for {module}.{name}", key, self._trust)
        references = sys.getrefcount(stand_in)
        self.sealed[key] = (stand_in, references)
        return stand_in

    def persistent_load(self, pid: Any, /) -> NoReturn:  # noqa: ARG002
        raise UntrustedObjectError(f"{self._name} refers to objects outside of itself")

    def _allows(self, module: str, name: str) -> bool:
        full = f"{module}.{name}"
        for pattern in self._trust.allow:
            if full == pattern:
                return True
            if pattern.endswith(".*") and "." not in name and f"{module}.".startswith(pattern[:-1]):
                # Not what the package merely imported: 'package.os' would open every door.
                found = self._resolve(module, name)
                home = getattr(found, "__module__", None)
                if not isinstance(found, ModuleType) and isinstance(home, str):
                    return f"{home}.".startswith(pattern[:-1])
        return False

    def _resolve(self, module: str, name: str) -> Any:
        try:
            found: Any = import_module(_MOVED.get(module, module))
            for part in name.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError) as error:
            raise LoadObjectError(
                f"{self._name} needs {module}.{name}, which this environment does not have: {error}"
            ) from error
        return found


# pathlib is a package from Python 3.13 on.
_MOVED = {} if sys.version_info >= (3, 13) else {"pathlib._local": "pathlib"}


def load_restricted(file: BinaryIO, trust: TrustPolicy, name: str) -> object:
    """Load one pickle that may name what is on the allow-list and in ``trust.allow``.

    Raises
    ------
    UntrustedObjectError
        It names something else, or uses an allowed name in a way that no honest pickle does.
    """
    # Unpicklers do not ask find_class about registered extensions that some pickle used before.
    copyreg.clear_extension_cache()
    unpickler = RestrictedUnpickler(file, trust, name)
    obj = unpickler.load()
    sealed = unpickler.sealed
    del unpickler
    for key in list(sealed):
        stand_in, references = sealed.pop(key)
        # Here the variable holds it in place of the table: the same number.
        if sys.getrefcount(stand_in) > references:
            named = key.replace(":", ".")
            raise _refusal(f"{name} contains {named} itself, not only instances of it", key, trust)
    return obj


# What plain data needs of these is on the list. The rest of them may run anything, so whoever follows an error's advice must
# not be led to allow it.
_NOT_TO_ALLOW = sys.stdlib_module_names | {
    "__builtin__",
    "aqrec",
    "cloudpickle",
    "dill",
    "numpy",
    "pandas",
    "pyarrow",
}


def _refusal(what: str, key: str, trust: TrustPolicy) -> UntrustedObjectError:
    refused = f"{what}, which trust='restricted' does not allow"
    if not _is_to_be_advised(key):
        return UntrustedObjectError(
            f"{refused}: plain data does not need it, and it may run anything. If the file is from somebody else, leave it "
            "alone; what you wrote yourself loads with trust='trusted'"
        )
    name = key.replace(":", ".")
    allow = (*trust.allow, name)
    error = UntrustedObjectError(
        f"{refused}. If you know who wrote it, pass trust=TrustPolicy(allow={allow!r}) to load_object "
        f"(from aqrec.artifacts import TrustPolicy), or open the store with Options(allow={allow!r}); trust='trusted' loads "
        f"any pickle, as does the environment variable {ENVIRONMENT_VARIABLE}=trusted where no trust is chosen"
    )
    error.allowable = name
    return error


def _is_to_be_advised(key: str) -> bool:
    """Whether the name may be put into somebody's mouth: it is legal, and nothing of these packages, as far as can be seen."""
    module, _, name = key.partition(":")
    if not PATTERN.fullmatch(f"{module}.{name}"):
        return False
    first, *further = name.split(".")
    # Not imported for this: that would run its code.
    found = getattr(sys.modules.get(module), "__dict__", {}).get(first)
    home = found.__name__ if isinstance(found, ModuleType) else getattr(found, "__module__", None) or ""
    modules = {module, str(home), *([first, *further[:-1]] if further else ())}
    # The demo's model is an object like any user's.
    return not any(
        part.split(".", 1)[0] in _NOT_TO_ALLOW and not part.startswith("aqrec.demo.") for part in modules
    )
