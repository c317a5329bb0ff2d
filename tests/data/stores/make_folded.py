"""Make the sample store with a folded catalog: ``python -m tests.data.stores.make_folded``.

It is the one of version 1, folded, with a run recorded behind that. Like that one it was made once and is not to be made again.
"""

import json
import shutil
from pathlib import Path

from aqrec import Options
from aqrec.sync import ExperimentManager
from tests.data.stores.make_v1 import STORE as FIRST
from tests.data.stores.make_v1 import read

FOLDER = Path(__file__).parent
STORE, EXPECTED = FOLDER / "folded", FOLDER / "folded.json"


def main() -> None:
    """Write the store and what must be read from it."""
    shutil.rmtree(STORE, ignore_errors=True)
    shutil.copytree(FIRST, STORE)
    with ExperimentManager(str(STORE), options=Options(provenance=False)) as manager:
        manager.compact(grace=0)
        manager.get_recorder(recorder_id="child").set_tags(note="after the fold")
        with manager.get_exp(experiment_name="later").create_recorder("new", recorder_id="new") as recorder:
            recorder.log_batch({"loss": 0.25}, step=1, timestamp=1_760_000_000_000)
    EXPECTED.write_text(json.dumps(read(str(STORE)), indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
