"""Objects that choose which of their attributes are pickled."""

from __future__ import annotations

import os
import pickle
import secrets
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from pathlib import Path
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Protocol, Self, cast

import msgspec

from aqrec.errors import InvalidInputError, InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Collection, Generator

__all__ = ["Serializable"]


class _Rules(msgspec.Struct, frozen=True):
    """What an object was told to keep; None: as its class says."""

    dump_all: bool | None = None
    include: tuple[str, ...] | None = None
    exclude: tuple[str, ...] | None = None

    def updated(self, other: _Rules) -> _Rules:
        return _Rules(
            self.dump_all if other.dump_all is None else other.dump_all,
            self.include if other.include is None else other.include,
            self.exclude if other.exclude is None else other.exclude,
        )


class _Backend(Protocol):
    """The part of the modules pickle and dill used here."""

    def dump(self, obj: object, file: BinaryIO, /, protocol: int) -> None: ...
    def load(self, file: BinaryIO, /) -> Any: ...


# Where config() leaves its rules in the object, and what dump_all becomes in a pickle.
_RULES = "_serializable_rules"
_DUMP_ALL = "_serializable_dump_all"

# Rules of one to_pickle() call, by object. In a context variable, so that the call changes no object
# and two threads may pickle one object by different rules.
_overrides: ContextVar[dict[int, _Rules] | None] = ContextVar("aqrec_serializable_overrides", default=None)


class Serializable:
    """Base class of models, datasets and strategies that are pickled in part.

    An attribute is kept if the first of these rules that applies says so:

    1. named in ``include``: kept;
    2. named in ``exclude``: dropped;
    3. no leading underscore: kept;
    4. leading underscore: kept only if ``dump_all``.

    ``include``, ``exclude`` and ``dump_all`` are what `config` set; what it did not set comes from the
    class attributes ``include_attr``, ``exclude_attr`` and ``default_dump_all``. The rules hold for every way
    of pickling, copying included, and for attributes in ``__slots__`` as well. A subclass need not call
    ``super().__init__()``.

    Attributes
    ----------
    pickle_backend
        ``"pickle"`` or ``"dill"``: what `to_pickle` and `load` use.
    """

    pickle_backend: ClassVar[str] = "pickle"
    default_dump_all: ClassVar[bool] = False
    include_attr: ClassVar[Collection[str]] = ()
    exclude_attr: ClassVar[Collection[str]] = ()

    @property
    def dump_all(self) -> bool:
        """Whether attributes with a leading underscore are kept."""
        rules = _rules_of(self)
        return self.default_dump_all if rules.dump_all is None else rules.dump_all

    def config(
        self,
        recursive: bool = False,
        *,
        dump_all: bool | None = None,
        exclude: Collection[str] | None = None,
        include: Collection[str] | None = None,
    ) -> None:
        """Say which attributes are kept from now on.

        Parameters
        ----------
        recursive
            Configure, in the same way, also those attribute values that are Serializable, then theirs, and so
            on; values inside of lists and dicts are not visited. Each object is visited once, so cycles do no
            harm.
        dump_all
            Whether attributes with a leading underscore are kept. It is remembered in the pickle.
        exclude, include
            Names of attributes to drop and to keep. They are not remembered in the pickle.

        Raises
        ------
        InvalidValueError
            ``exclude`` or ``include`` is one text instead of a collection of names.
        """
        given = _given(dump_all, include, exclude)
        for obj in _family(self, recursive):
            vars(obj)[_RULES] = _own_rules(obj).updated(given)

    def to_pickle(
        self,
        path: str | os.PathLike[str],
        *,
        recursive: bool = False,
        dump_all: bool | None = None,
        exclude: Collection[str] | None = None,
        include: Collection[str] | None = None,
    ) -> None:
        """Pickle the object to a file; the file appears complete or not at all.

        Parameters
        ----------
        path
            The file, replaced if it exists.
        recursive, dump_all, exclude, include
            As for `config`, for this call only: the object's own rules stay as they are.

        Raises
        ------
        InvalidValueError
            ``exclude`` or ``include`` is one text instead of a collection of names.
        InvalidInputError
            The backend is unknown or not installed.
        """
        backend = self.get_backend()
        given = _given(dump_all, include, exclude)
        overrides = {id(obj): _own_rules(obj).updated(given) for obj in _family(self, recursive)}
        token = _overrides.set(overrides)
        try:
            with _replacing(Path(path)) as file:
                backend.dump(self, file, protocol=pickle.HIGHEST_PROTOCOL)
        finally:
            _overrides.reset(token)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Unpickle an object of this class; only for files you trust, since pickles run code.

        Raises
        ------
        TypeError
            The file holds an object of another class.
        InvalidInputError
            The backend is unknown or not installed.
        """
        with Path(path).open("rb") as file:
            obj = cls.get_backend().load(file)
        if not isinstance(obj, cls):
            found = f"{type(obj).__module__}.{type(obj).__qualname__}"
            raise TypeError(f"{os.fspath(path)} holds a {found}, not a {cls.__module__}.{cls.__qualname__}")
        return obj

    @classmethod
    def get_backend(cls) -> _Backend:
        """Return the module that pickles: pickle or dill.

        Raises
        ------
        InvalidInputError
            ``pickle_backend`` is something else, or dill is not installed.
        """
        if cls.pickle_backend == "pickle":
            return cast("_Backend", pickle)
        if cls.pickle_backend != "dill":
            raise InvalidInputError(
                f"{cls.__qualname__}.pickle_backend is {cls.pickle_backend!r}; choose 'pickle' or 'dill'"
            )
        try:
            return cast("_Backend", import_module("dill"))
        except ImportError as error:
            raise InvalidInputError(
                f"{cls.__qualname__}.pickle_backend 'dill' needs a package that is not installed: "
                "pip install 'aqrec[dill]'"
            ) from error

    @staticmethod
    def general_dump(obj: object, path: str | os.PathLike[str]) -> None:
        """Pickle any object to a file: a Serializable by its rules, the rest as it is."""
        if isinstance(obj, Serializable):
            obj.to_pickle(path)
            return
        with _replacing(Path(path)) as file:
            pickle.dump(obj, file, protocol=pickle.HIGHEST_PROTOCOL)

    def __getstate__(self) -> dict[str, Any]:
        rules = _rules_of(self)
        include = self.include_attr if rules.include is None else rules.include
        exclude = self.exclude_attr if rules.exclude is None else rules.exclude
        dump_all = self.dump_all
        state = {
            name: value
            for name, value in _attributes(self).items()
            if name != _RULES
            and (name in include or (name not in exclude and (dump_all or not name.startswith("_"))))
        }
        if rules.dump_all is not None:
            state[_DUMP_ALL] = rules.dump_all
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        kept = dict(state)
        dump_all = kept.pop(_DUMP_ALL, None)
        for name in _slots(type(self)) & kept.keys():
            object.__setattr__(self, name, kept.pop(name))
        vars(self).update(kept)
        if dump_all is not None:
            vars(self)[_RULES] = _Rules(dump_all=dump_all)


def _attributes(obj: Serializable) -> dict[str, Any]:
    """Return what the object has in ``__dict__`` and in the slots of its class."""
    return vars(obj) | {name: getattr(obj, name) for name in _slots(type(obj)) if hasattr(obj, name)}


def _slots(kind: type) -> set[str]:
    """Return the attributes of the class, its bases' too, that are kept in ``__slots__``."""
    return {
        name
        for base in kind.__mro__
        if "__slots__" in vars(base)  # not what a base that is written in C has
        for name, member in vars(base).items()
        if isinstance(member, MemberDescriptorType)
    }


