"""`SignalRecord`, and the templates that judge it, blocking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aqrec.sync.templates._base import ACRecordTemp, RecordTemp
from aqrec.templates._calls import call_blocking
from aqrec.templates._dataset import (
    LABEL_ADVICE,
    LABEL_FILE,
    MSE_FILES,
    PRECISION_FILES,
    PREDICTION_FILE,
    check_plots,
    check_predicts,
    check_prepares,
    label_frame,
    no_labels,
    prediction_frame,
    prepared_labels,
    raw_labels,
    signal_files,
)
from aqrec.templates._plan import check_told
from aqrec.templates._saving import log_with_files
from aqrec.templates._segments import segment_results, segments_to_judge
from aqrec.templates._signal import analysis_files, groups_of, signal_drawn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from aqrec.sync import Recorder
    from aqrec.templates._plan import Files, OnMissing

__all__ = ["HFSignalRecord", "MultiSegRecord", "SigAnaRecord", "SignalMseRecord", "SignalRecord"]


class SignalRecord(RecordTemp):
    """The predictions of a model, and the labels to compare them with; see `aqrec.templates.SignalRecord`."""

    dataset: Any = None

    def __init__(self, model: Any, dataset: Any, recorder: Recorder) -> None:
        super().__init__(recorder)
        check_predicts(model)
        self.model = model
        self.dataset = dataset

    def list(self) -> Sequence[str]:
        """Return ``pred.pkl``, and ``label.pkl`` if the data set can give labels."""
        return signal_files(self.dataset)

    def generate(self) -> dict[str, Any]:
        """Predict, ask for the labels, and save both together; if one of them raises, nothing is saved.

        Without labels, those of an earlier prediction give way to an empty ``label.pkl``.

        Returns
        -------
        dict
            The frames by file name.
        """
        pred = prediction_frame(call_blocking(self.model.predict, self.dataset))
        label = label_frame(call_blocking(raw_labels, self.dataset)) if LABEL_FILE in self.list() else None
        if label is None and not self._missing({self.get_path(LABEL_FILE): type(self)}):
            label = no_labels(pred)
        objects = {PREDICTION_FILE: pred} if label is None else {PREDICTION_FILE: pred, LABEL_FILE: label}
        self.save(**objects)
        return objects


class SigAnaRecord(ACRecordTemp):
    """How well predictions tell the labels apart; see `aqrec.templates.SigAnaRecord`."""

    artifact_path = "sig_analysis"
    depend_cls = SignalRecord
    ana_long_short: bool = False
    plots: bool = False
    _advice = LABEL_ADVICE

    def __init__(
        self,
        recorder: Recorder,
        ana_long_short: bool = False,
        ann_scaler: float = 252,
        label_col: int = 0,
        skip_existing: bool = False,
        on_missing: OnMissing = "raise",
        *,
        plots: bool = False,
    ) -> None:
        check_told(locals())
        super().__init__(recorder, skip_existing, on_missing)
        self.plots = check_plots(plots)
        self.ana_long_short = ana_long_short
        self.ann_scaler = ann_scaler
        self.label_col = label_col

    def list(self) -> Sequence[str]:
        """Return the names of the two or four daily figures, and of the pictures."""
        return analysis_files(self.ana_long_short, self.plots)

    def _inputs(self, label: pd.DataFrame | pd.Series[Any] | None = None) -> Files:
        needed = super()._inputs()
        return needed if label is not None else {**needed, SignalRecord.get_path(LABEL_FILE): SignalRecord}

    def generate(self, label: pd.DataFrame | pd.Series[Any] | None = None) -> dict[str, Any] | None:
        """Compare the saved prediction with the labels (default: ``label.pkl``), log and save the figures."""
        return super().generate(label)

    def _generate(self, label: pd.DataFrame | pd.Series[Any] | None = None) -> dict[str, Any]:
        from aqrec.templates._figures import signal_figures  # noqa: PLC0415 - loads pandas

        pred = self.load(PREDICTION_FILE)
        truth = self.load(LABEL_FILE) if label is None else label
        daily, metrics = signal_figures(
            pred,
            truth,
            label_col=self.label_col,
            long_short=self.ana_long_short,
            ann_scaler=self.ann_scaler,
        )
        if self.plots:
            groups = groups_of(pred, truth, self.label_col)
            daily |= signal_drawn(daily["ic.pkl"], daily["ric.pkl"], groups, metrics)
        log_with_files(self.recorder, metrics)
        return daily


class HFSignalRecord(ACRecordTemp):
    """How often predictions name the winners and losers of a day; see `aqrec.templates.HFSignalRecord`."""

    artifact_path = "hg_sig_analysis"
    depend_cls = SignalRecord
    _advice = LABEL_ADVICE

    def list(self) -> Sequence[str]:
        """Return the names of the six daily figures."""
        return PRECISION_FILES

    def _inputs(self) -> Files:
        return {**super()._inputs(), SignalRecord.get_path(LABEL_FILE): SignalRecord}

    def generate(self) -> dict[str, Any] | None:
        """Compare the saved prediction with the labels, save the files, log the metrics."""
        return super().generate()

    def _generate(self) -> dict[str, Any]:
        from aqrec.templates._figures import precision_figures  # noqa: PLC0415 - loads pandas

        daily, metrics = precision_figures(self.load(PREDICTION_FILE), self.load(LABEL_FILE))
        log_with_files(self.recorder, metrics)
        return daily


class SignalMseRecord(ACRecordTemp):
    """How far predictions are from the labels; see `aqrec.templates.SignalMseRecord`."""

    artifact_path = "sig_analysis"
    depend_cls = SignalRecord
    _advice = LABEL_ADVICE

    def list(self) -> Sequence[str]:
        """Return ``mse.pkl`` and ``rmse.pkl``."""
        return MSE_FILES

    def _inputs(self) -> Files:
        return {**super()._inputs(), SignalRecord.get_path(LABEL_FILE): SignalRecord}

    def generate(self) -> dict[str, Any] | None:
        """Compare the saved prediction with the labels, save the files, log the metrics."""
        return super().generate()

    def _generate(self) -> dict[str, Any]:
        from aqrec.templates._figures import squared_error  # noqa: PLC0415 - loads pandas

        error = squared_error(self.load(PREDICTION_FILE), self.load(LABEL_FILE))
        log_with_files(self.recorder, {"MSE": error, "RMSE": error**0.5})
        return {"mse.pkl": error, "rmse.pkl": error**0.5}


class MultiSegRecord(RecordTemp):
    """How well a model predicts several segments of its data set; see `aqrec.templates.MultiSegRecord`."""

    segments: Mapping[str, Any] | None = None

    def __init__(
        self, model: Any, dataset: Any, recorder: Recorder, segments: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(recorder)
        check_predicts(model)
        check_prepares(dataset)
        self.model = model
        self.dataset = dataset
        self.segments = segments

    def list(self) -> Sequence[str]:
        """Return the names of the results of the constructor's segments."""
        return [f"results-{name}.pkl" for name in self.segments or ()]

    def generate(
        self, segments: Mapping[str, Any] | None = None, save: bool = True
    ) -> dict[str, dict[str, Any]]:
        """Predict each segment, compare with its labels, and save the results together.

        Returns
        -------
        dict
            The results by name.
        """
        results: dict[str, dict[str, Any]] = {}
        for name, segment in segments_to_judge(self.segments, segments).items():
            pred = call_blocking(self.model.predict, self.dataset, segment)
            label = call_blocking(prepared_labels, self.dataset, segment)
            results[name] = segment_results(pred, label)
        if save:
            self.save(**{f"results-{name}.pkl": result for name, result in results.items()})
        return results
