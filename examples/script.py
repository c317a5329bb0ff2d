"""A training script: gradient descent on a small regression, recorded, stopped, and resumed where it stopped."""

import sys

import numpy as np

from aqrec.sync import ExperimentManager, R


def train(weights: np.ndarray, first: int, last: int) -> np.ndarray:
    """Do some steps of gradient descent on the active recorder."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(500, len(weights)))
    target = inputs @ np.linspace(1, 2, len(weights)) + rng.normal(scale=0.1, size=500)
    for step in range(first, last):
        residual = inputs @ weights - target
        weights = weights - 0.1 * inputs.T @ residual / len(target)
        R.log_metrics(step=step, loss=float(np.mean(residual**2)), norm=float(np.linalg.norm(weights)))
    return weights


def main(folder: str) -> None:
    """Train in two sessions of one run."""
    with R.start(experiment_name="script", recorder_name="descent", uri=folder) as experiment:
        identity = experiment.get_recorder().id
        R.log_params(rate=0.1, size=8)
        R.save_objects(**{"weights.npy": train(np.zeros(8), 0, 30)})

    with R.start(experiment_name="script", recorder_id=identity, uri=folder, resume=True):
        weights = R.load_object("weights.npy")
        R.save_objects(**{"weights.npy": train(weights, 30, 60)})

    with ExperimentManager(folder) as manager:
        recorder = manager.get_recorder(recorder_id=identity)
        history = recorder.metric_history("loss")
        print(f"{recorder.name}: {recorder.status}, {len(history)} steps")
        print(f"loss {history.value.iloc[0]:.3f} -> {history.value.iloc[-1]:.4f}")
        print("weights", np.round(recorder.load_object("weights.npy"), 2))
    R.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "./example-script")
