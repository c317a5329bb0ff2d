"""Templates that other processes can import."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import aqrec.sync.templates as blocking
from aqrec.templates import ACRecordTemp
from aqrec.templates._workers import spread

__all__ = ["After", "AfterBroken", "BlockingWhere", "Broken", "Dying", "Slow", "SlowSave", "Where"]


class Where(ACRecordTemp):
    """Tells which process made it."""

    def list(self) -> Any:
        return ["where.pkl"]

    async def _generate(self) -> Any:
        return {"where.pkl": os.getpid()}


class After(ACRecordTemp):
    """Needs that."""

    depend_cls = Where

    def list(self) -> Any:
        return ["after.pkl"]

    async def _generate(self) -> Any:
        return {"after.pkl": await self.load("where.pkl") + 1}


class BlockingWhere(blocking.ACRecordTemp):
    """The same for the blocking face."""

    def list(self) -> Any:
        return ["where.pkl"]

    def _generate(self) -> Any:
        return {"where.pkl": os.getpid()}


class Broken(ACRecordTemp):
    """Fails."""

    def list(self) -> Any:
        return ["broken.pkl"]

    async def _generate(self) -> Any:
        raise ZeroDivisionError("mine")


class AfterBroken(After):
    """Needs what fails."""

    depend_cls = Broken


def die() -> None:
    """End this process as the kernel does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


class Dying(ACRecordTemp):
    """Takes its process with it, or that of one of its parts."""

    async def _generate(self) -> Any:
        await spread(die, [()]) if self.splits else die()


def wait(begun: Path, go: Path) -> None:
    """Say that this process has come here, and wait to be let go."""
    partial = begun.with_suffix(".part")
    partial.write_text(str(os.getpid()))
    partial.rename(begun)
    while not go.exists():
        time.sleep(0.01)


class Held:
    """Waits while it is pickled on a worker, but not on the way there."""

    def __init__(self, begun: Path, go: Path) -> None:
        self.begun, self.go = begun, go

    def __reduce__(self) -> Any:
        wait(self.begun, self.go)
        return (int, (2,))


class Slow(ACRecordTemp):
    """Computes for ever."""

    artifact_path = "slow"

    def __init__(self, recorder: Any, begun: Path, go: Path) -> None:
        super().__init__(recorder)
        self.begun, self.go = begun, go

    def list(self) -> Any:
        return ["a.pkl", "b.pkl"]

    def _generate(self) -> Any:
        wait(self.begun, self.go.with_name("never"))


class SlowSave(Slow):
    """Saves slowly."""

    def _generate(self) -> Any:
        return {"a.pkl": 1, "b.pkl": Held(self.begun, self.go)}
