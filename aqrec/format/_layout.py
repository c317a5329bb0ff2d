"""Where things lie below a store's URL."""

from __future__ import annotations

import hashlib
import re

__all__ = [
    "ARCHIVE",
    "ARCHIVES",
    "CATALOG",
    "CLOCK",
    "DAMAGED",
    "EVENTS",
    "HEADS",
    "JOURNAL",
    "MARKER",
    "MERGES",
    "RUNS",
    "SEALED",
    "SNAPSHOTS",
    "archive_folder",
    "archive_note_key",
    "archived_key",
    "artifact_key",
    "artifact_part_key",
    "artifact_parts_folder",
    "artifacts_folder",
    "bulk_metrics_key",
    "clock_key",
    "event_log_key",
    "folder_of_archived",
    "head_key",
    "head_number",
    "is_archived",
    "is_snapshot",
    "journal_folder",
    "journal_key",
    "merge_note_key",
    "merged_journal_key",
    "metrics_key",
    "run_document_key",
    "run_folder",
    "shared_key",
    "snapshot_key",
    "writer_of_event_log",
]

MARKER = "aqrec.json"
JOURNAL = "journal"
CATALOG = "catalog"
EVENTS = "catalog/events"
HEADS = "catalog/heads"
SNAPSHOTS = "catalog/snapshots"
RUNS = "runs"
SEALED = "sealed"
SHARED = "shared"
CLOCK = "catalog/clock"
DAMAGED = "catalog/damaged"
ARCHIVES = "catalog/archives"
ARCHIVE = "archive"
MERGES = "catalog/merges"

_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,200}\Z")


def run_folder(run_id: str) -> str:
    """Return the name of a run's folder below `RUNS`: its id, if a folder may be called so."""
    # File systems stop at 255 bytes a name; a digest keeps longer or non-ASCII ids apart.
    if _PLAIN.match(run_id):
        return run_id
    readable = re.sub(r"[^A-Za-z0-9_-]", "_", run_id)[:100]
    return f"{readable}-{hashlib.sha256(run_id.encode()).hexdigest()[:32]}"


def journal_folder(writer: str) -> str:
    """Folder of one writer's journal segments."""
    return f"{JOURNAL}/{writer}"


def journal_key(writer: str, number: int) -> str:
    """Journal segment `number` of a writer."""
    return f"{JOURNAL}/{writer}/{number:08d}.seg"


def merged_journal_key(writer: str, first: int, last: int) -> str:
    """Journal segment that holds the frames of the segments `first` to `last` of a writer.

    It sorts behind all of them, merged or not: a listing, page by page, that comes too early for it has shown them all.
    """
    return f"{JOURNAL}/{writer}/{last:08d}_{last - first + 1:08d}.seg"


def event_log_key(identity: str, writer: str) -> str:
    """Return the key of a batch (or growing file) of one writer's events; `identity` is time-ordered."""
    return f"{EVENTS}/{identity}-{writer}.ev"


def writer_of_event_log(key: str) -> str | None:
    """Return the writer of a key made by `event_log_key`, or None for a foreign file."""
    match = re.fullmatch(rf"{EVENTS}/[0-9a-f]{{32}}-([0-9a-f]{{32}})\.ev", key)
    return match[1] if match else None


def head_key(number: int) -> str:
    """Return the key of the catalog's head `number`."""
    return f"{HEADS}/{number:012d}"


def head_number(key: str) -> int | None:
    """Return the number of a key made by `head_key`, or None for a foreign file."""
    match = re.fullmatch(rf"{HEADS}/([0-9]{{12}})", key)
    return int(match[1]) if match else None


def snapshot_key(identity: str) -> str:
    """Return the key of a part of the folded catalog; `identity` is time-ordered."""
    return f"{SNAPSHOTS}/{identity}.parquet"


def clock_key(identity: str) -> str:
    """Return the key of an object that is only put to learn the time by the store's clock."""
    return f"{CLOCK}/{identity}"


def is_snapshot(key: str) -> bool:
    """Whether a key was made by `snapshot_key`."""
    return re.fullmatch(rf"{SNAPSHOTS}/[0-9a-f]{{32}}\.parquet", key) is not None


def run_document_key(run_id: str) -> str:
    """Return the key of the ended run's document."""
    return f"{RUNS}/{run_folder(run_id)}/run.json"


def metrics_key(run_id: str, writer: str | None, number: int) -> str:
    """Sealed history of a run.

    `writer` None: the part of the writer that made the run's id, alone in having that name. Every other part carries its
    writer's id, so no two writers ever share a key.
    """
    name = "metrics.parquet" if writer is None else f"metrics-{writer}-{number}.parquet"
    return f"{RUNS}/{run_folder(run_id)}/{name}"


def bulk_metrics_key(identity: str, writer: str) -> str:
    """Sealed histories of many runs of one writer."""
    return f"{SEALED}/{identity}-{writer}.parquet"


def artifacts_folder(run_id: str) -> str:
    """Folder of a run's artifacts."""
    return f"{RUNS}/{run_folder(run_id)}/artifacts"


def artifact_key(run_id: str, path: str) -> str:
    """One artifact of a run, under its own name."""
    return f"{RUNS}/{run_folder(run_id)}/artifacts/{path}"


def artifact_parts_folder(run_id: str, path: str) -> str:
    """Folder of the parts of one large artifact, of all its saves; the digest keeps it short and apart from others."""
    return f"{RUNS}/{run_folder(run_id)}/parts/{_name_in_parts(path)}"


def _name_in_parts(path: str) -> str:
    readable = re.sub(r"[^A-Za-z0-9._-]", "_", path.rpartition("/")[2])[:100]
    digest = hashlib.sha256(path.encode()).hexdigest()[:16]
    return f"{digest}-{readable}"


def artifact_part_key(save: str, number: int, checksum: str = "") -> str:
    """Part `number` of one save, whose folder is `save`; the checksum's digits let a later save find what is there."""
    _, _, digits = checksum.rpartition(":")
    return f"{save}/{number:06d}" + (f"-{digits}" if digits else "")


def shared_key(digest: str, name: str) -> str:
    """Content that many runs refer to (provenance of sweeps)."""
    return f"{SHARED}/{digest}/{name}"


def archive_note_key(identity: str) -> str:
    """Return the key of a note that in some folders of another store may be objects that nothing refers to."""
    return f"{ARCHIVES}/{identity}"


def merge_note_key(identity: str) -> str:
    """Return the key of a note that sealed histories are, or will be, in merged files as well."""
    return f"{MERGES}/{identity}"


def archive_folder(move: str, run_id: str) -> str:
    """Folder, in another store, of what one move has put there of a run."""
    return f"{ARCHIVE}/{move}/{run_folder(run_id)}"


def archived_key(move: str, run_id: str, path: str) -> str:
    """One artifact in another store; the folder of its parts if it is in parts. No two moves write one key."""
    return f"{archive_folder(move, run_id)}/{_name_in_parts(path)}"


def folder_of_archived(key: str) -> str:
    """Return the folder of a key made by `archived_key`: that of its run in its move."""
    return "/".join(key.split("/")[:3])


def is_archived(key: str) -> bool:
    """Whether a key was made by `archived_key`, or is that of a part below one."""
    return (
        re.fullmatch(rf"{ARCHIVE}/[0-9a-f]{{32}}/[^/]+/[0-9a-f]{{16}}-[^/]+(?:/[0-9]{{6}})?", key) is not None
    )
