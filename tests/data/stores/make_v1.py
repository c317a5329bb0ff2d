"""Make the sample store of format version 1: ``python -m tests.data.stores.make_v1``.

It was made once, by the first release, and is read by every later one. It is not to be made again: a version that cannot read
it breaks a promise.
"""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aqrec import Options
from aqrec.sync import ExperimentManager

FOLDER = Path(__file__).parent
STORE, EXPECTED = FOLDER / "v1", FOLDER / "v1.json"
PARAMS: dict[str, Any] = {
    "text": "ü",
    "whole": 3,
    "large": 2**100,
    "real": 0.1,
    "nan": math.nan,
    "yes": True,
    "nothing": None,
    "list": [1, "a", None],
    "map": {"a": {"b": 1.5}},
}
CRASHING = """
import os, sys
from aqrec import Options
from aqrec.sync import ExperimentManager

manager = ExperimentManager(sys.argv[1], options=Options(provenance=False))
recorder = manager.get_exp(experiment_name="samples").create_recorder("crashed", recorder_id="crashed")
recorder.start_run()
for step in range(100):
    recorder.log_metrics(step=step, loss=1 / (step + 1))
recorder.flush()
os._exit(9)
"""


def main() -> None:
    """Write the store and what must be read from it."""
    shutil.rmtree(STORE, ignore_errors=True)
    options = Options(provenance=False)
    with ExperimentManager(str(STORE), options=options) as manager:
        experiment = manager.get_exp(experiment_name="samples")
        with experiment.create_recorder("sealed", recorder_id="sealed") as recorder:
            recorder.log_batch(params=PARAMS, tags={"owner": "me", "old": 1})
            recorder.delete_tags("old")
            for step in range(50):
                recorder.log_batch(
                    {"loss": 1 / (step + 1), "val/acc": step / 50},
                    step=step,
                    timestamp=1_760_000_000_000 + step,
                )
            recorder.log_batch({"free": math.inf}, timestamp=1_760_000_000_000)
            recorder.log_batch({"free": math.nan}, timestamp=1_760_000_000_001)
            recorder.save_objects(
                artifact_path="out",
                **{
                    "frame.parquet": pd.DataFrame({"a": [1.5, 2.5]}),
                    "array.npy": np.arange(4.0),
                    "data.json": {"a": [1, 2]},
                    "text.txt": "hello",
                    "object.pkl": {"a": (1, 2)},
                    "raw.bin": b"\x00\xff",
                },
            )
        with experiment.create_recorder("child", recorder_id="child", parent=recorder) as child:
            child.log_metrics(step=1, loss=0.5)
        with experiment.create_recorder("gone", recorder_id="gone") as gone:
            gone.log_metrics(step=1, loss=0.5)
        manager.delete_recorder(recorder_id="gone")
    with ExperimentManager(str(STORE), options=options) as manager:
        again = manager.get_recorder(recorder_id="sealed")
        with again:
            again.log_batch({"loss": 0.001}, step=50, timestamp=1_760_000_000_050)
    bulk = Options(provenance=False, seal="bulk")
    with ExperimentManager(str(STORE), options=bulk) as manager:
        for number in range(2):
            with manager.get_exp(experiment_name="sweep").create_recorder(
                f"trial-{number}", recorder_id=f"trial-{number}"
            ) as trial:
                trial.log_batch({"score": number / 10}, step=0, timestamp=1_760_000_000_000)
    subprocess.run(
        [sys.executable, "-c", CRASHING, str(STORE)],
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    EXPECTED.write_text(json.dumps(read(str(STORE)), indent=1, sort_keys=True) + "\n")


def read(url: str) -> dict[str, Any]:
    """Return everything that can be read from a store, as JSON can hold it."""
    found: dict[str, Any] = {"experiments": {}, "runs": {}}
    with ExperimentManager(url) as manager:
        for name in manager.list_experiments():
            found["experiments"][name] = sorted(manager.list_recorders(experiment_name=name))
        for run_id in ("sealed", "child", "gone", "trial-0", "trial-1", "crashed"):
            recorder = manager.get_recorder(recorder_id=run_id)
            found["runs"][run_id] = {
                "name": recorder.name,
                "status": recorder.status,
                "parent": recorder.parent,
                "params": repr(recorder.list_params()),
                "tags": recorder.list_tags(),
                "metrics": {key: repr(value) for key, value in recorder.list_metrics().items()},
                "histories": {
                    key: [
                        [str(step), int(stamp.timestamp() * 1000) if run_id != "crashed" else 0, repr(value)]
                        for step, stamp, value in recorder.metric_history(key).itertuples(index=False)
                    ]
                    for key in recorder.list_metrics()
                    if run_id != "child"
                },
                "artifacts": {
                    path: repr(recorder.load_object(path)) for path in recorder.list_artifacts("out")
                },
            }
    return found


if __name__ == "__main__":
    main()
