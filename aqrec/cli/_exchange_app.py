"""The commands that exchange runs with other programs, and their options; what they do is imported when one is called."""

from __future__ import annotations

import enum
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from aqrec.cli._arguments import AsJson, Option, Store
from aqrec.cli._where import where

__all__ = ["register"]


ExportFormat = Literal["parquet", "csv", "jsonl"]


class Table(enum.StrEnum):
    """What is exported."""

    RUNS = "runs"
    METRICS = "metrics"


class Take(enum.StrEnum):
    """What to do with artifacts."""

    COPY = "copy"
    REFERENCE = "reference"


Experiments = Annotated[
    list[str] | None,
    typer.Option("--experiment", "-e", metavar="NAME", help="Only this one; may be repeated."),
]


def import_mlruns(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="Folder mlruns, or sqlite:///FILE.", show_default=False),
    ],
    store: Store = None,
    option: Option = None,
    artifacts: Annotated[
        Take, typer.Option(help="Copy them, or only tag each run with the place where they are.")
    ] = Take.COPY,
    experiment: Experiments = None,
    as_json: AsJson = False,
) -> None:
    """Import what MLflow, or Qlib on MLflow, has recorded; once more, and only what is new is added."""
    from aqrec.cli._mlruns import import_runs  # noqa: PLC0415

    import_runs(source, where(store, option), artifacts.value, experiment, as_json=as_json)


def export_mlruns(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="Where to write; made if it is missing.", show_default=False),
    ],
    store: Store = None,
    option: Option = None,
    experiment: Experiments = None,
    as_json: AsJson = False,
) -> None:
    """Write a folder that MLflow reads as its file store (from 3.13 on with MLFLOW_ALLOW_FILE_STORE=true)."""
    from aqrec.cli._mlruns import export_runs  # noqa: PLC0415

    export_runs(folder, where(store, option), experiment, as_json=as_json)


def _exporting(form: ExportFormat) -> Callable[..., None]:
    """Return the command that writes tables in a form."""

    def export_tables(
        destination: Annotated[
            str, typer.Argument(metavar="DEST", help="Folder or URL of one.", show_default=False)
        ],
        text: Annotated[
            str, typer.Argument(metavar="FILTER", help="Which runs, as for search.", show_default="all runs")
        ] = "",
        store: Store = None,
        option: Option = None,
        destination_option: Annotated[
            list[str] | None,
            typer.Option(
                "--dest-option",
                metavar="KEY=VALUE",
                help="Argument of DEST's fsspec file system, such as an endpoint; may be repeated.",
            ),
        ] = None,
        experiment: Experiments = None,
        order_by: Annotated[
            list[str] | None,
            typer.Option("--order-by", "-b", metavar="KEY", help="May be repeated. Default: latest first"),
        ] = None,
        field: Annotated[
            list[str] | None,
            typer.Option(
                "--field", "-f", metavar="KEY", help="Column of runs, as for search; may be repeated."
            ),
        ] = None,
        key: Annotated[
            list[str] | None,
            typer.Option(
                "--key", "-k", metavar="METRIC", help="Only histories of this metric; may be repeated."
            ),
        ] = None,
        table: Annotated[
            list[Table] | None, typer.Option("--table", "-t", help="Only this table; may be repeated.")
        ] = None,
        everything: Annotated[bool, typer.Option("--all", "-a", help="Runs that were deleted, too.")] = False,
        deleted: Annotated[bool, typer.Option("--deleted", help="Only runs that were deleted.")] = False,
        limit: Annotated[
            int, typer.Option("--limit", "-n", min=0, metavar="N", help="N runs at most; 0: all.")
        ] = 0,
        force: Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")] = False,
        as_json: AsJson = False,
    ) -> None:
        from aqrec.cli._export import export_tables as command  # noqa: PLC0415

        if everything and deleted:
            raise typer.BadParameter("choose one of --all and --deleted")
        command(
            destination,
            where(destination, destination_option).options,
            where(store, option),
            text,
            experiment or [],
            form=form,
            order_by=order_by,
            fields=field,
            keys=key,
            tables=[each.value for each in table or Table],
            view="all" if everything else "deleted" if deleted else "active",
            limit=limit or None,
            overwrite=force,
            as_json=as_json,
        )

    return export_tables


_FORMS: Final[dict[ExportFormat, str]] = {"parquet": "Parquet", "csv": "CSV", "jsonl": "JSON lines"}


def register(app: typer.Typer) -> None:
    """Add the commands to the others: ``import FORM`` and ``export FORM``."""
    imports = typer.Typer(no_args_is_help=True, help="Take over runs from other programs.")
    exports = typer.Typer(no_args_is_help=True, help="Write runs for other programs.")
    imports.command("mlruns")(import_mlruns)
    exports.command("mlruns")(export_mlruns)
    for form, name in _FORMS.items():
        text = f"Write tables of runs and of their metrics' histories as {name}: DEST/runs.{form}, DEST/metrics.{form}."
        exports.command(form, help=text)(_exporting(form))
    app.add_typer(imports, name="import")
    app.add_typer(exports, name="export")
