"""The commands that keep a store in order, and their options; what they do is imported when one of them is called."""

from __future__ import annotations

from typing import Annotated

import typer

from aqrec.cli._arguments import AsJson, Option, Place, Yes
from aqrec.cli._where import where

__all__ = ["register"]


def gc(
    store: Place = None,
    option: Option = None,
    grace: Annotated[
        str, typer.Option(metavar="TIME", help="How old an orphan must be: 12h, 7d; at least 1h.")
    ] = "7d",
    unreferenced: Annotated[
        bool,
        typer.Option(
            "--unreferenced",
            help="Also what lies among the artifacts of ended runs and was never recorded.",
        ),
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Find what nothing refers to any more and, with --yes, delete it; anybody may read and record meanwhile."""
    from aqrec.cli._gc import gc as command  # noqa: PLC0415

    command(where(store, option), grace, unreferenced=unreferenced, yes=yes, as_json=as_json)


def reap(
    store: Place = None,
    option: Option = None,
    horizon: Annotated[
        str, typer.Option(metavar="TIME", help="How long a run must have been silent; at least 15m.")
    ] = "1h",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Find running runs whose processes died and, with --yes, set them FAILED and seal their points."""
    from aqrec.cli._reap import reap as command  # noqa: PLC0415

    command(where(store, option), horizon, yes=yes, as_json=as_json)


def verify(
    store: Place = None,
    option: Option = None,
    contents: Annotated[
        bool, typer.Option("--contents", help="Also read every byte and compare checksums.")
    ] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be mended.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check that a store holds what it says; exits with 1 if something is wrong and not repaired."""
    from aqrec.cli._verify import verify as command  # noqa: PLC0415

    command(where(store, option), contents=contents, repair=repair, as_json=as_json)


def register(app: typer.Typer) -> None:
    """Add the commands to the others."""
    for command in (gc, reap, verify):
        app.command()(command)
