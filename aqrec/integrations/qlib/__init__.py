"""Qlib's recorder on an aqrec store: one line in ``qlib.init`` or in the file of a ``qrun``.

::

    qlib.init(
        exp_manager={
            "class": "AqrecExpManager",
            "module_path": "aqrec.integrations.qlib",
            "kwargs": {"uri": "s3://bucket/lab", "default_exp_name": "Experiment"},
        }
    )

Needs Qlib, which is imported with the first of these names: ``pip install 'aqrec[qlib]'``.
"""

from typing import TYPE_CHECKING

from aqrec import _lazy

if TYPE_CHECKING:
    from aqrec.integrations.qlib._experiment import AqrecExperiment
    from aqrec.integrations.qlib._manager import AqrecExpManager
    from aqrec.integrations.qlib._recorder import AqrecRecorder

__all__ = ["AqrecExpManager", "AqrecExperiment", "AqrecRecorder"]

__getattr__, __dir__ = _lazy.lazy_names(
    "aqrec.integrations.qlib",
    {
        "AqrecExpManager": "aqrec.integrations.qlib._manager",
        "AqrecExperiment": "aqrec.integrations.qlib._experiment",
        "AqrecRecorder": "aqrec.integrations.qlib._recorder",
    },
)
