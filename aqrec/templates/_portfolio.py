"""`PortAnaRecord` and `MultiPassPortAnaRecord`, async."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Literal

from aqrec.templates._apart import apart
from aqrec.templates._backtest_plan import (
    BacktestPlan,
    backtest_plan,
    check_passes,
    check_prices,
    metrics_of_pass,
    multi_pass_files,
    portfolio_files,
)
from aqrec.templates._base import ACRecordTemp
from aqrec.templates._calls import call
from aqrec.templates._dataset import PREDICTION_FILE, check_plots
from aqrec.templates._plan import check_told
from aqrec.templates._saving import log_with_files
from aqrec.templates._signal import SignalRecord
from aqrec.templates._workers import parts_at_once, spread

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    import pandas as pd

    from aqrec.quotes import Market
    from aqrec.recording import Recorder
    from aqrec.templates._plan import OnMissing

__all__ = [
    "MultiPassPortAnaRecord",
    "PortAnaRecord",
    "draw_passes",
    "figures_of",
    "parts_of",
    "passes_of",
    "portfolio_drawn",
    "summed_up",
    "to_draw",
]


class PortAnaRecord(ACRecordTemp):
    """What trading the predictions of a `SignalRecord` would have earned: a backtest and its analysis.

    Files, in the folder ``portfolio_analysis``, where F is a frequency (``1day``): ``report_normal_F.pkl`` and
    ``positions_normal_F.pkl``, ``indicators_normal_F.pkl`` and ``indicators_normal_F_obj.pkl``, as
    `aqrec.backtest.backtest` returns them; ``port_analysis_F.pkl``, a frame with the rows (group, measure) and the
    column ``risk``: `aqrec.analysis.risk_analysis` of the returns beyond the benchmark, without and with costs;
    ``indicator_analysis_F.pkl``, as `aqrec.analysis.indicator_analysis` returns it.

    Metrics: ``F.excess_return_without_cost.MEASURE`` and ``F.excess_return_with_cost.MEASURE`` (mean, std,
    annualized_return, information_ratio, max_drawdown); ``F.ffr``, ``F.pa``, ``F.pos``.

    Parameters
    ----------
    recorder
        As for `RecordTemp`.
    config
        Qlib's dict: ``strategy`` and, if not the default, ``executor``, each an object or a dict of ``class``,
        ``module_path`` and ``kwargs``, where ``<PRED>`` stands for the saved prediction; and ``backtest``: arguments
        of `aqrec.backtest.backtest`. It is copied. Default: the 50 best names of the prediction, 5 exchanged a day,
        against SH000300.
    risk_analysis_freq, indicator_analysis_freq
        One or more frequencies to analyse; default: that of the outermost executor which reports. Weeks, months and
        several days (``"week"``, ``"5day"``), where no executor reports them, are made of reported days as by
        `aqrec.analysis.resample_report` and `aqrec.analysis.resample_indicators`, and saved too.
    indicator_analysis_method
        As for `aqrec.analysis.indicator_analysis`; default "mean".
    skip_existing, on_missing
        As for `ACRecordTemp`.
    quotes
        Prices, as for `aqrec.backtest.backtest`.
    region
        "cn", "us" or "tw": defaults of the exchange.
    qlib_compat
        Also reproduce defects of Qlib; see `aqrec.backtest.backtest`.
    plots
        Also save the pictures of `aqrec.plots.plot_portfolio`, as ``cumulative_return_F.png``, ``drawdown_F.png`` and
        ``turnover_F.png``, and a page with all of them and the risk figures, ``report_F.html``. Needs the extra
        ``aqrec[plots]``.

    Raises
    ------
    InvalidInputError
        The config lacks a key or has an unknown one, its executor reports nothing or not at such a frequency, or matplotlib
        is not installed.
    """

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

    async def generate(self) -> dict[str, Any] | None:
        """Run the backtest and its analysis in a worker thread, save the files, log the metrics.

        Pictures are drawn by a process of its own. Waits, and can be cancelled, as `SigAnaRecord.generate`.

        Raises
        ------
        MissingInputError
            ``pred.pkl`` is missing or has no rows (with ``on_missing="skip"``: a warning, and None).
        InvalidInputError
            There are no quotes, or config, quotes and prediction do not fit each other; the message says how.
        """
        return await super().generate()

    async def _generate(self) -> dict[str, Any]:
        check_prices(type(self).__name__, self.plan)
        pred = await self.load(PREDICTION_FILE)
        objects, metrics = await call(figures_of, self.plan, pred)
        if self.plan.plots:
            objects |= await apart(portfolio_drawn, await call(to_draw, self.plan, objects))
        log_with_files(self.recorder, metrics)
        return objects


class MultiPassPortAnaRecord(PortAnaRecord):
    """How much of a backtest's result is the luck of its first day: many passes, each with other first holdings.

    In each pass the scores of the prediction's first day on or after the backtest's start are shuffled among its
    instruments.

    File, in the folder ``portfolio_analysis``: ``multi_pass_port_analysis_F.pkl``, a frame with the rows (group,
    measure), where the measures are annualized_return and information_ratio, and the columns ``mean``, ``std``
    (ddof 1, over the passes) and ``mean_std``, their quotient.

    Metrics: ``mean.GROUP.MEASURE``, ``std.…``, ``mean_std.…``; and for each pass those of `PortAnaRecord` as
    ``pass.F.…``, with its number, from 1, as the step. With `qlib_compat` these have no ``pass.``, as in Qlib, where they
    hide those of a `PortAnaRecord` of the same run.

    Parameters
    ----------
    recorder
        As for `RecordTemp`.
    pass_num
        How many passes.
    shuffle_init_score
        False: all passes are alike.
    rng
        What shuffles: a generator of numpy's, or the seed of a new one. All passes are drawn beforehand, so that the
        result does not depend on who computes them. None: with `qlib_compat` numpy's global generator, as in Qlib;
        otherwise one without a seed.
    config, risk_analysis_freq, indicator_analysis_freq, indicator_analysis_method, skip_existing, on_missing, quotes, \
