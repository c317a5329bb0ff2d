"""MLflow's data base in an SQLite file, read with the standard library."""

from __future__ import annotations

import math
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from aqrec.errors import CorruptError, ObjectNotFoundError, StorageError
from aqrec.integrations.mlflow._source import FoundExperiment, FoundRun, Point, artifact_folder

__all__ = ["SqliteSource"]


class SqliteSource:
    """A file of SQLite, opened for reading only; see `Source`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damaged: list[str] = []
        self.deleted = 0
        if not path.is_file():
            raise ObjectNotFoundError(f"there is no file {str(path)!r}")
        self._base: sqlite3.Connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        self._base.row_factory = sqlite3.Row
        try:
            count = self._rows(
                "SELECT count(*) FROM runs JOIN experiments USING (experiment_id) WHERE runs.lifecycle_stage = 'active' "
                "AND experiments.lifecycle_stage = 'active'"
            )
            self._count = int(count[0][0])
            self.deleted = int(self._rows("SELECT count(*) FROM runs")[0][0]) - self._count
        except CorruptError:
            self.close()
            raise

    def __len__(self) -> int:
        return self._count

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    def _rows(self, query: str, *values: object) -> list[Any]:
        try:
            return self._base.execute(query, values).fetchall()
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise StorageError(f"{str(self.path)!r} is in use: {error}") from error
            raise CorruptError(f"{str(self.path)!r} is no data base of MLflow's runs: {error}") from error
        except sqlite3.DatabaseError as error:
            raise CorruptError(f"{str(self.path)!r} is no data base of MLflow's runs: {error}") from error

    def experiments(self) -> list[FoundExperiment]:
        """Read the experiments, deleted ones left out."""
        tags: dict[int, dict[str, str]] = {}
        if self._rows("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'experiment_tags'"):
            for experiment_id, key, value in self._rows(
                "SELECT experiment_id, key, value FROM experiment_tags"
            ):
                tags.setdefault(experiment_id, {})[str(key)] = "" if value is None else str(value)
        rows = self._rows(
            "SELECT experiment_id, name FROM experiments WHERE lifecycle_stage = 'active' ORDER BY experiment_id"
        )
        return [FoundExperiment(name=str(name), tags=tags.get(number, {})) for number, name in rows]

    def runs(self) -> Iterator[FoundRun]:
        """Read the runs one after another."""
        for row in self._rows(
            "SELECT runs.*, experiments.name AS experiment FROM runs JOIN experiments USING (experiment_id) "
            "WHERE runs.lifecycle_stage = 'active' AND experiments.lifecycle_stage = 'active' "
            "ORDER BY runs.start_time, runs.run_uuid"
        ):
            run_id = str(row["run_uuid"])
            tags = self._texts("tags", run_id)
            counts = self._rows("SELECT key, count(*) FROM metrics WHERE run_uuid = ? GROUP BY key", run_id)
            uri = str(row["artifact_uri"] or "")
            yield FoundRun(
                run_id=run_id,
                name=str(tags.get("mlflow.runName") or row["name"] or ""),
                experiment=str(row["experiment"]),
                status=str(row["status"]),
                start=row["start_time"],
                end=row["end_time"],
                params=self._texts("params", run_id),
                tags=tags,
                sizes={str(key): int(count) for key, count in counts},
                artifacts=artifact_folder(uri, self.path.resolve().parent),
                artifact_uri=uri,
                base=self.path.resolve().parent,
                where=run_id,
            )

    def _texts(self, table: str, run_id: str) -> dict[str, str]:
        rows = self._rows(f"SELECT key, value FROM {table} WHERE run_uuid = ? ORDER BY key", run_id)  # noqa: S608 - a name of ours
        return {str(key): "" if value is None else str(value) for key, value in rows}

    def points(self, run: FoundRun) -> Iterable[tuple[str, list[Point]]]:
        """Read the history of each metric in the order of the table's rows, which is that of logging."""
        rows = self._rows(
            "SELECT key, timestamp, value, step, is_nan FROM metrics WHERE run_uuid = ? ORDER BY key, rowid",
            run.where,
        )
        for key, group in groupby(rows, lambda row: str(row["key"])):
            yield key, [(int(row[1]), _value(row[2], is_nan=bool(row[4])), int(row[3])) for row in group]


def _value(stored: float, *, is_nan: bool) -> float:
    """Return what was logged: SQL has no NaN, and MLflow stores the greatest number for infinity."""
    if is_nan:
        return math.nan
    if abs(stored) >= sys.float_info.max:
        return math.copysign(math.inf, stored)
    return float(stored)
