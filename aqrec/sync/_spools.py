"""`sync_spool`, blocking."""

from __future__ import annotations

import os
from typing import Any

from aqrec.engine import current_runtime
from aqrec.recording._spools import Attempt, Progress, SpoolReport, send_spools

__all__ = ["send", "sync_spool"]


def sync_spool(
    uri: str | None = None,
    *,
    storage_options: dict[str, Any] | None = None,
    folder: str | os.PathLike[str] | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> list[SpoolReport]:
    """Send what ended processes and ``mode="offline"`` have left in this machine's spool to its stores.

    May run at any time, several times at once, and beside the processes that record: what a living process has in its spool is left
    to it. Nothing is stored twice.

    Parameters
    ----------
    uri
        Only what is for this store; default: everything.
    storage_options
        Passed to the store's driver (credentials, endpoints): the spool holds none.
    folder
        Where the spools lie; default as in `SpoolOptions`.
    dry_run
        Only tell what is there.
    progress
        Called with the bytes sent so far and all bytes to send, on aqrec's own thread.

    Returns
    -------
    A report on each writer's spool that was found.

    Waits for the stores, and tries again a few times what they refuse. Cancelling leaves the rest for the next call.
    """
    return send(uri, storage_options, folder, dry_run=dry_run, progress=progress)


def send(
    uri: str | None,
    storage_options: dict[str, Any] | None,
    folder: str | os.PathLike[str] | None,
    *,
    dry_run: bool,
    progress: Progress | None,
    attempt: Attempt | None = None,
) -> list[SpoolReport]:
    """Do as `sync_spool`, and tell `attempt`, on the engine thread, whom it waits for."""
    runtime = current_runtime()
    runtime.acquire()
    try:
        return runtime.call(
            send_spools(uri, storage_options, folder, dry_run=dry_run, progress=progress, attempt=attempt)
        )
    finally:
        runtime.release()
