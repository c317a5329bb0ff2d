"""A workflow that was checked, and what a run keeps of it: no I/O beside reading files and importing modules."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from aqrec.errors import InvalidInputError, InvalidValueError, LoadObjectError
from aqrec.format._values import normalise
from aqrec.tasks._checking import check_task, check_workflow
from aqrec.tasks._documents import Document, tree_of
from aqrec.tasks._instances import accepted, fill_placeholder, flatten_dict, make
from aqrec.tasks._prices import resolve_quotes
from aqrec.tasks._reading import read
from aqrec.tasks._records import records_of

__all__ = [
    "CONFIG_FILE",
    "DATASET_FILE",
    "DEFAULT_EXPERIMENT",
    "MODEL_FILE",
    "TASK_FILE",
    "Config",
    "OnProgress",
    "Steps",
    "Workflow",
    "filled",
    "fit_arguments",
    "lighten",
    "prepare",
    "prepare_task",
    "recorded",
    "recorded_name",
    "tags_of",
    "task_params",
]

CONFIG_FILE = "config"
DATASET_FILE = "dataset"
MODEL_FILE = "params.pkl"
TASK_FILE = "task"
DEFAULT_EXPERIMENT = "workflow"
RERUN_OF = "rerun_of"
"""Tag of a run that repeats another one: that one's id"""

Config = str | os.PathLike[str] | Mapping[str, Any]
OnProgress = Callable[[str, int, int], None]
"""Called with what begins now, how many steps are done, and how many there are"""


class Workflow(NamedTuple):
    """A checked workflow.

    Attributes
    ----------
    config
        All of it, as it is recorded.
    task
        Its task; a copy.
    experiment_name
        As the file says, or None.
    qlib_init
        Arguments of ``qlib.init``, or None.
    """

    config: dict[str, Any]
    task: dict[str, Any]
    experiment_name: str | None
    qlib_init: dict[str, Any] | None


def prepare(
    config: Config, templates: ModuleType, *, to_run: bool = True, recorded: bool = False
) -> Workflow:
    """Read and check a workflow; raises `InvalidWorkflowError` with all that is wrong. See `check_workflow`."""
    document = read(config, recorded=recorded)
    resolve_quotes(document)
    check_workflow(document, templates, to_run=to_run, recorded=recorded)
    plain: dict[str, Any] = document.tree.plain()
    task = document.tree.plain()["task"]
    _resolve_paths(plain, document.file)
    return Workflow(plain, task, plain.get("experiment_name"), plain.get("qlib_init"))


def _resolve_paths(config: dict[str, Any], file: str | None) -> None:
    """Make ``sys.rel_path`` absolute, so that the recorded workflow runs from any folder."""
    section = config.get("sys")
    given = section.get("rel_path") if isinstance(section, dict) else None
    if isinstance(section, dict) and given:
        folder = Path(file).resolve().parent if file else Path.cwd()
        section["rel_path"] = [
            str(folder / entry) for entry in ([given] if isinstance(given, str) else given)
        ]


def prepare_task(task: Mapping[str, Any], templates: ModuleType) -> dict[str, Any]:
    """Return a checked copy of a task: dicts and lists are new, other objects are shared."""
    document = Document(tree_of({"task": task}))
    resolve_quotes(document)
    check_task(document, templates)
    copy: dict[str, Any] = document.tree.plain()["task"]
    return copy


def task_params(task: Mapping[str, Any]) -> dict[str, Any]:
    """Return the params of a run: the task, flattened; what is no plain value goes by its type."""
    return {key: _plain(value) for key, value in flatten_dict(task).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    try:
        return normalise("task", value)
    except InvalidValueError:
        kind = value if isinstance(value, type) else type(value)
        return f"{kind.__module__}.{kind.__qualname__}"


def tags_of(rerun_of: str | None = None) -> dict[str, str]:
    """Return the tags of a run."""
    return {"hostname": socket.gethostname(), **({RERUN_OF: rerun_of} if rerun_of else {})}


class Steps:
    """Tells how far a task is: data set, model, then each record."""

    def __init__(self, records: int, tell: OnProgress | None) -> None:
        self._total = 2 + records
        self._tell = tell
        self._begun = 0

    def __call__(self, what: str) -> None:
        """Say that a step begins."""
        if self._tell is not None:
            self._tell(what, self._begun, self._total)
        self._begun += 1

    def done(self) -> None:
        """Say that all are done."""
        if self._tell is not None:
            self._tell("done", self._total, self._total)


def fit_arguments(model: Any, task: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a model's ``fit`` is given beside the data set: the task's ``reweighter`` if it takes one."""
    given = {"reweighter": make(task["reweighter"])} if "reweighter" in task else {}
    return accepted(model.fit, given)


def filled(task: dict[str, Any], model: Any, dataset: Any) -> list[Any]:
    """Return the configs of a task's records with model and data set in their places; changes the task."""
    return records_of(fill_placeholder(task, {"<MODEL>": model, "<DATASET>": dataset}))


def lighten(dataset: Any) -> None:
    """Have a data set that can do so leave its data out of its pickle, as Qlib's do."""
    configure = getattr(dataset, "config", None)
    if callable(configure):
        configure(dump_all=False, recursive=True)


def recorded(run_id: str, found: object, name: str) -> dict[str, Any]:
    """Return the workflow of a recorded run from its artifact: all of it, or only its task."""
    if not isinstance(found, Mapping):
        raise LoadObjectError(
            f"artifact {name!r} of run {run_id} is a {type(found).__name__}, not a workflow"
        )
    return dict(found) if name == CONFIG_FILE else {"task": dict(found)}


def recorded_name(run_id: str, artifacts: list[str]) -> str:
    """Return which artifact holds the workflow of a run."""
    for name in (CONFIG_FILE, TASK_FILE):
        if name in artifacts:
            return name
    raise InvalidInputError(
        f"run {run_id} has neither {CONFIG_FILE!r} nor {TASK_FILE!r} among its artifacts, so it cannot be run again; "
        "runs made by aqrec run, task_train or Qlib's qrun have"
    )
