"""Processes that record to one bucket, a step at a time."""

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests._support import ROOT
from tests._support.services import Location

__all__ = ["PRELUDE", "Worker", "workers"]

PRELUDE = """
import asyncio, json, sys
import aqrec
from aqrec.options import FlushOptions, Options

URL, STORAGE, NUMBER = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
OPTIONS = Options(provenance=False, flush=FlushOptions(segment_interval=0.2))

def wait(word):
    print(word, flush=True)
    sys.stdin.readline()
"""


class Worker:
    """A process that tells how far it is, and waits to be told to go on."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def expect(self, text: str) -> None:
        """Wait until it says `text`."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line == text, f"{line!r} instead of {text!r}"

    def go(self) -> None:
        """Let it go on."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()


@contextmanager
def workers(location: Location, codes: Sequence[str]) -> Iterator[list[Worker]]:
    """Run each code, after `PRELUDE`, in a process of its own; all must end well by the end of the block."""
    storage = json.dumps(location.storage_options)
    made = [
        Worker(
            subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    PRELUDE + textwrap.dedent(code),
                    location.url,
                    storage,
                    str(number),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
            )
        )
        for number, code in enumerate(codes)
    ]
    try:
        yield made
        assert [worker.process.wait(100) for worker in made] == [0] * len(made)
    finally:
        for worker in made:
            worker.process.kill()
            worker.process.communicate()
