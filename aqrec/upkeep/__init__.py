"""Work on a store: folding its catalog, which is never needed for correctness, and keeping its space in order."""

from aqrec.upkeep._archive import Archived, ArchivedRun, archive
from aqrec.upkeep._fold import Compaction, compact, fold
from aqrec.upkeep._gc import Garbage, Orphan, collect
from aqrec.upkeep._reap import Reaped, ReapedRun, reap
from aqrec.upkeep._retention import Policy, Removed, RemovedRun, purge, retain
from aqrec.upkeep._schedule import Folding
from aqrec.upkeep._verify import Problem, Verified, verify
from aqrec.upkeep._work import Cost, Progress, Work

__all__ = [
    "Archived",
    "ArchivedRun",
    "Compaction",
    "Cost",
    "Folding",
    "Garbage",
    "Orphan",
    "Policy",
    "Problem",
    "Progress",
    "Reaped",
    "ReapedRun",
    "Removed",
    "RemovedRun",
    "Verified",
    "Work",
    "archive",
    "collect",
    "compact",
    "fold",
    "purge",
    "reap",
    "retain",
    "verify",
]
