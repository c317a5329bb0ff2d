"""Recording metrics: aqrec against MLflow, Weights & Biases (offline), trackio and tensorboardX.

The loop is the same for all: ten metrics a call, from the first call until the run has finished and
everything is on local disk. Opening the store and starting the run are not measured. Each tracker runs
in a process of its own, for seconds, so that fixed costs of finishing weigh little; how many calls that
takes is found by trial.

::

    python benchmarks/peers.py --install     # once: the peers, into .cache/peers
    python benchmarks/peers.py               # --quick for a rough answer

Nothing here uses a network. A peer that is not installed, or does not run, is listed with the reason.
"""

import argparse
import contextlib
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / ".cache" / "peers"
METRICS = 10

# Trackers look for servers, accounts and updates unless told not to.
OFFLINE = {
    "DO_NOT_TRACK": "true",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
}


class Loop(NamedTuple):
    """What a tracker gives to be measured: one call with ten metrics, and the end of the run."""

    log: Callable[[int, dict[str, float]], object]
    finish: Callable[[], object]


def aqrec(folder: Path) -> Loop:
    """aqrec, blocking face, local store: leaving the block syncs and seals."""
    from aqrec.sync import R

    run = contextlib.ExitStack()
    run.enter_context(R.start(experiment_name="peers", uri=(folder / "store").as_uri()))

    def log(step: int, metrics: dict[str, float]) -> None:
        R.log_metrics(step=step, **metrics)

    return Loop(log, run.close)


def mlflow(folder: Path) -> Loop:
    """MLflow, SQLite store, its synchronous default."""
    import mlflow as tracker

    tracker.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    tracker.set_experiment("peers")
    tracker.start_run()
    return Loop(lambda step, metrics: tracker.log_metrics(metrics, step=step), tracker.end_run)


def wandb(folder: Path) -> Loop:
    """Weights & Biases, offline, without its machine statistics and console capture."""
    import wandb as tracker

    settings = tracker.Settings(silent=True, console="off", x_disable_stats=True, x_disable_meta=True)
    run = tracker.init(project="peers", mode="offline", dir=str(folder), settings=settings)
    return Loop(lambda step, metrics: run.log(metrics, step=step), run.finish)


def trackio(folder: Path) -> Loop:
    """trackio, local, without its machine statistics."""
    os.environ["TRACKIO_DIR"] = str(folder)
    import trackio as tracker

    tracker.init(project="peers", name="run", embed=False, auto_log_gpu=False, auto_log_cpu=False)
    return Loop(lambda step, metrics: tracker.log(metrics, step=step), tracker.finish)


def tensorboardx(folder: Path) -> Loop:
    """tensorboardX: one call a metric, as its API has it."""
    from tensorboardX import SummaryWriter

    writer = SummaryWriter(str(folder))

    def log(step: int, metrics: dict[str, float]) -> None:
        for name, value in metrics.items():
            writer.add_scalar(name, value, step)

    return Loop(log, writer.close)


class Peer(NamedTuple):
    """One other tracker: its package on PyPI, how it is named, and how many times faster aqrec must be."""

    package: str
    label: str
    bar: float
    prepare: Callable[[Path], Loop]


PEER_TRACKERS = (
    Peer("mlflow", "MLflow, SQLite", 1_000, mlflow),
    Peer("wandb", "W&B, offline", 20, wandb),
    Peer("trackio", "trackio, local", 8, trackio),
    Peer("tensorboardX", "tensorboardX", 70, tensorboardx),
)
PREPARE = {"aqrec": aqrec, **{peer.package: peer.prepare for peer in PEER_TRACKERS}}


def child(name: str, calls: int) -> None:
    """Measure one tracker in this process and print the result as the last line."""
    # Made beforehand, since making ten floats costs a fast tracker as much as recording them.
    inputs = [{f"metric_{i}": math.sin(i + j) for i in range(METRICS)} for j in range(1024)]
    with tempfile.TemporaryDirectory(prefix="peers-", ignore_cleanup_errors=True) as folder:
        log, finish = PREPARE[name](Path(folder))
        started = time.perf_counter()
        for step in range(calls):
            log(step, inputs[step % 1024])
        logged = time.perf_counter()
        finish()
        ended = time.perf_counter()
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    result = {"points": calls * METRICS, "log": logged - started, "total": ended - started, "bytes": size}
    print("\n" + json.dumps(result), flush=True)


class Measured(NamedTuple):
    """One run of a tracker: points, seconds in the calls and until all is on disk, bytes there."""

    points: int
    log: float
    total: float
    bytes: int

    @property
    def rate(self) -> float:
        """Points per second."""
        return self.points / self.total


