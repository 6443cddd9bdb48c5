"""Writes a model's answer to stdout as it comes."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from paddock.cli.progress import spinner
from paddock.cli.render import printable
from paddock.errors import PaddockError

if TYPE_CHECKING:
    from paddock.cli.wrap import WordWrap

GREY, PLAIN = "\x1b[90m", "\x1b[0m"


@dataclass
class Answer:
    """What was printed of one answer: its text so far and, when it is complete, its last update."""

    text: str = ""
    last: dict[str, Any] = field(default_factory=dict)


class AnswerPrinter:
    """Prints thinking and text, wrapped at the terminal's width; piped output is exactly what the model wrote."""

    def __init__(self, wraps: bool, hides_thinking: bool) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._wraps = wraps and self._is_terminal
        self._hides_thinking = hides_thinking
        self._is_thinking = False
        self._grey, self._plain = (GREY, PLAIN) if self._is_terminal else ("", "")
        self._wrap = self._new_wrap()

    def shows(self, update: Mapping[str, Any]) -> bool:
        """Whether there is anything to see of an update."""
        part = update.get("message", update)
        text = part.get("content") or part.get("response") or (part.get("thinking") and not self._hides_thinking)
        return bool(text or update.get("done"))

    def thinking(self, text: str) -> None:
        """Some of what the model thinks, before its answer."""
        if self._hides_thinking:
            return
        if not self._is_thinking:
            self._is_thinking = True
            self._out(f"{self._grey}Thinking...\n")
        self._write(text)

    def text(self, text: str) -> None:
        """Some of the answer."""
        self._end_thinking()
        self._write(text)

    def finish(self) -> None:
        """The end of the answer, complete or not: nothing stays held back, and the line is ended."""
        self._end_thinking()
        self._flush()
        self._out("\n\n" if self._is_terminal else "\n")

    def _end_thinking(self) -> None:
        if self._is_thinking:
            self._is_thinking = False
            self._flush()
            self._out(f"\n...done thinking.{self._plain}\n\n")

    def _write(self, text: str) -> None:
        if self._is_terminal:
            text = printable(text)
        self._out(self._wrap.feed(text) if self._wrap else text)

    def _flush(self) -> None:
        if self._wrap:
            self._out(self._wrap.finish())
            self._wrap = self._new_wrap()

    def _out(self, text: str) -> None:
        # Not typer.echo, which drops the escape sequences that a model may well have been asked for.
        sys.stdout.write(text)
        sys.stdout.flush()

    def _new_wrap(self) -> WordWrap | None:
        if not self._wraps:
            return None
        from paddock.cli.wrap import WordWrap

        return WordWrap(shutil.get_terminal_size().columns)


def print_answer(updates: Generator[dict[str, Any], None, None], printer: AnswerPrinter, answer: Answer) -> None:
    """Print the updates of /api/generate or /api/chat, gathering them in `answer`.

    Whatever ends it, the line is ended and `updates` is closed, which tells the server to stop. PaddockError where
    the stream stops without its last update.
    """
    with contextlib.closing(updates):
        with spinner():
            update = next((one for one in updates if printer.shows(one)), None)
        try:
            while update is not None:
                _print_update(update, printer, answer)
                update = next(updates, None)
        finally:
            printer.finish()
    if not answer.last:
        raise PaddockError("the server ended the answer before it was complete.")


def _print_update(update: dict[str, Any], printer: AnswerPrinter, answer: Answer) -> None:
    part: Mapping[str, Any] = update.get("message", update)
    if part.get("thinking"):
        printer.thinking(str(part["thinking"]))
    text = str(part.get("content" if "message" in update else "response") or "")
    if text:
        printer.text(text)
        answer.text += text
    if update.get("done"):
        answer.last = update
