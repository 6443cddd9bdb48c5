"""Titled parts of an overview: as plain text where they are piped, with styles and folded lines on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import typer

from paddock.cli.render import PADDING, printable, section

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

_TITLE, _LABEL = "bold", "dim"
_NARROW_COLUMNS, _NARROW_GAP = 72, 2
"""Below so many columns of the terminal, so many spaces between those of a table."""


@dataclass(frozen=True)
class Section:
    """A title, and rows of cells below it."""

    title: str
    rows: Sequence[Sequence[str]]
    heads: Sequence[str] = ()
    """Of the columns; where there are none, the first column has labels."""
    marks: Mapping[str, str] = field(default_factory=dict)
    """Words that stand out, each with its style in Rich's words."""


def plain(sections: Iterable[Section]) -> str:
    """Ollama's layout: rows indented below each title, then an empty line. Lines are as long as they have to be."""
    return "".join(section(part.title, [*([part.heads] if part.heads else []), *part.rows]) for part in sections)


def show(sections: Iterable[Section]) -> None:
    """Print them to stdout, in the way that suits it."""
    if not sys.stdout.isatty():
        typer.echo(printable(plain(sections)), nl=False)
        return
    from rich.console import Console

    draw(sections, Console())


def draw(sections: Iterable[Section], console: Console) -> None:
    """Print them to a terminal: folded to its width, coloured where it has colours."""
    from rich.padding import Padding
    from rich.text import Text

    gap = len(PADDING) if console.width >= _NARROW_COLUMNS else _NARROW_GAP
    for part in sections:
        console.print(Text(f"  {printable(part.title)}", style=_TITLE))
        console.print(Padding(_grid(part, gap), (0, 0, 1, len(PADDING))))


def _grid(part: Section, gap: int) -> Table:
    """Only the last column is folded, so that short words and figures stay whole."""
    from rich.table import Table

    columns = max(map(len, (part.heads, *part.rows)))
    has_labels = not part.heads and columns > 1
    grid = Table.grid(padding=(0, gap, 0, 0))
    for number in range(columns):
        grid.add_column(style=_LABEL if has_labels and number == 0 else "", no_wrap=number < columns - 1)
    if part.heads:
        grid.add_row(*(_cell(head, {}) for head in part.heads), style=_LABEL)
    for row in part.rows:
        grid.add_row(*(_cell(cell, part.marks) for cell in row))
    return grid


def _cell(text: str, marks: Mapping[str, str]) -> Text:
    from rich.text import Text

    cell = Text(printable(text), overflow="fold")
    for word, style in marks.items():
        cell.highlight_words([word], style)
    return cell
