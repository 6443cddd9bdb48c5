"""`paddock run`: one answer or picture for a prompt, or an interactive session."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from paddock.cli.answer import Answer, AnswerPrinter, print_answer
from paddock.cli.background import ensure_server
from paddock.cli.client import Client
from paddock.cli.commands import THINK_LEVELS, Settings
from paddock.cli.picture_wish import NO_FLAGS, PictureFlags
from paddock.cli.progress import follow
from paddock.cli.render import timings
from paddock.cli.session import Session, given
from paddock.config import Config, parse_keep_alive, read_config
from paddock.errors import BadRequest, InvalidOption, NotFound


@dataclass(frozen=True)
class RunOptions:
    """The flags of `paddock run`, as the API takes them. None leaves it to the server."""

    keep_alive: str | int | None = None
    format: Any = None
    think: bool | str | None = None
    hides_thinking: bool = False
    is_verbose: bool = False
    wraps: bool = True
    pictures: PictureFlags = NO_FLAGS

    @property
    def given_for_text(self) -> list[str]:
        """The flags that were there of those about texts, as the user writes them."""
        flags = {
            "--format": self.format is not None,
            "--think": self.think is not None,
            "--hidethinking": self.hides_thinking,
            "--nowordwrap": not self.wraps,
        }
        return [name for name, is_given in flags.items() if is_given]


def run(model: str, words: list[str], options: RunOptions) -> None:
    """Answer the prompt made of stdin, where it is piped, and `words`; talk where there is neither."""
    config = read_config(os.environ)
    client = Client(config.address, config.api_key)
    is_interactive = not (words or options.pictures.source) and sys.stdin.isatty() and sys.stdout.isatty()
    prompt = "" if is_interactive else read_prompt(words)
    ensure_server(client, config)
    makes_pictures = "image" in (find_model(client, model).get("capabilities") or ())
    refuse_other_flags(model, makes_pictures, options)
    if makes_pictures:
        run_pictures(client, config, model, options, None if is_interactive else prompt)
    elif is_interactive:
        _talk(client, config, model, options)
    else:
        _answer_once(client, model, prompt, options)


def refuse_other_flags(model: str, makes_pictures: bool, options: RunOptions) -> None:
    """BadRequest for flags that mean nothing to a model of this kind."""
    flags = options.given_for_text if makes_pictures else options.pictures.given
    if flags:
        does, others = ("makes pictures", "write text") if makes_pictures else ("writes text", "make pictures")
        raise BadRequest(f"{model} {does}: leave out {', '.join(flags)}, which only models that {others} know.")


def run_pictures(client: Client, config: Config, model: str, options: RunOptions, prompt: str | None) -> None:
    """What to do with a model that makes pictures: make one of the prompt, or open a session where it is None."""
    from paddock.cli import picture_run
    from paddock.cli.picture_session import talk_pictures

    flags = options.pictures
    order = picture_run.Order(model, prompt or "", flags.look, count=flags.count or 1, keep_alive=options.keep_alive)
    if prompt is None:
        talk_pictures(client, config, order, flags, options.is_verbose)
    else:
        picture_run.run_once(client, order, flags, options.is_verbose)


def read_prompt(words: list[str]) -> str:
    """What is piped into stdin, then the arguments, joined by spaces. BadRequest for bytes that are no text."""
    try:
        piped = "" if sys.stdin.isatty() else sys.stdin.read()
    except UnicodeDecodeError:
        raise BadRequest("what is piped in is not text: a prompt must be UTF-8.") from None
    return " ".join(part for part in (piped, *words) if part)


def find_model(client: Client, model: str) -> dict[str, Any]:
    """What /api/show says of a model; one that the store does not have is pulled first.

    The server's sentence if it cannot be had.
    """
    try:
        return client.call("POST", "/api/show", {"model": model})
    except NotFound:
        follow(client.stream("/api/pull", {"model": model}), f"paddock pull {model}")
    return client.call("POST", "/api/show", {"model": model})


def parse_keepalive_flag(text: str | None) -> str | int | None:
    """--keepalive: a duration such as 5m, or seconds; InvalidOption for anything else."""
    if text is None:
        return None
    value = int(text) if text.removeprefix("-").isascii() and text.removeprefix("-").isdigit() else text
    try:
        parse_keep_alive(value)
    except ValueError:
        raise InvalidOption(f'--keepalive must be a duration such as 5m or 1h30m, not "{text}".') from None
    return value


def parse_format_flag(text: str | None) -> Any:
    """--format: the word json, a JSON schema, or the name of a file that holds one; InvalidOption for anything else."""
    if not text or text == "json":
        return text or None
    try:
        schema = json.loads(text if text.lstrip().startswith("{") else Path(text).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        schema = None
    if not isinstance(schema, dict):
        raise InvalidOption("--format must be json, a JSON schema, or a file that holds one.")
    return schema


def parse_think_flag(text: str | None) -> bool | str | None:
    """--think: a boolean or a level; InvalidOption for anything else."""
    if text is None or text in THINK_LEVELS:
        return text
    if text not in ("true", "false"):
        raise InvalidOption(f'invalid value for --think: "{text}" (must be true, false, {", ".join(THINK_LEVELS)}).')
    return text == "true"


def _answer_once(client: Client, model: str, prompt: str, options: RunOptions) -> None:
    request = {
        "model": model,
        "prompt": prompt,
        **given(format=options.format, think=options.think, keep_alive=options.keep_alive),
    }
    if not prompt:
        client.call("POST", "/api/generate", {**request, "stream": False})  # only loads the model
        return
    answer = Answer()
    print_answer(client.stream("/api/generate", request), AnswerPrinter(options.wraps, options.hides_thinking), answer)
    if options.is_verbose:
        typer.echo(timings(answer.last), err=True, nl=False)


def _talk(client: Client, config: Config, model: str, options: RunOptions) -> None:
    from paddock.cli.prompt import LineEditor

    keeps_history = not config.no_history
    settings = Settings(
        model=model,
        format=options.format,
        think=options.think,
        hides_thinking=options.hides_thinking,
        wraps=options.wraps,
        is_verbose=options.is_verbose,
        keeps_history=keeps_history,
        keep_alive=options.keep_alive,
    )
    Session(client, settings, LineEditor(config.home / "history", keeps_history).read).run()
