"""Which runs a question means: filter, order and limit, checked completely before anything is read."""

from __future__ import annotations

from collections.abc import Sequence

from aqrec.errors import InvalidInputError
from aqrec.format._document import RunDocument, latest
from aqrec.reading._filter import parse_filter, parse_order

__all__ = ["Selection"]


class Selection:
    """Parsed once, then applied to documents; raises `InvalidInputError` when it is made from what cannot be understood."""

    def __init__(
        self, filter_string: str = "", order_by: list[str] | None = None, max_results: int | None = None
    ) -> None:
        if max_results is not None and (type(max_results) is not int or max_results < 1):
            raise InvalidInputError(f"max_results={max_results!r}: give a positive whole number, or None for all")
        self._filter = parse_filter(filter_string)
        self._order = parse_order(order_by or [])
        self._limit = max_results

    def apply(self, docs: Sequence[RunDocument]) -> list[RunDocument]:
        """Return the documents that match, in order, at most as many as asked."""
        matching = [doc for doc in docs if self._filter.matches(doc, latest(doc))]
        return self._order.sort(matching)[: self._limit]
