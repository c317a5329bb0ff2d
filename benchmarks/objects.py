"""How fast and with how much memory a large object is saved and loaded.

Compares `aqrec.artifacts` with plain ``pickle.dump(protocol=5)`` + ``fsync`` and ``pickle.load``. Each
measurement is a process of its own; the sides take turns within a round, and the best of the rounds counts.

    python -m benchmarks.objects [--megabytes 500] [--rounds 5] [--folder /tmp]

"memory" is the peak of the resident set during the call over what interpreter and imports had, so that saving
cannot be below 1.00 objects.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Callable

SIDES = ("plain pickle", "aqrec trusted", "aqrec restricted")
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


def saver(side: str) -> Callable[[BinaryIO, Any], None]:
    if side == "plain pickle":
        return lambda file, obj: pickle.dump(obj, file, protocol=5)
    from aqrec.artifacts import write_object

    return lambda file, obj: record_digest(file, write_object(file, obj, codec="pickle"))


def record_digest(file: BinaryIO, digest: Any) -> None:
    Path(f"{file.name}.json").write_text(json.dumps([digest.size, digest.checksum]), encoding="utf-8")


def loader(side: str) -> Callable[[BinaryIO], Any]:
    if side == "plain pickle":
        return pickle.load
    from aqrec.artifacts import TrustPolicy, read_object

    trust = TrustPolicy("trusted" if side == "aqrec trusted" else "restricted")

    def load(file: BinaryIO) -> Any:
        size, checksum = json.loads(Path(f"{file.name}.json").read_text(encoding="utf-8"))
        return read_object(file, codec="pickle", size=size, checksum=checksum, trust=trust)

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

    work: Any = saver(side) if action == "save" else loader(side)
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
        with path.open("wb") as file:
            for _ in range(size // 1_000_000):
                file.write(bytes(1_000_000))
            file.flush()
            os.fsync(file.fileno())
    # "5" makes the peak start anew from what is resident now.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    start = time.perf_counter()
    if action == "save":
        with path.open("wb") as file:
            work(file, obj)
            file.flush()
            os.fsync(file.fileno())
    else:
        with path.open("rb") as file:
            obj = work(file)
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


def bar(share: float, width: int = 20) -> str:
    return ("█" * round(min(share, 1.5) * width)).ljust(round(1.5 * width))


def compare(kind: str, size: int, rounds: int, folder: Path) -> bool:
    """Measure all sides and print the table of one kind of object; tell whether the targets are met."""
    best: dict[tuple[str, str], dict[str, float]] = {}
    stored = 0
    for _ in range(rounds):
        for side in SIDES:
            path = folder / f"{kind}-{side.replace(' ', '-')}.pkl"
            for action in ("save", "load"):
                found = child(action, side, kind, size, path)
                known = best.setdefault((side, action), found)
                known["seconds"] = min(known["seconds"], found["seconds"])
                known["memory"] = max(known["memory"], found["memory"])
            stored = path.stat().st_size
            path.unlink()
    met = True
    limit = ENOUGH_MEMORY[0] * stored + ENOUGH_MEMORY[1]
    print(
        f"\n{kind}: {stored / 1e6:.0f} MB stored, best of {rounds} rounds; memory limit {limit / 1e6:.0f} MB"
    )
    print(f"{'':18}{'save':>9}{'load':>9}{'together':>10}  {'speed':30}{'':6}{'memory: save':>14}{'load':>9}")
    plain = sum(best["plain pickle", action]["seconds"] for action in ("save", "load"))
    for side in SIDES:
        save, load = best[side, "save"], best[side, "load"]
        total = save["seconds"] + load["seconds"]
        print(
            f"{side:18}{save['seconds']:8.3f}s{load['seconds']:8.3f}s{total:9.3f}s  {bar(plain / total)}"
            f"{plain / total:5.0%} {save['memory'] / 1e6:11.0f} MB{load['memory'] / 1e6:6.0f} MB"
        )
        if side != "plain pickle":
            met &= plain / total >= ENOUGH_SPEED and max(save["memory"], load["memory"]) <= limit
    return met


def main() -> int:
    if sys.argv[1:2] == ["--child"]:
        action, side, kind, size, path = sys.argv[2:]
        measure(action, side, kind, int(size), Path(path))
        return 0
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--kind", choices=KINDS, action="append")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        met = [
            compare(kind, arguments.megabytes * 1_000_000, arguments.rounds, Path(folder))
            for kind in arguments.kind or KINDS
        ]
    verdict = "met" if all(met) else "MISSED"
    print(f"\ntargets (speed ≥ {ENOUGH_SPEED:.0%}, memory ≤ 1.1 x object + 64 MB): {verdict}")
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
