"""What went wrong since somebody asked, for strict recording."""

from __future__ import annotations

__all__ = ["Failures"]

_MOST = 100


class Failures:
    """Texts of failures, and how many dropped points were told."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._told = 0

    def note(self, text: str) -> None:
        """Remember a failure for the next strict flush."""
        if len(self._texts) < _MOST:
            self._texts.append(text)

    def take(self, dropped: int) -> list[str]:
        """Return what went wrong since the last call; `dropped` counts the points that were dropped so far."""
        texts, self._texts = self._texts, []
        if dropped > self._told:
            texts.append(f"{dropped - self._told} points were dropped")
            self._told = dropped
        return texts
