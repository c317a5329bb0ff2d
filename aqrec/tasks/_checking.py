"""What must hold before a workflow runs: keys, types, and that what it names exists. All problems are found in one go."""

from __future__ import annotations

import difflib
import importlib.util
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path as FilePath
from types import ModuleType
from typing import Any

from aqrec.errors import InvalidInputError, InvalidNameError
from aqrec.format._names import check_name
from aqrec.tasks._documents import Document, Path, Problems
from aqrec.tasks._instances import Named, factory_of, module_of, named, parameters, pickle_path
from aqrec.tasks._order import Found, check_order
from aqrec.tasks._prices import check_quotes
from aqrec.tasks._reading import BASE
from aqrec.tasks._records import in_templates, market_of_qlib, record_factory, trades
from aqrec.tasks._trading import TradingCheck, is_trading
from aqrec.tasks._trial import tried
from aqrec.tasks._types import expectation
from aqrec.templates._backtest_plan import BacktestPlan, backtest_plan, check_prices
from aqrec.templates._plan import Template

__all__ = ["check_task", "check_workflow", "has_qlib"]

_TOP = (BASE, "experiment_name", "qlib_init", "sys", "task")
# Qlib's own files keep their YAML anchors below these names.
_TOLERATED = ("benchmark", "data_handler_config", "market", "port_analysis_config")
_TASK = ("dataset", "model", "record", "reweighter")
_INSTANCE = ("class", "func", "kwargs", "module_path")
_PLACEHOLDERS = ("<DATASET>", "<MODEL>", "<PRED>")
_LOOKS_FILLED = re.compile(r"<[A-Za-z_]+>")


def has_qlib() -> bool:
    """Whether Qlib can be imported."""
    return "qlib" in sys.modules or importlib.util.find_spec("qlib") is not None


def check_workflow(
    document: Document, templates: ModuleType, *, to_run: bool, recorded: bool = False
) -> None:
    """Raise `InvalidWorkflowError` with all that is wrong; puts the paths of ``sys`` on `sys.path`.

    Without `to_run`, what needs Qlib is not looked up where Qlib is not installed. A `recorded` workflow passed
    once, with keys of its own that had YAML anchors then.
    """
    _Check(document, templates, to_run=to_run).workflow(any_key=recorded)


def check_task(document: Document, templates: ModuleType) -> None:
    """Do the same for a document that holds a task only, below ``task``."""
    check = _Check(document, templates, to_run=True)
    check.task(document.tree.plain()["task"])
    check.problems.raise_any()


