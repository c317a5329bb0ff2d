"""Upkeep of a store's space, without a face; coroutines run on the engine thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aqrec.errors import InvalidInputError
from aqrec.upkeep import Archived, Garbage, Policy, Progress, Reaped, Removed, Verified, Work, collect
from aqrec.upkeep import archive as archive_artifacts
from aqrec.upkeep import purge as purge_runs
from aqrec.upkeep import reap as reap_runs
from aqrec.upkeep import retain as retain_runs
from aqrec.upkeep import verify as verify_store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from aqrec.recording._session import Session

__all__ = ["archive", "gc", "purge", "reap", "retain", "verify"]


async def begin(session: Session, progress: Progress | None, what: str) -> Work:
    """Begin a piece of upkeep."""
    if session.options.offline:
        raise InvalidInputError(
            f"{what} is no work on what is recorded offline; send it by sync_spool() first"
        )
    await session.check_once()
    return Work(session.engine.store, session.url, progress, session.archives)


async def gc(
    session: Session, *, grace: float, dry_run: bool, unreferenced: bool, progress: Progress | None
) -> Garbage:
    """Do what `ExperimentManager.gc` says."""
    work = await begin(session, progress, "gc")
    return await collect(work, grace=grace, dry_run=dry_run, unreferenced=unreferenced)


async def archive(
    session: Session,
    policy: Policy,
    *,
    url: str | None,
    back: bool,
    compress: bool,
    storage_options: Mapping[str, Any] | None,
    least_bytes: int,
    dry_run: bool,
    progress: Progress | None,
) -> Archived:
    """Do what `ExperimentManager.archive` says."""
    if back and compress:
        raise InvalidInputError("compress is for artifacts that are archived, not for those that come back")
    if url is None and (storage_options or not (back or compress)):
        raise InvalidInputError("archive needs the URL of the folder or bucket that artifacts are to move to")
    policy.check_values()
    to = session.archives.learn(url, storage_options) if url is not None else ""
    work = await begin(session, progress, "archive")
    if not dry_run:
        await session.prepare()
    return await archive_artifacts(
        work,
        session.engine,
        policy,
        url=to,
        back=back,
        compress=compress,
        least_bytes=least_bytes,
        dry_run=dry_run,
    )


async def reap(session: Session, *, horizon: float, dry_run: bool, progress: Progress | None) -> Reaped:
    """Do what `ExperimentManager.reap` says."""
    work = await begin(session, progress, "reap")
    if not dry_run:
        await session.prepare()
    return await reap_runs(work, session.engine, horizon=horizon, dry_run=dry_run)


async def verify(session: Session, *, contents: bool, repair: bool, progress: Progress | None) -> Verified:
    """Do what `ExperimentManager.verify` says."""
    work = await begin(session, progress, "verify")
    if not repair:
        return await verify_store(work, None, contents=contents)
    await session.prepare()
    return await verify_store(work, session.engine, contents=contents, repair=True)


async def retain(session: Session, policy: Policy, *, dry_run: bool, progress: Progress | None) -> Removed:
    """Do what `ExperimentManager.retain` says."""
    policy.check()
    work = await begin(session, progress, "retain")
    if not dry_run:
        await session.prepare()
    return await retain_runs(work, session.engine, policy, dry_run=dry_run)


async def purge(session: Session, *, older_than: float, dry_run: bool, progress: Progress | None) -> Removed:
    """Do what `ExperimentManager.purge` says."""
    work = await begin(session, progress, "purge")
    if not dry_run:
        await session.prepare()
    return await purge_runs(work, session.engine, older_than=older_than, dry_run=dry_run)
