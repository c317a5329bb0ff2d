"""Runs of an aqrec store as a folder that MLflow reads: its file store."""

from __future__ import annotations

import hashlib
import posixpath
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from aqrec.errors import AqrecError, NotFoundError
from aqrec.format._document import latest
from aqrec.integrations.mlflow._importing import MARK, PLACE
from aqrec.integrations.mlflow._source import STATUSES
from aqrec.options import Options
from aqrec.reading import read_metric_history
from aqrec.recording._default import defaults
from aqrec.recording._files import download_artifact
from aqrec.recording._session import Session
from aqrec.recording._workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

    from aqrec.format._document import RunDocument

__all__ = ["Exported", "export_mlruns"]

_ILLEGAL = re.compile(r"[^/\w.\- :]")
_LONGEST = 200


class Exported(msgspec.Struct, kw_only=True):
    """What an export did.

    Attributes
    ----------
    runs
        Runs that were written.
    renamed
        Keys that MLflow does not allow -> their names there.
    failed
        Run id -> what stood against it.
    """

    runs: int = 0
    renamed: dict[str, str] = {}
    failed: dict[str, str] = {}


def export_mlruns(
    folder: str | Path,
    uri: str | None = None,
    *,
    experiments: list[str] | None = None,
    storage_options: Mapping[str, Any] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Exported:
    """Write the runs of a store as a file store of MLflow's, which ``mlflow ui`` and its client read.

    Runs keep ids, names, times, statuses, params and tags (as texts), histories and artifacts. A point without a step gets step 0. Each run
    is written beside and then put in its place: what was exported before is replaced, other runs in the folder stay.
    From version 3.13 on MLflow reads such folders only with ``MLFLOW_ALLOW_FILE_STORE=true``.

    Parameters
    ----------
    folder
        Where to write; made if it is missing.
    uri, storage_options
        The store; default: ``AQREC_URI``, else ``./aqruns``.
    experiments
        Names of the experiments to export; default: all.
    on_progress
        Called with the number of runs done and of all.

    Returns
    -------
    Exported
        What was done. Runs that failed are named in it.

    Raises
    ------
    NotFoundError
        There is no such store or experiment.
    """
    root = Path(folder).expanduser().resolve()
    session = Session(
        uri if uri is not None else defaults.default_uri(),
        Options(provenance=False, upkeep="never", mode="online"),
        dict(storage_options or {}) or None,
    )
    try:
        docs = session.call(_wanted(Workspace(session), experiments))
        root.mkdir(parents=True, exist_ok=True)
        export = _Export(Workspace(session), root)
        for number, doc in enumerate(docs, 1):
            try:
                export.run(doc)
            except (AqrecError, OSError) as error:
                export.done.failed[doc.run_id] = str(error)
            if on_progress is not None:
                on_progress(number, len(docs))
        return export.done
    finally:
        session.shut()


async def _wanted(workspace: Workspace, experiments: list[str] | None) -> list[RunDocument]:
    catalog = await workspace.session.refresh()
    if not catalog.checked and not catalog.runs:
        raise NotFoundError(f"no aqrec store in {workspace.session.url}")
    await catalog.catch_up()
    ids: list[str] | None = None
    if experiments is not None:
        refs = [await workspace.find_experiment(None, name, create=False) for name in experiments]
        ids = [ref.experiment_id for ref in refs]
    return list(catalog.runs_of(ids))


class _Export:
    def __init__(self, workspace: Workspace, root: Path) -> None:
        self.workspace = workspace
        self.root = root
        self.done = Exported()

    def run(self, doc: RunDocument) -> None:
        """Write one run."""
        home = self.root / doc.experiment_id
        self._experiment(home, doc)
        place, part = home / doc.run_id, home / f".{doc.run_id}.part"
        shutil.rmtree(part, ignore_errors=True)
        for name in ("params", "metrics", "tags", "artifacts"):
            (part / name).mkdir(parents=True)
        self._texts(part / "params", doc.params)
        tags = {key: value for key, value in doc.tags.items() if key not in (MARK, PLACE)}
        self._texts(part / "tags", {"mlflow.runName": doc.name, **tags})
        core = self.workspace.handle(doc)
        call = self.workspace.session.call
        for key, name in self._names(latest(doc)).items():
            history = call(read_metric_history(core.engine.store, core.document, key))
            _write(part / "metrics" / name, _lines(history))
        if doc.artifacts:
            call(download_artifact(core, "", part / "artifacts"))
        uri = doc.tags.get(PLACE) or (place / "artifacts").as_uri()
        _write_yaml(part / "meta.yaml", _run_facts(doc, str(uri)))
        if place.exists():
            shutil.rmtree(place)
        part.rename(place)
        self.done.runs += 1

    def _experiment(self, home: Path, doc: RunDocument) -> None:
        if (home / "meta.yaml").exists():
            return
        facts = {
            "artifact_location": home.as_uri(),
            "creation_time": doc.created,
            "experiment_id": doc.experiment_id,
            "last_update_time": doc.created,
            "lifecycle_stage": "active",
            "name": doc.experiment_name,
        }
        _write_yaml(home / "meta.yaml", facts)

    def _texts(self, folder: Path, values: Mapping[str, Any]) -> None:
        for key, name in self._names(values).items():
            value = values[key]
            _write(folder / name, value if isinstance(value, str) else str(value))

    def _names(self, keys: Iterable[str]) -> dict[str, str]:
        """Return the file for each key: MLflow restricts characters, and a name cannot be a file and a folder."""
        names: dict[str, str] = {}
        taken: set[str] = set()
        for key in sorted(keys):
            name = _ILLEGAL.sub("_", key)
            above = [name[: place.start()] for place in re.finditer("/", name)]
            if posixpath.normpath(name) != name or name.startswith(("/", "..")) or taken & set(above):
                name = name.replace("/", "_")
            if name in {".", ".."} or any(len(part.encode()) > _LONGEST for part in name.split("/")):
                digest = hashlib.sha256(key.encode()).hexdigest()[:8]
                name = f"{name.replace('/', '_').encode()[: _LONGEST // 2].decode(errors='ignore')}-{digest}"
            while name in taken:
                name += "_"
            taken.add(name)
            names[key] = name
            if name != key:
                self.done.renamed[key] = name
        return names


def _lines(history: pd.DataFrame) -> str:
    rows = zip(
        history["timestamp"].astype("int64").tolist(),
        history["value"].tolist(),
        history["step"].fillna(0).tolist(),
        strict=True,
    )
    return "".join(f"{timestamp} {value!r} {step}\n" for timestamp, value, step in rows)


def _run_facts(doc: RunDocument, artifact_uri: str) -> dict[str, Any]:
    status = "KILLED" if doc.status_reason.startswith("KILLED") else doc.status
    return {
        "artifact_uri": artifact_uri,
        "end_time": doc.end_time,
        "entry_point_name": "",
        "experiment_id": doc.experiment_id,
        "lifecycle_stage": "active",
        "run_id": doc.run_id,
        "run_name": doc.name,
        "run_uuid": doc.run_id,
        "source_name": "",
        "source_type": 4,
        "source_version": "",
        "start_time": doc.start_time if doc.start_time is not None else doc.created,
        "status": STATUSES.index(status),
        "tags": [],
        "user_id": str(doc.tags.get("mlflow.user") or ""),
    }


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8"))


def _write_yaml(path: Path, facts: dict[str, Any]) -> None:
    import yaml  # noqa: PLC0415 - only when something is exported

    _write(path, yaml.safe_dump(facts, allow_unicode=True))
