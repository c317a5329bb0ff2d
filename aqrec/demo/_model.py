"""Ridge regression, fitted again and again as time goes on."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np
import pandas as pd

from aqrec.demo._features import FEATURES, LABEL, LABEL_HORIZON
from aqrec.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from aqrec.demo._dataset import DemoDataset

__all__ = ["FoldInfo", "RidgeModel"]

_PERIODS = {"year": "Y", "quarter": "Q", "month": "M"}


class FoldInfo(msgspec.Struct, frozen=True):
    """How one refit went.

    Attributes
    ----------
    start
        First day that this fit predicts.
    train_start, train_end
        First and last day it was trained on.
    rows
        Number of training rows.
    loss
        Mean squared error on them; labels have variance 1 on each day, so that 1 means nothing was learned.
    ic
        Mean over the training days of the correlation between prediction and label.
    """

    start: dt.date
    train_start: dt.date
    train_end: dt.date
    rows: int
    loss: float
    ic: float


class RidgeModel:
    """Linear ranking of stocks, fitted walk-forward.

    Features and label are standardised among the stocks of each day. The coefficients minimise, over the
    training rows, ``mean((y - x @ b)**2) + alpha * b @ b`` (Hoerl & Kennard, 1970). Before each period of the
    test segment they are computed anew from the days whose label was known the evening before it began, so no
    fit has seen anything of the days it predicts.

    Parameters
    ----------
    alpha
        Strength of the penalty.
    refit
        ``year``, ``quarter`` or ``month``: how often the model is fitted anew.
    window
        Number of training days before each fit; None for all since the train segment began.
    """

    def __init__(
        self,
        alpha: float = 0.1,
        refit: Literal["year", "quarter", "month"] = "quarter",
        window: int | None = None,
    ) -> None:
        if refit not in _PERIODS:
            raise InvalidInputError(f"refit: {refit!r} is none of {', '.join(_PERIODS)}")
        if alpha < 0:
            raise InvalidInputError(f"alpha: {alpha} is negative; the penalty must be 0 or more")
        self.alpha = alpha
        self.refit = refit
        self.window = window
        self.starts = pd.DatetimeIndex([], name="datetime")
        self.coefficients: NDArray[np.float64] = np.empty((0, len(FEATURES)))

    def fit(
        self,
        dataset: DemoDataset,
        on_fold: Callable[[int, int, FoldInfo], None] | None = None,
    ) -> RidgeModel:
        """Fit once for each period of the test segment.

        Parameters
        ----------
        dataset
            With segments ``train``, which says where training data begins, and ``test``.
        on_fold
            Called after each refit with its number (from 1), how many there are, and how it went. What it
            raises ends the fitting and leaves the model as it was.

        Returns
        -------
        RidgeModel
            The model itself.

        Raises
        ------
        InvalidInputError
            The test segment has no days, or too few training days before it.
        """
        rows = dataset.prepare(slice(dataset.segments["train"][0], dataset.segments["test"][1]))
        days = _Days(rows.index)
        x = days.standardised(rows[list(FEATURES)].to_numpy())
        y = _standardised_labels(rows[LABEL])
        firsts = self._first_days(days.values, dataset.segments["test"][0])
        coefficients: list[NDArray[np.float64]] = []
        for number, first in enumerate(firsts, 1):
            # A label is known at the close LABEL_HORIZON days later, which must be over before `first`.
            end = max(first - LABEL_HORIZON, 0)
            begin = 0 if self.window is None else max(end - self.window, 0)
            part = slice(days.bounds[begin], days.bounds[end])
            known = np.isfinite(y[part])
            if not known.any():
                raise InvalidInputError(
                    f"dataset: no label is known before {days.values[first].date()} to train on; "
                    "let the train segment begin earlier",
                )
            inputs, targets = x[part][known], y[part][known]
            fitted = _ridge(inputs, targets, self.alpha)
            coefficients.append(fitted)
            if on_fold is not None:
                scores = inputs @ fitted
                info = FoldInfo(
                    start=days.values[first].date(),
                    train_start=days.values[begin].date(),
                    train_end=days.values[end - 1].date(),
                    rows=len(targets),
                    loss=float(np.mean((targets - scores) ** 2)),
                    ic=_mean_correlation(scores, targets, days.numbers[part][known]),
                )
                on_fold(number, len(firsts), info)
        self.starts = days.values[firsts]
        self.coefficients = np.array(coefficients)
        return self

    def predict(self, dataset: DemoDataset, segment: str = "test") -> pd.Series[float]:
        """Score the stocks of each day of `segment` with the latest fit before it.

        Returns
        -------
        Series
            float64, named ``score``, MultiIndex (datetime, instrument), sorted. Only the order within a day
            means something.

        Raises
        ------
        InvalidInputError
            The model was not fitted, or only for later days.
        """
        rows = dataset.prepare(segment, "feature")
        days = _Days(rows.index)
        if not len(self.starts):
            raise InvalidInputError("the model has not been fitted: call fit first")
        if len(days.values) and days.values[0] < self.starts[0]:
            raise InvalidInputError(
                f"segment {segment!r} begins on {days.values[0].date()}, before the model's first fit for "
                f"{self.starts[0].date()}; ask for a later segment",
            )
        fold_of_day = np.asarray(self.starts.searchsorted(days.values, side="right")) - 1
        x = days.standardised(rows.to_numpy())
        scores = np.einsum("ij,ij->i", x, self.coefficients[fold_of_day[days.numbers]])
        return pd.Series(scores, index=rows.index, name="score")

    def _first_days(self, days: pd.DatetimeIndex, test_start: pd.Timestamp) -> NDArray[np.intp]:
        """Return the positions of the first test day of each period."""
        begin = int(days.searchsorted(test_start))
        if begin == len(days):
            raise InvalidInputError(f"dataset: there is no day from {test_start.date()} on to predict")
        periods = days[begin:].to_period(_PERIODS[self.refit])
        return begin + np.flatnonzero(~periods.duplicated())


class _Days:
    """The days of a sorted long frame, and which rows belong to each."""

    def __init__(self, index: pd.Index) -> None:
        stamps = index.get_level_values("datetime")
        first = np.flatnonzero(~stamps.duplicated())
        self.values = pd.DatetimeIndex(stamps[first])
        self.bounds: NDArray[np.intp] = np.append(first, len(stamps))
        self.numbers: NDArray[np.intp] = np.repeat(np.arange(len(first)), np.diff(self.bounds))

    def standardised(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Shift and scale each column to mean 0 and variance 1 on each day; all equal ones become 0."""
        centred = values - self._means(values)
        spread = np.sqrt(self._means(centred**2))
        return np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 1e-12)

    def _means(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = np.add.reduceat(values, self.bounds[:-1], axis=0) if len(values) else values
        return (sums / np.diff(self.bounds)[:, None])[self.numbers]


def _standardised_labels(labels: pd.Series[float]) -> NDArray[np.float64]:
    """Standardise the known labels of each day among themselves; the others stay NaN."""
    raw = np.asarray(labels, dtype=np.float64)
    known = np.isfinite(raw)
    standardised = np.full(len(raw), np.nan)
    standardised[known] = _Days(labels.index[known]).standardised(raw[known, None])[:, 0]
    return standardised


def _ridge(x: NDArray[np.float64], y: NDArray[np.float64], alpha: float) -> NDArray[np.float64]:
    gram = x.T @ x / len(y) + alpha * np.eye(x.shape[1])
    return np.asarray(np.linalg.solve(gram, x.T @ y / len(y)), dtype=np.float64)


def _mean_correlation(a: NDArray[np.float64], b: NDArray[np.float64], days: NDArray[np.intp]) -> float:
    days = days - days[0]

    def sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(days, weights=values).astype(np.float64)

    count = np.bincount(days)
    covariance = sums(a * b) - sums(a) * sums(b) / count
    variance = (sums(a * a) - sums(a) ** 2 / count) * (sums(b * b) - sums(b) ** 2 / count)
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.nanmean(covariance / np.sqrt(variance)))
