"""`MultiSegRecord`, async."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aqrec.errors import InvalidInputError
from aqrec.templates._base import RecordTemp
from aqrec.templates._calls import call
from aqrec.templates._dataset import check_predicts, check_prepares, prediction_frame, prepared_labels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aqrec.recording import Recorder

__all__ = ["MultiSegRecord", "segment_results", "segments_to_judge"]


class MultiSegRecord(RecordTemp):
    """How well a model predicts several segments of its data set.

    Files, in the root of the run's artifacts: for each segment ``results-NAME.pkl``, a dict with ``all-IC`` and
    ``all-Rank-IC`` (daily Series, as `aqrec.analysis.calc_ic` returns them), ``mean-IC`` and ``mean-Rank-IC``
    (numbers).

    Parameters
    ----------
    model
        Has ``predict(dataset, segment)``, plain or async, which returns what `SignalRecord` needs.
    dataset
        Has Qlib's ``prepare(segment, col_set="label", data_key="raw")``, plain or async.
    recorder
        As for `RecordTemp`.
    segments
        What `generate` takes if it is given none: segments by the names that their results get.

    Raises
    ------
    InvalidInputError
        `model` has no ``predict``, `dataset` no ``prepare``, or `recorder` is None.
    """

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

    async def generate(
        self, segments: Mapping[str, Any] | None = None, save: bool = True
    ) -> dict[str, dict[str, Any]]:
        """Predict each segment, compare with its labels, and save the results together.

        Plain code of the user's runs in a worker thread. Cancelling before the save leaves no file.

        Parameters
        ----------
        segments
            Names of segments, or whatever the data set takes for one, by the names that their results get.
        save
            Whether to save the results, rather than only return them.

        Returns
        -------
        dict
            The results by name.

        Raises
        ------
        InvalidInputError
            No segments are given here nor to the constructor, or the data set has no labels for one.
        """
        results: dict[str, dict[str, Any]] = {}
        for name, segment in segments_to_judge(self.segments, segments).items():
            pred = await call(self.model.predict, self.dataset, segment)
            label = await call(prepared_labels, self.dataset, segment)
            results[name] = await call(segment_results, pred, label)
        if save:
            await self.save(**{f"results-{name}.pkl": result for name, result in results.items()})
        return results


def segments_to_judge(own: Mapping[str, Any] | None, given: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return the segments that are meant."""
    segments = own if given is None else given
    if not segments:
        raise InvalidInputError(
            'MultiSegRecord has no segments to judge; give a dict of them, such as {"valid": "valid"}'
        )
    return segments


def segment_results(pred: object, label: object) -> dict[str, Any]:
    """Return what is saved of one segment."""
    from aqrec.templates._figures import segment_figures  # noqa: PLC0415 - loads pandas, off the loop

    return segment_figures(prediction_frame(pred), label)
