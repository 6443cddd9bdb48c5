"""The interactive session: reads entries, asks the model, performs what the commands want."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import typer

from paddock.cli.answer import Answer, AnswerPrinter, print_answer
from paddock.cli.client import Client
from paddock.cli.commands import Effect, Entry, Lines, Settings, Step, interpret
from paddock.cli.models import model_table
from paddock.cli.progress import spinner
from paddock.cli.render import printable, timings
from paddock.cli.show import overview
from paddock.errors import PaddockError

ReadLine = Callable[[bool, bool], str]
"""(is_continued, keeps_history) -> the next line; EOFError at the end, KeyboardInterrupt for Ctrl+c."""

_LABELS = {"license": "license", "modelfile": "Modelfile", "system": "system message", "template": "prompt template"}


class Session:
    """One conversation at a terminal."""

    def __init__(self, client: Client, settings: Settings, read_line: ReadLine) -> None:
        self._client = client
        self._read_line = read_line
        self.settings = settings

    def run(self) -> None:
        """Load the model, then serve entries until the user leaves. PaddockError if the model cannot be loaded."""
        self._load(self.settings.model)
        while (entry := read_entry(self._read_line, self.settings.keeps_history)) is not None:
            step = interpret(self.settings, entry)
            self.settings = step.settings
            typer.echo(step.reply, nl=False)
            if step.effect is Effect.EXIT:
                return
            self._perform(step)

    def _perform(self, step: Step) -> None:
        """Do what a line wants. What goes wrong is told, and the conversation goes on."""
        actions: dict[Effect, Callable[[str], None]] = {
            Effect.ASK: self._ask,
            Effect.SHOW: self._show,
            Effect.LOAD: self._load,
            Effect.SAVE: self._save,
            Effect.LIST: lambda _: typer.echo(model_table(self._client), nl=False),
        }
        try:
            if step.effect in actions:
                actions[step.effect](step.argument)
        except PaddockError as error:
            typer.echo(f"Error: {error.message}", err=True)
        except KeyboardInterrupt:
            pass  # the answer was stopped: its connection is closed by now

    def _ask(self, text: str) -> None:
        settings, question = self.settings, {"role": "user", "content": text}
        answer = Answer()
        printer = AnswerPrinter(settings.wraps, settings.hides_thinking)
        try:
            print_answer(self._client.stream("/api/chat", chat_request(settings, question)), printer, answer)
        finally:
            if answer.text:  # what was said stays said, even if it was stopped half way
                said = (question, {"role": "assistant", "content": answer.text})
                self.settings = replace(settings, messages=(*settings.messages, *said))
        if settings.is_verbose:
            typer.echo(timings(answer.last), err=True)

    def _load(self, name: str) -> None:
        model = self._client.call("POST", "/api/show", {"model": name})
        request = {"model": name, "stream": False, **given(keep_alive=self.settings.keep_alive)}
        with spinner():
            self._client.call("POST", "/api/generate", request)
        self.settings = replace(self.settings, model=name, messages=())
        for message in model.get("messages") or ():
            before = ">>> " if message.get("role") == "user" else ""
            typer.echo(f"{before}{printable(str(message.get('content', '')))}\n")

    def _show(self, part: str) -> None:
        model = self._client.call("POST", "/api/show", {"model": self.settings.model})
        typer.echo(printable(shown(model, part, self.settings)))

    def _save(self, name: str) -> None:
        settings = self.settings
        request = {"model": name, "from": settings.model, **given(system=settings.system)}
        if settings.parameters:
            request["parameters"] = dict(settings.parameters)
        if settings.messages:
            request["messages"] = list(settings.messages)
        for _ in self._client.stream("/api/create", request):
            pass
        typer.echo(f"Created new model '{name}'")


def read_entry(read_line: ReadLine, keeps_history: bool) -> Entry | None:
    """What the user enters next; None at the end. Ctrl+c forgets what was begun."""
    lines = Lines()
    while True:
        try:
            entry = lines.feed(read_line(lines.is_open, keeps_history))
        except KeyboardInterrupt:
            if not lines.is_open:
                typer.echo("\nUse Ctrl+d or /bye to leave.")
            lines.clear()
            continue
        except EOFError:
            return None
        if entry is not None:
            return entry


def chat_request(settings: Settings, question: Mapping[str, str]) -> dict[str, Any]:
    """The body of /api/chat for the next question of a conversation."""
    system = [{"role": "system", "content": settings.system}] if settings.system else []
    return {
        "model": settings.model,
        "messages": [*system, *settings.messages, question],
        "options": dict(settings.parameters),
        **given(format=settings.format, think=settings.think, keep_alive=settings.keep_alive),
    }


def given(**fields: Any) -> dict[str, Any]:
    """The fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}


def shown(model: Mapping[str, Any], part: str, settings: Settings) -> str:
    """What /show prints of a model, as this session uses it."""
    if part == "info":
        return overview(model)
    if part == "parameters":
        return _parameters(str(model.get("parameters") or ""), settings)
    text = settings.system if part == "system" and settings.system else str(model.get(part) or "")
    return f"{text}\n" if text else f"No {_LABELS[part]} was specified for this model.\n"


def _parameters(of_model: str, settings: Settings) -> str:
    chosen = "\n".join(f"{name:<30} {value}" for name, value in settings.parameters.items())
    parts = [
        f"{title}:\n{text.rstrip()}\n"
        for title, text in (("Of the model", of_model), ("Of this session", chosen))
        if text
    ]
    return "\n".join(parts) or "No parameters were specified for this model.\n"
