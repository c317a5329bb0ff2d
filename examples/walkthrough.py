"""A notebook in cells: a signal on 33 years of real prices, judged."""

# %% The store, and the data that comes with the package
import sys

from aqrec.demo import DemoDataset, RidgeModel
from aqrec.sync import ExperimentManager, open_recorder
from aqrec.sync.templates import SigAnaRecord, SignalRecord

FOLDER = sys.argv[1] if len(sys.argv) > 1 else "./example-walkthrough"
dataset = DemoDataset()

# %% Fit walk-forward, one metric for each refit, then save the signal and judge it
with open_recorder(FOLDER, experiment="walkthrough", name="ridge") as recorder:
    model = RidgeModel(refit="year")
    recorder.log_params(model="ridge", alpha=model.alpha, refit=model.refit)
    model.fit(
        dataset, on_fold=lambda number, _, fold: recorder.log_metrics(step=number, train_loss=fold.loss)
    )
    SignalRecord(model=model, dataset=dataset, recorder=recorder).generate()
    SigAnaRecord(recorder, ana_long_short=True).generate()

# %% What came out
with ExperimentManager(FOLDER) as manager:
    recorder = manager.get_recorder(recorder_name="ridge", experiment_name="walkthrough")
    for name, value in recorder.list_metrics().items():
        print(f"{name:28} {value: .4f}")
    ic = recorder.load_object("sig_analysis/ic.pkl")

# %% IC by year
for year, value in ic.groupby(ic.index.year).mean().items():
    print(year, f"{value: .3f}", "█" * max(round(200 * value), 0))