def _own_rules(obj: Serializable) -> _Rules:
    rules: _Rules = vars(obj).get(_RULES, _Rules())
    return rules


def _rules_of(obj: Serializable) -> _Rules:
    """Return the rules in force: those of a running to_pickle(), else the object's own."""
    overrides = _overrides.get()
    return (overrides or {}).get(id(obj)) or _own_rules(obj)


def _given(dump_all: bool | None, include: Collection[str] | None, exclude: Collection[str] | None) -> _Rules:
    for name, names in (("include", include), ("exclude", exclude)):
        if isinstance(names, str):
            raise InvalidValueError(f"{name} is the text {names!r}; give a list of names: [{names!r}]")
    return _Rules(
        dump_all, None if include is None else tuple(include), None if exclude is None else tuple(exclude)
    )


def _family(root: Serializable, recursive: bool) -> list[Serializable]:
    """Return the object and, if recursive, all Serializable reached through attribute values, each once."""
    found = {id(root): root}
    waiting = [root] if recursive else []
    while waiting:
        for value in _attributes(waiting.pop()).values():
            if isinstance(value, Serializable) and id(value) not in found:
                found[id(value)] = value
                waiting.append(value)
    return list(found.values())


@contextmanager
def _replacing(path: Path) -> Generator[BinaryIO]:
    """Give a new file that takes its place at the end of the block, or vanishes if the block fails."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with draft.open("xb") as file:
            yield file
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