region, qlib_compat
        As for `PortAnaRecord`. The strategy is a dict whose ``kwargs`` have a ``signal``.

    Raises
    ------
    InvalidInputError
        As for `PortAnaRecord`, or the strategy has no signal to replace, or `pass_num` is no positive whole number.
    """

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

    async def generate(self) -> dict[str, Any] | None:
        """Run the passes in a worker thread, or by the workers of `generate_all`; save the tables, log the metrics.

        Waits, raises and can be cancelled as `PortAnaRecord.generate`.
        """
        return await super().generate()

    async def _generate(self) -> dict[str, Any]:
        check_prices(type(self).__name__, self.plan)
        pred = await self.load(PREDICTION_FILE)
        orders = await call(
            draw_passes, self.plan, pred, self.pass_num, self.rng if self.shuffle_init_score else False
        )
        parts = [(self.plan, pred, part) for part in parts_of(orders, parts_at_once())]
        passes = [figures for part in await spread(passes_of, parts) for figures in part]
        objects, metrics = await call(summed_up, self.plan, passes)
        for step, figures in enumerate(passes, 1):
            log_with_files(self.recorder, metrics_of_pass(self.plan, figures), step=step)
        log_with_files(self.recorder, metrics)
        return objects


def parts_of(orders: Sequence[Any], count: int) -> Sequence[Sequence[Any]]:
    """Return the passes in parts, as equal as can be."""
    ends = [len(orders) * number // min(count, len(orders)) for number in range(min(count, len(orders)) + 1)]
    return [orders[begin:end] for begin, end in itertools.pairwise(ends)]


# Each loads pandas, and runs off the loop.


def figures_of(plan: BacktestPlan, pred: Any) -> tuple[dict[str, Any], dict[str, float]]:
    """Return objects and metrics of a backtest."""
    from aqrec.templates._backtest_figures import portfolio_figures  # noqa: PLC0415

    return portfolio_figures(plan, pred)


def to_draw(plan: BacktestPlan, objects: dict[str, Any]) -> dict[str, Any]:
    """Return what is to be drawn of a backtest's objects."""
    from aqrec.templates._backtest_figures import reports_to_draw  # noqa: PLC0415

    return reports_to_draw(plan, objects)


def portfolio_drawn(reports: dict[str, Any]) -> dict[str, Any]:
    """Return the pictures."""
    from aqrec.templates._pictures import portfolio_pictures  # noqa: PLC0415

    return portfolio_pictures(reports)


def draw_passes(plan: BacktestPlan, pred: Any, passes: int, rng: Any) -> Sequence[Any]:
    """Return what each pass shuffles; with False as `rng`, nothing."""
    import numpy as np  # noqa: PLC0415

    from aqrec.templates._backtest_figures import shuffled_rows  # noqa: PLC0415

    if rng is False:
        return [None] * passes
    if rng is None and not plan.qlib_compat:
        rng = np.random.default_rng()
    return shuffled_rows(plan, pred, passes, rng)


def passes_of(plan: BacktestPlan, pred: Any, orders: Sequence[Any]) -> Sequence[dict[str, float]]:
    """Return the metrics of some passes."""
    from aqrec.templates._backtest_figures import pass_figures  # noqa: PLC0415

    return pass_figures(plan, pred, orders)


def summed_up(
    plan: BacktestPlan, passes: Sequence[dict[str, float]]
) -> tuple[dict[str, Any], dict[str, float]]:
    """Return objects and metrics of all passes."""
    from aqrec.templates._backtest_figures import summary_of_passes  # noqa: PLC0415

    return summary_of_passes(plan, passes)
