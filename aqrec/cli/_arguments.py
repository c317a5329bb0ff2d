"""Arguments and options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["AsJson", "Option", "Place", "Run", "Store", "Yes"]

Store = Annotated[
    str | None,
    typer.Option("--store", "-s", metavar="STORE", help="Folder or URL. Default: $AQREC_URI, else ./aqruns"),
]
Option = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        "-o",
        metavar="KEY=VALUE",
        help="Storage option of the store's driver, such as an endpoint; may be repeated. "
        "Secrets are safer in the environment.",
    ),
]
Run = Annotated[
    str, typer.Argument(metavar="RUN", help="Id, the beginning of one, or EXPERIMENT/NAME (the latest run).")
]
Place = Annotated[
    str | None, typer.Argument(metavar="STORE", help="Folder or URL. Default: $AQREC_URI, else ./aqruns")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it, instead of only saying what would be done.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
