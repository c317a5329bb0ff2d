"""What templates ask of models and data sets: predictions, and the labels they are compared with."""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from aqrec.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import pandas as pd

__all__ = [
    "LABEL_ADVICE",
    "LABEL_FILE",
    "MSE_FILES",
    "PRECISION_FILES",
    "PREDICTION_FILE",
    "SIGNAL_PICTURES",
    "LabelledDataset",
    "check_plots",
    "check_predicts",
    "check_prepares",
    "gives_labels",
    "label_frame",
    "no_labels",
    "prediction_frame",
    "prepared_labels",
    "raw_labels",
    "signal_files",
]

logger = logging.getLogger("aqrec")

PREDICTION_FILE = "pred.pkl"
LABEL_FILE = "label.pkl"
PRECISION_FILES = (
    "ic.pkl",
    "ric.pkl",
    "long_pre.pkl",
    "short_pre.pkl",
    "long_short_r.pkl",
    "long_avg_r.pkl",
)
MSE_FILES = ("mse.pkl", "rmse.pkl")
SIGNAL_PICTURES = ("ic.png", "ic_monthly.png", "groups.png", "signal.html")
LABEL_ADVICE = {
    LABEL_FILE: "label.pkl is made from a data set that can give labels; without one pass generate(label=...)"
}

# How Qlib's data sets are asked; those on a plain handler know no `data_key`.
_WAYS: tuple[dict[str, str], ...] = ({"col_set": "label", "data_key": "raw"}, {"col_set": "label"})


@runtime_checkable
class LabelledDataset(Protocol):
    """A data set that can tell what its predictions should have been.

    Instead of `labels`, a data set may have Qlib's ``prepare("test", col_set="label", data_key="raw")``.
    """

    def labels(self) -> pd.DataFrame | pd.Series[Any] | Awaitable[pd.DataFrame | pd.Series[Any]] | None:
        """Return the labels of the rows to predict; may be a coroutine function.

        Returns
        -------
        DataFrame or Series
            Unprocessed numbers, indexed by a MultiIndex (datetime, instrument) like the predictions. None:
            there are none.
        """
        ...


def gives_labels(dataset: object) -> bool:
    """Return whether `raw_labels` can ask the data set."""
    return callable(getattr(dataset, "labels", None)) or bool(_ways(getattr(dataset, "prepare", None)))


def signal_files(dataset: object) -> list[str]:
    """Return the names of the files that can be made from a data set."""
    return [PREDICTION_FILE, LABEL_FILE] if gives_labels(dataset) else [PREDICTION_FILE]


def raw_labels(dataset: Any) -> Any:
    """Ask a data set for its labels; returns them, None, or something to await."""
    if callable(getattr(dataset, "labels", None)):
        return dataset.labels()
    return prepared_labels(dataset, "test")


def prepared_labels(dataset: Any, segment: Any) -> Any:
    """Ask a data set for the raw labels of a segment, Qlib's way; returns them, None, or something to await."""
    ways = _ways(dataset.prepare)
    for way in ways:
        try:
            return dataset.prepare(segment, **way)
        except TypeError as error:
            # Qlib's DatasetH hands `data_key` on to a handler that may not know it.
            if "data_key" not in str(error) or way is ways[-1]:
                raise
        except AttributeError as error:
            # Qlib's way of saying that the handler has kept processed data only.
            if "drop_raw" not in str(error):
                raise
            logger.warning("aqrec: the data set has no raw labels: %s", error)
            return None
    return None


def _ways(prepare: Callable[..., Any] | None) -> list[dict[str, str]]:
    """Return the ways of asking for labels that fit the signature."""
    if not callable(prepare):
        return []
    try:
        signature = inspect.signature(prepare)
    except (TypeError, ValueError):  # written in C: it will tell when it is called
        return list(_WAYS)
    fitting: list[dict[str, str]] = []
    for way in _WAYS:
        try:
            signature.bind("test", **way)
        except TypeError:
            continue
        fitting.append(way)
    return fitting


def prediction_frame(pred: object) -> pd.DataFrame:
    """Return a prediction as a frame; a Series becomes its column ``score``."""
    import pandas as pd  # noqa: PLC0415 - whoever made a prediction has loaded it

    if isinstance(pred, pd.Series):
        return pred.to_frame("score")
    if isinstance(pred, pd.DataFrame):
        return pred
    raise InvalidValueError(
        f"predict() returned {type(pred).__name__}; return a pandas Series or DataFrame indexed by "
        "(datetime, instrument)"
    )


def label_frame(label: object) -> pd.DataFrame | None:
    """Return labels as a frame, or None, with a word in the log, if that is not what the data set gave."""
    import pandas as pd  # noqa: PLC0415

    if isinstance(label, pd.Series):
        return label.to_frame("label" if label.name is None else label.name)
    if isinstance(label, pd.DataFrame):
        return label
    logger.warning(
        "aqrec: the data set gave %s for labels instead of a pandas object, so %s is not saved; a method "
        "labels() of the data set can supply it, or SigAnaRecord.generate(label=...) do without",
        "nothing" if label is None else type(label).__name__,
        LABEL_FILE,
    )
    return None


def no_labels(pred: pd.DataFrame) -> pd.DataFrame:
    """Return labels of no row, to take the place of those of an earlier prediction."""
    import pandas as pd  # noqa: PLC0415

    logger.warning(
        "aqrec: %s is of an earlier prediction, and this one has no labels; an empty one takes its place",
        LABEL_FILE,
    )
    index = pred.index[:0]
    if isinstance(index, pd.MultiIndex):
        index = index.remove_unused_levels()
    return pd.DataFrame({"label": []}, index=index, dtype="float64")


def check_prepares(dataset: Any) -> None:
    """Refuse a data set that cannot be asked for a segment."""
    if not _ways(getattr(dataset, "prepare", None)):
        raise InvalidValueError(
            f'dataset is {type(dataset).__name__}, which has no method prepare(segment, col_set="label")'
        )


def check_plots(plots: bool) -> bool:
    """Return whether plots are wanted; refuse them where they cannot be drawn."""
    if plots:
        from aqrec.plots import require_matplotlib  # noqa: PLC0415 - optional

        require_matplotlib()
    return plots


def check_predicts(model: Any) -> None:
    """Refuse a model that cannot be asked."""
    if not callable(getattr(model, "predict", None)):
        raise InvalidValueError(f"model is {model!r}, which has no method predict(dataset)")
