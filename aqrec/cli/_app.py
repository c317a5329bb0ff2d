"""The commands and their options; what they do is imported when one of them is called."""

from __future__ import annotations

import enum
import io
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from aqrec import __version__
from aqrec.cli import _exchange_app, _upkeep_app
from aqrec.cli._arguments import AsJson, Option, Run, Store
from aqrec.cli._where import where
from aqrec.errors import AqrecError

if TYPE_CHECKING:
    from aqrec.cli._history import Form

__all__ = ["app", "main"]

_TRACEBACK = "--traceback"


class Refit(enum.StrEnum):
    """How often the demo's model is fitted."""

    YEAR = "year"
    QUARTER = "quarter"
    MONTH = "month"


class Trust(enum.StrEnum):
    """Which pickles may be loaded."""

    RESTRICTED = "restricted"
    TRUSTED = "trusted"
    NEVER = "never"


class SearchForm(enum.StrEnum):
    """How found runs are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


class _Commands(TyperGroup):
    """Commands whose expected errors end as one line and exit code 1."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Accept --traceback anywhere: people append it to the command that failed."""
        if _TRACEBACK in args:
            args = [_TRACEBACK, *(arg for arg in args if arg != _TRACEBACK)]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except (AqrecError, OSError) as error:
            from aqrec.cli._console import print_error  # noqa: PLC0415

            if ctx.params.get("show_traceback"):
                traceback.print_exc()
            else:
                print_error(error)
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Record experiments, and look into their stores: folders or URLs. Reading changes nothing.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"aqrec {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    show_traceback: Annotated[
        bool, typer.Option(_TRACEBACK, envvar="AQREC_DEBUG", help="Show where an error came from.")
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    store: Annotated[
        str, typer.Option("--store", "-s", metavar="STORE", help="Folder or URL to record into.")
    ] = "./aqrec-demo",
    option: Option = None,
    refit: Annotated[Refit, typer.Option(help="How often the model is fitted anew.")] = Refit.QUARTER,
    as_json: AsJson = False,
) -> None:
    """Record an example: 22 years of real prices, a model fitted walk-forward, its signal judged and traded."""
    from aqrec.cli._demo import demo as command  # noqa: PLC0415

    command(where(store, option), refit.value, as_json=as_json)


