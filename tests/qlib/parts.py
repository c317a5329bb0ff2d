"""A small data handler of Qlib's kind, and tasks that train on it within a second."""

from typing import Any

from qlib.data.dataset.handler import DataHandlerLP

__all__ = ["SmallHandler", "linear_task"]


class SmallHandler(DataHandlerLP):
    """Three features and a label, which may be replaced as in Qlib's own handlers."""

    def __init__(
        self,
        instruments: str = "all",
        start_time: Any = None,
        end_time: Any = None,
        fit_start_time: Any = None,
        fit_end_time: Any = None,
        label: Any = None,
        **kwargs: Any,
    ) -> None:
        del fit_start_time, fit_end_time
        features = ["$close/Ref($close,1)-1", "$close/Ref($close,5)-1", "Std($close,10)/$close"]
        config = {
            "feature": (features, ["R1", "R5", "S10"]),
            "label": (label or ["Ref($close,-2)/Ref($close,-1)-1"], ["LABEL0"]),
        }
        super().__init__(
            instruments,
            start_time,
            end_time,
            data_loader={"class": "QlibDataLoader", "kwargs": {"config": config, "freq": "day"}},
            infer_processors=[{"class": "DropnaProcessor", "kwargs": {"fields_group": "feature"}}],
            learn_processors=[{"class": "DropnaLabel"}],
            **kwargs,
        )


def linear_task(**segments: tuple[str, str]) -> dict[str, Any]:
    """Return a task with a linear model; its only record are the predictions."""
    spans = {"train": ("2012-01-03", "2012-06-29"), "test": ("2012-07-02", "2012-08-31"), **segments}
    handler = {"start_time": "2012-01-03", "end_time": spans["test"][1], "instruments": "all"}
    return {
        "model": {"class": "LinearModel", "module_path": "qlib.contrib.model.linear"},
        "dataset": {
            "class": "DatasetH",
            "module_path": "qlib.data.dataset",
            "kwargs": {
                "handler": {"class": "SmallHandler", "module_path": "tests.qlib.parts", "kwargs": handler},
                "segments": spans,
            },
        },
        "record": {"class": "SignalRecord", "module_path": "qlib.workflow.record_temp"},
    }
