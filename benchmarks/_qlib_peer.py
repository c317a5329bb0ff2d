"""Run backtests on real Qlib; started by ``backtest.py`` with an interpreter that has it.

    PYTHON _qlib_peer.py FOLDER

FOLDER has a provider (``provider/``), predictions (``pred.parquet``) and ``case.json``; tables of the results and
``times.json`` are written to it.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple(value["tuple"]) if "tuple" in value else {k: plain(v) for k, v in value.items()}
    return value


def main(folder: Path) -> None:
    import qlib
    from qlib.backtest import backtest
    from qlib.backtest.exchange import Exchange
    from qlib.contrib.strategy import TopkDropoutStrategy

    case = plain(json.loads((folder / "case.json").read_text()))
    qlib.init(
        provider_uri=str(folder / "provider"),
        region=case.get("region", "cn"),
        kernels=1,
        logging_level=40,
        expression_cache=None,
        dataset_cache=None,
    )
    pred = pd.read_parquet(folder / "pred.parquet").set_index(["datetime", "instrument"]).sort_index()
    span = {"start_time": case["start_time"], "end_time": case["end_time"]}
    started = time.process_time()
    exchange = Exchange(freq="day", codes="all", **span, **case["exchange_kwargs"])
    times: dict[str, Any] = {"quotes": time.process_time() - started, "runs": []}
    np.random.seed(case.get("seed", 0))
    for _ in range(case.get("rounds", 1)):
        started = time.process_time()
        portfolio, indicators = backtest(
            **span,
            strategy=TopkDropoutStrategy(signal=pred, **case["strategy"]),
            executor={
                "class": "SimulatorExecutor",
                "module_path": "qlib.backtest.executor",
                "kwargs": {
                    "time_per_step": "day",
                    "generate_portfolio_metrics": True,
                    **case.get("executor", {}),
                },
            },
            benchmark=case["benchmark"],
            account=json.loads(json.dumps(case["account"])),
            exchange_kwargs={"exchange": exchange},
        )
        times["runs"].append(time.process_time() - started)
    report, positions = portfolio["1day"]
    report.reset_index().to_parquet(folder / "report.parquet")
    indicators["1day"][0].astype(float).rename_axis("datetime").reset_index().to_parquet(
        folder / "indicators.parquet"
    )
    rows = [
        {"datetime": day, "instrument": name, **held}
        for day, position in positions.items()
        for name, held in position.position.items()
        if isinstance(held, dict)
    ]
    columns = ["datetime", "instrument", "amount", "price", "weight", "count_day"]
    pd.DataFrame(rows, columns=columns).sort_values(["datetime", "instrument"]).to_parquet(
        folder / "positions.parquet"
    )
    (folder / "times.json").write_text(json.dumps(times))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
