"""Workflows: from a config to a trained model and its records, in one awaited call.

`run` takes a workflow file of Qlib's ``qrun``, `task_train` a task dict. Models and data sets are any Python classes
with ``fit`` and ``predict``; Qlib is needed only where a workflow names its classes. `aqrec.sync.workflow` has the
same calls for blocking code. Workflow files need ``pip install 'aqrec[workflow]'``.
"""

from aqrec.tasks import fill_placeholder, flatten_dict, init_instance_by_config
from aqrec.workflow._runs import begin_task_train, check, end_task_train, rerun, run, task_train

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
