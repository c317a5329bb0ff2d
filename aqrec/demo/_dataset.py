"""A dataset with Qlib's way of asking for a part of it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from aqrec.demo._data import load_prices, quotes_of
from aqrec.demo._features import FEATURES, LABEL, features_and_labels
from aqrec.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DemoDataset"]

_SEGMENTS = {"train": ("1991-01-01", "2000-12-31"), "test": ("2001-01-01", "2022-12-31")}
_COLUMNS = {"feature": list(FEATURES), "label": [LABEL], "__all": [*FEATURES, LABEL]}


class DemoDataset:
    """Features and labels of the demo's stocks, by segment of time.

    Parameters
    ----------
    prices
        Closes, one row per trading day, one column per instrument; default `load_prices`.
    segments
        First and last day by segment, both included; default ``train`` 1991-2000 and ``test`` 2001-2022.

    Attributes
    ----------
    prices
        The closes.
    segments
        First and last day by segment, as Timestamps.
    """

    def __init__(
        self,
        prices: pd.DataFrame | None = None,
        segments: Mapping[str, tuple[Any, Any]] | None = None,
    ) -> None:
        self.prices = load_prices() if prices is None else prices
        self.segments = {
            name: (pd.Timestamp(first), pd.Timestamp(last))
            for name, (first, last) in (_SEGMENTS if segments is None else segments).items()
        }

    @cached_property
    def frame(self) -> pd.DataFrame:
        """All rows, as `features_and_labels` returns them."""
        return features_and_labels(self.prices)

    def quotes(self) -> pd.DataFrame:
        """Return the prices as `load_quotes` does; records of a workflow trade on them."""
        return quotes_of(self.prices)

    def __getstate__(self) -> dict[str, Any]:
        # The frame is twelve times the prices and quickly made again.
        return {name: value for name, value in self.__dict__.items() if name != "frame"}

    def prepare(
        self,
        segments: str | slice[Any, Any, Any],
        col_set: str = "__all",
        data_key: str = "infer",
    ) -> pd.DataFrame:
        """Return the rows of one segment.

        Parameters
        ----------
        segments
            Name of a segment, or a slice of days, both ends included.
        col_set
            ``feature``, ``label`` or ``__all``.
        data_key
            ``raw`` and ``infer`` give every row, ``learn`` only those whose label is known.

        Returns
        -------
        DataFrame
            float64, MultiIndex (datetime, instrument), sorted.

        Raises
        ------
        InvalidInputError
            Such a segment, column set or data key does not exist.
        """
        if col_set not in _COLUMNS:
            raise InvalidInputError(f"col_set: {col_set!r} is none of {', '.join(_COLUMNS)}")
        if data_key not in {"raw", "infer", "learn"}:
            raise InvalidInputError(f"data_key: {data_key!r} is none of raw, infer, learn")
        if isinstance(segments, str):
            if segments not in self.segments:
                raise InvalidInputError(f"segments: {segments!r} is none of {', '.join(self.segments)}")
            segments = slice(*self.segments[segments])
        rows = self.frame.loc[segments]
        if data_key == "learn":
            rows = rows.loc[rows[LABEL].notna()]
        return rows[_COLUMNS[col_set]]
