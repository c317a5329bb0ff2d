"""Pickles: written without a second copy of large buffers, read under a trust policy.

The file is one standard protocol 5 pickle with everything in band, which ``pickle.load`` reads.
CPython's pickler passes a buffer of 64 KiB or more (arrays, pandas blocks, Arrow buffers, bytes) to
the file's ``write`` as the object it is, and its unpickler has such a buffer filled by ``readinto``;
so arrays are copied once, by the operating system. What pandas adds to that is avoided (`_add_reducers`). cloudpickle builds on the same pickler; dill's is
written in Python and makes a temporary copy of one buffer at a time.
"""

from __future__ import annotations

import copyreg
import pickle
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from aqrec.artifacts._codec import Codec
from aqrec.artifacts._trust import ENVIRONMENT_VARIABLE, TrustPolicy
from aqrec.errors import InvalidInputError, InvalidValueError, UntrustedObjectError

if TYPE_CHECKING:
    from collections.abc import Callable

PICKLERS = ("pickle", "cloudpickle", "dill")
PROTOCOL = 5


class Unpickler(Protocol):
    """What ``unpickler(file)`` must give: `pickle.Unpickler` and its subclasses do."""

    def load(self) -> Any:
        """Read one object."""
        ...


class _TrustedUnpickler(pickle.Unpickler):
    """Knows the two names that only dill's own unpickler resolves."""

    def find_class(self, module: str, name: str, /) -> Any:
        if module == "__builtin__":
            if name == "__main__":
                return vars(sys.modules["__main__"])
            if name == "NoneType":
                return type(None)
        return super().find_class(module, name)


class PickleCodec(Codec):
    """Any object that one of the picklers takes."""

    name = "pickle"
    suffixes = (".pkl", ".pickle")
    takes = "any object that can be pickled"

    def accepts(self, obj: object) -> bool:  # noqa: ARG002
        return True

    def encode(self, obj: object) -> Callable[[BinaryIO], None]:
        return pickle_writer(obj, None)

    def decode(self, file: BinaryIO, trust: TrustPolicy, /) -> object:
        return load_pickle(file, trust, None, "object")


def pickle_writer(obj: object, pickler: str | None) -> Callable[[BinaryIO], None]:
    """Choose the pickler and return what writes the pickle."""
    if pickler is None:
        # A class may name its pickler, as Qlib's Serializable does.
        named = getattr(type(obj), "pickle_backend", None)
        pickler = named if named in PICKLERS else "pickle"
    factory = _pickler_class(pickler)

    def write(file: BinaryIO) -> None:
        try:
            pickler_of_call = factory(file, protocol=PROTOCOL)
            if isinstance(pickler_of_call, pickle.Pickler):
                _add_reducers(pickler_of_call)
            pickler_of_call.dump(obj)
        except (OSError, MemoryError):
            raise
        except Exception as error:
            kind = f"{type(obj).__module__}.{type(obj).__qualname__}"
            hint = (
                ""
                if pickler == "cloudpickle"
                else "; pickler='cloudpickle' takes functions, lambdas and local classes"
            )
            raise InvalidValueError(f"{pickler} cannot store this {kind}: {error}{hint}") from error

    return write


def load_pickle(
    file: BinaryIO, trust: TrustPolicy, unpickler: Callable[[BinaryIO], Unpickler] | None, name: str
) -> object:
    """Read one pickled object as far as the policy permits."""
    refuse_if_never(trust, name)
    if unpickler is not None:
        return unpickler(file).load()
    if trust.mode == "trusted":
        return _TrustedUnpickler(file).load()
    # Imported here by name: the allow-list belongs to restricted loads only.
    restricted = import_module("aqrec.artifacts._restricted")
    return restricted.load_restricted(file, trust, name)


def refuse_if_never(trust: TrustPolicy, name: str) -> None:
    """Raise `UntrustedObjectError` if the policy permits no pickle."""
    if trust.mode == "never":
        raise UntrustedObjectError(
            f"{name} is a pickle, and trust='never' loads none. Pass trust='restricted' to load_object for plain data alone; "
            f"'never' was given there, in Options(trust=...) or in the environment variable {ENVIRONMENT_VARIABLE}"
        )


def _pickler_class(pickler: str) -> Callable[..., Any]:
    if pickler == "pickle":
        return pickle.Pickler
    if pickler not in PICKLERS:
        raise InvalidInputError(f"pickler is {pickler!r}; choose one of {', '.join(PICKLERS)}")
    try:
        module = import_module(pickler)
    except ImportError as error:
        raise InvalidInputError(
            f"pickler={pickler!r} needs a package that is not installed: pip install 'aqrec[{pickler}]'"
        ) from error
    chosen: Callable[..., Any] = module.Pickler
    return chosen


def _add_reducers(pickler: pickle.Pickler) -> None:
    """Spare a copy of Arrow-backed columns, which pandas makes when they are pickled."""
    pandas = sys.modules.get("pandas")
    if pandas is None:
        return
    kinds: list[Any] = [pandas.arrays.ArrowExtensionArray]
    for kind in kinds:
        kinds += kind.__subclasses__()
    known: Any = getattr(pickler, "dispatch_table", copyreg.dispatch_table)
    # cloudpickle's class attribute of this name hides the slot that counts.
    slot: Any = vars(pickle.Pickler)["dispatch_table"]
    slot.__set__(pickler, {**dict.fromkeys(kinds, _reduce_arrow_array), **known})


def _reduce_arrow_array(array: Any) -> Any:
    # pandas joins the chunks of a column into a new array, even a single one. It may be taken as it is
    # unless it is a part of something larger, all of which would be stored.
    state = dict(vars(array))
    chunks: list[Any] = getattr(state.get("_pa_array"), "chunks", [])
    if len(chunks) != 1 or chunks[0].get_total_buffer_size() > 1.05 * chunks[0].nbytes + 4096:
        return array.__reduce_ex__(PROTOCOL)
    state["_pa_array"] = chunks[0]
    return vars(copyreg)["__newobj__"], (type(array),), state


CODECS = (PickleCodec(),)
