"""Workflows for blocking code: the calls of `aqrec.workflow`, with the same names and arguments.

Models and data sets run in the calling thread. Those that are async are awaited there, on a loop of their own, or in
another thread where a loop runs already, as in a notebook. Ctrl-C ends a run FAILED with what was saved so far.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aqrec import recording, tasks
from aqrec.recording._default import defaults
from aqrec.sync import templates
from aqrec.sync._global import R
from aqrec.sync._qlib import qlib_logs_into, start_qlib
from aqrec.sync._recorder import Recorder
from aqrec.tasks import fill_placeholder, flatten_dict, init_instance_by_config
from aqrec.templates._calls import call_blocking

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "begin_task_train",
    "check",
    "end_task_train",
    "fill_placeholder",
    "flatten_dict",
    "init_instance_by_config",
    "rerun",
    "run",
    "task_train",
]


def check(config: tasks.Config) -> dict[str, Any]:
    """Read a workflow and check it; nothing is run or written. See `aqrec.workflow.check`.

    Raises
    ------
    InvalidWorkflowError
        Something is wrong; its ``problems`` are all that was found.
    """
    return tasks.prepare(config, templates, to_run=False).config


def run(
    config: tasks.Config,
    *,
    experiment_name: str | None = None,
    recorder_name: str | None = None,
    uri: str | None = None,
    on_progress: tasks.OnProgress | None = None,
) -> Recorder:
    """Check a workflow, then train its model and make its records in a new run. See `aqrec.workflow.run`.

    Raises
    ------
    InvalidWorkflowError
        The workflow is wrong; nothing was run or written.
    """
    workflow = tasks.prepare(config, templates)
    name = experiment_name or workflow.experiment_name or tasks.DEFAULT_EXPERIMENT
    start = {"experiment_name": name, "recorder_name": recorder_name, "uri": uri}
    return _run(workflow, start, on_progress)


def rerun(
    recorder: Recorder | str,
    *,
    experiment_name: str | None = None,
    recorder_name: str | None = None,
    uri: str | None = None,
    on_progress: tasks.OnProgress | None = None,
) -> Recorder:
    """Run the workflow of a recorded run again, into a new run. See `aqrec.workflow.rerun`.

    Raises
    ------
    InvalidInputError
        The recorded run has no workflow.
    InvalidWorkflowError
        What the workflow names is not there any more.
    """
    old = recorder if isinstance(recorder, Recorder) else _find(recorder, uri)
    name = tasks.recorded_name(old.id, old.list_artifacts())
    config = tasks.recorded(old.id, old.load_object(name), name)
    workflow = tasks.prepare(config, templates, recorded=True)
    start: dict[str, Any] = {"experiment_name": experiment_name}
    if experiment_name is None:
        start = {"experiment_id": old.experiment_id}
    start |= {"recorder_name": recorder_name or old.name, "uri": uri or old.uri}
    return _run(workflow, start, on_progress, rerun_of=old.id)


def task_train(
    task_config: Mapping[str, Any],
    experiment_name: str,
    recorder_name: str | None = None,
    *,
    uri: str | None = None,
    on_progress: tasks.OnProgress | None = None,
) -> Recorder:
    """Train the model of a task and make its records in a new run. See `aqrec.workflow.task_train`."""
    task = tasks.prepare_task(task_config, templates)
    with R.start(experiment_name=experiment_name, recorder_name=recorder_name, uri=uri) as experiment:
        recorder = experiment.get_recorder()
        _begin(recorder, task, {})
        _execute(recorder, task, on_progress)
    return recorder


def begin_task_train(
    task_config: Mapping[str, Any],
    experiment_name: str,
    recorder_name: str | None = None,
    *,
    uri: str | None = None,
) -> Recorder:
    """Record a task in a new run without training; `end_task_train` does the rest, now or elsewhere."""
    task = tasks.prepare_task(task_config, templates)
    with R.start(experiment_name=experiment_name, recorder_name=recorder_name, uri=uri) as experiment:
        recorder = experiment.get_recorder()
        _begin(recorder, task, {})
    return recorder


def end_task_train(
    recorder: Recorder, experiment_name: str | None = None, *, on_progress: tasks.OnProgress | None = None
) -> Recorder:
    """Train what `begin_task_train` has recorded, in the same run. See `aqrec.workflow.end_task_train`."""
    del experiment_name
    found = tasks.recorded(recorder.id, recorder.load_object(tasks.TASK_FILE), tasks.TASK_FILE)
    task = tasks.prepare_task(found["task"], templates)
    with R.start(
        experiment_id=recorder.experiment_id, recorder_id=recorder.id, uri=recorder.uri, resume=True
    ) as experiment:
        resumed = experiment.get_recorder()
        _execute(resumed, task, on_progress)
    return resumed


def _find(run_id: str, uri: str | None) -> Recorder:
    workspace = defaults.workspace_to_start(uri)
    return Recorder(workspace.session.call(workspace.find_run(run_id, None, None)))


def _run(
    workflow: tasks.Workflow,
    start: dict[str, Any],
    on_progress: tasks.OnProgress | None,
    *,
    rerun_of: str | None = None,
) -> Recorder:
    start_qlib(workflow.qlib_init)
    with R.start(**start) as experiment:
        recorder = experiment.get_recorder()
        _begin(recorder, workflow.task, {tasks.CONFIG_FILE: workflow.config}, rerun_of)
        _execute(recorder, workflow.task, on_progress, workflow.qlib_init)
    return recorder


def _begin(
    recorder: Recorder, task: Mapping[str, Any], objects: Mapping[str, Any], rerun_of: str | None = None
) -> None:
    """Record what is going to be done, so that a run that fails can be repeated, too."""
    recorder.log_batch(params=tasks.task_params(task), tags=tasks.tags_of(rerun_of))
    recorder.save_objects(**{tasks.TASK_FILE: task, **objects})


def _execute(
    recorder: Recorder,
    task: dict[str, Any],
    on_progress: tasks.OnProgress | None,
    qlib_init: dict[str, Any] | None = None,
) -> None:
    """Train, save, and make the records, one after another as Qlib does; changes `task`."""
    progress = tasks.Steps(len(tasks.records_of(task)), on_progress)
    with qlib_logs_into(recorder):
        progress("data set")
        model = tasks.make(task["model"])
        dataset = tasks.make(task["dataset"])
        market = tasks.market_of(task, templates, qlib_init, dataset)
        progress("model")
        call_blocking(model.fit, dataset, **tasks.fit_arguments(model, task))
        recorder.save_objects(**{tasks.MODEL_FILE: model})
        tasks.lighten(dataset)
        recorder.save_objects(**{tasks.DATASET_FILE: dataset})
        for config in tasks.filled(task, model, dataset):
            factory, given = tasks.record_factory(config, templates)
            progress(factory.__name__)
            arguments = tasks.record_arguments(factory, given, model, dataset, market)
            face: Any = recorder
            if tasks.is_async(factory):
                active: Any = recording.R.get_recorder
                face = call_blocking(active)  # the same run, active here, for code that awaits
            call_blocking(factory(**arguments, recorder=face).generate)
        progress.done()
