"""The commands about models that exist: list, ps, show, stop, cp, rm, pull, push, and the version of the server."""

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
from paddock.cli.sections import show as show_sections
from paddock.cli.show import sections
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
    if parts:
        typer.echo(printable(str(model.get(parts[0]) or "").rstrip("\n") + "\n"), nl=False)
    else:
        show_sections(sections(model, is_verbose))


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
    """Delete models, each unloaded first. Those that are not there are told at the end, in one NotFound."""
    client, missing = connect(), list[str]()
    for name in names:
        try:
            _unload_if_possible(client, name)
            client.call("DELETE", "/api/delete", {"model": name})
            typer.echo(f"deleted '{name}'")
        except NotFound as error:
            missing.append(error.message)
    if missing:
        raise NotFound("; ".join(missing))


def _unload_if_possible(client: Client, name: str) -> None:
    try:
        unload(client, name)
    except NoServer:
        raise
    except NotFound:
        pass  # the deletion says so
    except PaddockError as error:
        typer.echo(f"Warning: unable to stop model '{name}': {error.message}", err=True)


def pull(name: str, is_insecure: bool = False) -> None:
    """Bring a model into the store."""
    _transfer("pull", name, is_insecure)


def push(name: str, is_insecure: bool = False) -> None:
    """Send a model to the registry of its name."""
    _transfer("push", name, is_insecure)


def _transfer(verb: str, name: str, is_insecure: bool) -> None:
    body = {"model": name, **({"insecure": True} if is_insecure else {})}
    again = f"paddock {verb}{' --insecure' if is_insecure else ''} {name}"
    follow(connect().stream(f"/api/{verb}", body), again)


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
