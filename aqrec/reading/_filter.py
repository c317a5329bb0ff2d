"""Filters and orders of runs, in the language of MLflow's run search; no I/O.

`parse_filter` and `parse_order` read and check the whole text at once, so that a mistake costs no request.
Nothing in a text is ever evaluated as code. All that MLflow accepts means the same here; what goes beyond it
(OR, NOT, brackets, lists and ranges, typed params, times in words) are texts that MLflow rejects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aqrec.errors import InvalidInputError
from aqrec.format._document import RunDocument
from aqrec.format._document import latest as latest_of
from aqrec.format._ids import now_ms
from aqrec.format._layout import artifacts_folder
from aqrec.reading._filter_nodes import (
    MISSING,
    Key,
    Latest,
    Node,
    Run,
    UriOf,
    keys,
    predicate,
    reader,
    text_form,
)
from aqrec.reading._filter_parser import parse_condition, parse_ordering

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["START", "Filter", "Order", "parse_filter", "parse_order"]

_NO_METRICS: Final[Latest] = {}
START: Final = Key("attributes", "start_time")


class Filter:
    """A condition on runs, made by `parse_filter`.

    Attributes
    ----------
    text
        What it was parsed from.
    node
        Its parsed form.
    needs_metrics
        Whether `matches` looks at metrics; if not, any mapping will do for them.
    """

    __slots__ = ("_judge", "_now", "needs_metrics", "node", "text")

    def __init__(self, text: str, node: Node, now: int) -> None:
        self.text = text
        self.node = node
        self._now = now
        self.needs_metrics = any(key.entity == "metrics" for key in keys(node))
        self._judge = predicate(node)

    def __repr__(self) -> str:
        return f"Filter({self.text!r})"

    def matches(self, doc: RunDocument, latest: Latest, artifact_uri: UriOf = artifacts_folder) -> bool:
        """Whether the run satisfies the filter.

        Parameters
        ----------
        doc
            The run.
        latest
            Its metrics over all writers, see `aqrec.format._document.latest`; the latest point counts
            unless the filter asks for another figure.
        artifact_uri
            Gives the URI of a run's artifacts for its id; by default their folder below the store's URL.
        """
        return self._judge(Run(doc, latest, artifact_uri, self._now))


class Order:
    """A sequence of runs, made by `parse_order`.

    Attributes
    ----------
    terms
        Keys, each with whether it is descending; the first one weighs most.
    """

    __slots__ = ("_now", "needs_metrics", "terms")

    def __init__(self, terms: Sequence[tuple[Key, bool]], now: int) -> None:
        self.terms = tuple(terms)
        self._now = now
        self.needs_metrics = any(key.entity == "metrics" for key, _ in terms)

    def __repr__(self) -> str:
        return f"Order({self.terms!r})"

    def sort(self, docs: Iterable[RunDocument], artifact_uri: UriOf = artifacts_folder) -> list[RunDocument]:
        """Return the runs in order.

        Runs without a value come last in both directions, those with NaN just before them. Numbers and
        booleans are ordered by value; everything else is greater than they are, and ordered by the code
        points of its text form. What is equal in all keys is ordered by the latest start, then by run id.
        """
        docs = list(docs)
        terms = (*self.terms, (START, True))
        readers = [reader(key) for key, _ in terms]
        columns: list[list[Any]] = [[] for _ in terms]
        for doc in docs:
            run = Run(doc, latest_of(doc) if self.needs_metrics else _NO_METRICS, artifact_uri, self._now)
            for column, read in zip(columns, readers, strict=True):
                column.append(read(run))
        rows = sorted(range(len(docs)), key=lambda row: docs[row].run_id)
        return [docs[row] for row in self.arrange(rows, columns)]

    def arrange(self, rows: list[int], columns: Sequence[Sequence[Any]]) -> list[int]:
        """Return `rows`, given by run id, in order: by their values in a column for each term, and one of start times."""
        terms = (*self.terms, (START, True))
        for (_, descending), column in reversed(list(zip(terms, columns, strict=True))):
            rows = _arranged(rows, column, descending=descending)
        return rows


def _arranged(rows: list[int], column: Sequence[Any], *, descending: bool) -> list[int]:
    """Return `rows` sorted by the values that `column` has for them; equal ones stay as they were."""
    numbers: list[int] = []
    texts: list[int] = []
    unordered: list[int] = []
    missing: list[int] = []
    for row in rows:
        value = column[row]
        if value is MISSING:
            missing.append(row)
        elif not isinstance(value, (int, float)):
            texts.append(row)
        elif value == value:  # noqa: PLR0124 - not NaN
            numbers.append(row)
        else:
            unordered.append(row)
    numbers.sort(key=column.__getitem__, reverse=descending)
    texts.sort(key=lambda row: text_form(column[row]), reverse=descending)
    present = texts + numbers if descending else numbers + texts
    return present + unordered + missing


def parse_filter(text: str | None, *, now: int | None = None) -> Filter:
    """Return the filter that `text` describes; empty text and None accept every run.

    Parameters
    ----------
    text
        Clauses, joined by AND, OR, NOT and brackets: ``metrics.ic > 0.03 AND (params.model = 'LightGBM' OR
        tags.stage IS NULL)``. NOT binds closest, then AND. What MLflow accepts means what it means there.

        Keys are ``metrics.``, ``params.`` or ``tags.`` and a name, which is quoted (``metrics.`val/loss```)
        if it holds anything but letters, digits, ``_`` and dots; ``min(metrics.loss)``, or ``max``, ``last``,
        ``count`` (points) or ``step`` (the latest one's) of a metric, which alone stands for its latest value;
        or one of the attributes ``run_id``, ``run_name``, ``status``, ``user_id`` (the tag ``mlflow.user``),
        ``artifact_uri``, ``parent`` (id of the parent run), ``start_time``, ``end_time``, ``created`` (the
        start, or the creation of a run that has not started) and ``duration`` (seconds; until now of a run that
        has not ended).

        Metrics, times and durations take ``= != > >= < <=`` and a number (times: ms since epoch), or text:
        a time ``'2024-05-31'``, ``'2024-05-31T16:00:00+02:00'``, ``'7 days ago'``, ``'today'`` (UTC), a duration
        ``'90 min'``. Tags and the other attributes take ``= !=`` and quoted text, and the patterns ``LIKE
        ILIKE RLIKE``, also after NOT. Params take all of these. Every key takes ``IN`` and ``NOT IN`` with a list
        ``('a', 'b')``, ``BETWEEN low AND high`` (both included), ``NOT BETWEEN`` (below or above), ``IS NULL`` and
        ``IS NOT NULL``.

        Quoted text is compared with the text form of a param or tag (its `str`), by code points; a bare number
        only with numbers, ``true`` and ``false`` only with booleans; a value of another type is unequal. In LIKE
        ``%`` stands for any characters and ``_`` for one; ILIKE ignores case. RLIKE looks anywhere in the text for
        a regular expression of RE2's form. NaN satisfies only ``!=`` and ``NOT IN``. A run without the key satisfies
        no clause but ``IS NULL``; so ``NOT params.a = 1`` finds it, and ``params.a != 1`` does not.
    now
        What relative times count from, ms since epoch; default: the clock.

    Raises
    ------
    aqrec.errors.InvalidInputError
        The text is not a filter; the message points at the place and says what was expected there.
    """
    if text is None:
        text = ""
    _check_text("filter_string", text)
    moment = now_ms() if now is None else now
    return Filter(text, parse_condition("filter_string", text, moment), moment)


def parse_order(order_by: Sequence[str] | None, *, now: int | None = None) -> Order:
    """Return the order that a list of keys describes.

    Parameters
    ----------
    order_by
        Keys as in `parse_filter`, each with an optional ``ASC`` (the default) or ``DESC``:
        ``["metrics.ic DESC", "params.lr"]``. Empty or None: the latest start first.
    now
        Where the durations of runs that go on end, ms since epoch; default: the clock.

    Raises
    ------
    aqrec.errors.InvalidInputError
        It is not a list of keys with directions.
    """
    if isinstance(order_by, str):
        raise InvalidInputError(f"order_by={order_by!r} is one text; give a list: order_by=[{order_by!r}]")
    terms: list[tuple[Key, bool]] = []
    for item in order_by or ():
        _check_text("order_by", item)
        terms.append(parse_ordering("order_by", item))
    return Order(terms, now_ms() if now is None else now)


def _check_text(source: str, text: object) -> None:
    if not isinstance(text, str):
        raise InvalidInputError(f"{source}: expected text, got {type(text).__name__}: {text!r:.80}")
