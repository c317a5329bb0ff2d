"""Calls that keep a store's space in order; blocking."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, TypeVar

from aqrec.recording import _upkeep as upkeep
from aqrec.upkeep import Archived, Garbage, Policy, Progress, Reaped, Removed, Verified

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    from aqrec.recording._workspace import Workspace

__all__ = ["UpkeepCalls"]

T = TypeVar("T")


class UpkeepCalls(abc.ABC):
    """See the module's text."""

    @property
    @abc.abstractmethod
    def _workspace(self) -> Workspace:
        """The store that is meant."""

    @abc.abstractmethod
    def _call(self, work: Coroutine[Any, Any, T], *, shield: bool = False) -> T: ...

    def gc(
        self,
        *,
        grace: float = 604_800.0,
        dry_run: bool = True,
        unreferenced: bool = False,
        progress: Progress | None = None,
    ) -> Garbage:
        """Find objects that nothing refers to any more, and delete them.

        They are what processes leave that die in the middle of something: parts of large artifacts, sealed histories, journals and
        event logs whose content is elsewhere, files of purged runs, texts that the last of their runs has left. Only objects with
        names that aqrec makes are looked at, only those that the store's own clock says are older than `grace` go, and none of a run
        that is going on. Recording, reading and other collections may go on meanwhile.

        Parameters
        ----------
        grace
            Seconds that an object must be old, at least 3600. What waits longer than that in a machine's spool for its events to
            be sent may be taken for an orphan: send spools (`sync_spool`) first.
        dry_run
            Only tell what would be deleted.
        unreferenced
            Also delete what lies among the artifacts of ended runs and was never recorded: left by a save that was interrupted, or
            put there by somebody else.
        progress
            Called with what is done now, how much of it is done, and how much there is (0: unknown), on aqrec's own thread.

        Returns
        -------
        Garbage
            The ``orphans``, how many objects were ``kept`` for which reason, and the ``cost``.

        Waits for the store: it lists all of it, and reads the journals of ended processes. Cancelling leaves some orphans. Raises
        `CorruptError` where the catalog is damaged, so that what it refers to is not known.
        """
        return self._call(
            upkeep.gc(
                self._workspace.session,
                grace=grace,
                dry_run=dry_run,
                unreferenced=unreferenced,
                progress=progress,
            )
        )

    def reap(
        self, *, horizon: float = 3600.0, dry_run: bool = True, progress: Progress | None = None
    ) -> Reaped:
        """Give up runs that are RUNNING and that nobody records any more: their processes were killed, or their machines are gone.

        A process is heard of every five minutes as long as a run of it goes on. A run that was not heard of for `horizon` ends FAILED, with
        the reason and a tag ``aqrec.reaped`` that say since when; its end is when it was last heard of. What its writers have left in
        their journals is sealed, also of runs that had ended. Should one of them wake up all the same, nothing is lost: it says that the run
        is RUNNING again and goes on, and an end that it recorded itself stands.

        Parameters
        ----------
        horizon
            Seconds of silence, by the store's clock, at least 900.
        dry_run
            Only tell which runs would be given up.
        progress
            Called with what is done now, how much of it is done, and how much there is (0: unknown), on aqrec's own thread.

        Returns
        -------
        Reaped
            The ``runs``, how many others are ``running``, and the ``cost``.

        Waits for the store. Cancelling leaves the rest for the next call.
        """
        return self._call(
            upkeep.reap(self._workspace.session, horizon=horizon, dry_run=dry_run, progress=progress)
        )

    def verify(
        self, *, contents: bool = False, repair: bool = False, progress: Progress | None = None
    ) -> Verified:
        """Check that the store holds what it says: frames, references, Parquet, and with `contents` every byte.

        What a crash leaves is no problem: torn ends of files, artifacts whose replacement was not completed, orphans.

        Parameters
        ----------
        contents
            Also read all artifacts and sealed histories and compare their checksums; else their sizes and footers.
        repair
            Mend what can be mended: a run document that is damaged is written anew; a damaged event log is folded as far as it can be read
            and set aside in ``catalog/damaged``; a snapshot that cannot be read is left out, and the runs that are told of by their run
            documents are recorded anew. Damaged points are skipped by readers, and artifacts whose bytes are lost are only reported.
        progress
            Called with what is done now, how much of it is done, and how much there is (0: unknown), on aqrec's own thread.

        Returns
        -------
        Verified
            The ``problems``, how much was ``checked``, whether all is ``ok``, and the ``cost``.

        Waits for the store. Cancelling leaves the store as good as it was.
        """
        return self._call(
            upkeep.verify(self._workspace.session, contents=contents, repair=repair, progress=progress)
        )

    def archive(
        self,
        url: str | None = None,
        *,
        back: bool = False,
        compress: bool = False,
        storage_options: Mapping[str, Any] | None = None,
        older_than: float | None = None,
        keep_last: int | None = None,
        status: str | None = None,
        filter_string: str = "",
        experiment_names: Sequence[str] | None = None,
        least_bytes: int = 0,
        dry_run: bool = True,
        progress: Progress | None = None,
    ) -> Archived:
        """Move artifacts of ended runs to another folder or bucket, or bring them back, or compress them.

        They are listed, loaded and copied as before, through this store; only their bytes are elsewhere. The store remembers the archive's
        URL, not how it is opened: readers use the storage options ``archives={url: {...}}`` of the store if there are any for it, else
        those of the store itself if the archive is of the same kind, else the environment. Texts that runs share stay.

        Each artifact is copied, compared with its checksum, referred to, and only then deleted where it was. A call that was interrupted is
        taken up by the next one; what it has left in the archive is found by `gc`.

        Parameters
        ----------
        url
            Folder or URL of the archive, of any kind that a store may be. None with `back` means all archives, with `compress` the store itself.
        back
            Bring artifacts home. They come as parts, which only aqrec puts together, not as files of their own names.
        compress
            Compress artifacts by zstd, as far as it makes them a tenth smaller; without `url` where they are. Whoever loads or copies them gets
            the bytes that were saved. Those in parts, below 4 KiB, and of names such as ``.png`` or ``.parquet`` are not tried.
        storage_options
            How the archive is opened now; not stored.
        older_than
            Seconds since the run's end, by the store's clock.
        keep_last
            The artifacts of so many runs of each experiment stay: the latest of those to which the rest applies.
        status
            Only ``FINISHED``, or only ``FAILED`` runs.
        filter_string
            As in `search_records`.
        experiment_names
            Only runs of these experiments.
        least_bytes
            Only artifacts of this size or more.
        dry_run
            Only tell what would be moved.
        progress
            Called with what is done now, how much of it is done, and how much there is (0: unknown), on aqrec's own thread.

        Returns
        -------
        Archived
            The ``runs``, how many artifacts have ``moved`` or were ``kept`` for which reason, and the ``cost`` in all stores.

        Waits for both stores. Cancelling leaves the rest where it was. Raises `CorruptError` where the catalog is damaged.
        """
        policy = Policy(
            older_than=older_than,
            keep_last=keep_last,
            status=status,
            filter_string=filter_string,
            experiment_names=experiment_names,
        )
        return self._call(
            upkeep.archive(
                self._workspace.session,
                policy,
                url=url,
                back=back,
                compress=compress,
                storage_options=storage_options,
                least_bytes=least_bytes,
                dry_run=dry_run,
                progress=progress,
            )
        )

    def retain(
        self,
        *,
        older_than: float | None = None,
        keep_last: int | None = None,
        status: str | None = None,
        filter_string: str = "",
        experiment_names: Sequence[str] | None = None,
        dry_run: bool = True,
        progress: Progress | None = None,
    ) -> Removed:
        """Delete the ended runs that expire: those to which everything that is given applies.

        They are hidden at once, `restore_recorder` brings them back, and `purge` removes them for good. Runs that are going on never expire.

        Parameters
        ----------
        older_than
            Seconds since their end, by the store's clock.
        keep_last
            So many of each experiment stay: the latest of those to which the rest applies.
        status
            Only ``FINISHED``, or only ``FAILED`` ones.
        filter_string
            As in `search_records`, for instance ``"tags.keep IS NULL AND metrics.ic < 0.01"``.
        experiment_names
            Only runs of these experiments.
        dry_run
            Only tell which runs expire.
        progress
            Called with what is done now, how much of it is done, and how much there is (0: unknown), on aqrec's own thread.

        Returns
        -------
        Removed
            The ``runs`` and the ``cost``.

        Waits for the store. Cancelling may leave some hidden. Raises `InvalidInputError` if nothing says which runs are meant.
        """
        policy = Policy(
            older_than=older_than,
            keep_last=keep_last,
            status=status,
            filter_string=filter_string,
            experiment_names=experiment_names,
        )
        return self._call(upkeep.retain(self._workspace.session, policy, dry_run=dry_run, progress=progress))

    def purge(
        self, *, older_than: float = 2_592_000.0, dry_run: bool = True, progress: Progress | None = None
    ) -> Removed:
        """Remove for good what was deleted a while ago: runs, with their artifacts and histories.

        From then on nobody finds them, whatever else is recorded of them is ignored, and their ids are not used again. Runs that are going
        on stay. Points that lie in files with those of other runs, and texts that runs share, go when `gc` finds them unused.

        Parameters
        ----------
        older_than
            Seconds since the run, or its experiment, was deleted.
        dry_run
            Only tell which runs would be purged.
        progress
            Called with what is done now, how much of it is done, and how much there is (0: unknown), on aqrec's own thread.

        Returns
        -------
        Removed
            The ``runs``, how many ``objects`` were deleted, which runs were ``kept``, and the ``cost``.

        Waits for the store. Cancelling leaves objects that nobody finds any more, for `gc`. Raises `CorruptError` where the catalog is
        damaged.
        """
        return self._call(
            upkeep.purge(self._workspace.session, older_than=older_than, dry_run=dry_run, progress=progress)
        )
