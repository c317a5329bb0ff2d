"""``aqrec show``: everything about one run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aqrec.cli._console import cell, data_table, note, print_json, status_text, stdout
from aqrec.cli._data import StoreView, opened, span
from aqrec.cli._text import ago, cut, duration, moment, number, one_line, plain, plural, size
from aqrec.errors import AqrecError
from aqrec.format._document import latest
from aqrec.format._ids import now_ms

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.tree import Tree

    from aqrec.cli._where import Where
    from aqrec.format._document import RunDocument

__all__ = ["show"]

_PROVENANCE = "environment.json"
_FOREIGN = "mlflow."
_VALUE = 300
_NARROW = 80


def show(text: str, place: Where, *, full: bool, as_json: bool) -> None:
    """Show a run; see the command's help."""
    with opened(place) as view:
        doc = view.find(text)
        origin = _origin(view, doc)
        if as_json:
            print_json({**view.plain_run(doc), "provenance": origin})
            return
        console = stdout()
        console.print(_head(view, doc))
        # Not broken into lines, so that it can be copied.
        console.print(
            cell(f"{'files':<10}", "dim").append(plain(view.folder(doc)), "default"), soft_wrap=True
        )
        if doc.params:
            _print(console, "Params", _pairs(doc.params, full=full))
        if doc.param_conflicts:
            _print(
                console,
                "Params that another process logged otherwise",
                _pairs(doc.param_conflicts, full=full),
            )
        if doc.metrics:
            _print(console, "Metrics", _metrics(console, doc))
            if doc.end_time is None:
                note(console, "  as last published by the running process; aqrec history reads every point")
        shown = {key: value for key, value in doc.tags.items() if full or not key.startswith(_FOREIGN)}
        if shown:
            _print(console, "Tags", _pairs(shown, full=full))
        if doc.artifacts:
            _print(console, "Artifacts", _tree(doc))
        if origin is not None:
            _print(console, "Provenance", _provenance(origin, doc))


def _print(console: Console, title: str, body: RenderableType) -> None:
    from rich.padding import Padding  # noqa: PLC0415

    console.print()
    console.print(cell(title, "bold"))
    console.print(Padding(body, (0, 0, 0, 2)))


def _grid() -> Table:
    from rich.table import Table  # noqa: PLC0415

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True, min_width=8)
    grid.add_column(overflow="fold")
    return grid


def _head(view: StoreView, doc: RunDocument) -> Table:
    now = now_ms()
    grid = _grid()
    grid.add_row("run", cell(doc.run_id, "bold cyan"))
    grid.add_row("name", cell(f"{doc.experiment_name}/{doc.name}", "bold"))
    status = status_text(doc, deleted=view.deleted(doc))
    if doc.status_reason:
        status.append(f"  {plain(doc.status_reason)}")
    grid.add_row("status", status)
    for label, time in (("started", doc.start_time), ("ended", doc.end_time)):
        if time is not None:
            grid.add_row(label, f"{moment(time, seconds=True)} ({ago(time, now)})")
    length = span(doc)
    if length is not None:
        grid.add_row("took", duration(length) + (" so far" if doc.end_time is None else ""))
    if doc.parent is not None:
        grid.add_row("parent", cell(doc.parent))
    children = sum(other.parent == doc.run_id for other in view.runs())
    if children:
        grid.add_row("children", plural(children, "run"))
    if doc.dropped:
        grid.add_row(
            "dropped", cell(f"{plural(sum(doc.dropped.values()), 'point')} found no room", "bold red")
        )
    return grid


def _pairs(values: dict[str, Any], *, full: bool) -> Table:
    table = data_table()
    table.show_header = False
    table.add_column("key", style="cyan", overflow="fold", max_width=32)
    table.add_column("value", overflow="fold")
    for key, value in sorted(values.items()):
        text = one_line(value)
        table.add_row(cell(key), cell(text if full else cut(text, _VALUE)))
    return table


def _metrics(console: Console, doc: RunDocument) -> Table:
    narrow = console.width < _NARROW
    digits = 4 if narrow else 6
    table = data_table()
    table.add_column("metric", style="cyan", overflow="fold", min_width=20, max_width=40)
    for name in ("last", "min", "max", *(() if narrow else ("points", "step"))):
        table.add_column(name, justify="right", no_wrap=True)
    for key, row in sorted(latest(doc).items()):
        ends = (row.minimum, row.maximum) if row.count > 1 else ()
        cells = [number(row.value, digits), *(number(end, digits) for end in ends)]
        cells += [""] * (3 - len(cells))
        if not narrow:
            cells += [f"{row.count:,}", "" if row.step is None else str(row.step)]
        table.add_row(cell(key), *cells)
    return table


def _tree(doc: RunDocument) -> Tree:
    from rich.tree import Tree  # noqa: PLC0415

    total = sum(ref.size for ref in doc.artifacts.values())
    root = Tree(cell(f"{plural(len(doc.artifacts), 'file')}, {size(total)}", "dim"), guide_style="dim")
    folders: dict[str, Tree] = {"": root}

    def folder(path: str) -> Tree:
        if path not in folders:
            above, _, name = path.rpartition("/")
            folders[path] = folder(above).add(cell(f"{name}/", "bold"))
        return folders[path]

    for path, ref in sorted(doc.artifacts.items(), key=lambda item: ("/" not in item[0], item[0])):
        above, _, name = path.rpartition("/")
        line = cell(name)
        line.append(f"  {size(ref.size)}", "dim")
        folder(above).add(line)
    return root


def _origin(view: StoreView, doc: RunDocument) -> dict[str, Any] | None:
    """Return what was recorded about the run's origin, or None."""
    if _PROVENANCE not in doc.artifacts:
        return None
    try:
        found = view.load(doc, _PROVENANCE)
    except AqrecError as error:
        return {"error": str(error)}
    return found if isinstance(found, dict) else None


def _provenance(origin: dict[str, Any], doc: RunDocument) -> Table:
    def part(name: str) -> dict[str, Any]:
        found = origin.get(name)
        return found if isinstance(found, dict) else {}

    grid = _grid()
    if "error" in origin:
        grid.add_row("error", cell(str(origin["error"]), "red"))
    git, host, python = part("git"), part("host"), part("python")
    if git:
        commit = cell(str(git.get("commit") or "no commit yet"))
        if git.get("branch"):
            commit.append(f" on {plain(str(git['branch']))}")
        if git.get("dirty"):
            commit.append(", with uncommitted changes", "yellow")
            if "code_diff.txt" in doc.artifacts:
                commit.append(" (code_diff.txt)", "dim")
        grid.add_row("commit", commit)
    if origin.get("argv"):
        grid.add_row("command", cell(cut(one_line(origin["argv"]), _VALUE)))
    if host:
        grid.add_row("where", cell(f"{host.get('user')}@{host.get('hostname')}:{host.get('cwd')}"))
    if python:
        count = len(part("packages"))
        grid.add_row("python", cell(f"{python.get('version')}, {plural(count, 'package')}"))
    return grid