@app.command()
def run(
    workflow: Annotated[
        str | None, typer.Argument(metavar="WORKFLOW", help="YAML file of Qlib's form.", show_default=False)
    ] = None,
    again: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="RUN", help="Run the workflow of a recorded run again, instead of a file."
        ),
    ] = None,
    store: Store = None,
    option: Option = None,
    experiment: Annotated[
        str | None,
        typer.Option(
            "--experiment", "-e", metavar="NAME", help="Default: as the workflow says, else workflow"
        ),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Name of the new run.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Only check the file; nothing is run.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run a workflow: train its model and make its records. It is checked before anything is written."""
    from aqrec.cli import _run  # noqa: PLC0415

    if (workflow is None) == (again is None):
        raise typer.BadParameter("give either WORKFLOW or --from RUN")
    if check:
        if workflow is None:
            raise typer.BadParameter("--check takes a WORKFLOW")
        _run.check(workflow)
    else:
        _run.run(workflow, again, where(store, option), experiment=experiment, name=name, as_json=as_json)


@app.command()
def ls(
    store: Annotated[
        str | None,
        typer.Argument(metavar="STORE", help="Folder or URL. Default: $AQREC_URI, else ./aqruns"),
    ] = None,
    store_option: Annotated[str | None, typer.Option("--store", "-s", hidden=True)] = None,
    option: Option = None,
    experiment: Annotated[
        str | None,
        typer.Option("--experiment", "-e", metavar="NAME", help="List the runs of one experiment."),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", "-m", metavar="KEY", help="Metric to show for each run; may be repeated."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Show what was deleted, too.")] = False,
    limit: Annotated[
        int | None,
        typer.Option("--limit", "-n", min=0, metavar="N", help="Show N at most, 0: all. Default: 20"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the experiments of a store, or the runs of one of them."""
    from aqrec.cli._ls import ls as command  # noqa: PLC0415

    if store is not None and store_option is not None:
        raise typer.BadParameter("give STORE once")
    command(
        where(store if store is not None else store_option, option),
        experiment,
        metric or [],
        everything=everything,
        limit=limit,
        as_json=as_json,
    )


@app.command()
def show(
    run: Run,
    store: Store = None,
    option: Option = None,
    full: Annotated[bool, typer.Option("--full", help="Long values uncut, and every tag.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show one run: status, params, metrics, tags, artifacts, where it came from and where it lies."""
    from aqrec.cli._show import show as command  # noqa: PLC0415

    command(run, where(store, option), full=full, as_json=as_json)


@app.command()
def search(
    text: Annotated[
        str,
        typer.Argument(
            metavar="FILTER",
            help="Such as \"metrics.ic > 0.03 AND params.model = 'lgb'\".",
            show_default="all runs",
        ),
    ] = "",
    store: Store = None,
    option: Option = None,
    experiment: Annotated[
        list[str] | None,
        typer.Option("--experiment", "-e", metavar="NAME", help="Look only there; may be repeated."),
    ] = None,
    order_by: Annotated[
        list[str] | None,
        typer.Option(
            "--order-by",
            "-b",
            metavar="KEY",
            help='"metrics.ic DESC"; may be repeated. Default: latest first',
        ),
    ] = None,
    field: Annotated[
        list[str] | None,
        typer.Option(
            "--field",
            "-f",
            metavar="KEY",
            help='Column: a key as in filters, or "metrics.*"; may be repeated. '
            "Default: for the table what FILTER and --order-by name, else all",
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Find what was deleted, too.")] = False,
    deleted: Annotated[bool, typer.Option("--deleted", help="Find only what was deleted.")] = False,
    limit: Annotated[
        int | None,
        typer.Option("--limit", "-n", min=0, metavar="N", help="N at most, 0: all. Default: 20 in the table"),
    ] = None,
    form: Annotated[
        SearchForm | None, typer.Option("--format", help="Default: table, or as the ending of --output says")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-O", metavar="FILE", help="Write CSV, JSON or Parquet there.")
    ] = None,
) -> None:
    """Find runs by what was recorded of them."""
    from aqrec.cli._search import search_runs  # noqa: PLC0415

    if everything and deleted:
        raise typer.BadParameter("choose one of --all and --deleted")
    if form == SearchForm.TABLE and output is not None:
        raise typer.BadParameter("--output takes --format csv, json or parquet")
    search_runs(
        where(store, option),
        text,
        experiment or [],
        order_by=order_by or [],
        fields=field or [],
        view="all" if everything else "deleted" if deleted else "active",
        limit=limit,
        form=None if form is None else form.value,
        output=output,
    )


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN RUN...", help="Two or more, as in aqrec show.")],
    store: Store = None,
    option: Option = None,
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="Also params and tags that are the same.")
    ] = False,
    diff: Annotated[
        bool, typer.Option("--diff", "-d", help="Show how the code differs, line by line.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what distinguishes runs: params, metrics, tags and code."""
    from aqrec.cli._compare import compare_runs  # noqa: PLC0415

    compare_runs(runs, where(store, option), everything=everything, diff=diff, as_json=as_json)


@app.command()
def history(
    run: Run,
    keys: Annotated[list[str], typer.Argument(metavar="KEY", help="Metrics.")],
    store: Store = None,
    option: Option = None,
    last: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Only the last N points, 0: all. Default for the table: 20"),
    ] = None,
    plot: Annotated[bool, typer.Option("--plot", "-p", help="Draw a chart instead of a table.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print key,step,timestamp,value.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show how metrics went, of ended and of running runs."""
    from aqrec.cli._history import history as command  # noqa: PLC0415

    if as_csv + as_json + plot > 1:
        raise typer.BadParameter("choose one of --plot, --csv and --json")
    form: Form = "csv" if as_csv else "json" if as_json else "plot" if plot else "table"
    command(run, keys, where(store, option), last=last, form=form)


@app.command()
def get(
    run: Run,
    path: Annotated[str, typer.Argument(metavar="PATH", help="Artifact, or folder of them; / for all.")],
    destination: Annotated[
        Path, typer.Argument(metavar="DEST", help="File or folder to copy to.", show_default="here")
    ] = Path(),
    store: Store = None,
    option: Option = None,
    as_text: Annotated[bool, typer.Option("--print", help="Print it instead of copying it.")] = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Overwrite files that exist.")] = False,
    trust: Annotated[
        Trust | None,
        typer.Option(help="Which pickles --print may load. Default: $AQREC_TRUST, else restricted"),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Class that a restricted pickle may name, too; may be repeated."),
    ] = None,
) -> None:
    """Copy an artifact, or a folder of them, out of a run; or print one."""
    place = where(store, option)
    if as_text:
        from aqrec.cli._print import print_artifact  # noqa: PLC0415

        if destination != Path():
            raise typer.BadParameter("--print takes no DEST")
        print_artifact(run, path, place, None if trust is None else trust.value, allow or [])
    else:
        from aqrec.cli._get import get as command  # noqa: PLC0415

        command(run, path, destination, place, force=force)


@app.command()
def compact(
    store: Annotated[
        str | None,
        typer.Argument(metavar="STORE", help="Folder or URL. Default: $AQREC_URI, else ./aqruns"),
    ] = None,
    option: Option = None,
    grace: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="Delete what has been superseded for so long."),
    ] = 600.0,
    own_histories: Annotated[
        bool,
        typer.Option(
            "--own-histories",
            help="Also merge the histories of short runs out of their own folders, which are not complete then.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Fold the catalog and small histories into few objects, so that searches stay fast; anybody may read and record meanwhile."""
    from aqrec.cli._compact import compact as command  # noqa: PLC0415

    command(where(store, option), grace, own_histories=own_histories, as_json=as_json)


@app.command()
def sync(
    store: Annotated[
        str | None,
        typer.Option("--store", "-s", metavar="STORE", help="Only what is for this store. Default: all"),
    ] = None,
    option: Option = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where the spools lie. Default: $AQREC_SPOOL, else aqrec/spool in $XDG_STATE_HOME or ~/.local/state",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only show what waits.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send what offline and ended processes have left on this machine to its stores; may run at any time."""
    from aqrec.cli._sync import sync as command  # noqa: PLC0415

    command(where(store, option), folder, dry_run=dry_run, as_json=as_json)


_upkeep_app.register(app)
_exchange_app.register(app)


def main() -> None:
    """Run the command line and exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that the terminal's encoding cannot show must not end the command.
            stream.reconfigure(errors="backslashreplace")
    app(prog_name=os.path.basename(sys.argv[0]) if sys.argv[0].endswith("aqrec") else "aqrec")  # noqa: PTH119
