"""``aqrec demo``: an example run, recorded and shown."""

from __future__ import annotations

import contextlib
import importlib.util
from typing import TYPE_CHECKING, Any, Literal, cast

from aqrec.cli._console import ascii_only, cell, data_table, note, print_json, stderr, stdout
from aqrec.cli._data import StoreView, opened
from aqrec.cli._history import print_chart
from aqrec.cli._plot import sparkline
from aqrec.cli._text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import pandas as pd
    from rich.console import Console

    from aqrec.cli._where import Where
    from aqrec.demo import DemoDataset, FoldInfo, RidgeModel
    from aqrec.format._document import RunDocument
    from aqrec.sync import Recorder

__all__ = ["demo"]

_EXPERIMENT = "demo"
_NAME = "ridge"
_CHART_ROWS = 8
_COST = 0.0005
"""Of a traded value, each way"""
_RECORDS = 5
"""Steps of the second progress bar."""

Refit = Literal["year", "quarter", "month"]
Figures = dict[str, Any]


def demo(place: Where, refit: str, *, as_json: bool) -> None:
    """Record and show an example; see the command's help."""
    run_id, figures = _record(place, cast("Refit", refit))
    with opened(place) as view:
        doc = view.find(run_id)
        if as_json:
            print_json(view.plain_run(doc))
        else:
            _show(stdout(), view, doc, figures, place)


# -- recording ---------------------------------------------------------------------------------------------


def _record(place: Where, refit: Refit) -> tuple[str, Figures]:
    with _progress() as tell:
        from aqrec.demo import DemoDataset, RidgeModel, load_quotes  # noqa: PLC0415 - loads pandas
        from aqrec.sync import open_recorder  # noqa: PLC0415
        from aqrec.sync.templates import PortAnaRecord, SigAnaRecord, SignalRecord  # noqa: PLC0415

        plots = importlib.util.find_spec("matplotlib") is not None
        dataset, model = DemoDataset(), RidgeModel(refit=refit)
        store, options = place
        with open_recorder(
            store or "", experiment=_EXPERIMENT, name=_NAME, storage_options=options or None
        ) as recorder:
            recorder.log_params(**_params(dataset, model))

            def on_fold(fold: int, folds: int, info: FoldInfo) -> None:
                recorder.log_metrics(step=fold, train_loss=info.loss, train_ic=info.ic, train_rows=info.rows)
                tell("Fitting", fold, folds)

            model.fit(dataset, on_fold)
            tell("Predicting", 0, _RECORDS)
            SignalRecord(model, dataset, recorder).generate()
            tell("Analysing", 1, _RECORDS)
            figures = SigAnaRecord(recorder, ana_long_short=True, plots=plots).generate() or {}
            tell("Trading", 2, _RECORDS)
            figures |= (
                PortAnaRecord(
                    recorder, _portfolio(dataset), quotes=load_quotes(), region="us", plots=plots
                ).generate()
                or {}
            )
            tell("Comparing folds", 3, _RECORDS)
            _log_folds(recorder, model, figures)
            tell("Storing", 4, _RECORDS)
            objects: dict[str, Any] = {"model.pkl": model}
            recorder.save_objects(**objects)
        return recorder.id, figures


def _params(dataset: DemoDataset, model: RidgeModel) -> dict[str, Any]:
    from aqrec.demo import FEATURES, LABEL  # noqa: PLC0415

    days, instruments = dataset.prices.shape
    return {
        "model": type(model).__name__,
        "alpha": model.alpha,
        "refit": model.refit,
        "window": model.window,
        "features": list(FEATURES),
        "label": LABEL,
        "instruments": instruments,
        "days": days,
        "segments": {name: [str(day.date()) for day in ends] for name, ends in dataset.segments.items()},
    }


