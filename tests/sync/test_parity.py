"""The two faces have the same names, parameters, types and texts.

Two things differ. What the async face awaits, the blocking face returns; and `aclose` and ``async with`` are `close` and
``with`` there.
"""

import inspect
import re
from collections.abc import Awaitable, Callable
from typing import Any, get_overloads

import pytest

import aqrec
import aqrec.sync
from aqrec.recording import _global as async_global
from aqrec.recording import _manager as async_manager
from aqrec.sync import _global as sync_global
from aqrec.sync import _manager as sync_manager

CLASSES: list[tuple[type, type]] = [
    (aqrec.Recorder, aqrec.sync.Recorder),
    (aqrec.Experiment, aqrec.sync.Experiment),
    (aqrec.ExperimentManager, aqrec.sync.ExperimentManager),
    (type(aqrec.R), type(aqrec.sync.R)),
    (async_global.Started, sync_global.Started),
    (async_manager.OpenRecorder, sync_manager.OpenRecorder),
]
RENAMED = {"aclose": "close", "__aenter__": "__enter__", "__aexit__": "__exit__"}
OWN_WORDS = {aqrec.Recorder}
"""Classes whose last paragraph speaks of awaiting"""

each_class = pytest.mark.parametrize(("asynchronous", "blocking"), CLASSES, ids=lambda cls: cls.__name__)


def public(cls: type) -> set[str]:
    """Return the names that users see, of methods, properties and constants."""
    return {name for name in dir(cls) if not name.startswith("_") or name in {*RENAMED, *RENAMED.values()}}


def renamed(name: str) -> str:
    """Return the blocking face's name of what the async face calls `name`."""
    return RENAMED.get(name, name)


def text(documented: Any) -> str:
    """Return a docstring on one line, as the blocking face puts it."""
    return re.sub(r"\s+", " ", (inspect.getdoc(documented) or "").replace("async with", "with"))


def plain(annotation: object) -> str:
    """Return an annotation without what is awaited."""
    return re.sub(r"^Awaitable\[(.*)\]$", r"\1", str(annotation))


def shape(function: Callable[..., Any]) -> list[tuple[str, object, object, str]]:
    """Return names, kinds, defaults and types of a function's parameters, and the type of its result."""
    signature = inspect.signature(function)
    parameters = [
        (parameter.name, parameter.kind, parameter.default, plain(parameter.annotation))
        for parameter in signature.parameters.values()
    ]
    return [*parameters, ("return", None, None, plain(signature.return_annotation))]


def functions(cls: type) -> dict[str, Callable[..., Any]]:
    """Return the public methods of a class, and what stands behind its properties, by name."""
    found: dict[str, Callable[..., Any]] = {}
    for name in public(cls) | {"__init__"}:
        value = inspect.getattr_static(cls, name)
        value = value.fget if isinstance(value, property) else value
        if inspect.isfunction(value):
            found[name] = value
    return found


def twins() -> list[Any]:
    """Return the functions of both faces that belong together."""
    pairs = [
        pytest.param(getattr(aqrec, name), getattr(aqrec.sync, name), id=name)
        for name in ("open_recorder", "sync_spool")
    ]
    for asynchronous, blocking in CLASSES:
        others = functions(blocking)
        for name, function in sorted(functions(asynchronous).items()):
            if renamed(name) in others:
                pairs.append(
                    pytest.param(function, others[renamed(name)], id=f"{asynchronous.__name__}.{name}")
                )
    return pairs


each_function = pytest.mark.parametrize(("asynchronous", "blocking"), twins())


def test_the_modules_have_the_same_names() -> None:
    assert {*aqrec.__all__} - {"__version__"} == {*aqrec.sync.__all__}


def test_what_has_no_face_is_the_same_object() -> None:
    faces = {"Experiment", "ExperimentManager", "R", "Recorder", "open_recorder", "sync_spool"}
    for name in {*aqrec.sync.__all__} - faces:
        assert getattr(aqrec, name) is getattr(aqrec.sync, name)
    for name in faces:
        assert getattr(aqrec, name) is not getattr(aqrec.sync, name)


@each_class
def test_the_classes_have_the_same_names(asynchronous: type, blocking: type) -> None:
    assert {renamed(name) for name in public(asynchronous)} == public(blocking)


@each_class
def test_the_classes_have_the_same_texts(asynchronous: type, blocking: type) -> None:
    expected, found = (inspect.getdoc(cls) or "" for cls in (asynchronous, blocking))
    if asynchronous in OWN_WORDS:
        expected, found = expected.rpartition("\n\n")[0], found.rpartition("\n\n")[0]
    assert expected
    assert re.sub(r"\s+", " ", found) == re.sub(r"\s+", " ", expected.replace("async with", "with"))


@each_class
def test_nothing_is_made_up_when_it_is_asked_for(asynchronous: type, blocking: type) -> None:
    for cls in (asynchronous, blocking):
        assert not {"__getattr__", "__getattribute__"} & {
            name for base in cls.__mro__[:-1] for name in vars(base)
        }


@each_function
def test_parameters_and_results_are_the_same(
    asynchronous: Callable[..., Any], blocking: Callable[..., Any]
) -> None:
    assert shape(blocking) == shape(asynchronous)
    assert [shape(one) for one in get_overloads(blocking)] == [
        shape(one) for one in get_overloads(asynchronous)
    ]


@each_function
def test_texts_are_the_same(asynchronous: Callable[..., Any], blocking: Callable[..., Any]) -> None:
    assert text(blocking) == text(asynchronous)
    if not asynchronous.__name__.startswith("__"):
        assert blocking.__doc__, "say what it does"


@each_function
def test_one_face_is_awaited_and_the_other_is_not(
    asynchronous: Callable[..., Any], blocking: Callable[..., Any]
) -> None:
    """Every method of the async face can be awaited, unless it gives something to enter, or is a property."""
    returned = str(inspect.signature(asynchronous).return_annotation)
    awaitable = inspect.iscoroutinefunction(asynchronous) or returned.startswith(Awaitable.__name__)
    entered = returned in {"Started", "OpenRecorder"} or "ContextManager" in returned
    is_property = any(
        isinstance(inspect.getattr_static(cls, asynchronous.__name__, None), property) for cls, _ in CLASSES
    )
    assert awaitable or entered or is_property or asynchronous.__name__ == "__init__"
    assert not inspect.iscoroutinefunction(blocking)
    assert "Awaitable" not in str(inspect.signature(blocking).return_annotation)
