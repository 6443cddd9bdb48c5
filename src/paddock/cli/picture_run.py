"""Makes pictures: asks for them, shows how far they are, saves them and shows them in the terminal."""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import os
import secrets
import shutil
import struct
import sys
import termios
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import typer

from paddock.cli.client import Client
from paddock.cli.inline import UPPER_HALF, Display, Window, choose_display, drawn
from paddock.cli.picture_files import Destination, parse_destination, read_picture, split_prompt
from paddock.cli.picture_wish import DEFAULT_LOOK, Look, PictureFlags, other_model_warning, picture_request, repeated
from paddock.cli.progress import StepDisplay, spinner
from paddock.cli.render import printable, timings
from paddock.cli.session import given
from paddock.errors import BadRequest, PaddockError
from paddock.pictures import read_details

STDOUT = "-"
_SEED_BITS = 32


@dataclass(frozen=True)
class Order:
    """Pictures to be made of one description."""

    model: str
    prompt: str = ""
    look: Look = DEFAULT_LOOK
    images: tuple[bytes, ...] = ()
    count: int = 1
    keep_alive: str | int | None = None


def run_once(client: Client, order: Order, flags: PictureFlags, is_verbose: bool) -> None:
    """What `paddock run` does with a prompt, or with --from in its place; a model is only loaded where there is
    neither. PaddockError."""
    order = with_pictures(order, [Path(name) for name in flags.images])
    if flags.source:
        order = _repeating(client, order, flags.source)
    if order.prompt.strip():
        make(client, order, checked_destination(flags), is_verbose)
    elif flags.given or order.images:
        raise BadRequest("a picture needs a prompt: say what it is to show.")
    else:
        load(client, order.model, order.keep_alive)


def with_pictures(order: Order, paths: Sequence[Path] = ()) -> Order:
    """With the pictures to work from: those of `paths`, then those that the prompt names, which loses their names.

    BadRequest for a file that cannot be read.
    """
    prompt, named = split_prompt(order.prompt)
    for path in named:
        typer.echo(f"Added image '{path}'", err=True)
    return replace(order, prompt=prompt, images=tuple(read_picture(path) for path in (*paths, *named)))


def load(client: Client, model: str, keep_alive: str | int | None) -> None:
    """Have the model ready. PaddockError."""
    request = {"model": model, "prompt": "", "stream": False, **given(keep_alive=keep_alive)}
    with spinner("Loading"):
        client.call("POST", "/api/generate", request)


def checked_destination(flags: PictureFlags) -> Destination | None:
    """Where pictures go, None for stdout. BadRequest where they cannot go there, before any is made."""
    count = flags.count or 1
    if flags.output == STDOUT:
        if count > 1:
            raise BadRequest("-o - takes one picture: leave out --n, or save to files.")
        if sys.stdout.isatty():
            raise BadRequest("-o - writes the bytes of a picture, which a terminal cannot show: send them elsewhere.")
        return None
    destination = parse_destination(flags.output)
    destination.check(count)
    return destination


def make(client: Client, order: Order, destination: Destination | None, is_verbose: bool) -> None:
    """Make pictures, save each and show it; without a destination its bytes go to stdout. PaddockError."""
    with contextlib.closing(received(client, order)) as pictures:
        for place, (data, last) in enumerate(pictures):
            if destination is None:
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
            else:
                path = destination.save(data, order.prompt, place, order.count)
                show(data)
                typer.echo(f"Image saved to: {path}")
            if is_verbose:
                typer.echo(picture_timings(data, last), err=True, nl=False)


def show(data: bytes) -> None:
    """A picture in the terminal, where stdout is one that can show it."""
    if not sys.stdout.isatty():
        return
    display = choose_display(os.environ)
    if display in (Display.TRUE_COLOUR, Display.COLOURS_256) and not _can_write(UPPER_HALF):
        return
    sys.stdout.write(drawn(data, display, _window()))
    sys.stdout.flush()


def picture_timings(data: bytes, last: Mapping[str, Any]) -> str:
    """The lines of --verbose: what the picture's file tells, and how long it took."""
    details = read_details(data) or {}
    figures = {name: details.get(name) for name in ("width", "height", "seed", "steps", "guidance")}
    told = {name: printable(str(value)) for name, value in figures.items() if value is not None}
    lines = "".join(f"{name + ':':<22}{value}\n" for name, value in told.items())
    return lines + timings({name: last.get(name) for name in ("total_duration", "load_duration")})


def _can_write(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return False
    return True


def _window() -> Window:
    columns, rows = shutil.get_terminal_size()
    width = height = 0
    with contextlib.suppress(OSError):
        _, _, width, height = struct.unpack("4H", fcntl.ioctl(sys.stdout.fileno(), termios.TIOCGWINSZ, bytes(8)))
    return Window(columns, rows, width, height)


def _repeating(client: Client, order: Order, source: str) -> Order:
    """What the file `source` was made with, but for what the order says; a warning where its model is another."""
    details = read_details(read_picture(Path(source)))
    if details is None:
        raise BadRequest(f"{source} does not tell how it was made: --from needs a picture that Paddock made.")
    prompt, look = repeated(details, source, bool(order.images))
    warning = other_model_warning(details, source, order.model, _digest(client, order.model))
    typer.echo(printable(warning), err=True, nl=False)
    return replace(order, prompt=order.prompt or prompt, look=look.under(order.look))


def _digest(client: Client, model: str) -> str:
    names = (model.lower(), f"{model.lower()}:latest")
    models = client.call("GET", "/api/tags").get("models") or ()
    return next((str(found.get("digest", "")) for found in models if str(found.get("name", "")).lower() in names), "")


def received(client: Client, order: Order) -> Generator[tuple[bytes, dict[str, Any]], None, None]:
    """Each picture with the last update of its answer, one after the other; seeds count up from the first one's.

    PaddockError where a picture does not come. Closing the iterator stops the one that is being made.
    """
    look = order.look
    if order.count > 1 and look.seed is None:
        look = replace(look, seed=secrets.randbits(_SEED_BITS))
    for place in range(order.count):
        its_look = look if look.seed is None else replace(look, seed=look.seed + place)
        request = picture_request(order.model, order.prompt, its_look, order.images)
        label = "Generating" if order.count == 1 else f"Generating {place + 1} of {order.count}"
        yield _receive(client.stream("/api/generate", {**request, **given(keep_alive=order.keep_alive)}), label)


def _receive(updates: Generator[dict[str, Any], None, None], label: str) -> tuple[bytes, dict[str, Any]]:
    last: dict[str, Any] = {}
    with contextlib.closing(updates), StepDisplay(label) as display:
        for update in updates:
            if update.get("done"):
                last = update
            else:
                display.show(update)
    if not last:
        raise PaddockError("the server ended the answer before the picture was complete.")
    try:
        data = base64.b64decode(str(last.get("image") or ""), validate=True)
    except binascii.Error:
        data = b""
    if not data:
        raise PaddockError("the server sent no picture.")
    return data, last
