"""Damaged bytes are said, never passed over in silence."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from aqrec.format._frames import Damage

__all__ = ["report_damage"]

logger = logging.getLogger("aqrec")


def report_damage(key: str, url: str, damages: Iterable[Damage]) -> None:
    """Log where an object is damaged."""
    spans = ", ".join(f"bytes {damage.offset} to {damage.end}" for damage in damages)
    logger.error("aqrec: %s in %s is damaged at %s; everything else in it was read", key, url, spans)
