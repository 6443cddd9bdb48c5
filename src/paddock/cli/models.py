"""The commands about models that exist: list, ps, show, stop, cp, rm, pull, and the version of the server."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import typer

from paddock import __version__
from paddock.cli.client import Client, NoServer, connect
from paddock.cli.fit import running_terms
from paddock.cli.progress import follow
from paddock.cli.render import human_bytes, human_time, printable, processor, table, until
from paddock.cli.show import overview
from paddock.errors import BadRequest, NotFound, PaddockError

ID_DIGITS = 12
SHOW_PARTS = ("license", "modelfile", "parameters", "system", "template")


def list_models(prefix: str) -> None:
    """Print the models of the store whose names begin with `prefix`, in either case."""
    typer.echo(model_table(connect(), prefix), nl=False)


def model_table(client: Client, prefix: str = "") -> str:
    """The table of the store's models."""
    now = datetime.now(UTC)
    rows = [
        (
            model["name"],
            model["digest"][:ID_DIGITS],
            human_bytes(model["size"]),
            human_time(_time(model["modified_at"]), now),
        )
        for model in client.call("GET", "/api/tags")["models"]
        if model["name"].lower().startswith(prefix.lower())
    ]
    return table(("NAME", "ID", "SIZE", "MODIFIED"), rows)


def ps(prefix: str, is_verbose: bool = False) -> None:
    """Print the models that are loaded."""
    now, client = datetime.now(UTC), connect()
    models = [
        model for model in client.call("GET", "/api/ps")["models"] if model["name"].lower().startswith(prefix.lower())
    ]
    rows = [_running_row(model, now) for model in models]
    typer.echo(table(("NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL"), rows), nl=False)
    if is_verbose:
        typer.echo(running_terms(models, client.call("GET", "/api/status")["memory"]), nl=False)


def _running_row(model: dict[str, Any], now: datetime) -> tuple[str, ...]:
    return (
        model["name"],
        model["digest"][:ID_DIGITS],
        human_bytes(model["size"]),
        processor(model["size"], model["size_vram"]),
        str(model.get("context_length", 0)),
        until(_time(model["expires_at"]), now),
    )


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def show(name: str, parts: Sequence[str], is_verbose: bool) -> None:
    """Print what a model is, or one part of it word for word."""
    if len(parts) > 1:
        flags = ", ".join(f"'--{part}'" for part in SHOW_PARTS[:-1])
        raise BadRequest(f"only one of {flags}, or '--{SHOW_PARTS[-1]}' can be specified")
    model = connect().call("POST", "/api/show", {"model": name, "verbose": is_verbose})
    text = str(model.get(parts[0]) or "").rstrip("\n") + "\n" if parts else overview(model, is_verbose)
    typer.echo(printable(text), nl=False)


def stop(name: str) -> None:
    """Unload a model as soon as it is idle."""
    try:
        unload(connect(), name)
    except NotFound:
        raise NotFound(f'couldn\'t find model "{name}" to stop') from None


def unload(client: Client, name: str) -> None:
    """Ask for a keep-alive of nothing; NotFound if there is no such model."""
    client.call("POST", "/api/generate", {"model": name, "keep_alive": 0, "stream": False})


def copy(source: str, destination: str) -> None:
    """Give a model a second name."""
    connect().call("POST", "/api/copy", {"source": source, "destination": destination})
    typer.echo(f"copied '{source}' to '{destination}'")


def remove(names: Sequence[str]) -> None:
    """Delete models, each unloaded first."""
    client = connect()
    for name in names:
        _unload_if_possible(client, name)
        client.call("DELETE", "/api/delete", {"model": name})
        typer.echo(f"deleted '{name}'")


def _unload_if_possible(client: Client, name: str) -> None:
    try:
        unload(client, name)
    except NoServer:
        raise
    except NotFound:
        pass  # the deletion says so
    except PaddockError as error:
        typer.echo(f"Warning: unable to stop model '{name}': {error.message}", err=True)


def pull(name: str) -> None:
    """Bring a model into the store."""
    follow(connect().stream("/api/pull", {"model": name}))


def version() -> None:
    """Print the server's version, and where this program differs from it."""
    try:
        served = str(connect().call("GET", "/api/version")["version"])
    except NoServer:
        typer.echo("Warning: could not connect to a running Paddock server", err=True)
        served = ""
    if served:
        typer.echo(f"paddock version is {served}")
    if served != __version__:
        typer.echo(f"Warning: client version is {__version__}", err=True)
