"""Where a run came from: recorded at its start, collected behind it."""

from __future__ import annotations

import asyncio
import logging
import os

from aqrec import provenance
from aqrec.errors import AqrecError
from aqrec.recording._artifacts import save_texts
from aqrec.recording._run import Run

__all__ = ["begin_run"]

logger = logging.getLogger("aqrec")


def begin_run(run: Run) -> None:
    """Start a run: RUNNING now, its provenance as soon as it is collected."""
    run.begin()
    options = run.session.options
    if not options.provenance:
        return
    params = {"cmd-sys.argv": provenance.argv_text(), **provenance.selected_environment(options.environment)}
    run.log_params(params, quiet=True)
    try:
        # now, since the job may change its folder before the collection begins; never waits for a disk
        cwd = os.fsdecode(os.getcwdb())  # noqa: PTH109
    except FileNotFoundError:
        cwd = None  # deleted under the job's feet

    def collect() -> None:
        run.background = asyncio.get_running_loop().create_task(_collect(run, cwd))

    run.engine.start().soon(collect)


async def _collect(run: Run, cwd: str | None) -> None:
    try:
        patterns = run.session.options.environment
        found = await asyncio.get_running_loop().run_in_executor(
            None, lambda: provenance.collect(cwd, patterns)
        )
        doc = run.doc
        run.log_params(
            {key: value for key, value in found.params().items() if key not in doc.params}, quiet=True
        )
        run.set_tags({key: value for key, value in found.tags().items() if key not in doc.tags})
        await save_texts(
            run, {path: data for path, data in found.artifacts().items() if path not in doc.artifacts}
        )
    except AqrecError as error:
        logger.warning("aqrec: the provenance of run %s was not stored: %s", run.run_id, error)
    except Exception:
        logger.exception("aqrec: the provenance of run %s could not be collected", run.run_id)
