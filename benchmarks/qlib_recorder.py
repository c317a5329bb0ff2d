"""Qlib's ``R`` on an aqrec store against Qlib on MLflow with SQLite, the only kind of MLflow's stores that it still takes.

    python benchmarks/backtest.py --install  # once: pyqlib and aqrec, into .cache/qlib
    python benchmarks/qlib_recorder.py       # --quick for a rough answer

The same calls on both, in processes of their own, on this machine's disk: logging calls until they return, points until the
run has ended and all of them are stored, listing the recorders of an experiment, and an object of 100 MB saved and loaded. aqrec's saves
are durable when they return, MLflow's are not. ``--qlib PYTHON`` names another interpreter that has pyqlib.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from _table import Row, show
from backtest import qlib_python

ROOT = Path(__file__).resolve().parents[1]
WORKER = str(Path(__file__).with_name("_qlib_recorder_peer.py"))
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "GIT_PYTHON_REFRESH": "quiet"}


def measure(python: str, which: str, *sizes: int) -> dict[str, float]:
    """Return the seconds that each part took."""
    with tempfile.TemporaryDirectory(prefix="aqrec-bench-") as folder:
        ended = subprocess.run(
            [python, WORKER, which, folder, *map(str, sizes)],
            env={**os.environ, **QUIET, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
    if ended.returncode:
        raise RuntimeError(f"{which}: {(ended.stderr.strip() or 'no word').splitlines()[-1]}")
    took: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="fewer points and runs")
    size.add_argument("--full", action="store_true", help="all of them, which is the default")
    parser.add_argument("--qlib", metavar="PYTHON", help="an interpreter that has pyqlib")
    options = parser.parse_args()
    points, runs, megabytes = (100, 150, 100) if options.quick else (1_000, 1_000, 100)
    what = {
        "calls": (f"{points:,} calls of log_metrics", "calls/s", points, None),
        "drained": (f"{points:,} points, until all are stored", "points/s", points, 20.0),
        "list": (f"list {runs:,} recorders", "recorders/s", runs, 3.0),
        "save": (f"save_objects, {megabytes} MB", "MB/s", megabytes, None),
        "load": (f"load_object, {megabytes} MB", "MB/s", megabytes, None),
    }
    python = qlib_python(options.qlib)
    ours, theirs, why = {}, {}, "pyqlib is not installed; run: python benchmarks/backtest.py --install"
    if python is not None:
        try:
            ours, theirs = (measure(python, which, points, runs, megabytes) for which in ("aqrec", "mlflow"))
            why = ""
        except RuntimeError as error:
            why = str(error)
    rows = [
        Row(
            what=text,
            unit=unit,
            ours=count / ours[key] if ours else None,
            peer=count / theirs[key] if theirs else None,
            bar=bar,
            not_run=why,
        )
        for key, (text, unit, count, bar) in what.items()
    ]
    sys.exit(0 if show("Qlib's R on aqrec against Qlib on MLflow (SQLite)", rows) else 1)


if __name__ == "__main__":
    main()
