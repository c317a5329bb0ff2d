"""Objects from Qlib's dict form ``{"class", "module_path", "kwargs"}``, and what fills and flattens such dicts. Plain functions."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from urllib.parse import urlparse

from aqrec.errors import InvalidInputError, InvalidValueError, LoadObjectError

__all__ = [
    "Named",
    "accepted",
    "factory_of",
    "fill_placeholder",
    "flatten_dict",
    "init_instance_by_config",
    "look_up",
    "make",
    "module_of",
    "named",
    "named_parameters",
    "parameters",
    "pickle_path",
]

_PLACEHOLDER = re.compile(r"<([^<>]+)>")


class Named(NamedTuple):
    """What a config names, not looked up yet."""

    module: str | ModuleType | None
    name: str
    kwargs: Mapping[str, Any]


def init_instance_by_config(
    config: Any,
    default_module: str | ModuleType | None = None,
    accept_types: type | tuple[type, ...] = (),
    try_kwargs: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> Any:
    """Make the object that a config stands for.

    Parameters
    ----------
    config
        ``{"class": "Name", "module_path": "package.module", "kwargs": {...}}`` (the class may be given as
        ``"package.module.Name"`` or as a class, ``func`` names a function, the module may be a ``.py`` file);
        ``"package.module.Name"``; or a pickle: a path, or ``"file://…"``.
    default_module
        Where a class without a module is looked for.
    accept_types
        A `config` of these types is the object itself.
    try_kwargs
        Passed as well if the class has parameters of these names, unless the config gives them.
    **kwargs
        Passed to the class beside the config's own.

    Raises
    ------
    InvalidInputError
        The config has another form, or names a module or class that does not exist.
    UntrustedObjectError
        A pickle holds what the trust policy (``AQREC_TRUST``) does not allow.
    """
    if isinstance(config, accept_types):
        return config
    pickled = pickle_path(config)
    if pickled is not None:
        return _unpickled(pickled)
    factory, own = factory_of(config, default_module)
    extra = accepted(factory, {key: value for key, value in (try_kwargs or {}).items() if key not in own})
    return factory(**own, **{key: value for key, value in extra.items() if key not in kwargs}, **kwargs)


def make(config: Any) -> Any:
    """Return a model or data set: made from a config, or the object that was given."""
    return init_instance_by_config(config) if isinstance(config, str | os.PathLike | Mapping) else config


def factory_of(
    config: Any, default_module: str | ModuleType | None = None
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return the class or function that a config names, and the arguments that it gives."""
    if isinstance(config, Mapping):
        target: Any = config.get("class", config.get("func"))
        if target is not None and not isinstance(target, str):
            return target, dict(config.get("kwargs") or {})
    wanted = named(config, default_module)
    return look_up(wanted), dict(wanted.kwargs)


def named(config: Any, default_module: str | ModuleType | None = None) -> Named:
    """Return which module and name a config stands for."""
    kwargs: Mapping[str, Any] = {}
    own: str | ModuleType | None = None
    if isinstance(config, str):
        target = config
    elif isinstance(config, Mapping) and isinstance(config.get("class", config.get("func")), str):
        target = config.get("class", config.get("func"))
        kwargs, own = config.get("kwargs") or {}, config.get("module_path")
    else:
        raise InvalidValueError(
            f"{type(config).__name__} is no config of an object: give "
            '{"class": "Name", "module_path": "package.module", "kwargs": {...}} or "package.module.Name"'
        )
    module, _, name = str(target).rpartition(".")
    return Named(module or own or default_module, name, kwargs)


def look_up(wanted: Named) -> Any:
    """Import a module and return what it has under a name."""
    module = module_of(wanted)
    try:
        return getattr(module, wanted.name)
    except AttributeError:
        raise InvalidInputError(f"module {module.__name__} has no {wanted.name!r}") from None


def module_of(wanted: Named) -> ModuleType:
    """Import the module of what a config names."""
    module, name = wanted.module, wanted.name
    if isinstance(module, ModuleType):
        return module
    if not module:
        raise InvalidInputError(
            f"{name!r} lacks its module: give module_path, or write package.module.{name}"
        )
    try:
        return _module_of_file(module) if module.endswith(".py") else importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise InvalidInputError(f"module {module!r} cannot be imported: {error}") from error


