"""Use Qlib's ``R`` with one of its managers and time it; started by ``qlib_recorder.py`` with an interpreter that has Qlib.

    PYTHON _qlib_recorder_peer.py aqrec|mlflow FOLDER POINTS RUNS MEGABYTES

Prints seconds as JSON.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main(which: str, folder: Path, points: int, runs: int, megabytes: int) -> None:
    import numpy as np
    import qlib
    from qlib.workflow import R

    os.chdir(folder)  # no git repository, and where MLflow puts its artifacts
    managers = {
        "aqrec": ("AqrecExpManager", "aqrec.integrations.qlib", str(folder / "lab")),
        "mlflow": ("MLflowExpManager", "qlib.workflow.expm", f"sqlite:///{folder}/mlflow.db"),
    }
    name, module, uri = managers[which]
    kwargs = {"uri": uri, "default_exp_name": "Experiment"}
    manager = {"class": name, "module_path": module, "kwargs": kwargs}
    qlib.init(provider_uri=str(folder), exp_manager=manager, logging_level=logging.ERROR)
    logging.disable(logging.WARNING)
    took: dict[str, float] = {}

    with R.start(experiment_name="warm"):
        R.log_metrics(step=0, m=0.0)
        R.save_objects(small=1)

    def log() -> None:
        recorder = R.get_recorder()
        chunk = points // 10

        def some(first: int) -> None:
            for n in range(first, first + chunk):
                recorder.log_metrics(step=n, loss=1 / (n + 1))

        # The best of ten: while it is logged, somebody else stores.
        took["calls"] = 10 * min(
            [seconds(lambda first=first: some(first)) for first in range(0, points, chunk)]
        )

    def drained() -> None:
        with R.start(experiment_name="points"):
            log()

    took["drained"] = seconds(drained)
    (recorder,) = R.list_recorders(experiment_name="points").values()
    assert recorder.list_metrics() == {"loss": 1 / points}

    experiment = R.get_exp(experiment_name="many")
    for number in range(runs):
        if (
            which == "mlflow"
        ):  # Qlib's own start of a run takes three git processes: not what is measured here
            client = experiment._client
            run = client.create_run(experiment.id, run_name="r")
            client.log_metric(run.info.run_id, "m", number)
            client.set_terminated(run.info.run_id)
        else:
            with R.start(experiment_name="many"):
                R.log_metrics(m=number)
    R.list_recorders(experiment_name="warm")
    took["list"] = min(seconds(lambda: R.list_recorders(experiment_name="many")) for _ in range(3))
    assert len(R.list_recorders(experiment_name="many")) == runs

    data = np.random.default_rng(1).random(megabytes * 125_000)
    with R.start(experiment_name="objects"):
        took["save"] = min(seconds(lambda: R.save_objects(**{"data.pkl": data})) for _ in range(3))
        took["load"] = min(seconds(lambda: R.load_object("data.pkl")) for _ in range(3))
    print(json.dumps(took))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:6]))
