"""LightGBM on real prices, from training to a judged portfolio, for several settings at once.

    pip install 'aqrec[plots]' lightgbm
    python lightgbm_portfolio.py

Each setting is a run of its own; `generate_all` makes the records of all of them together. Compare them with
``aqrec ls ./lab`` and open the pages that are named at the end.
"""

import asyncio

import lightgbm as lgb
import pandas as pd

import aqrec
from aqrec.demo import FEATURES, LABEL, DemoDataset, load_quotes
from aqrec.templates import MultiPassPortAnaRecord, PortAnaRecord, SigAnaRecord, SignalRecord, generate_all

SEGMENTS = {"train": ("1991-01-01", "2012-12-27"), "test": ("2013-01-02", "2022-12-23")}
PARAMS = {"objective": "regression", "learning_rate": 0.03, "num_threads": 2, "seed": 7, "verbosity": -1}
ROUNDS = 60


class Ranker:
    """Gradient-boosted trees that rank the stocks of a day; plain code, which aqrec runs beside the loop."""

    def __init__(self, leaves: int) -> None:
        self.leaves = leaves
        self.booster: lgb.Booster | None = None

    def fit(self, dataset: DemoDataset) -> "Ranker":
        """Train on the first segment."""
        rows = dataset.prepare("train", data_key="learn")
        # The return beyond the day's mean: which stock, not which day.
        target = rows[LABEL] - rows[LABEL].groupby(level="datetime").transform("mean")
        data = lgb.Dataset(rows[list(FEATURES)].to_numpy(), target.to_numpy())
        self.booster = lgb.train({**PARAMS, "num_leaves": self.leaves}, data, ROUNDS)
        return self

    def predict(self, dataset: DemoDataset) -> "pd.Series[float]":
        """Score the second one."""
        assert self.booster is not None, "fit first"
        rows = dataset.prepare("test", "feature")
        return pd.Series(self.booster.predict(rows.to_numpy()), rows.index, name="score")


def portfolio(stocks: list[str]) -> dict[str, object]:
    """Hold the best half, exchange one stock a day, and compare with holding all of them."""
    return {
        "strategy": {
            "class": "TopkDropoutStrategy",
            "module_path": "qlib.contrib.strategy",
            "kwargs": {"signal": "<PRED>", "topk": len(stocks) // 2, "n_drop": 1},
        },
        "backtest": {
            "account": 1_000_000,
            "benchmark": stocks,
            "exchange_kwargs": {"open_cost": 0.0005, "close_cost": 0.0005, "min_cost": 0},
        },
    }


async def main() -> None:
    """Train, record and compare; on stocks as large as these, costs take what a daily signal gives."""
    dataset = DemoDataset(segments=SEGMENTS)
    config, quotes = portfolio(list(dataset.prices.columns)), load_quotes()
    async with aqrec.ExperimentManager("./lab") as manager:
        experiment = await manager.get_exp(experiment_name="lightgbm")
        templates = []
        for leaves in (4, 16):
            recorder = await experiment.create_recorder(f"leaves={leaves}")
            await recorder.start_run()
            await recorder.log_params(num_leaves=leaves, rounds=ROUNDS, **PARAMS)
            model = await asyncio.to_thread(Ranker(leaves).fit, dataset)
            await recorder.save_objects(**{"model.txt": model.booster.model_to_string()})
            templates += [
                SignalRecord(model, dataset, recorder),
                SigAnaRecord(recorder, ana_long_short=True, plots=True),
                PortAnaRecord(recorder, config, quotes=quotes, region="us", plots=True),
                MultiPassPortAnaRecord(recorder, 5, config=config, quotes=quotes, region="us"),
            ]
        await generate_all(templates)
        for recorder in {template.recorder for template in templates}:
            await recorder.end_run()

        found = await experiment.search_records(order_by=["params.num_leaves"])
        shown = {
            "params.num_leaves": "leaves",
            "metrics.Rank IC": "rank IC",
            "metrics.1day.excess_return_without_cost.annualized_return": "excess before costs",
            "metrics.1day.excess_return_with_cost.annualized_return": "after",
            "metrics.std.excess_return_with_cost.annualized_return": "std of 5 passes",
        }
        print(found[list(shown)].rename(columns=shown).to_string(index=False, float_format="{:.4f}".format))
        for uri in found["artifact_uri"]:
            print(f"{uri}/portfolio_analysis/report_1day.html")


if __name__ == "__main__":
    asyncio.run(main())
