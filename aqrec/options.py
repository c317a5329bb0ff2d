"""Settings as frozen values: given once, compared by ``==``, never mutated, no global state."""

from __future__ import annotations

from typing import Literal

import msgspec

from aqrec.errors import InvalidValueError

__all__ = ["BufferOptions", "FlushOptions", "Options", "Overflow", "RetryOptions", "Sealing", "Upkeep"]

Overflow = Literal["wait", "drop_oldest", "error"]
Sealing = Literal["run", "bulk", "never"]
Upkeep = Literal["auto", "never"]

MIB = 1024 * 1024


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
        The same for stores of immutable segments (buckets): one PUT for all runs of the process.
    segment_bytes
        A segment that reaches this size goes at once; also the amount of written but not yet durable data at which the
        writer syncs early.
    journal_bytes
        An append-only journal file that reaches this size is closed, and a new one begun.
    summary_interval
        How often the last/min/max of a running run's metrics are published for searches (`flush` publishes at once).
    """

    hand_over_interval: float = 0.01
    sync_interval: float = 1.0
    segment_interval: float = 10.0
    segment_bytes: int = 8 * MIB
    journal_bytes: int = 64 * MIB
    summary_interval: float = 15.0

    def __post_init__(self) -> None:
        for name in ("hand_over_interval", "sync_interval", "segment_interval", "summary_interval"):
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


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a store is written and read by this process.

    Attributes
    ----------
    buffer, flush, retry
        See their types.
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
        Whether to collect argv, git state, environment and package versions at the start of a run.
    environment
        Patterns (``fnmatch``) of environment variables that are recorded as params.
    pickler
        ``pickle``, ``cloudpickle`` or ``dill``.
    compression
        None or ``zstd``, for artifacts saved from objects.
    trust
        Which pickles may be loaded that this process did not write: ``restricted`` (an allow-list of plain data), ``trusted``
        (all) or ``never``. The environment variable ``AQREC_TRUST`` sets the default.
    allow
        Names (``module.name`` or ``module.*``) added to the allow-list of ``restricted``.
    """

    buffer: BufferOptions = BufferOptions()
    flush: FlushOptions = FlushOptions()
    retry: RetryOptions = RetryOptions()
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

    def __post_init__(self) -> None:
        _check("Options.flush_timeout", self.flush_timeout, 0)
        _check("Options.close_timeout", self.close_timeout, 0)
        for name, allowed in (
            ("seal", ("run", "bulk", "never")),
            ("upkeep", ("auto", "never")),
            ("pickler", ("pickle", "cloudpickle", "dill")),
            ("compression", (None, "zstd")),
            ("trust", (None, "restricted", "trusted", "never")),
        ):
            if getattr(self, name) not in allowed:
                raise InvalidValueError(f"Options.{name}={getattr(self, name)!r}: choose one of {allowed}")
