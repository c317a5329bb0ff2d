"""What distinguishes runs: params, metrics, tags and the code they ran. Coroutines run on the engine thread."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import unified_diff
from typing import TYPE_CHECKING, Any, Final

import msgspec

from aqrec.errors import InvalidInputError, LoadObjectError
from aqrec.format._document import RunDocument, copy_document, latest
from aqrec.format._ids import now_ms
from aqrec.recording import _artifacts as artifacts

if TYPE_CHECKING:
    import pandas as pd

    from aqrec.recording._workspace import Workspace

__all__ = ["CodeDifference", "Comparison", "compare"]

_ORIGIN: Final = "environment.json"
_CHANGES: Final = "code_diff.txt"
_FOREIGN: Final = "mlflow."
_AT_ONCE: Final = 8
_NOTHING: Final = object()
_NOT_A_TIME: Final = -(2**63)


class CodeDifference(msgspec.Struct, frozen=True):
    """How the code of a run differs from that of the first one, as far as both recorded it.

    Attributes
    ----------
    run_id
        The run.
    commits
        Commit of the first run, and of this one; None: none was recorded.
    diff
        From the uncommitted changes of the first run (a patch) to those of this one, as a unified diff; empty: they are the same.
    """

    run_id: str
    commits: tuple[str | None, str | None]
    diff: str

    @property
    def same(self) -> bool | None:
        """Whether both ran the same code; None if that was not recorded."""
        if None in self.commits:
            return None
        return self.commits[0] == self.commits[1] and not self.diff


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Runs side by side; made by `ExperimentManager.compare`. The columns of `params`, `metrics` and `tags` are the runs' ids.

    Attributes
    ----------
    runs
        DataFrame by run id: ``name, experiment_name, status`` (object), ``start_time`` (datetime64[ms, UTC]), ``duration``
        (float64, seconds), ``commit`` (object).
    params, tags
        DataFrames of objects by key, of the keys that differ, or all; None where a run has none.
    metrics
        DataFrame of float64 by key: latest values; NaN where a run has none.
    code
        For each run but the first, how its code differs.
    """

    runs: pd.DataFrame
    params: pd.DataFrame
    metrics: pd.DataFrame
    tags: pd.DataFrame
    code: list[CodeDifference]

    def __repr__(self) -> str:
        return (
            f"Comparison of {len(self.runs)} runs: {len(self.params)} params, {len(self.tags)} tags, "
            f"{len(self.metrics)} metrics"
        )


class _Origin(msgspec.Struct):
    """What was recorded of a run's code."""

    commit: str | None = None
    changes: str = ""


async def compare(workspace: Workspace, run_ids: Sequence[str], *, everything: bool) -> Comparison:
    """Return what distinguishes runs; see `ExperimentManager.compare`."""
    ids = list(dict.fromkeys(run_ids))
    if len(ids) < 2:
        raise InvalidInputError(f"compare needs two runs or more; {len(ids)} given")
    catalog = await workspace.session.refresh()
    await catalog.catch_up(ids)
    docs = [copy_document(await catalog.find_run(run_id)) for run_id in ids]
    slots = asyncio.Semaphore(_AT_ONCE)

    async def read(doc: RunDocument) -> _Origin:
        async with slots:
            return await _origin(workspace, doc)

    origins = await asyncio.gather(*map(read, docs))
    return await asyncio.get_running_loop().run_in_executor(
        None, lambda: _comparison(docs, origins, everything=everything)
    )


async def _origin(workspace: Workspace, doc: RunDocument) -> _Origin:
    async def load(name: str) -> Any:
        if name not in doc.artifacts:
            return None
        try:
            return await artifacts.load_object(workspace.handle(doc), name, None, None)
        except LoadObjectError:
            return None  # damaged or gone: as if it had not been recorded

    found, changes = await load(_ORIGIN), await load(_CHANGES)
    git = found.get("git") if isinstance(found, dict) else None
    commit = git.get("commit") if isinstance(git, dict) else None
    return _Origin(commit if isinstance(commit, str) else None, changes if isinstance(changes, str) else "")


def _comparison(docs: list[RunDocument], origins: list[_Origin], *, everything: bool) -> Comparison:
    import numpy as np  # noqa: PLC0415 - heavy
    import pandas as pd  # noqa: PLC0415 - heavy

    ids = [doc.run_id for doc in docs]
    now = now_ms()
    starts = [doc.start_time for doc in docs]
    index = pd.Index(ids, dtype="object", name="run_id")
    runs = pd.DataFrame(
        {
            "name": _objects([doc.name for doc in docs], index),
            "experiment_name": _objects([doc.experiment_name for doc in docs], index),
            "status": _objects([doc.status for doc in docs], index),
            "start_time": pd.DatetimeIndex(
                np.array([_NOT_A_TIME if start is None else start for start in starts], np.int64).view(
                    "datetime64[ms]"
                ),
                tz="UTC",
            ),
            "duration": [
                float("nan")
                if start is None
                else ((now if doc.end_time is None else doc.end_time) - start) / 1000
                for doc, start in zip(docs, starts, strict=True)
            ],
            "commit": _objects([origin.commit for origin in origins], index),
        },
        index=index,
    )
    values = [{key: summary.value for key, summary in latest(doc).items()} for doc in docs]
    keys = sorted(set().union(*values))
    metrics = pd.DataFrame(
        {
            run_id: [row.get(key, float("nan")) for key in keys]
            for run_id, row in zip(ids, values, strict=True)
        },
        index=pd.Index(keys, dtype="object", name="metric"),
        dtype="float64",
    )
    first = origins[0]
    return Comparison(
        runs=runs,
        params=_side_by_side("param", ids, [doc.params for doc in docs], everything=everything),
        metrics=metrics,
        tags=_side_by_side(
            "tag",
            ids,
            [{key: value for key, value in doc.tags.items() if not key.startswith(_FOREIGN)} for doc in docs],
            everything=everything,
        ),
        code=[
            CodeDifference(run_id, (first.commit, other.commit), _diff(ids[0], first, run_id, other))
            for run_id, other in zip(ids[1:], origins[1:], strict=True)
        ],
    )


def _diff(first_id: str, first: _Origin, other_id: str, other: _Origin) -> str:
    lines = unified_diff(
        first.changes.splitlines(keepends=True),
        other.changes.splitlines(keepends=True),
        f"{first_id}/{_CHANGES}",
        f"{other_id}/{_CHANGES}",
    )
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def _side_by_side(
    name: str, ids: list[str], rows: Sequence[Mapping[str, Any]], *, everything: bool
) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - heavy

    keys = [
        key
        for key in sorted(set().union(*rows))
        if everything or _differ(row.get(key, _NOTHING) for row in rows)
    ]
    index = pd.Index(keys, dtype="object", name=name)
    return pd.DataFrame(
        {
            run_id: _objects([row.get(key) for key in keys], index)
            for run_id, row in zip(ids, rows, strict=True)
        },
        index=index,
        dtype="object",
    )


def _differ(values: Any) -> bool:
    # By type as well, and NaN is itself.
    first, *others = [(type(value), repr(value)) for value in values]
    return any(other != first for other in others)


def _objects(values: list[Any], index: pd.Index[Any]) -> pd.Series[Any]:
    import numpy as np  # noqa: PLC0415 - heavy
    import pandas as pd  # noqa: PLC0415 - heavy

    # Through NumPy: pandas would make columns of lists and texts something else.
    return pd.Series(np.fromiter(values, dtype=object, count=len(values)), index, dtype=object)
