"""Which runs a question means: filter, order and limit, checked completely before anything is read."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence

from aqrec.errors import InvalidInputError
from aqrec.format._document import RunDocument, latest
from aqrec.format._ids import now_ms
from aqrec.format._layout import artifacts_folder
from aqrec.reading._filter import Order, parse_filter, parse_order
from aqrec.reading._filter_nodes import Node

__all__ = ["Selection"]


class Selection:
    """Parsed once, then applied to documents.

    Parameters
    ----------
    filter_string
        Which runs, see `parse_filter`; empty: all.
    order_by
        In which order, see `parse_order`; by default the latest start first.
    max_results
        How many at most, at least 1; None: all.
    artifact_uri
        Gives the URI of a run's artifacts for its id, for filters and orders that ask for it.

    now
        What "7 days ago" and the durations of runs that go on count from, in ms since epoch; default: the clock.

    Attributes
    ----------
    now
        See above.

    Raises
    ------
    aqrec.errors.InvalidInputError
        The filter, the order or the number makes no sense.
    """

    def __init__(
        self,
        filter_string: str | None = "",
        order_by: Sequence[str] | None = None,
        max_results: int | None = None,
        artifact_uri: Callable[[str], str] = artifacts_folder,
        *,
        now: int | None = None,
    ) -> None:
        self.now = now_ms() if now is None else now
        self._filter = parse_filter(filter_string, now=self.now)
        self._order = parse_order(order_by, now=self.now)
        if max_results is not None and (type(max_results) is not int or max_results < 1):
            raise InvalidInputError(
                f"max_results={max_results!r}: give a whole number from 1 on, or None for all runs"
            )
        self._limit = max_results
        self._artifact_uri = artifact_uri

    @property
    def node(self) -> Node:
        """The parsed filter."""
        return self._filter.node

    @property
    def order(self) -> Order:
        """The parsed order."""
        return self._order

    @property
    def limit(self) -> int | None:
        """How many runs are wanted at most."""
        return self._limit

    def unlimited(self) -> Selection:
        """Return the same without its limit."""
        found = copy.copy(self)
        found._limit = None
        return found

    def fitting(self, docs: Iterable[RunDocument]) -> list[RunDocument]:
        """Return the documents that match."""
        condition, uri = self._filter, self._artifact_uri
        return [
            doc for doc in docs if condition.matches(doc, latest(doc) if condition.needs_metrics else {}, uri)
        ]

    def apply(self, docs: Iterable[RunDocument]) -> list[RunDocument]:
        """Return the documents that match, in order, at most as many as asked."""
        return self._order.sort(self.fitting(docs), self._artifact_uri)[: self._limit]