def _portfolio(dataset: DemoDataset) -> dict[str, Any]:
    """Hold half of the stocks, exchange at most one a day, and compare with holding all of them."""
    strategy = {
        "class": "TopkDropoutStrategy",
        "kwargs": {"signal": "<PRED>", "topk": len(dataset.prices.columns) // 2, "n_drop": 1},
    }
    costs = {"open_cost": _COST, "close_cost": _COST, "min_cost": 0}
    backtest = {"account": 1_000_000, "benchmark": list(dataset.prices.columns), "exchange_kwargs": costs}
    return {"strategy": strategy, "backtest": backtest}


def _log_folds(recorder: Recorder, model: RidgeModel, figures: Figures) -> None:
    """Log how well each fit did on the days it predicted, beside how well it did on those it knew."""
    ic, ric = figures["ic.pkl"], figures["ric.pkl"]
    fold = model.starts.searchsorted(ic.index, side="right")
    for number_, value in ic.groupby(fold).mean().items():
        recorder.log_metrics(step=cast("int", number_), test_ic=float(value))
    for number_, value in ric.groupby(fold).mean().items():
        recorder.log_metrics(step=cast("int", number_), test_rank_ic=float(value))


@contextlib.contextmanager
def _progress() -> Generator[Callable[[str, int, int], None]]:
    """Show how far the work is, where somebody can see it; leaves nothing behind."""
    console = stderr()
    if not console.is_terminal or console.is_dumb_terminal:
        yield lambda *_: None
        return
    from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description:<15}"), BarColumn(), TextColumn("{task.fields[count]}"))
    with Progress(*columns, console=console, transient=True) as progress:
        folds = progress.add_task("Loading", total=None, count="")
        records = progress.add_task("Records", total=_RECORDS, count="", visible=False)

        def tell(what: str, done: int, total: int) -> None:
            task = folds if what == "Fitting" else records
            count = f"{done}/{total}"
            progress.update(task, description=what, completed=done, total=total, count=count, visible=True)

        yield tell


# -- showing -----------------------------------------------------------------------------------------------


def _show(console: Console, view: StoreView, doc: RunDocument, figures: Figures, place: Where) -> None:
    short = view.short_ids([doc])[doc.run_id]
    heading = cell(f"{doc.experiment_name}/{doc.name}", "bold")
    heading.append(f"  {doc.status}", "green")
    heading.append(f"  run {short}", "dim")
    console.print(heading)
    console.print()
    _show_params(console, doc)
    console.print()
    _show_figures(console, doc, figures)
    console.print()
    _show_chart(console, figures)
    console.print()
    _show_portfolio(console, figures)
    console.print()
    note(
        console,
        f"20 stocks that are large today: what they earned by growing is in the benchmark, too, which holds all of them. "
        f"Half of them held, one exchanged a day, costs of {_COST:.2%} each way. The model's settings were chosen on "
        "1995-2000, before the test period.",
    )
    console.print()
    _show_pictures(console, view, doc, figures)
    console.print()
    _show_way(console, view, doc, short, place)


def _show_params(console: Console, doc: RunDocument) -> None:
    keys = ("model", "alpha", "refit", "instruments", "days", "features", "segments")
    margin = max(map(len, keys)) + 2
    for key in keys:
        line = cell(f"{key:<{margin}}", "cyan")
        line.append(one_line(doc.params[key]), "default")
        line.truncate(console.width, overflow="ellipsis")
        console.print(line, no_wrap=True)


def _show_figures(console: Console, doc: RunDocument, figures: Figures) -> None:
    import pandas as pd  # noqa: PLC0415

    from aqrec.format._document import latest  # noqa: PLC0415

    values = latest(doc)
    ic = figures["ic.pkl"]
    years = pd.DatetimeIndex(ic.index).year
    first, last = years[0], years[-1]
    table = data_table()
    table.add_column("metric", style="cyan", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True, style="bold")
    table.add_column(f"by year, {first}-{last}", no_wrap=True, overflow="crop")
    series = {"IC": "ic.pkl", "Rank IC": "ric.pkl", "Long-Short Ann Return": "long_short_r.pkl"}
    for key in ("IC", "ICIR", "Rank IC", "Rank ICIR", "Long-Short Ann Return", "Long-Short Ann Sharpe"):
        line = ""
        if key in series:
            daily = figures[series[key]]
            means = daily.groupby(pd.DatetimeIndex(daily.index).year).mean().tolist()
            line = sparkline(means, len(means), ascii_only=ascii_only(console))
        table.add_row(key, f"{values[key].value:.4f}", line)
    console.print(table)


