"""Work on a store that is never needed for correctness: folding its catalog."""

from aqrec.upkeep._fold import Compaction, compact, fold
from aqrec.upkeep._schedule import Folding

__all__ = ["Compaction", "Folding", "compact", "fold"]
