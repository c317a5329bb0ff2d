"""`SignalRecord`, and the templates that judge it: `SigAnaRecord`, `HFSignalRecord`, `SignalMseRecord`; async."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aqrec.templates._apart import apart
from aqrec.templates._base import ACRecordTemp, RecordTemp
from aqrec.templates._calls import call
from aqrec.templates._dataset import (
    LABEL_ADVICE,
    LABEL_FILE,
    MSE_FILES,
    PRECISION_FILES,
    PREDICTION_FILE,
    SIGNAL_PICTURES,
    check_plots,
    check_predicts,
    label_frame,
    no_labels,
    prediction_frame,
    raw_labels,
    signal_files,
)
from aqrec.templates._plan import check_told
from aqrec.templates._saving import log_with_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from aqrec.recording import Recorder
    from aqrec.templates._plan import Files, OnMissing

__all__ = [
    "HFSignalRecord",
    "SigAnaRecord",
    "SignalMseRecord",
    "SignalRecord",
    "analysis_files",
    "groups_of",
    "signal_drawn",
]


def analysis_files(long_short: bool, plots: bool) -> list[str]:
    """Return the names of the files of `SigAnaRecord`."""
    return [
        *("ic.pkl", "ric.pkl"),
        *(("long_short_r.pkl", "long_avg_r.pkl") if long_short else ()),
        *(SIGNAL_PICTURES if plots else ()),
    ]


class SignalRecord(RecordTemp):
    """The predictions of a model, and the labels they are to be compared with.

    Files, in the root of the run's artifacts: ``pred.pkl``, a DataFrame whose first column is the
    prediction (``score`` if the model returns a Series); and ``label.pkl``, a DataFrame, if the data set
    can give raw labels (see `LabelledDataset`).

    Parameters
    ----------
    model
        Has ``predict(dataset)``, plain or async, which returns a Series or DataFrame of numbers, indexed by
        a MultiIndex (datetime, instrument).
    dataset
        Whatever the model predicts from.
    recorder
        As for `RecordTemp`.

    Raises
    ------
    InvalidInputError
        `model` has no method ``predict``, or `recorder` is None.
    """

    dataset: Any = None

    def __init__(self, model: Any, dataset: Any, recorder: Recorder) -> None:
        super().__init__(recorder)
        check_predicts(model)
        self.model = model
        self.dataset = dataset

    def list(self) -> Sequence[str]:
        """Return ``pred.pkl``, and ``label.pkl`` if the data set can give labels."""
        return signal_files(self.dataset)

    async def generate(self) -> dict[str, Any]:
        """Predict, ask for the labels, and save both together.

        A plain ``predict``, ``labels`` or ``prepare`` runs in a worker thread with this task's context, so
        that the loop is free meanwhile. Waits until both files are durable. If one of them raises, or on
        cancellation before the save, nothing is saved; a thread that is predicting goes on to its end, and
        its result is dropped. Cancelling the save leaves each file whole or absent, as in
        `ACRecordTemp.generate`. Without labels, those of an earlier prediction give way to an empty ``label.pkl``.

        Returns
        -------
        dict
            The frames by file name.

        Raises
        ------
        InvalidValueError
            The prediction is neither a Series nor a DataFrame.
        """
        pred = prediction_frame(await call(self.model.predict, self.dataset))
        label = label_frame(await call(raw_labels, self.dataset)) if LABEL_FILE in self.list() else None
        if label is None and not await self._missing({self.get_path(LABEL_FILE): type(self)}):
            label = no_labels(pred)
        objects = {PREDICTION_FILE: pred} if label is None else {PREDICTION_FILE: pred, LABEL_FILE: label}
        await self.save(**objects)
        return objects


class SigAnaRecord(ACRecordTemp):
    """How well the predictions of a `SignalRecord` tell the labels apart.

    Files, in the folder ``sig_analysis``: ``ic.pkl`` and ``ric.pkl``, daily Series as
    `aqrec.analysis.calc_ic` returns them; with `ana_long_short` also ``long_short_r.pkl`` and
    ``long_avg_r.pkl``, as `aqrec.analysis.calc_long_short_return` does.

    Metrics, over the days that have a figure: ``IC`` and ``Rank IC`` (mean), ``ICIR`` and ``Rank ICIR``
    (mean / standard deviation, ddof 1); with `ana_long_short` also ``Long-Short Ann Return`` and ``Long-Avg
    Ann Return`` (mean * `ann_scaler`), ``Long-Short Ann Sharpe`` and ``Long-Avg Ann Sharpe`` (mean /
    standard deviation * sqrt(`ann_scaler`)). NaN where it cannot be told.

    Parameters
    ----------
    recorder, skip_existing, on_missing
        As for `ACRecordTemp`.
    ana_long_short
        Analyse the returns of the best against the worst predictions, too.
    ann_scaler
        Number of labels' periods in a year.
    label_col
        Which column of the labels to take, by position. Of the prediction it is the first.
    plots
        Also save the pictures of `aqrec.plots.plot_signal`, as ``ic.png``, ``ic_monthly.png`` and ``groups.png``, and a
        page with all of them and the metrics, ``signal.html``. Needs the extra ``aqrec[plots]``.
    """

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

    async def generate(self, label: pd.DataFrame | pd.Series[Any] | None = None) -> dict[str, Any] | None:
        """Compare the saved prediction with the labels in a worker thread, save the files, log the metrics.

        Pictures are drawn by a process of its own. Waits, and can be cancelled, as `ACRecordTemp.generate`: files and
        metrics are there, or neither.

        Parameters
        ----------
        label
            Take these instead of ``label.pkl``, which need not exist then.

        Raises
        ------
        MissingInputError
            ``pred.pkl`` or the label is missing or has no rows (with ``on_missing="skip"``: a warning, and
            None).
        InvalidValueError
            They are not numbers indexed by (datetime, instrument), or there is no column `label_col`.
        """
        return await super().generate(label)

    async def _generate(self, label: pd.DataFrame | pd.Series[Any] | None = None) -> dict[str, Any]:
        pred = await self.load(PREDICTION_FILE)
        truth = await self.load(LABEL_FILE) if label is None else label
        daily, metrics = await call(self._figures, pred, truth)
        if self.plots:
            groups = await call(groups_of, pred, truth, self.label_col)
            daily |= await apart(signal_drawn, daily["ic.pkl"], daily["ric.pkl"], groups, metrics)
        log_with_files(self.recorder, metrics)
        return daily

    def _figures(self, pred: object, label: object) -> tuple[dict[str, Any], dict[str, float]]:
        from aqrec.templates._figures import signal_figures  # noqa: PLC0415 - loads pandas, off the loop

        return signal_figures(
            pred,
            label,
            label_col=self.label_col,
            long_short=self.ana_long_short,
            ann_scaler=self.ann_scaler,
        )


class HFSignalRecord(ACRecordTemp):
    """How often the predictions of a `SignalRecord` name the winners and the losers of a day.

    Files, in the folder ``hg_sig_analysis``: ``ic.pkl`` and ``ric.pkl`` (`aqrec.analysis.calc_ic`), ``long_pre.pkl``
    and ``short_pre.pkl`` (`aqrec.analysis.calc_long_short_prec` with ``is_alpha=True``), ``long_short_r.pkl`` and
    ``long_avg_r.pkl`` (`aqrec.analysis.calc_long_short_return`); daily Series.

    Metrics, over the days that have a figure: ``IC``, ``Rank IC``, ``Long precision``, ``Short precision`` and
    ``Long-Short Average Return`` (mean); ``ICIR``, ``Rank ICIR`` and ``Long-Short Average Sharpe`` (mean / standard
    deviation, ddof 1; not scaled to a year).

    Parameters
    ----------
    recorder, skip_existing, on_missing
        As for `ACRecordTemp`.
    """

    artifact_path = "hg_sig_analysis"
    depend_cls = SignalRecord
    _advice = LABEL_ADVICE

    def list(self) -> Sequence[str]:
        """Return the names of the six daily figures."""
        return PRECISION_FILES

    def _inputs(self) -> Files:
        return {**super()._inputs(), SignalRecord.get_path(LABEL_FILE): SignalRecord}

    async def generate(self) -> dict[str, Any] | None:
        """Compare the saved prediction with the labels in a worker thread, save the files, log the metrics.

        Waits, and can be cancelled, as `SigAnaRecord.generate`.

        Raises
        ------
        MissingInputError
            ``pred.pkl`` or ``label.pkl`` is missing or has no rows (with ``on_missing="skip"``: a warning, and
            None).
        InvalidValueError
            They are not numbers indexed by (datetime, instrument), or of fewer than six instruments.
        """
        return await super().generate()

    async def _generate(self) -> dict[str, Any]:
        daily, metrics = await call(_precision, await self.load(PREDICTION_FILE), await self.load(LABEL_FILE))
        log_with_files(self.recorder, metrics)
        return daily


class SignalMseRecord(ACRecordTemp):
    """How far the predictions of a `SignalRecord` are from the labels.

    Files, in the folder ``sig_analysis``: ``mse.pkl``, the mean squared difference between the first column of the
    prediction and that of the labels, over the rows that have both, in float64; ``rmse.pkl``, its square root. Both
    are logged as the metrics ``MSE`` and ``RMSE``.

    Parameters
    ----------
    recorder, skip_existing, on_missing
        As for `ACRecordTemp`.
    """

    artifact_path = "sig_analysis"
    depend_cls = SignalRecord
    _advice = LABEL_ADVICE

    def list(self) -> Sequence[str]:
        """Return ``mse.pkl`` and ``rmse.pkl``."""
        return MSE_FILES

    def _inputs(self) -> Files:
        return {**super()._inputs(), SignalRecord.get_path(LABEL_FILE): SignalRecord}

    async def generate(self) -> dict[str, Any] | None:
        """Compare the saved prediction with the labels, save the files, log the metrics.

        Waits, raises and can be cancelled as `HFSignalRecord.generate`.
        """
        return await super().generate()

    async def _generate(self) -> dict[str, Any]:
        error = await call(_squared_error, await self.load(PREDICTION_FILE), await self.load(LABEL_FILE))
        log_with_files(self.recorder, {"MSE": error, "RMSE": error**0.5})
        return {"mse.pkl": error, "rmse.pkl": error**0.5}


def groups_of(pred: object, label: object, label_col: int) -> Any:
    """Return what the picture of the groups shows."""
    from aqrec.templates._figures import signal_groups  # noqa: PLC0415 - loads pandas, off the loop

    return signal_groups(pred, label, label_col=label_col)


def signal_drawn(ic: Any, ric: Any, groups: Any, metrics: dict[str, float]) -> dict[str, Any]:
    """Return the pictures."""
    from aqrec.templates._pictures import signal_pictures  # noqa: PLC0415 - loads matplotlib

    return signal_pictures(ic, ric, groups, metrics)


def _precision(pred: object, label: object) -> tuple[dict[str, Any], dict[str, float]]:
    from aqrec.templates._figures import precision_figures  # noqa: PLC0415 - loads pandas, off the loop

    return precision_figures(pred, label)


def _squared_error(pred: object, label: object) -> float:
    from aqrec.templates._figures import squared_error  # noqa: PLC0415 - loads pandas, off the loop

    return squared_error(pred, label)
