"""MLflow's file store: a folder an experiment, below it a folder a run, in that a file a param, tag and metric."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from aqrec.errors import CorruptError, ObjectNotFoundError
from aqrec.integrations.mlflow._source import STATUSES, FoundExperiment, FoundRun, Point, artifact_folder

__all__ = ["FileSource"]

_META = "meta.yaml"
_NO_RUNS = frozenset({"tags", "datasets", "traces", "models", "assessments", "scorers"})
"""What lies beside the runs in an experiment's folder"""


class FileSource:
    """A folder ``mlruns``, see `Source`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.damaged: list[str] = []
        self.deleted = 0
        if not root.is_dir():
            raise ObjectNotFoundError(f"there is no folder {str(root)!r}")
        if not self._experiments:
            raise ObjectNotFoundError(
                f"{str(root)!r} is no file store of MLflow: no folder in it has a {_META} of an experiment"
            )

    def __len__(self) -> int:
        return len(self._folders)

    def close(self) -> None:
        """Do nothing: no file stays open."""

    @cached_property
    def _experiments(self) -> dict[Path, str]:
        found: dict[Path, str] = {}
        for meta in sorted(self.root.glob(f"*/{_META}")):
            facts = self._read(meta)
            if facts is not None and "experiment_id" in facts and "run_id" not in facts:
                found[meta.parent] = str(facts.get("name") or facts["experiment_id"])
        return found

    def experiments(self) -> list[FoundExperiment]:
        """Read the experiments; deleted ones lie in ``.trash``."""
        return [
            FoundExperiment(name=name, tags=_texts(folder / "tags"))
            for folder, name in self._experiments.items()
        ]

    @cached_property
    def _folders(self) -> list[tuple[Path, str]]:
        """Folders of runs, with the names of their experiments; experiments that were deleted lie deeper, in ``.trash``."""
        return [
            (meta.parent, name)
            for folder, name in self._experiments.items()
            for meta in sorted(folder.glob(f"*/{_META}"))
            if meta.parent.name not in _NO_RUNS
        ]

    def _read(self, path: Path) -> dict[str, Any] | None:
        import yaml  # noqa: PLC0415 - only when something is imported

        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            facts = yaml.load(path.read_bytes(), Loader=loader)  # noqa: S506 - a safe one
            if not isinstance(facts, dict):
                raise CorruptError("it is no mapping")
        except (OSError, ValueError, yaml.YAMLError) as error:
            self.damaged.append(f"{path}: {error}")
            return None
        return facts

    def runs(self) -> Iterator[FoundRun]:
        """Read the runs one after another."""
        for folder, experiment in self._folders:
            facts = self._read(folder / _META)
            if facts is None:
                continue
            if str(facts.get("lifecycle_stage", "active")) != "active":
                self.deleted += 1
                continue
            try:
                yield self._run(folder, experiment, facts)
            except (OSError, ValueError, LookupError) as error:
                self.damaged.append(f"{folder}: {error}")

    def _run(self, folder: Path, experiment: str, facts: dict[str, Any]) -> FoundRun:
        tags = _texts(folder / "tags")
        uri = str(facts.get("artifact_uri") or "")
        status = facts.get("status")
        return FoundRun(
            run_id=str(facts.get("run_id") or facts["run_uuid"]),
            name=str(tags.get("mlflow.runName") or facts.get("run_name") or facts.get("name") or ""),
            experiment=experiment,
            status=STATUSES[status] if isinstance(status, int) else str(status),
            start=facts.get("start_time"),
            end=facts.get("end_time"),
            params=_texts(folder / "params"),
            tags=tags,
            sizes={key: path.stat().st_size for key, path in _files(folder / "metrics")},
            artifacts=artifact_folder(uri, self.root.parent, folder / "artifacts"),
            artifact_uri=uri,
            base=self.root.parent,
            where=str(folder),
        )

    def points(self, run: FoundRun) -> Iterable[tuple[str, list[Point]]]:
        """Read the history of each metric, as it was logged."""
        for key, path in _files(Path(run.where) / "metrics"):
            points: list[Point] = []
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                fields = line.split()
                if not fields:
                    continue
                try:
                    step = int(fields[2]) if len(fields) > 2 else 0
                    points.append((int(fields[0]), float(fields[1]), step))
                except (ValueError, IndexError):
                    self.damaged.append(f"{path}: line {number}: {line[:80]!r} is no point")
            yield key, points


def _files(folder: Path) -> list[tuple[str, Path]]:
    """Return key and file of all that is below a folder: keys may have slashes."""
    found = ((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    return sorted(found)


def _texts(folder: Path) -> dict[str, str]:
    return {key: path.read_bytes().decode("utf-8") for key, path in _files(folder)}