def _show_chart(console: Console, figures: Figures) -> None:
    ic = figures["ic.pkl"].dropna()
    console.print(cell("Cumulative IC", "bold"))
    total = ic.cumsum().tolist()
    ends = (f"{ic.index[0].date()}", f"{ic.index[-1].date()}")
    print_chart(console, range(len(total)), total, ends, _CHART_ROWS)


def _show_portfolio(console: Console, figures: Figures) -> None:
    from aqrec.analysis import risk_analysis  # noqa: PLC0415

    report, excess = figures["report_normal_1day.pkl"], figures["port_analysis_1day.pkl"]["risk"]
    columns = {
        "portfolio": risk_analysis(report["return"] - report["cost"])["risk"],
        "benchmark": risk_analysis(report["bench"])["risk"],
        "excess": excess["excess_return_with_cost"],
        "before costs": excess["excess_return_without_cost"],
    }
    console.print(cell("Portfolio", "bold"))
    table = data_table()
    table.add_column("risk", style="cyan", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True, style="bold" if name == "excess" else "")
    for key, name, form in (
        ("annualized_return", "ann. return", "{:.1%}"),
        ("std", "daily std", "{:.2%}"),
        ("information_ratio", "info. ratio", "{:.2f}"),
        ("max_drawdown", "max drawdown", "{:.1%}"),
    ):
        table.add_row(name, *(form.format(float(risk[key])) for risk in columns.values()))
    console.print(table)
    worst = [_worst_fall(returns) for returns in (report["return"] - report["cost"], report["bench"])]
    note(
        console,
        "max drawdown: of the summed returns, as in Qlib. Compounded, as the pictures show it, the portfolio fell by "
        f"{-worst[0]:.1%} and the benchmark by {-worst[1]:.1%}.",
    )


def _worst_fall(returns: pd.Series[float]) -> float:
    """Return how far compounded returns fell below their highest worth, as a share of it."""
    worth = (1 + returns.astype(float)).cumprod()
    return float((worth / worth.cummax().clip(lower=1.0) - 1).min())


def _show_pictures(console: Console, view: StoreView, doc: RunDocument, figures: Figures) -> None:
    """Say where the pictures are. Not wrapped, so that it can be copied."""
    pages = ("sig_analysis/signal.html", "portfolio_analysis/report_1day.html")
    if "signal.html" not in figures:
        note(console, "For pictures of all this: pip install 'aqrec[plots]'")
        return
    console.print(cell("Pictures", "bold"))
    for page in pages:
        console.print(cell(f"  {view.folder(doc)}/artifacts/{page}"), soft_wrap=True)


def _show_way(console: Console, view: StoreView, doc: RunDocument, short: str, place: Where) -> None:
    """Say where the files are, and which commands show more. Not wrapped, so that they can be copied."""
    where = place.arguments()
    console.print(cell("Files", "bold"))
    console.print(cell(f"  {view.folder(doc)}"), soft_wrap=True)
    console.print()
    console.print(cell("Look further", "bold"))
    for command in (
        f"aqrec ls {where}",
        f"aqrec show {short}{where}",
        f"aqrec history {short} test_ic train_loss --plot{where}",
        f"aqrec get {short} sig_analysis/ic.pkl --print{where}",
    ):
        console.print(cell(f"  {command}", "cyan"), soft_wrap=True)
