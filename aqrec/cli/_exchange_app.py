"""The commands that exchange runs with other programs, and their options; what they do is imported when one is called."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from aqrec.cli._arguments import AsJson, Option, Store
from aqrec.cli._where import where

__all__ = ["register"]


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


def register(app: typer.Typer) -> None:
    """Add the commands to the others: ``import FORM`` and ``export FORM``."""
    imports = typer.Typer(no_args_is_help=True, help="Take over runs from other programs.")
    exports = typer.Typer(no_args_is_help=True, help="Write runs for other programs.")
    imports.command("mlruns")(import_mlruns)
    exports.command("mlruns")(export_mlruns)
    app.add_typer(imports, name="import")
    app.add_typer(exports, name="export")