class _Check:
    def __init__(self, document: Document, templates: ModuleType, *, to_run: bool) -> None:
        self.document = document
        self.problems = Problems(document)
        self._templates = templates
        self._to_run = to_run
        self._has_qlib = has_qlib()
        self._told_qlib = False

    def workflow(self, *, any_key: bool) -> None:
        config = self.document.tree.plain()
        if not isinstance(config, dict):
            self._expected((), "a mapping with the key task", config)
            self.problems.raise_any()
            return
        if not any_key:
            self._top_keys(config)
        if "experiment_name" in config:
            self._experiment_name(config["experiment_name"])
        if "qlib_init" in config:
            self._qlib_init(config["qlib_init"])
        self._paths(config.get("sys", {}))
        if "task" in config:
            self.task(config["task"])
        else:
            self.problems.add((), "the key task is missing")
        self.problems.raise_any()

    # -- the root ------------------------------------------------------------------------------------------

    def _top_keys(self, config: Mapping[Any, Any]) -> None:
        for key in config:
            if key in _TOP or key in _TOLERATED or self.document.anchored(key):
                continue
            # A dict has lost its anchors, so there only what looks like a slip is one.
            if self.document.file is not None or _near(key, _TOP):
                known = f"; known are {', '.join(_TOP)}, and any key whose value has a YAML anchor (&name)"
                self.problems.add((key,), f"unknown key{_near(key, _TOP) or known}", key=True)

    def _experiment_name(self, name: Any) -> None:
        if not isinstance(name, str):
            self._expected(("experiment_name",), "text", name)
            return
        try:
            check_name("experiment", name)
        except InvalidNameError as error:
            self.problems.add(("experiment_name",), str(error))

    def _qlib_init(self, settings: Any) -> None:
        path = ("qlib_init",)
        if settings is None:
            return
        if not isinstance(settings, dict):
            self._expected(path, "a mapping of the arguments of qlib.init()", settings)
            return
        self._text_keys(path, settings)
        self._needs_qlib(path)

    def _paths(self, section: Any) -> None:
        if section is None:
            return
        if not isinstance(section, dict):
            self._expected(("sys",), "a mapping with the keys path and rel_path", section)
            return
        self._known(("sys",), section, ("path", "rel_path"))
        folder = FilePath(self.document.file).resolve().parent if self.document.file else FilePath.cwd()
        for key in ("path", "rel_path"):
            given = section.get(key, [])
            entries = [given] if isinstance(given, str) else given
            if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
                self._expected(("sys", key), "a folder or a list of folders", given)
                continue
            for entry in entries:
                place = str(folder / entry) if key == "rel_path" else entry
                if place not in sys.path:
                    sys.path.append(place)

    # -- the task ------------------------------------------------------------------------------------------

    def task(self, task: Any) -> None:
        path: Path = ("task",)
        if not isinstance(task, dict):
            self._expected(path, "a mapping with the keys model, dataset and record", task)
            return
        self._known(path, task, _TASK, strict=self.document.file is not None)
        for key, method in (("model", "fit"), ("dataset", None)):
            if key in task:
                self._instance((*path, key), task[key], method)
            else:
                self.problems.add(path, f"the key {key} is missing", key=True)
        records = task.get("record", [])
        if isinstance(records, list):
            found = [self._record((*path, "record", number), record) for number, record in enumerate(records)]
        elif records is not None:
            found = [self._record((*path, "record"), records)]
        else:
            found = []
        check_order(self.problems, found)
        self._prices(found)

    def _record(self, path: Path, config: Any) -> Found:
        self._placeholders(path, config)
        nothing = Found(path, None, {})
        if not self._form(path, config):
            return nothing
        factory = self._class(
            path,
            config,
            lambda one: record_factory(one, self._templates),
            "generate",
            given=("recorder", "model", "dataset"),
        )
        self._nested((*path, "kwargs"), _kwargs(config), in_record=True)
        kwargs = _kwargs(config) or {}
        if factory is None or not isinstance(kwargs, Mapping):
            return nothing
        if is_trading(factory):
            TradingCheck(self.problems, self._known, self._arguments).record(path, kwargs)
        made = None
        if isinstance(factory, type) and issubclass(factory, Template) and not _is_ours(factory):
            made, mismatch = tried(factory, kwargs)
            if mismatch is not None:
                self.problems.add((*path, "kwargs"), f"{_name(factory)} does not fit: {mismatch}", key=True)
        return Found(path, factory, kwargs, made)

    def _prices(self, records: Iterable[Found]) -> None:
        """Look for the prices of those records that trade, as running the workflow will."""
        config = self.document.tree.plain()
        dataset = config["task"].get("dataset")
        settings = config.get("qlib_init")
        if not isinstance(settings, Mapping | None):
            return
        from_qlib, from_dataset = market_of_qlib(settings).get("quotes"), self._may_give_prices(dataset)
        for path, factory, kwargs, made in records:
            if factory is None or not is_trading(factory):
                continue
            try:
                plan = made.plan if made is not None else _plan(kwargs)
                if kwargs.get("quotes") is not None:
                    check_quotes(self.problems, path, plan, kwargs["quotes"], None)
                elif not trades(factory, kwargs):
                    check_prices(_name(factory), plan)
                elif not from_dataset:
                    check_quotes(self.problems, path, plan, None, from_qlib)
                    if from_qlib is None:
                        check_prices(_name(factory), plan)
            except InvalidInputError as error:
                if "no prices" in str(error):
                    self.problems.add(
                        (*path, "kwargs"), f"{error}; or let the data set have a method quotes()"
                    )

    def _may_give_prices(self, dataset: Any) -> bool:
        """Whether a data set, or what makes it, has prices; also if that cannot be told."""
        if not isinstance(dataset, str | Mapping):
            return callable(getattr(dataset, "quotes", None))
        if pickle_path(dataset) is not None:
            return True
        try:
            maker, _ = factory_of(dataset)
        except Exception:  # noqa: BLE001 - which is told where the data set is checked
            return True
        return not isinstance(maker, type) or callable(getattr(maker, "quotes", None))

    def _instance(self, path: Path, config: Any, method: str | None) -> None:
        if not isinstance(config, str | Mapping | None | bool | int | float | list | tuple):
            return  # the object itself
        pickled = pickle_path(config)
        if pickled is not None:
            if not pickled.is_file():
                self.problems.add(path, f"there is no file {str(pickled)!r}")
        elif self._form(path, config):
            self._class(path, config, factory_of, method)
            self._nested((*path, "kwargs"), _kwargs(config))

    def _form(self, path: Path, config: Any) -> bool:
        """Check the dict form; return whether the class can be looked up."""
        if isinstance(config, str) and config.strip("."):
            return True
        if not isinstance(config, dict):
            self._expected(path, "a mapping with the keys class, module_path and kwargs", config)
            return False
        self._known(path, config, _INSTANCE)
        target = config.get("class", config.get("func"))
        good = True
        if target is None:
            self.problems.add(path, "the key class is missing", key=True)
            good = False
        elif not (isinstance(target, str) and target) and not callable(target):
            self._expected((*path, "class"), "the name of a class", target)
            good = False
        module = config.get("module_path")
        if module is not None and not isinstance(module, str | ModuleType):
            self._expected((*path, "module_path"), "the name of a module", module)
            good = False
        kwargs = config.get("kwargs")
        if kwargs is not None and not isinstance(kwargs, dict):
            self._expected((*path, "kwargs"), "a mapping of arguments", kwargs)
        elif kwargs:
            self._text_keys((*path, "kwargs"), kwargs)
        return good

    def _class(
        self,
        path: Path,
        config: Any,
        find: Callable[[Any], tuple[Any, Mapping[str, Any]]],
        method: str | None,
        *,
        given: Collection[str] = (),
    ) -> Callable[..., Any] | None:
        """Look a class up, and compare the arguments with its parameters; return it, if it is good."""
        record = bool(given)
        wanted = self._wanted(config, record=record)
        if _is_qlib(wanted) and not self._needs_qlib(path):
            return None
        in_dict = isinstance(config, dict)
        place = (*path, "class") if in_dict else path
        try:
            if wanted is not None:
                place = (*path, "module_path") if in_dict and config.get("module_path") else place
                module = module_of(wanted)
                place = (*path, "class") if in_dict else path
                if not hasattr(module, wanted.name):
                    capital = wanted.name[:1].isupper()
                    names = [name for name in dir(module) if name[0] != "_" and name[0].isupper() == capital]
                    hint = _near(wanted.name, names)
                    self.problems.add(place, f"module {module.__name__} has no {wanted.name!r}{hint}")
                    return None
            factory, kwargs = find(
                config if isinstance(_kwargs(config), dict | None) else {**config, "kwargs": {}}
            )
        except InvalidInputError as error:
            self.problems.add(place, str(error))
            return None
        except Exception as error:  # noqa: BLE001 - whatever a module raises while it is imported
            self.problems.add(place, f"importing it fails: {type(error).__name__}: {error}")
            return None
        if not callable(factory):
            self.problems.add(place, f"is a {type(factory).__name__}, which cannot be called")
            return None
        if method is not None and isinstance(factory, type) and not callable(getattr(factory, method, None)):
            self.problems.add(place, f"{factory.__name__} has no method {method}()")
        elif record and "recorder" not in (parameters(factory) or {"recorder"}):
            self.problems.add(place, f"{_name(factory)} takes no recorder, so it is no record template")
        else:
            if isinstance(_kwargs(config), dict | None):
                self._arguments(path, factory, kwargs, given)
            found: Callable[..., Any] = factory
            return found
        return None

    def _wanted(self, config: Any, *, record: bool) -> Named | None:
        if isinstance(config, Mapping) and not isinstance(config.get("class", config.get("func")), str):
            return None
        if not record:
            return named(config)
        return in_templates(config, self._templates) or named(config)

    def _arguments(
        self, path: Path, factory: Callable[..., Any], kwargs: Mapping[str, Any], given: Collection[str]
    ) -> None:
        known = parameters(factory)
        if known is None:
            return
        name = _name(factory)
        for key in kwargs:
            if key not in known:
                free = sorted(set(known) - set(given))
                hint = _near(key, free) or (f"; it has {', '.join(free)}" if free else "; it has none")
                self.problems.add((*path, "kwargs", key), f"{name} has no parameter {key!r}{hint}", key=True)
            elif (wanted := expectation(factory, key, kwargs[key])) is not None:
                self._expected((*path, "kwargs", key), wanted, kwargs[key])
        missing = [
            key
            for key, parameter in known.items()
            if parameter.default is parameter.empty and key not in kwargs and key not in given
        ]
        if missing:
            self.problems.add((*path, "kwargs"), f"{name} needs {', '.join(missing)}", key=True)

    def _nested(self, path: Path, value: Any, *, in_record: bool = False) -> None:
        """Check what the arguments name in turn, such as the handler of a data set."""
        if isinstance(value, list):
            for number, item in enumerate(value):
                self._nested((*path, number), item, in_record=in_record)
        elif isinstance(value, dict):
            if isinstance(value.get("class"), str) and isinstance(value.get("module_path"), str):
                # Records map Qlib's strategies and executors to aqrec's own.
                if not (in_record and _is_qlib(named(value))) and self._form(path, value):
                    self._class(path, value, factory_of, None)
                value = {"kwargs": value.get("kwargs")}
            for key, item in value.items():
                self._nested((*path, key), item, in_record=in_record)

    def _placeholders(self, path: Path, value: Any) -> None:
        if isinstance(value, str):
            if _LOOKS_FILLED.fullmatch(value) and value not in _PLACEHOLDERS:
                hint = _near(value, _PLACEHOLDERS)
                if hint:
                    self.problems.add(path, f"unknown placeholder {value}{hint}")
        elif isinstance(value, list):
            for number, item in enumerate(value):
                self._placeholders((*path, number), item)
        elif isinstance(value, dict):
            for key, item in value.items():
                self._placeholders((*path, key), item)

    # -- small ones ----------------------------------------------------------------------------------------

    def _needs_qlib(self, path: Path) -> bool:
        """Return whether Qlib is there; say once that it is not, if the workflow is to run."""
        if not self._has_qlib and self._to_run and not self._told_qlib:
            self._told_qlib = True
            self.problems.add(path, "needs Qlib, which is not installed: pip install pyqlib", key=True)
        return self._has_qlib

    def _known(
        self, path: Path, section: Mapping[Any, Any], known: tuple[str, ...], *, strict: bool = True
    ) -> None:
        for key in section:
            if key not in known and (strict or _near(key, known)):
                hint = _near(key, known) or f"; known are {', '.join(known)}"
                self.problems.add((*path, key), f"unknown key{hint}", key=True)

    def _text_keys(self, path: Path, section: Mapping[Any, Any]) -> None:
        for key in section:
            if not isinstance(key, str):
                self.problems.add(
                    (*path, key), f"the name of an argument is text, not {_kind(key)}", key=True
                )

    def _expected(self, path: Path, what: str, value: Any) -> None:
        self.problems.add(path, f"expected {what}, not {_kind(value)}")


def _near(key: Any, known: Collection[str]) -> str:
    found = difflib.get_close_matches(str(key), known, n=1, cutoff=0.7)
    return f"; did you mean {found[0]}?" if found else ""


def _is_qlib(wanted: Named | None) -> bool:
    return wanted is not None and isinstance(wanted.module, str) and wanted.module.split(".", 1)[0] == "qlib"


def _plan(kwargs: Mapping[str, Any]) -> BacktestPlan:
    config = kwargs.get("config")
    return backtest_plan(config, None, None, None, quotes=None, region="cn", qlib_compat=False)


def _is_ours(factory: type) -> bool:
    return factory.__module__.partition(".")[0] == "aqrec"


def _kwargs(config: Any) -> Any:
    return config.get("kwargs") if isinstance(config, Mapping) else None


def _name(factory: Callable[..., Any]) -> str:
    return getattr(factory, "__name__", repr(factory))


def _kind(value: Any) -> str:
    kinds = {
        dict: "a mapping",
        list: "a list",
        str: "text",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return "nothing" if value is None else kinds.get(type(value), f"a {type(value).__name__}")
