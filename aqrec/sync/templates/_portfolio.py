"""`PortAnaRecord` and `MultiPassPortAnaRecord`, blocking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from aqrec.sync.templates._base import ACRecordTemp
from aqrec.sync.templates._signal import SignalRecord
from aqrec.templates._backtest_plan import (
    BacktestPlan,
    backtest_plan,
    check_passes,
    check_prices,
    metrics_of_pass,
    multi_pass_files,
    portfolio_files,
)
from aqrec.templates._dataset import PREDICTION_FILE, check_plots
from aqrec.templates._plan import check_told
from aqrec.templates._portfolio import (
    draw_passes,
    figures_of,
    parts_of,
    passes_of,
    portfolio_drawn,
    summed_up,
    to_draw,
)
from aqrec.templates._saving import log_with_files
from aqrec.templates._workers import parts_at_once, spread_blocking

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    import pandas as pd

    from aqrec.quotes import Market
    from aqrec.sync import Recorder
    from aqrec.templates._plan import OnMissing

__all__ = ["MultiPassPortAnaRecord", "PortAnaRecord"]


class PortAnaRecord(ACRecordTemp):
    """What trading the predictions would have earned; see `aqrec.templates.PortAnaRecord`."""

    artifact_path = "portfolio_analysis"
    depend_cls = SignalRecord
    plan: BacktestPlan = backtest_plan(None, None, None, None, quotes=None, region="cn", qlib_compat=False)
    """What will be run"""

    def __init__(
        self,
        recorder: Recorder,
        config: Mapping[str, Any] | None = None,
        risk_analysis_freq: str | Iterable[str] | None = None,
        indicator_analysis_freq: str | Iterable[str] | None = None,
        indicator_analysis_method: str | None = None,
        skip_existing: bool = False,
        on_missing: OnMissing = "raise",
        *,
        quotes: Market | pd.DataFrame | str | os.PathLike[str] | None = None,
        region: Literal["cn", "us", "tw"] = "cn",
        qlib_compat: bool = False,
        plots: bool = False,
    ) -> None:
        check_told(locals())
        super().__init__(recorder, skip_existing, on_missing)
        self.plan = backtest_plan(
            config,
            risk_analysis_freq,
            indicator_analysis_freq,
            indicator_analysis_method,
            quotes=quotes,
            region=region,
            qlib_compat=qlib_compat,
            plots=check_plots(plots),
        )

    def list(self) -> Sequence[str]:
        """Return the names of the files."""
        return portfolio_files(self.plan)

    def generate(self) -> dict[str, Any] | None:
        """Run the backtest and its analysis, save the files, log the metrics."""
        return super().generate()

    def _generate(self) -> dict[str, Any]:
        check_prices(type(self).__name__, self.plan)
        objects, metrics = figures_of(self.plan, self.load(PREDICTION_FILE))
        if self.plan.plots:
            objects |= portfolio_drawn(to_draw(self.plan, objects))
        log_with_files(self.recorder, metrics)
        return objects


class MultiPassPortAnaRecord(PortAnaRecord):
    """How much of a result is the luck of its first day; see `aqrec.templates.MultiPassPortAnaRecord`."""

    splits = True

    def __init__(
        self,
        recorder: Recorder,
        pass_num: int = 10,
        shuffle_init_score: bool = True,
        config: Mapping[str, Any] | None = None,
        risk_analysis_freq: str | Iterable[str] | None = None,
        indicator_analysis_freq: str | Iterable[str] | None = None,
        indicator_analysis_method: str | None = None,
        skip_existing: bool = False,
        on_missing: OnMissing = "raise",
        *,
        rng: int | np.random.Generator | np.random.RandomState | None = 0,
        quotes: Market | pd.DataFrame | str | os.PathLike[str] | None = None,
        region: Literal["cn", "us", "tw"] = "cn",
        qlib_compat: bool = False,
    ) -> None:
        check_told(locals())
        super().__init__(
            recorder,
            config,
            risk_analysis_freq,
            indicator_analysis_freq,
            indicator_analysis_method,
            skip_existing,
            on_missing,
            quotes=quotes,
            region=region,
            qlib_compat=qlib_compat,
        )
        check_passes(self.plan, pass_num)
        self.pass_num = pass_num
        self.shuffle_init_score = shuffle_init_score
        self.rng = rng

    def list(self) -> Sequence[str]:
        """Return the name of the table of each analysed frequency."""
        return multi_pass_files(self.plan)

    def generate(self) -> dict[str, Any] | None:
        """Run the passes, here or by the workers of `generate_all`; save the tables, log the metrics."""
        return super().generate()

    def _generate(self) -> dict[str, Any]:
        check_prices(type(self).__name__, self.plan)
        pred = self.load(PREDICTION_FILE)
        orders = draw_passes(self.plan, pred, self.pass_num, self.rng if self.shuffle_init_score else False)
        parts = [(self.plan, pred, part) for part in parts_of(orders, parts_at_once())]
        passes = [figures for part in spread_blocking(passes_of, parts) for figures in part]
        objects, metrics = summed_up(self.plan, passes)
        for step, figures in enumerate(passes, 1):
            log_with_files(self.recorder, metrics_of_pass(self.plan, figures), step=step)
        log_with_files(self.recorder, metrics)
        return objects
