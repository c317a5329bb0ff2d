"""What is known of an experiment, folded from events in any order."""

from __future__ import annotations

import msgspec

__all__ = ["ExperimentDocument"]


class ExperimentDocument(msgspec.Struct, kw_only=True):
    """An experiment, by the latest clocks of its use (creation or a new run), deletion and restoration."""

    experiment_id: str
    name: str = ""
    created: int = 0
    used: int = 0
    deleted: int = 0
    restored: int = 0

    @property
    def hidden_until(self) -> int:
        """Runs created up to this clock are deleted with the experiment; 0 if none are."""
        return self.deleted if self.deleted > self.restored else 0

    @property
    def alive(self) -> bool:
        """Whether it was never deleted, or was restored, or its name has been used again since."""
        return self.used > self.hidden_until or not self.hidden_until

    def use(self, name: str, clock: int) -> None:
        """Take in a creation of the experiment, or of a run of it."""
        self.name = self.name or name
        self.created = min(self.created or clock, clock)
        self.used = max(self.used, clock)

    def merge(self, other: ExperimentDocument) -> None:
        """Take in what another reader knows of the experiment."""
        self.name = self.name or other.name
        if other.created:
            self.created = min(self.created or other.created, other.created)
        self.used = max(self.used, other.used)
        self.deleted = max(self.deleted, other.deleted)
        self.restored = max(self.restored, other.restored)
