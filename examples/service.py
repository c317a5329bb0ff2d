"""An async service that records one run for each job it handles.

All runs share one store, one bounded buffer and one journal; the event loop is never blocked by recording.
"""

import asyncio
import random
import sys

import aqrec


async def forecast(recorder: aqrec.Recorder, horizon: int) -> float:
    """Stand in for the work: a few awaited steps with a metric each."""
    error = 1.0
    for step in range(horizon):
        await asyncio.sleep(0.001)
        error *= random.uniform(0.8, 1.0)
        recorder.log_metrics(step=step, error=error)
    if error > 0.6:
        raise ValueError(f"no convergence: error {error:.2f}")
    return error


async def handle(experiment: aqrec.Experiment, number: int) -> None:
    """Record one job: FINISHED, or FAILED with its data if it raises."""
    recorder = await experiment.create_recorder(f"job-{number}")
    async with recorder:
        recorder.log_params(number=number, horizon=(horizon := random.randint(2, 20)))
        recorder.log_metrics(final=await forecast(recorder, horizon))


async def main(folder: str) -> None:
    """Handle forty jobs at once, then look at them."""
    random.seed(7)
    async with aqrec.ExperimentManager(folder, options=aqrec.Options(seal="bulk")) as manager:
        experiment = await manager.get_exp(experiment_name="service")
        await asyncio.gather(*(handle(experiment, number) for number in range(40)), return_exceptions=True)
        runs = await manager.search_records(experiment_names=["service"], order_by=["metrics.final ASC"])
    print(runs.status.value_counts().to_string())
    print(runs[["run_id", "params.horizon", "metrics.final"]].head(3).to_string(index=False))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "./example-service"))
