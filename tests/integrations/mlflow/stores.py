"""MLflow's two kinds of stores, written as MLflow writes them, and what is in one, for comparison."""

import math
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from aqrec.integrations.mlflow._importing import open_source

__all__ = ["Given", "content", "write_file_store", "write_sqlite"]

NUMBERS = {"RUNNING": 1, "SCHEDULED": 2, "FINISHED": 3, "FAILED": 4, "KILLED": 5}
SCHEMA = """
CREATE TABLE experiments (experiment_id INTEGER PRIMARY KEY, name VARCHAR UNIQUE, artifact_location VARCHAR,
    lifecycle_stage VARCHAR);
CREATE TABLE runs (run_uuid VARCHAR PRIMARY KEY, name VARCHAR, source_type VARCHAR, user_id VARCHAR, status VARCHAR,
    start_time BIGINT, end_time BIGINT, lifecycle_stage VARCHAR, artifact_uri VARCHAR, experiment_id INTEGER);
CREATE TABLE params (key VARCHAR, value VARCHAR, run_uuid VARCHAR, PRIMARY KEY (key, run_uuid));
CREATE TABLE tags (key VARCHAR, value VARCHAR, run_uuid VARCHAR, PRIMARY KEY (key, run_uuid));
CREATE TABLE metrics (key VARCHAR, value FLOAT NOT NULL, timestamp BIGINT, run_uuid VARCHAR, step BIGINT DEFAULT 0,
    is_nan BOOLEAN DEFAULT 0, PRIMARY KEY (key, timestamp, step, run_uuid, value, is_nan));
CREATE INDEX index_params_run_uuid ON params (run_uuid);
CREATE INDEX index_tags_run_uuid ON tags (run_uuid);
CREATE INDEX index_metrics_run_uuid ON metrics (run_uuid);
"""


class Given(NamedTuple):
    """A run of MLflow's."""

    run_id: str
    experiment: str = "alpha"
    name: str = "r"
    status: str = "FINISHED"
    start: int = 1_600_000_000_000
    end: int | None = 1_600_000_060_000
    params: dict[str, str] = {}  # noqa: RUF012 - never changed
    tags: dict[str, str] = {}  # noqa: RUF012 - never changed
    metrics: dict[str, list[tuple[int, float, int]]] = {}  # noqa: RUF012 - never changed
    artifacts: dict[str, bytes] = {}  # noqa: RUF012 - never changed
    deleted: bool = False

    @property
    def stage(self) -> str:
        return "deleted" if self.deleted else "active"


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def write_file_store(root: Path, runs: Iterable[Given]) -> Path:
    """Write a folder ``mlruns``."""
    ids: dict[str, str] = {}
    for run in runs:
        home = root / ids.setdefault(run.experiment, str(len(ids)))
        facts: dict[str, Any] = {
            "experiment_id": home.name,
            "name": run.experiment,
            "lifecycle_stage": "active",
        }
        _write(home / "meta.yaml", yaml.safe_dump(facts).encode())
        folder = home / run.run_id
        facts = {
            "run_id": run.run_id,
            "run_uuid": run.run_id,
            "run_name": run.name,
            "experiment_id": home.name,
            "status": NUMBERS[run.status],
            "start_time": run.start,
            "end_time": run.end,
            "lifecycle_stage": run.stage,
            "artifact_uri": f"file:///somewhere/else/{run.run_id}/artifacts",
        }
        _write(folder / "meta.yaml", yaml.safe_dump(facts).encode())
        for kind, values in (("params", run.params), ("tags", {"mlflow.runName": run.name, **run.tags})):
            (folder / kind).mkdir(exist_ok=True)
            for key, value in values.items():
                _write(folder / kind / key, value.encode())
        for key, points in run.metrics.items():
            text = "".join(f"{timestamp} {value} {step}\n" for timestamp, value, step in points)
            _write(folder / "metrics" / key, text.encode())
        (folder / "artifacts").mkdir(exist_ok=True)
        for path, data in run.artifacts.items():
            _write(folder / "artifacts" / path, data)
    return root


def write_sqlite(path: Path, runs: Iterable[Given]) -> Path:
    """Write a data base, with the artifacts beside it."""
    base = sqlite3.connect(path)
    base.executescript(SCHEMA)
    ids: dict[str, int] = {}
    for run in runs:
        number = ids.setdefault(run.experiment, len(ids) + 1)
        base.execute(
            "INSERT OR IGNORE INTO experiments VALUES (?, ?, '', 'active')", (number, run.experiment)
        )
        place = path.parent / "artifacts of sqlite" / run.run_id
        row = (
            run.run_id,
            run.name,
            "LOCAL",
            "u",
            run.status,
            run.start,
            run.end,
            run.stage,
            place.as_uri(),
            number,
        )
        base.execute(f"INSERT INTO runs VALUES ({', '.join('?' * len(row))})", row)
        for table, values in (("params", run.params), ("tags", {"mlflow.runName": run.name, **run.tags})):
            rows = [(key, value, run.run_id) for key, value in values.items()]
            base.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", rows)
        for key, points in run.metrics.items():
            for timestamp, value, step in points:
                stored = (
                    0.0
                    if math.isnan(value)
                    else max(min(value, 1.7976931348623157e308), -1.7976931348623157e308)
                )
                base.execute(
                    "INSERT OR IGNORE INTO metrics VALUES (?, ?, ?, ?, ?, ?)",
                    (key, stored, timestamp, run.run_id, step, math.isnan(value)),
                )
        for name, data in run.artifacts.items():
            _write(place / name, data)
    base.commit()
    base.close()
    return path


def content(location: str | Path) -> dict[str, Any]:
    """Return what is in a store of MLflow's, by run; points ordered as MLflow orders them, numbers as text."""
    source = open_source(str(location))
    found: dict[str, Any] = {}
    for run in source.runs():
        files: dict[str, bytes] = {}
        if run.artifacts is not None:
            paths = [path for path in run.artifacts.rglob("*") if path.is_file()]
            files = {path.relative_to(run.artifacts).as_posix(): path.read_bytes() for path in paths}
        found[run.run_id] = {
            "facts": (run.experiment, run.name, run.status, run.start, run.end),
            "params": run.params,
            "tags": run.tags,
            "metrics": {
                key: [
                    (step, timestamp, repr(value))
                    for timestamp, value, step in sorted(points, key=lambda p: (p[2], p[0]))
                ]
                for key, points in source.points(run)
                if points
            },
            "artifacts": files,
        }
    assert source.damaged == []
    source.close()
    return found
