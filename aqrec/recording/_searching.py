"""Searches for runs: checked before anything is read, answered as tables or runs, whole or page by page.

Coroutines run on the engine thread.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar

import msgspec

from aqrec._checks import check_texts
from aqrec.errors import InvalidInputError
from aqrec.format._ids import experiment_id as derive_experiment_id
from aqrec.format._ids import new_id
from aqrec.reading import Answer, Field, PageToken, Selection, parse_fields, to_arrow, to_frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from aqrec.recording._workspace import Workspace

__all__ = ["VIEWS", "OutputFormat", "Page", "Query", "search", "search_page", "shown"]

OutputFormat = Literal["pandas", "arrow", "polars", "recorders"]
T = TypeVar("T")

VIEWS: Final = ("active", "deleted", "all")
_FORMATS: Final = ("pandas", "arrow", "polars", "recorders")
_MODULES: Final = {"pandas": "pandas", "arrow": "pyarrow", "polars": "polars"}


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page of a search.

    Attributes
    ----------
    records
        The runs, in the form that was asked for.
    token
        Asks for the next page; None: there is none.
    """

    records: T
    token: str | None


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What a search is asked for; see `ExperimentManager.search_records`."""

    experiment_ids: list[str] | None = None
    experiment_names: list[str] | None = None
    filter_string: str = ""
    order_by: list[str] | None = None
    max_results: int | None = None
    view: str = "active"
    fields: list[str] | None = None
    output_format: str = "pandas"

    def check(self) -> tuple[Field, ...]:
        """Return the columns that are asked for; raise `InvalidInputError` for what makes no sense."""
        check_texts("experiment_ids", self.experiment_ids)
        check_texts("experiment_names", self.experiment_names)
        if self.view not in VIEWS:
            raise InvalidInputError(f"view {self.view!r}: choose one of {', '.join(VIEWS)}")
        if self.output_format not in _FORMATS:
            raise InvalidInputError(
                f"output_format {self.output_format!r}: choose one of {', '.join(_FORMATS)}"
            )
        module = _MODULES.get(self.output_format)
        if module is not None and find_spec(module) is None:
            raise InvalidInputError(
                f"output_format={self.output_format!r} needs {module}, which is not installed: pip install {module}"
            )
        return parse_fields(self.fields)

    def selection(self, workspace: Workspace, *, limit: int | None, now: int | None = None) -> Selection:
        """Return the filter and the order, parsed."""
        return Selection(self.filter_string, self.order_by, limit, workspace.artifact_uri, now=now)

    def experiments(self) -> list[str] | None:
        """Return the ids of the experiments that are meant, None: all."""
        if self.experiment_ids is None and self.experiment_names is None:
            return None
        ids = list(dict.fromkeys(self.experiment_ids or ()))
        return ids + [derive_experiment_id(name) for name in self.experiment_names or ()]

    def digest(self) -> str:
        """Return what tells this search from others, whatever of it is shown."""
        told = (self.experiments(), self.filter_string, self.order_by, self.view)
        return hashlib.sha256(msgspec.json.encode(told)).hexdigest()[:16]


async def search(workspace: Workspace, query: Query) -> Any:
    """Return the matching runs in the form that is asked for; `Run` handles for ``recorders``."""
    fields = query.check()
    selection = query.selection(workspace, limit=query.max_results)
    loading = _loading(query)
    try:
        catalog = await workspace.session.view()
        made = await catalog.search(
            selection,
            query.experiments(),
            query.view,
            workspace.artifact_uri,
            lambda found: _shown(found, fields, query),
        )
    finally:
        if loading is not None:
            await loading
    return _handles(workspace, made, query)


async def search_page(workspace: Workspace, query: Query, token: str | None) -> Page[Any]:
    """Return one page of the matching runs; see `ExperimentManager.search_page`."""
    fields = query.check()
    count = query.max_results
    if count is None:
        raise InvalidInputError("max_results=None: a page has a size; give a whole number from 1 on")
    digest = query.digest()
    before = PageToken.read(token, digest) if token else None
    selection = query.selection(workspace, limit=count, now=before.now if before else None).unlimited()
    catalog = workspace.session.catalog
    pinned = catalog.pins.find(before.pin) if before else None

    def turn(found: Answer, until: int) -> tuple[Any, str | None]:
        first = 0
        if before is not None:
            # The answer of another process may be another one: go on behind the run that came last.
            first = before.offset if found is pinned else found.after(before.last, before.offset)
        part = found.slice(first, count)
        made, through = _shown(part, fields, query), first + part.count
        if through >= found.count:
            return made, None
        following = PageToken(
            pin=before.pin if before else new_id(),
            query=digest,
            offset=through,
            last=part.slice(part.count - 1, 1).run_ids()[0],
            until=until,
            now=selection.now,
        )
        catalog.pins.hold(following.pin, found)
        return made, following.text()

    if pinned is not None and before is not None:
        turned = await asyncio.get_running_loop().run_in_executor(None, turn, pinned, before.until)
    else:
        catalog = await workspace.session.view()
        until = before.until if before else catalog.observed
        turned = await catalog.search(
            selection,
            query.experiments(),
            query.view,
            workspace.artifact_uri,
            lambda found: turn(found, until),
            until=until,
        )
    return Page(_handles(workspace, turned[0], query), turned[1])


def _loading(query: Query) -> asyncio.Future[Any] | None:
    """Import what the answer is made of, while the store is read; None: that has been done."""
    module = _MODULES.get(query.output_format)
    if module is None or module in sys.modules:
        return None
    return asyncio.get_running_loop().run_in_executor(None, import_module, module)


def _shown(found: Answer, fields: tuple[Field, ...], query: Query) -> Any:
    if query.output_format == "recorders":
        return found.documents()
    if query.output_format == "pandas":
        return to_frame(found, fields)
    table = to_arrow(found, fields)
    if query.output_format == "polars":
        import polars as pl  # noqa: PLC0415 - heavy, and not everybody has it

        return pl.from_arrow(table)
    return table


def _handles(workspace: Workspace, made: Any, query: Query) -> Any:
    return list(map(workspace.handle, made)) if query.output_format == "recorders" else made


def shown(records: Any, query: Query, recorder: Callable[[Any], Any]) -> Any:
    """Return the answer of a search with its runs as recorders of a face."""
    return list(map(recorder, records)) if query.output_format == "recorders" else records
