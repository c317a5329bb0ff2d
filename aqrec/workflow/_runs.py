"""Tasks and workflows, async."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import aqrec.sync
from aqrec import tasks, templates
from aqrec.recording import R, Recorder
from aqrec.recording._default import defaults
from aqrec.sync._qlib import qlib_logs_into, start_qlib
from aqrec.templates._calls import call

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["begin_task_train", "check", "end_task_train", "rerun", "run", "task_train"]


async def check(config: tasks.Config) -> dict[str, Any]:
    """Read a workflow and check it; nothing is run or written.

    Imports the modules it names, in a worker thread, after putting the folders of its section ``sys`` on
    `sys.path`. Names of Qlib's are looked up only where Qlib is installed.

    Parameters
    ----------
    config
        As for `run`.

    Returns
    -------
    dict
        The workflow with its base files merged and its environment variables filled in.

    Raises
    ------
    InvalidWorkflowError
        Something is wrong; its ``problems`` are all that was found.
    """
    workflow = await call(functools.partial(tasks.prepare, to_run=False), config, templates)
    return workflow.config


async def run(
    config: tasks.Config,
    *,
    experiment_name: str | None = None,
    recorder_name: str | None = None,
    uri: str | None = None,
    on_progress: tasks.OnProgress | None = None,
) -> Recorder:
    """Check a workflow, then train its model and make its records in a new run.

    The run holds what Qlib's ``qrun`` leaves: the task as flat params, the artifacts ``task``, ``config``,
    ``params.pkl`` (the model) and ``dataset``, and what the records make. ``config`` is the workflow as it was
    given, environment variables filled in, so secrets do not belong into it.

    Parameters
    ----------
    config
        A YAML file of Qlib's schema (keys ``task``, ``qlib_init``, ``experiment_name``, ``sys``,
        ``BASE_CONFIG_PATH``; environment variables as ``{{ NAME }}``), or such a dict, which stays unchanged.
    experiment_name
        Experiment of the run; default: as the workflow says, else ``workflow``.
    recorder_name
        Name of the run.
    uri
        Store; default: that of `R`.
    on_progress
        Called on this loop before each step with its name, the number of steps done, and of all.

    Returns
    -------
    Recorder
        The ended run's.

    Waits until everything is made and durable. Plain code of models and data sets runs in worker threads with
    this task's context. Cancelling it, or an exception, ends the run FAILED with what was saved so far; a thread
    that is busy goes on to its end.

    Raises
    ------
    InvalidWorkflowError
        The workflow is wrong; nothing was run or written.
    """
    workflow = await call(tasks.prepare, config, templates)
    name = experiment_name or workflow.experiment_name or tasks.DEFAULT_EXPERIMENT
    start = {"experiment_name": name, "recorder_name": recorder_name, "uri": uri}
    return await _run(workflow, start, on_progress)


async def rerun(
    recorder: Recorder | str,
    *,
    experiment_name: str | None = None,
    recorder_name: str | None = None,
    uri: str | None = None,
    on_progress: tasks.OnProgress | None = None,
) -> Recorder:
    """Run the workflow of a recorded run again, from what that run has recorded, into a new run.

    Parameters
    ----------
    recorder
        The recorded run or its id.
    experiment_name, recorder_name
        Of the new run; default: as the recorded one. Its tag ``rerun_of`` is the recorded run's id.
    uri
        Store of both; default: the recorder's own, or that of `R`.
    on_progress
        As for `run`.

    Waits, and is cancelled, as `run`.

    Raises
    ------
    InvalidInputError
        The recorded run has no workflow.
    InvalidWorkflowError
        What the workflow names is not there any more.
    """
    old = recorder if isinstance(recorder, Recorder) else await _find(recorder, uri)
    name = tasks.recorded_name(old.id, await old.list_artifacts())
    config = tasks.recorded(old.id, await old.load_object(name), name)
    workflow = await call(functools.partial(tasks.prepare, recorded=True), config, templates)
    start: dict[str, Any] = {"experiment_name": experiment_name}
    if experiment_name is None:
        start = {"experiment_id": old.experiment_id}
    start |= {"recorder_name": recorder_name or old.name, "uri": uri or old.uri}
    return await _run(workflow, start, on_progress, rerun_of=old.id)


async def task_train(
    task_config: Mapping[str, Any],
    experiment_name: str,
    recorder_name: str | None = None,
    *,
    uri: str | None = None,
    on_progress: tasks.OnProgress | None = None,
) -> Recorder:
    """Train the model of a task and make its records in a new run; the task stays unchanged.

    Parameters
    ----------
    task_config
        Dict with ``model``, ``dataset`` and, if wanted, ``record`` (one or a list), each in the form that
        `init_instance_by_config` takes; model and data set may be objects. In records ``<MODEL>`` and
        ``<DATASET>`` stand for the trained model and the data set. A record that takes ``quotes`` and is given none
        gets what the data set's method ``quotes()`` returns, else the data folder that Qlib was initialised with.
    experiment_name, recorder_name, uri, on_progress
        As for `run`.

    Waits, and is cancelled, as `run`; returns the ended run's recorder.
    """
    task = await call(tasks.prepare_task, task_config, templates)
    async with R.start(experiment_name=experiment_name, recorder_name=recorder_name, uri=uri) as experiment:
        recorder = await experiment.get_recorder()
        await _begin(recorder, task, {})
        await _execute(recorder, task, on_progress)
    return recorder


async def begin_task_train(
    task_config: Mapping[str, Any],
    experiment_name: str,
    recorder_name: str | None = None,
    *,
    uri: str | None = None,
) -> Recorder:
    """Record a task in a new run without training; `end_task_train` does the rest, now or elsewhere.

    Waits until the task is durable. Arguments as for `task_train`.
    """
    task = await call(tasks.prepare_task, task_config, templates)
    async with R.start(experiment_name=experiment_name, recorder_name=recorder_name, uri=uri) as experiment:
        recorder = await experiment.get_recorder()
        await _begin(recorder, task, {})
    return recorder


async def end_task_train(
    recorder: Recorder, experiment_name: str | None = None, *, on_progress: tasks.OnProgress | None = None
) -> Recorder:
    """Train what `begin_task_train` has recorded, in the same run.

    Parameters
    ----------
    recorder
        What `begin_task_train` returned, or the run's recorder got by its id in another process.
    experiment_name
        Needed by Qlib only: the run knows its experiment.
    on_progress
        As for `run`.

    Waits, and is cancelled, as `run`; returns the ended run's recorder.
    """
    del experiment_name
    found = tasks.recorded(recorder.id, await recorder.load_object(tasks.TASK_FILE), tasks.TASK_FILE)
    task = await call(tasks.prepare_task, found["task"], templates)
    async with R.start(
        experiment_id=recorder.experiment_id, recorder_id=recorder.id, uri=recorder.uri, resume=True
    ) as experiment:
        resumed = await experiment.get_recorder()
        await _execute(resumed, task, on_progress)
    return resumed


async def _find(run_id: str, uri: str | None) -> Recorder:
    workspace = defaults.workspace_to_start(uri)
    return Recorder(await workspace.session.run(workspace.find_run(run_id, None, None)))


async def _run(
    workflow: tasks.Workflow,
    start: dict[str, Any],
    on_progress: tasks.OnProgress | None,
    *,
    rerun_of: str | None = None,
) -> Recorder:
    await call(start_qlib, workflow.qlib_init)
    async with R.start(**start) as experiment:
        recorder = await experiment.get_recorder()
        await _begin(recorder, workflow.task, {tasks.CONFIG_FILE: workflow.config}, rerun_of)
        await _execute(recorder, workflow.task, on_progress, workflow.qlib_init)
    return recorder


async def _begin(
    recorder: Recorder, task: Mapping[str, Any], objects: Mapping[str, Any], rerun_of: str | None = None
) -> None:
    """Record what is going to be done, so that a run that fails can be repeated, too."""
    await recorder.log_batch(params=tasks.task_params(task), tags=tasks.tags_of(rerun_of))
    await recorder.save_objects(**{tasks.TASK_FILE: task, **objects})


async def _execute(
    recorder: Recorder,
    task: dict[str, Any],
    on_progress: tasks.OnProgress | None,
    qlib_init: dict[str, Any] | None = None,
) -> None:
    """Train, save, and make the records, one after another as Qlib does; changes `task`."""
    progress = tasks.Steps(len(tasks.records_of(task)), on_progress)
    blocking = aqrec.sync.R.get_recorder()  # the same run, active here, for code that blocks
    with qlib_logs_into(blocking):
        progress("data set")
        model = await call(tasks.make, task["model"])
        dataset = await call(tasks.make, task["dataset"])
        market = await call(tasks.market_of, task, templates, qlib_init, dataset)
        progress("model")
        await call(functools.partial(model.fit, **tasks.fit_arguments(model, task)), dataset)
        await recorder.save_objects(**{tasks.MODEL_FILE: model})
        tasks.lighten(dataset)
        await recorder.save_objects(**{tasks.DATASET_FILE: dataset})
        for config in tasks.filled(task, model, dataset):
            factory, given = tasks.record_factory(config, templates)
            progress(factory.__name__)
            arguments = tasks.record_arguments(factory, given, model, dataset, market)
            face = recorder if tasks.is_async(factory) else blocking
            record = await call(functools.partial(factory, **arguments, recorder=face))
            await call(record.generate)
        progress.done()
