"""How fast and with how much memory a large object is saved and loaded.

Compares with plain ``pickle.dump(protocol=5)`` + ``fsync`` and ``pickle.load``: the functions of
`aqrec.artifacts` on a file, and a recorder's ``save_objects`` and ``load_object`` on a local store. Each
measurement is a process of its own; the sides take turns, every other round in reverse, and the round with the
median ratio counts.

    python benchmarks/objects.py [--quick] [--megabytes 500] [--rounds 5] [--folder /tmp]

``--quick`` takes objects of 50 MB, of which the fixed costs of a call are a larger share, and has no bars for
speed. Memory is the peak of the resident set during the call over what interpreter and imports had, so that
saving cannot be below the object.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from _table import Row, show

if TYPE_CHECKING:
    from collections.abc import Callable

PLAIN = "plain pickle"
SIDES = (PLAIN, "functions, trusted", "functions, restricted", "recorder, trusted", "recorder, restricted")
ACTIONS = ("save", "load")
KINDS = ("frame", "prediction", "strings")
ENOUGH_SPEED = 0.90
ENOUGH_MEMORY = (1.1, 64e6)


def make(kind: str, size: int) -> Any:
    """Build an object of about ``size`` bytes."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    rng = np.random.default_rng(0)
    if kind == "frame":
        return pd.DataFrame(rng.random((20, size // 160)).T, columns=[f"factor_{i}" for i in range(20)])
    if kind == "prediction":
        days, names = size // 12 // 1_000, 1_000
        index = pd.MultiIndex.from_product(
            [pd.date_range("1900-01-01", periods=days, unit="s"), [f"SH{i:06d}" for i in range(names)]],
            names=["datetime", "instrument"],
        )
        return pd.DataFrame({"score": rng.random(len(index))}, index=index)
    numbers = pa.chunked_array([pa.array(np.arange(10**12, 10**12 + size // 21)).cast(pa.large_string())])
    return pd.DataFrame({"note": pd.array(numbers, dtype="string[pyarrow]")}, copy=False)


def trust_of(side: str) -> Any:
    return "trusted" if side.endswith("trusted") else "restricted"


def saver(side: str, path: Path) -> Callable[[Any], None]:
    """Return what saves an object so that it is durable."""
    if side.startswith("recorder"):
        from aqrec.options import Options
        from aqrec.sync import ExperimentManager

        manager = ExperimentManager(str(path), options=Options(provenance=False))
        recorder = manager.start_exp(recorder_id="r").get_recorder()
        return lambda obj: recorder.save_objects(**{"object.pkl": obj})
    if side == PLAIN:
        write: Callable[[BinaryIO, Any], object] = lambda file, obj: pickle.dump(obj, file, protocol=5)  # noqa: E731
    else:
        from aqrec.artifacts import write_object

        write = lambda file, obj: record_digest(file, write_object(file, obj, codec="pickle"))  # noqa: E731

    def save(obj: Any) -> None:
        with path.open("wb") as file:
            write(file, obj)
            file.flush()
            os.fsync(file.fileno())

    return save


def record_digest(file: BinaryIO, digest: Any) -> None:
    Path(f"{file.name}.json").write_text(json.dumps([digest.size, digest.checksum]), encoding="utf-8")


def loader(side: str, path: Path) -> Callable[[], Any]:
    """Return what loads the object that another process has saved."""
    if side.startswith("recorder"):
        from aqrec.sync import ExperimentManager

        recorder = ExperimentManager(str(path)).get_recorder(recorder_id="r")
        return lambda: recorder.load_object("object.pkl", trust=trust_of(side))
    if side == PLAIN:
        read: Callable[[BinaryIO], Any] = pickle.load
    else:
        from aqrec.artifacts import TrustPolicy, read_object

        size, checksum = json.loads(Path(f"{path}.json").read_text(encoding="utf-8"))
        trust = TrustPolicy(trust_of(side))
        read = lambda file: read_object(file, codec="pickle", size=size, checksum=checksum, trust=trust)  # noqa: E731

    def load() -> Any:
        with path.open("rb") as file:
            return read(file)

    return load


def resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGESIZE")


def peak() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def measure(action: str, side: str, kind: str, size: int, path: Path) -> None:
    """Print seconds and peak memory of one save or load, made in this process."""
    # Everything either side needs is imported before the baseline is taken.
    for name in ("pandas", "pyarrow", "xxhash"):
        import_module(name)

    work: Any = saver(side, path) if action == "save" else loader(side, path)
    warm = make(kind, 100_000)
    with tempfile.TemporaryFile() as file:
        pickle.dump(warm, file)
    del warm
    gc.collect()
    baseline = resident()
    obj = make(kind, size) if action == "save" else None
    gc.collect()
    import_module("pyarrow").default_memory_pool().release_unused()
    if action == "save":
        # The page cache has room of this size already: a virtual machine may have to ask its host for more,
        # which takes ten times as long as the write.
        with tempfile.NamedTemporaryFile(dir=path.parent) as file:
            for _ in range(size // 1_000_000):
                file.write(bytes(1_000_000))
            file.flush()
            os.fsync(file.fileno())
    else:
        # Likewise for the memory that the object is to take.
        room = b"-" * (size + size // 2)
        del room
    # "5" makes the peak start anew from what is resident now.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    start = time.perf_counter()
    if action == "save":
        work(obj)
    else:
        obj = work()
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "memory": peak() - baseline}))


def child(action: str, side: str, kind: str, size: int, path: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", action, side, kind, str(size), str(path)]
    result = subprocess.run(command, check=True, capture_output=True, text=True, env=environment())
    found: dict[str, float] = json.loads(result.stdout)
    return found


def environment() -> dict[str, str]:
    root = str(Path(__file__).resolve().parent.parent)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}


def compare(kind: str, size: int, rounds: int, folder: Path, *, bars: bool) -> list[Row]:
    """Measure all sides of one kind of object."""
    seconds: dict[tuple[str, str], list[float]] = {(side, action): [] for side in SIDES for action in ACTIONS}
    memory: dict[tuple[str, str], float] = {}
    stored = 0
    for number in range(rounds):
        for side in reversed(SIDES) if number % 2 else SIDES:
            place = folder / re.sub(r"\W+", "-", f"{kind}-{side}")
            for action in ACTIONS:
                found = child(action, side, kind, size, place)
                seconds[side, action].append(found["seconds"])
                memory[side, action] = max(memory.get((side, action), 0.0), found["memory"])
            if side == PLAIN:
                stored = place.stat().st_size
            if place.is_dir():
                shutil.rmtree(place)
            else:
                place.unlink()
    name = f"{kind} of {stored / 1e6:.0f} MB"
    rows: list[Row] = []
    for side in SIDES[1:]:
        for actions in (("save",), ("load",), ACTIONS):
            pairs = [
                tuple(sum(seconds[who, action][number] for action in actions) for who in (side, PLAIN))
                for number in range(rounds)
            ]
            ours, plain = sorted(pairs, key=lambda pair: pair[1] / pair[0])[(rounds - 1) // 2]
            both = len(actions) > 1
            rows.append(
                Row(
                    what=f"{name}, {side}: {' + '.join(actions)}",
                    unit="s",
                    ours=ours,
                    peer=plain,
                    better="lower",
                    bar=ENOUGH_SPEED if bars and both else None,
                )
            )
        limit = ENOUGH_MEMORY[0] * stored + ENOUGH_MEMORY[1]
        most = max(memory[side, action] for action in ACTIONS)
        rows.append(
            Row(
                what=f"{name}, {side}: peak memory; peer is 1.1 x object + 64 MB",
                unit="B",
                ours=most,
                peer=limit,
                better="lower",
                bar=1,
            )
        )
    return rows


def main() -> int:
    if sys.argv[1:2] == ["--child"]:
        action, side, kind, size, path = sys.argv[2:]
        measure(action, side, kind, int(size), Path(path))
        return 0
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="objects of 50 MB, one round, no bars for speed")
    parser.add_argument("--megabytes", type=int)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--kind", choices=KINDS, action="append")
    arguments = parser.parse_args()
    quick = arguments.quick
    size = (arguments.megabytes or (50 if quick else 500)) * 1_000_000
    rounds = arguments.rounds or (1 if quick else 5)
    kinds = arguments.kind or (["frame"] if quick else KINDS)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        rows = [row for kind in kinds for row in compare(kind, size, rounds, Path(folder), bars=not quick)]
    title = f"objects on local disk, median of {rounds} rounds; peer: pickle protocol 5, fsync"
    return 0 if show(title, rows) else 1


if __name__ == "__main__":
    sys.exit(main())
