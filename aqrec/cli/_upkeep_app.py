"""The commands that keep a store in order, and their options; what they do is imported when one of them is called."""

from __future__ import annotations

from typing import Annotated

import typer

from aqrec.cli._arguments import AsJson, Option, Place, Store, Yes
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


def retain(
    store: Place = None,
    option: Option = None,
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="TIME", help="Ended so long ago, such as 90d.")
    ] = None,
    keep_last: Annotated[
        int | None,
        typer.Option("--keep-last", min=0, metavar="N", help="The latest N of each experiment stay."),
    ] = None,
    status: Annotated[
        str | None, typer.Option(metavar="STATUS", help="Only FINISHED or only FAILED runs.")
    ] = None,
    filter_string: Annotated[
        str, typer.Option("--filter", "-f", metavar="FILTER", help='As for search: "metrics.ic < 0.01".')
    ] = "",
    experiment: Annotated[
        list[str] | None,
        typer.Option("--experiment", "-e", metavar="NAME", help="Only runs of it; may be repeated."),
    ] = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Find ended runs to which all that is given applies and, with --yes, delete them; restore brings them back."""
    from aqrec.cli._retention import retain as command  # noqa: PLC0415

    command(
        where(store, option),
        older_than,
        keep_last,
        status,
        filter_string,
        experiment,
        yes=yes,
        as_json=as_json,
    )


def archive(
    url: Annotated[
        str | None,
        typer.Argument(metavar="ARCHIVE", help="Folder or URL that artifacts move to; with --back: from."),
    ] = None,
    store: Store = None,
    option: Option = None,
    back: Annotated[bool, typer.Option("--back", help="Bring artifacts home.")] = False,
    compress: Annotated[
        bool, typer.Option("--compress", help="Compress artifacts; without ARCHIVE where they are.")
    ] = False,
    archive_option: Annotated[
        list[str] | None,
        typer.Option(
            "--archive-option", metavar="KEY=VALUE", help="Storage option of the archive; not stored."
        ),
    ] = None,
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="TIME", help="Of runs that ended so long ago: 90d.")
    ] = None,
    keep_last: Annotated[
        int | None,
        typer.Option("--keep-last", min=0, metavar="N", help="Not of the latest N of each experiment."),
    ] = None,
    status: Annotated[
        str | None, typer.Option(metavar="STATUS", help="Only of FINISHED or only of FAILED runs.")
    ] = None,
    filter_string: Annotated[
        str, typer.Option("--filter", "-f", metavar="FILTER", help='As for search: "metrics.ic < 0.01".')
    ] = "",
    experiment: Annotated[
        list[str] | None,
        typer.Option("--experiment", "-e", metavar="NAME", help="Only of its runs; may be repeated."),
    ] = None,
    least_bytes: Annotated[
        int,
        typer.Option("--least-bytes", min=0, metavar="BYTES", help="Only artifacts of this size or more."),
    ] = 0,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Find artifacts of ended runs and, with --yes, move them to another place, where they are found as before."""
    from aqrec.cli._archive import archive as command  # noqa: PLC0415

    command(
        where(url, archive_option),
        where(store, option),
        older_than,
        keep_last,
        status,
        filter_string,
        experiment,
        back=back,
        compress=compress,
        least_bytes=least_bytes,
        yes=yes,
        as_json=as_json,
    )


def restore(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id of a deleted run, or the beginning of one.")],
    store: Store = None,
    option: Option = None,
) -> None:
    """Show a deleted run again."""
    from aqrec.cli._retention import restore as command  # noqa: PLC0415

    command(run, where(store, option))


def purge(
    store: Place = None,
    option: Option = None,
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="TIME", help="How long ago they were deleted.")
    ] = "30d",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Find runs that were deleted and, with --yes, remove them for good, with all that belongs to them."""
    from aqrec.cli._retention import purge as command  # noqa: PLC0415

    command(where(store, option), older_than, yes=yes, as_json=as_json)


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
    for command in (archive, gc, reap, retain, restore, purge, verify):
        app.command()(command)