def _module_of_file(path: str) -> ModuleType:
    # The name is Qlib's, so that pickles of such classes are exchangeable.
    name = re.sub(r"^[^a-zA-Z_]+", "", re.sub(r"[^0-9a-zA-Z_]", "", path[:-3].replace("/", "_")))
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not Path(path).is_file():
        raise InvalidInputError(f"there is no module file {path!r}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def pickle_path(config: Any) -> Path | None:
    """Return the file of a pickle that a config stands for, or None."""
    if isinstance(config, os.PathLike):
        return Path(config)
    if not isinstance(config, str):
        return None
    url = urlparse(config)
    # As in Qlib, file://data/x.pkl is relative: the first part is no host.
    return Path(url.netloc + url.path) if url.scheme == "file" else None


def _unpickled(path: Path) -> Any:
    from aqrec.artifacts import default_trust  # noqa: PLC0415 - not needed before there is a pickle
    from aqrec.artifacts._pickles import load_pickle  # noqa: PLC0415

    try:
        with path.open("rb") as file:
            return load_pickle(file, default_trust(), None, str(path))
    except OSError as error:
        raise LoadObjectError(f"{path} cannot be read: {error.strerror}") from error


def parameters(factory: Callable[..., Any]) -> dict[str, inspect.Parameter] | None:
    """Return the parameters that can be given by name, or None if that cannot be told."""
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):  # written in C
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values()):
        return None
    return _by_name(signature)


def accepted(factory: Callable[..., Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return those arguments that a class or function has parameters for.

    One with ``**`` hands arguments on, so of a class whatever an ``__init__`` names that they come to. Where all of
    them have ``**``, or of a function, that is any argument.
    """
    names, swallows = _taken(factory)
    return {key: value for key, value in kwargs.items() if swallows or key in names}


def named_parameters(factory: Callable[..., Any]) -> set[str]:
    """Return the parameters that a class or function names, or the classes that it hands its arguments on to.

    Not those that it gives these classes itself.
    """
    return _taken(factory)[0]


def _taken(factory: Callable[..., Any]) -> tuple[set[str], bool]:
    """Return the names of parameters, and whether any other argument can be given."""
    names: set[str] = set()
    filled: set[str] = set()
    for one in (factory, *_initialisers(factory)):
        try:
            signature = inspect.signature(one)
        except (TypeError, ValueError):  # written in C
            return names, False
        kinds = {parameter.kind for parameter in signature.parameters.values()}
        names |= _by_name(signature).keys() - filled - {"self"}
        if inspect.Parameter.VAR_KEYWORD not in kinds:
            return names, False
        filled |= _texts(one)
    return names, True


def _by_name(signature: inspect.Signature) -> dict[str, inspect.Parameter]:
    kinds = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    return {name: parameter for name, parameter in signature.parameters.items() if parameter.kind in kinds}


def _texts(function: Callable[..., Any]) -> set[str]:
    """Return the texts in the code of a function: what it gives by name beside its ``**`` is among them."""
    constants = getattr(getattr(inspect.unwrap(function), "__code__", None), "co_consts", ())
    parts = [part for found in constants for part in (found if isinstance(found, tuple) else (found,))]
    return {part for part in parts if isinstance(part, str)}


def _initialisers(factory: Callable[..., Any]) -> list[Callable[..., Any]]:
    """Return what makes the instances of a class, the class's own first."""
    if not isinstance(factory, type):
        return []
    return [vars(cls)["__init__"] for cls in factory.__mro__[:-1] if "__init__" in vars(cls)]


def fill_placeholder(config: Any, config_extend: Mapping[str, Any]) -> Any:
    """Replace placeholders, in place, in dicts and lists.

    A text equal to a key of `config_extend` (``"<MODEL>"``) becomes its value. Another text that begins with
    ``<a.b.0>`` becomes what the config itself has there, and stays as it is if it has nothing.

    Parameters
    ----------
    config
        Dict or list, changed in place; give a copy to keep it.
    config_extend
        Values by placeholder.

    Returns
    -------
    dict or list
        The same `config`.
    """
    for placeholder in config_extend:
        if not _PLACEHOLDER.fullmatch(placeholder):
            raise InvalidInputError(f"placeholder {placeholder!r}: write it <NAME>")
    # What was put in is not walked.
    waiting: list[Any] = [config]
    for parent in waiting:
        entries = parent.items() if isinstance(parent, dict) else enumerate(parent)
        for key, value in list(entries):
            if isinstance(value, str):
                parent[key] = _filled(value, config, config_extend)
            elif isinstance(value, dict | list):
                waiting.append(value)
    return config


def _filled(value: str, config: Any, extend: Mapping[str, Any]) -> Any:
    if value in extend:
        return extend[value]
    found = _PLACEHOLDER.match(value)
    if found is None:
        return value
    item = config
    for part in found[1].split("."):
        try:
            item = item[int(part) if isinstance(item, list) else part]
        except (KeyError, ValueError, IndexError, TypeError):
            return value
    return item


def flatten_dict(d: Mapping[Any, Any], parent_key: str = "", sep: str = ".") -> dict[str, Any]:
    """Return nested dicts as one, their keys joined; lists stay values, empty dicts vanish.

    >>> flatten_dict({"a": 1, "c": {"a": 2, "b": {"x": [5]}}})
    {'a': 1, 'c.a': 2, 'c.b.x': [5]}
    """
    flat: dict[str, Any] = {}
    for key, value in d.items():
        name = f"{parent_key}{sep}{key}" if parent_key else str(key)
        if isinstance(value, Mapping):
            flat |= flatten_dict(value, name, sep)
        else:
            flat[name] = value
    return flat
