"""`paddock store`: looks after the models on this machine's disk. The server need not run, and may."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from paddock.cli.progress import StatusDisplay
from paddock.cli.render import human_bytes
from paddock.config import read_config
from paddock.errors import NotFound

if TYPE_CHECKING:
    from rich.table import Table

    from paddock.store.check import Problem, Report
    from paddock.store.collect import Collection
    from paddock.store.library import Library

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Check the store of models, and tidy it up.")

_PIPE_COLUMNS = 200
"""Of a table that no terminal shows."""


@app.command("check")
def check() -> None:
    """Look whether every model has its files, and every file its place; exits with 1 if not."""
    from paddock.store.check import check as look

    library = _library()
    _tell(look(library))


@app.command("verify")
def verify(
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Remove damaged files, so that they come anew with the next pull or create."),
    ] = False,
) -> None:
    """Also read every file and compare it with its hash; exits with 1 if one is damaged."""
    from paddock.store.check import check as look
    from paddock.store.check import remove_damaged

    library = _library()
    with StatusDisplay() as display:
        report = look(library, lambda done, total: display.show(_progress(done, total)))
    is_damaged = any(problem.has_wrong_content for problem in report.problems)
    if is_damaged:
        _print(table_of_problems(report.problems))
    if is_damaged and (repair or _agrees()):
        removed = remove_damaged(library, report)
        typer.echo(f"removed {_counted(len(removed), 'damaged file')}")
        if report.damaged:
            typer.echo(f"Pull or create again: {', '.join(report.damaged)}")
        raise typer.Exit(1)
    if is_damaged:
        typer.echo("`paddock store verify --repair` removes damaged files; then pull or create these models again.")
        raise typer.Exit(1)
    _tell(report)


@app.command("gc")
def collect(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would go.")] = False,
) -> None:
    """Remove what no model needs: uploads that came to nothing, downloads given up a week ago, what a crash left."""
    collection = _library().collect(is_dry=dry_run)
    if collection.waste:
        _print(table_of_waste(collection))
    typer.echo(f"{'would free' if dry_run else 'freed'} {human_bytes(collection.freed_bytes)}")
    if collection.put_aside:
        typer.echo(f"Damaged manifests {'would be' if dry_run else 'are'} put aside: {', '.join(collection.put_aside)}")
    if not collection.is_certain:
        typer.echo("No blobs were looked at: a manifest is damaged, and what it needed is not known.", err=True)


def table_of_problems(problems: Sequence[Problem]) -> Table:
    """A row for each thing that is wrong."""
    table = _table("WHAT", "PROBLEM", "MODELS")
    for problem in problems:
        table.add_row(problem.what, problem.explanation, "\n".join(problem.models))
    return table


def table_of_waste(collection: Collection) -> Table:
    """A row for each kind of what may go."""
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for waste in collection.waste:
        counts[waste.kind] += 1
        sizes[waste.kind] += waste.size_bytes
    table = _table("WHAT", "FILES", "SIZE")
    for kind in counts:
        table.add_row(kind, str(counts[kind]), human_bytes(sizes[kind]))
    return table


def _tell(report: Report) -> None:
    """What was found; exits with 1 if something is wrong."""
    size = human_bytes(report.size_bytes)
    summary = f"{_counted(report.models, 'model')} of {_counted(report.blobs, 'file')}, {size}"
    if report.problems:
        _print(table_of_problems(report.problems))
        typer.echo(f"{summary}: {_counted(len(report.problems), 'problem')}")
        raise typer.Exit(1)
    typer.echo(f"{summary}: nothing is wrong")
    if report.unused_bytes:
        typer.echo(f"{human_bytes(report.unused_bytes)} can be freed: `paddock store gc`")


def _library() -> Library:
    from paddock.store.library import Library

    root = read_config(os.environ).models
    if not (root / "manifests").is_dir():
        raise NotFound(f"there is no store of models in {root}: set PADDOCK_MODELS if it is elsewhere.")
    return Library(root)


def _agrees() -> bool:
    """Whether somebody is there to ask, and wants the damaged files gone."""
    return sys.stdin.isatty() and sys.stdout.isatty() and typer.confirm("Remove the damaged files?")


def _progress(done_bytes: int, total_bytes: int) -> dict[str, object]:
    return {"status": "verifying", "completed": done_bytes, "total": total_bytes}


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _table(*titles: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold")
    return table


def _print(table: Table) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = _PIPE_COLUMNS
    console.print(table)
