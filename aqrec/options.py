"""Settings as frozen values: given once, compared by ``==``, never mutated, no global state."""

from __future__ import annotations

import os
from typing import Literal

import msgspec

from aqrec.errors import InvalidValueError

__all__ = [
    "BufferOptions",
    "Durability",
    "FlushOptions",
    "Mode",
    "Options",
    "Overflow",
    "RetryOptions",
    "Sealing",
    "SpoolOptions",
    "Upkeep",
]

Overflow = Literal["wait", "drop_oldest", "error"]
Sealing = Literal["run", "bulk", "never"]
Durability = Literal["store", "local"]
Upkeep = Literal["auto", "never"]
Mode = Literal["online", "offline"]

MIB = 1024 * 1024
GIB = 1024 * MIB
MAX_TRANSFERS = 64


def _check(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise InvalidValueError(f"{name}={value!r} is too small; give at least {least}")


class BufferOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The bounded buffer between the job and the writer.

    Attributes
    ----------
    capacity
        Records the buffer holds. One ``log_metrics`` call is one record (a call with more than 64 metrics is several).
    overflow
        What a call does when the buffer is full. ``wait``: the blocking face waits, the async face waits where the call is
        awaited; a call that is *not* awaited is still accepted up to twice the capacity, beyond which it is
        dropped and counted. ``drop_oldest``: the oldest waiting points make room and are counted. ``error``: the call raises
        `aqrec.errors.BufferFullError`. Only points are ever dropped, never params, tags, artifacts or states.
    wait_timeout
        Seconds a call waits for room at most; then its record is dropped and counted. Later calls do not wait again until
        there is room.
    """

    capacity: int = 131_072
    overflow: Overflow = "wait"
    wait_timeout: float = 30.0

    def __post_init__(self) -> None:
        _check("BufferOptions.capacity", self.capacity, 1)
        _check("BufferOptions.wait_timeout", self.wait_timeout, 0)
        if self.overflow not in ("wait", "drop_oldest", "error"):
            raise InvalidValueError(f"overflow={self.overflow!r}: choose 'wait', 'drop_oldest' or 'error'")


class FlushOptions(msgspec.Struct, frozen=True, kw_only=True):
    """When buffered records go on; seconds and bytes.

    Attributes
    ----------
    hand_over_interval
        Longest stay in this process's memory on stores that append (local, memory): a killed process loses no more.
    sync_interval
        Longest time until what was handed over is durable without anyone asking (a power loss loses no more).
    segment_interval
        The same for stores of immutable segments (buckets): one PUT for all runs of the process. The interval grows with the
        age of the process, to a fortieth of it.
    longest_segment_interval
        It does not grow beyond this. A day of recording takes about 1,000 PUTs for journals with the default, and 9,000 with
        10 seconds. `flush` waits for neither.
    segment_bytes
        A segment that reaches this size goes at once; also the amount of written but not yet durable data at which the
        writer syncs early.
    journal_bytes
        An append-only journal file that reaches this size is closed, and a new one begun.
    summary_interval
        How often the last/min/max of a running run's metrics are published for searches (`flush` publishes at once). On
        buckets with every third segment, if that is longer.
    """

    hand_over_interval: float = 0.01
    sync_interval: float = 1.0
    segment_interval: float = 10.0
    longest_segment_interval: float = 90.0
    segment_bytes: int = 8 * MIB
    journal_bytes: int = 64 * MIB
    summary_interval: float = 15.0

    def __post_init__(self) -> None:
        for name in (
            "hand_over_interval",
            "sync_interval",
            "segment_interval",
            "longest_segment_interval",
            "summary_interval",
        ):
            _check(f"FlushOptions.{name}", getattr(self, name), 0.001)
        for name in ("segment_bytes", "journal_bytes"):
            _check(f"FlushOptions.{name}", getattr(self, name), 4096)


class RetryOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Pauses between attempts to write, in seconds: `first`, doubled each time, at most `longest`."""

    first: float = 0.05
    longest: float = 5.0

    def __post_init__(self) -> None:
        _check("RetryOptions.first", self.first, 0.001)
        _check("RetryOptions.longest", self.longest, self.first)


class SpoolOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The folder on this machine for what a store that cannot append (a bucket) has not taken yet.

    Neither `capacity` nor `artifact_bytes` bounds ``mode="offline"``: there the spool is the store.

    Attributes
    ----------
    folder
        Where the spools of all stores lie; None: the environment variable ``AQREC_SPOOL``, else ``aqrec/spool`` in
        ``$XDG_STATE_HOME`` (``~/.local/state``). Each writer has its own folder there, and removes it when the store has all.
    capacity
        Bytes one writer may keep there. When they are used up, records wait in memory, then the buffer's overflow policy holds.
    artifact_bytes
        Size of the largest artifact that is kept there while the store is away; saving a larger one raises.
    away_after
        Seconds without success after which the store counts as away: then `save_objects` and the end of a run no longer wait for
        it, but for the spool.
    """

    folder: str | None = None
    capacity: int = 16 * GIB
    artifact_bytes: int = GIB
    away_after: float = 5.0

    def __post_init__(self) -> None:
        _check("SpoolOptions.capacity", self.capacity, 0)
        _check("SpoolOptions.artifact_bytes", self.artifact_bytes, 0)
        _check("SpoolOptions.away_after", self.away_after, 0)


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a store is written and read by this process.

    Attributes
    ----------
    buffer, flush, retry
        See their types.
    spool
        See its type; None: no spool, what a bucket has not taken is in memory alone.
    mode
        ``offline``: record to the spool alone, without any request; send it with ``aqrec sync`` later. The environment
        variable ``AQREC_MODE`` sets the default, which is ``online``.
    durability
        What ``flush()`` waits for with a store that cannot append. ``store``: the store has everything. ``local``: it
        is synced to the spool; the store gets it behind that, and what it has not got at the end of the process is sent by
        ``aqrec sync``.
    flush_timeout
        Seconds ``flush()`` and the end of a run wait for the store before they give up waiting (writing goes on).
    close_timeout
        Seconds that leaving the process or closing a manager may take; what is not stored by then is named.
    strict
        Every failure (dropped points, a store that failed for good) becomes an error at the next ``flush`` or end.
    seal
        ``run``: an ended run gets a folder that stands for itself (``run.json``, ``metrics.parquet``). ``bulk``: the
        histories of many runs share a Parquet file, a run costs no file of its own (sweeps). ``never``: journals stay.
    upkeep
        ``auto``: whoever comes across a catalog of many small objects folds some of them into larger ones, in the background
        of a search or at the close of a store that was written. ``never``: only ``compact()`` does.
    provenance
        Whether to collect argv, git state, environment and package versions at the start of a run. Of argv and environment,
        values whose name looks like that of a secret are masked, and URLs lose credentials and query.
    environment
        Patterns (``fnmatch``) of environment variables that are recorded as params.
    pickler
        ``pickle``, ``cloudpickle`` or ``dill``.
    compression
        None or ``zstd``, for artifacts saved from objects.
    trust
        Which pickles may be loaded that this process did not make out of objects itself: ``restricted`` (an allow-list of plain
        data), ``trusted`` (all) or ``never``. Files that were copied into a run are among them, whoever copied them. The environment variable ``AQREC_TRUST`` sets the default.
    allow
        Names (``module.name`` or ``module.*``) added to the allow-list of ``restricted``.
    transfers
        Files, or parts of large ones, that are copied at once, 1 to 64; of those above 8 MiB at most four.
    shard_bytes
        An artifact with more bytes is stored as parts of this size, which travel in parallel and need not be sent again
        after an interruption; others stay one plain object under their own name. None: 1 GiB, above which beginning
        again costs more than an artifact that only aqrec can put together; but never on a file system, where copying
        is seldom interrupted and a plain file of any size is of more use. At least 64 KiB.
    """

    buffer: BufferOptions = BufferOptions()
    flush: FlushOptions = FlushOptions()
    retry: RetryOptions = RetryOptions()
    spool: SpoolOptions | None = SpoolOptions()
    mode: Mode | None = None
    durability: Durability = "store"
    flush_timeout: float = 60.0
    close_timeout: float = 10.0
    strict: bool = False
    seal: Sealing = "run"
    upkeep: Upkeep = "auto"
    provenance: bool = True
    environment: tuple[str, ...] = ("_QLIB_*",)
    pickler: Literal["pickle", "cloudpickle", "dill"] = "pickle"
    compression: Literal["zstd"] | None = None
    trust: Literal["restricted", "trusted", "never"] | None = None
    allow: tuple[str, ...] = ()
    transfers: int = 8
    shard_bytes: int | None = None

    def __post_init__(self) -> None:
        _check("Options.flush_timeout", self.flush_timeout, 0)
        _check("Options.close_timeout", self.close_timeout, 0)
        _check("Options.transfers", self.transfers, 1)
        if self.transfers > MAX_TRANSFERS:
            raise InvalidValueError(f"Options.transfers={self.transfers!r}: give at most {MAX_TRANSFERS}")
        if self.shard_bytes is not None:
            _check("Options.shard_bytes", self.shard_bytes, 64 * 1024)
        for name, allowed in (
            ("seal", ("run", "bulk", "never")),
            ("upkeep", ("auto", "never")),
            ("mode", (None, "online", "offline")),
            ("durability", ("store", "local")),
            ("pickler", ("pickle", "cloudpickle", "dill")),
            ("compression", (None, "zstd")),
            ("trust", (None, "restricted", "trusted", "never")),
        ):
            if getattr(self, name) not in allowed:
                raise InvalidValueError(f"Options.{name}={getattr(self, name)!r}: choose one of {allowed}")
        if self.spool is None and (self.mode == "offline" or self.durability == "local"):
            raise InvalidValueError(
                "mode='offline' and durability='local' need a spool; leave Options.spool alone"
            )

    @property
    def offline(self) -> bool:
        """Whether to record to the spool alone: `mode`, else the environment variable ``AQREC_MODE``."""
        mode = self.mode or os.environ.get("AQREC_MODE") or "online"
        if mode not in ("online", "offline"):
            raise InvalidValueError(f"AQREC_MODE={mode!r}: choose 'online' or 'offline'")
        return mode == "offline"

    def with_mode(self, mode: Mode | None) -> Options:
        """Return these options with another mode, unless it is None."""
        return self if mode is None else msgspec.structs.replace(self, mode=mode)