class NotRunError(Exception):
    """A tracker cannot be measured here; the message says why."""


def run(python: Path, name: str, calls: int, timeout: float) -> Measured:
    """Measure `name` in a fresh process of `python`."""
    environment = {**os.environ, **OFFLINE, "PYTHONPATH": str(ROOT)} | {"PYTHONWARNINGS": "ignore"}
    command = [str(python), __file__, "--child", name, "--calls", str(calls)]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=environment,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise NotRunError(f"{calls} calls took more than {timeout:g} s") from None
    except OSError as error:
        raise NotRunError(str(error)) from None
    if done.returncode:
        raise NotRunError((done.stderr.strip() or "no output").splitlines()[-1][:200])
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def measure(python: Path, name: str, *, seconds: float, repeats: int) -> Measured:
    """Find a number of calls that takes about `seconds`, measure it `repeats` times, return the median."""
    calls = 50
    trial = run(python, name, calls, timeout=60 + 30 * seconds)
    # What begins and ends a run takes its time, and more on a busy machine: it is not the work that shall fill the seconds.
    fixed = trial.total
    work = fixed
    while True:
        calls = math.ceil(calls * min(20.0, 1.2 * seconds / max(work, 1e-3)))
        trial = run(python, name, calls, timeout=60 + 30 * seconds)
        work = trial.total - fixed
        if work >= seconds / 2:
            break
    results = [trial, *(run(python, name, calls, timeout=60 + 30 * seconds) for _ in range(repeats - 1))]
    return statistics.median_low([(m.rate, m) for m in results])[1]


def install() -> None:
    """Make the peers' environment."""
    if not (PEERS / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", str(PEERS)], check=True)
    packages = [peer.package for peer in PEER_TRACKERS]
    subprocess.run([str(PEERS / "bin" / "python"), "-m", "pip", "install", "--quiet", *packages], check=True)


def versions() -> dict[str, str]:
    """Return the versions of the peers that are installed."""
    python = PEERS / "bin" / "python"
    if not python.exists():
        return {}
    code = (
        "import json, sys; from importlib.metadata import distributions as d; "
        "print(json.dumps({x.name: x.version for x in d() if x.name in sys.argv[1:]}))"
    )
    names = [peer.package for peer in PEER_TRACKERS]
    answer = subprocess.run(
        [str(python), "-c", code, *names], capture_output=True, text=True, check=False
    ).stdout
    found: dict[str, str] = json.loads(answer or "{}")
    return found


def compare(
    *, seconds: float, repeats: int
) -> Iterator[tuple[Peer, str, Measured | None, Measured | None, str]]:
    """Yield each peer with its version, our run, its run and, if one is missing, why."""
    try:
        ours, why = measure(Path(sys.executable), "aqrec", seconds=seconds, repeats=repeats), ""
    except NotRunError as error:
        ours, why = None, f"aqrec: {error}"
    installed = versions()
    for peer in PEER_TRACKERS:
        theirs, reason = None, why
        if peer.package not in installed:
            reason = reason or "not installed; run: python benchmarks/peers.py --install"
        else:
            try:
                theirs = measure(PEERS / "bin" / "python", peer.package, seconds=seconds, repeats=repeats)
            except NotRunError as error:
                reason = reason or str(error)
        yield peer, installed.get(peer.package, ""), ours, theirs, reason


def main() -> int:
    """Compare, print the table, return 1 if a bar was missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--install", action="store_true", help="install the peers into .cache/peers and stop")
    parser.add_argument(
        "--quick", action="store_true", help="one run of about 1 s each instead of three of 5 s"
    )
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--child", choices=sorted(PREPARE), help=argparse.SUPPRESS)
    parser.add_argument("--calls", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.calls)
        return 0
    if options.install:
        install()
        return 0

    from _table import Row, show

    rows: list[Row] = []
    figures: dict[str, Any] = {}
    for peer, version, ours, theirs, reason in compare(
        seconds=1.0 if options.quick else 5.0, repeats=1 if options.quick else 3
    ):
        cost = f": {theirs.total / theirs.points * 1e6:,.3g} µs a point" if theirs else ""
        rows.append(
            Row(
                what=f"{peer.label} {version}{cost}",
                unit="points/s",
                ours=ours and ours.rate,
                peer=theirs and theirs.rate,
                bar=peer.bar,
                not_run=reason,
            )
        )
        if ours:
            figures["aqrec"] = ours._asdict()
        if theirs:
            figures[peer.package] = {"version": version, **theirs._asdict()}
    good = show(f"Ten metrics a call until all is on disk, Python {sys.version.split()[0]}", rows)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
