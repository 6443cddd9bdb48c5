"""`paddock key`: the API keys of the server with the same home folder. It need not run, and heeds changes at once."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from paddock.cli.render import human_time
from paddock.config import parse_duration, read_config
from paddock.errors import BadRequest

if TYPE_CHECKING:
    from rich.table import Table

    from paddock.keys import Key, KeyFile

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Make, list and revoke API keys.")

_HOUR_MINUTES = 60
_PER_MINUTE = {"s": 60.0, "min": 1.0, "h": 1 / _HOUR_MINUTES}
_LONG_UNITS = {"d": 1, "w": 7}
_PIPE_COLUMNS = 160
"""Of a table that no terminal shows."""


class Scope(StrEnum):
    """How far a key goes."""

    INFER = "infer"
    MANAGE = "manage"


Name = Annotated[str, typer.Argument(show_default=False)]


@app.command("create")
def create(
    name: Name,
    scope: Annotated[Scope, typer.Option(help="infer uses models, manage changes which there are, too.")] = Scope.INFER,
    model: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="The only model it sees; may be given again.")
    ] = None,
    rate: Annotated[str | None, typer.Option(metavar="N/min", help="Most requests a minute.")] = None,
    concurrent: Annotated[int | None, typer.Option(metavar="N", min=1, help="Most requests at once.")] = None,
    expires: Annotated[str | None, typer.Option(metavar="TIME", help="How long it counts, such as 30d or 12h.")] = None,
) -> None:
    """Make a key and print its secret, which is shown this once."""
    from paddock.keys import Terms, new_key

    terms = Terms(
        scope=scope.value,
        models=tuple(model or ()),
        rate=_rate(rate) if rate else 0.0,
        concurrent=concurrent or 0,
        expires=_now() + _lifetime(expires) if expires else None,
    )
    key, secret = new_key(name, terms)
    _file().add(key)
    typer.echo(f'Made the key "{name}". Keep its secret now: it is not shown again.', err=True)
    typer.echo(secret)


@app.command("list")
@app.command("ls", hidden=True)
def list_keys() -> None:
    """List the keys (also: ls)."""
    keys = _file().read()
    if not keys:
        typer.echo("There are no keys: `paddock key create NAME` makes one.", err=True)
        return
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _PIPE_COLUMNS
    console.print(table_of(keys, _now()))


@app.command("revoke")
@app.command("rm", hidden=True)
def revoke(name: Name) -> None:
    """End a key: from now on nobody is let in with it."""
    _file().remove(name)
    typer.echo(f'revoked "{name}"')


def table_of(keys: Sequence[Key], now: datetime) -> Table:
    """A row for each key, in the order in which they were made; those that are over are dim."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for title in ("NAME", "KEY", "SCOPE", "MODELS", "LIMITS", "EXPIRES"):
        table.add_column(title, overflow="fold")
    for key in keys:
        models = "\n".join(key.models) or "all"
        cells = (key.name, f"{key.hint}…", key.scope, models, _limits(key), _expiry(key, now))
        table.add_row(*map(Text, cells), style="dim" if key.is_over(now) else "")
    return table


def _limits(key: Key) -> str:
    per_hour = key.rate * _HOUR_MINUTES
    rate = f"{key.rate:g}/min" if float(key.rate).is_integer() else f"{per_hour:g}/h"
    limits = [*([rate] if key.rate else []), *([f"{key.concurrent} at once"] if key.concurrent else [])]
    return ", ".join(limits) or "none"


def _expiry(key: Key, now: datetime) -> str:
    if key.expires is None:
        return "never"
    return "expired" if key.is_over(now) else human_time(key.expires, now)


def _file() -> KeyFile:
    from paddock.keys import KeyFile

    return KeyFile(read_config(os.environ).home)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _rate(text: str) -> float:
    """Requests a minute of "60/min", "1/s" or "1000/h". BadRequest."""
    found = re.fullmatch(r"(\d+)(?:/([a-z]+))?", text.strip().lower())
    unit = (found[2] or "min") if found else ""
    if not found or unit not in _PER_MINUTE or not float(found[1]):
        raise BadRequest(f'"{text}" is no rate: write it as 60/min, 1/s or 1000/h.')
    return float(found[1]) * _PER_MINUTE[unit]


def _lifetime(text: str) -> timedelta:
    """Of "30d", "2w", or a duration such as "12h30m". BadRequest."""
    if found := re.fullmatch(r"(\d{1,5})([dw])", text.strip().lower()):
        lifetime = timedelta(days=int(found[1]) * _LONG_UNITS[found[2]])
    else:
        try:
            lifetime = timedelta(seconds=parse_duration(text))
        except (ValueError, OverflowError):
            raise BadRequest(f'"{text}" is no time: write it as 30d, 2w or 12h.') from None
    if not lifetime:
        raise BadRequest("A key that expires at once is of no use: give it longer.")
    return lifetime
