"""The session that makes pictures: reads descriptions and commands, makes what is described, saves and shows it."""

from __future__ import annotations

import typer

from paddock.cli.client import Client
from paddock.cli.picture_commands import PictureEffect, PictureSettings, interpret
from paddock.cli.picture_files import Destination, parse_destination
from paddock.cli.picture_run import Order, load, make, with_pictures
from paddock.cli.picture_wish import PictureFlags
from paddock.cli.session import ReadLine, read_entry
from paddock.config import Config
from paddock.errors import BadRequest, PaddockError


class PictureSession:
    """A user at a terminal, and one model."""

    def __init__(
        self, client: Client, settings: PictureSettings, destination: Destination, read_line: ReadLine
    ) -> None:
        self._client = client
        self._destination = destination
        self._read_line = read_line
        self.settings = settings

    def run(self) -> None:
        """Load the model, then serve entries until the user leaves. PaddockError if the model cannot be loaded."""
        load(self._client, self.settings.model, self.settings.keep_alive)
        while (entry := read_entry(self._read_line, self.settings.keeps_history)) is not None:
            step = interpret(self.settings, entry)
            self.settings = step.settings
            typer.echo(step.reply, nl=False)
            if step.effect is PictureEffect.EXIT:
                return
            if step.effect is PictureEffect.MAKE:
                self._try_to_make(step.prompt)

    def _try_to_make(self, prompt: str) -> None:
        """What goes wrong is told, and the session goes on."""
        try:
            self._make(prompt)
        except PaddockError as error:
            typer.echo(f"Error: {error.message}", err=True)
        except KeyboardInterrupt:
            typer.echo("Stopped.", err=True)  # the connection is closed by now, which stops the model

    def _make(self, prompt: str) -> None:
        settings = self.settings
        order = Order(settings.model, prompt, settings.look, count=settings.count, keep_alive=settings.keep_alive)
        self._destination.check(settings.count)
        make(self._client, with_pictures(order), self._destination, settings.is_verbose)


def talk_pictures(client: Client, config: Config, order: Order, flags: PictureFlags, is_verbose: bool) -> None:
    """Open a session at this terminal. BadRequest for flags that need a prompt beside them."""
    from paddock.cli.prompt import PICTURE_PLACEHOLDER, LineEditor

    destination = parse_destination(flags.output)
    if flags.images:
        raise BadRequest("--image needs a prompt beside it: in a session, name the file in the description.")
    if destination.file:
        raise BadRequest("-o needs a prompt beside it: in a session it may only name a folder that exists.")
    settings = PictureSettings(
        model=order.model,
        look=flags.look,
        count=order.count,
        keep_alive=order.keep_alive,
        is_verbose=is_verbose,
        keeps_history=not config.no_history,
    )
    editor = LineEditor(config.home / "history", settings.keeps_history, PICTURE_PLACEHOLDER)
    PictureSession(client, settings, destination, editor.read).run()
