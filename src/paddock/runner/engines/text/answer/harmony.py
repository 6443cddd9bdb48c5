"""Reads answers in channels, as gpt-oss writes them.

An answer is a row of messages, `<|channel|>analysis<|message|>… <|end|><|start|>assistant<|channel|>final<|message|>…`:
a header that names the channel and sometimes a recipient, then a body. Analysis is thinking, what goes to a recipient
is the call of a tool, everything else is the answer. The prompt ends within the first header.
"""

from __future__ import annotations

import json
import re
from typing import Any

from paddock.protocol import Frame, Text, Thinking
from paddock.runner.engines.text.answer.stops import possible_start
from paddock.runner.engines.text.answer.style import AnswerStyle, ToolSyntax
from paddock.runner.engines.text.answer.tool_calls import MAX_CALL_CHARACTERS, read_calls

START, CHANNEL, MESSAGE = "<|start|>", "<|channel|>", "<|message|>"
_ENDS = ("<|end|>", "<|call|>", "<|return|>", START, CHANNEL)
"""What ends a body: the first three say so, the others begin the next message."""
_IN_HEADER = (MESSAGE,)
_MAX_HEADER_CHARACTERS = 512
_RECIPIENT = re.compile(r"\bto=([^\s<]+)")
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")
_TOOLS = "functions."


class HarmonyText:
    """Reads one answer. A call is held back until its message ends; what cannot be read comes as text."""

    def __init__(self, style: AnswerStyle) -> None:
        self._syntax = style.tool_syntax
        self._held = ""
        self._header: str | None = ""
        """As far as it came; None within a body."""
        self._channel = ""
        self._recipient = ""
        self._call: list[str] = []
        self._call_length = 0

    @property
    def is_answering(self) -> bool:
        """Whether what comes next is the answer itself."""
        return self._header is None and self._channel == "final"

    @property
    def is_thinking(self) -> bool:
        """Whether what comes next is thought."""
        return self._header is None and self._channel == "analysis" and not self._recipient

    def feed(self, text: str) -> list[Frame]:
        """What a piece of text adds."""
        frames: list[Frame] = []
        self._held += text
        while (found := self._first_mark()) is not None:
            start, mark = found
            before, self._held = self._held[:start], self._held[start + len(mark) :]
            frames += self._say(before)
            frames += self._pass(mark)
        keep = len(self._held) - possible_start(self._held, self._marks())
        safe, self._held = self._held[:keep], self._held[keep:]
        frames += self._say(safe)
        return frames + self._give_up_on_what_is_too_long()

    def finish(self) -> list[Frame]:
        """What is left when no more text comes: the token that ends a call ends the answer as well."""
        frames = self._say(self._held)
        self._held = ""
        if self._header is None:
            return frames + self._end_body()
        return frames + _told(self._header)

    def _marks(self) -> tuple[str, ...]:
        return _ENDS if self._header is None else _IN_HEADER

    def _first_mark(self) -> tuple[int, str] | None:
        found = [(start, mark) for mark in self._marks() if (start := self._held.find(mark)) >= 0]
        return min(found, default=None)

    def _pass(self, mark: str) -> list[Frame]:
        if self._header is not None:
            self._read_header(self._header)
            return []
        frames = self._end_body()
        self._header = mark if mark == CHANNEL else ""
        return frames

    def _read_header(self, header: str) -> None:
        channel, recipient = _CHANNEL.search(header), _RECIPIENT.search(header)
        self._channel = channel[1] if channel else "final"
        self._recipient = recipient[1] if recipient and recipient[1] not in ("user", "assistant") else ""
        self._header = None

    def _say(self, text: str) -> list[Frame]:
        if not text:
            return []
        if self._header is not None:
            self._header += text
            return []
        if self._recipient:
            self._call.append(text)
            self._call_length += len(text)
            return []
        return [Thinking(content=text) if self._channel == "analysis" else Text(content=text)]

    def _end_body(self) -> list[Frame]:
        """The call that a message was, or what it said in place of one."""
        recipient, text = self._recipient, "".join(self._call)
        self._recipient, self._call, self._call_length = "", [], 0
        if not recipient:
            return []
        syntax = ToolSyntax(
            "", "", lambda text, _: _parsed(recipient, text), self._syntax.tools if self._syntax else ()
        )
        return list(read_calls(text, syntax)) or ([Text(content=text)] if text else [])

    def _give_up_on_what_is_too_long(self) -> list[Frame]:
        """No header and no call is that long, so it is something else."""
        if self._call_length > MAX_CALL_CHARACTERS:
            return self._end_body()
        if self._header is not None and len(self._header) > _MAX_HEADER_CHARACTERS:
            header, self._header, self._channel = self._header, None, "final"
            return [Text(content=header)]
        return []


def _parsed(recipient: str, text: str) -> dict[str, Any]:
    return {"name": recipient.removeprefix(_TOOLS), "arguments": json.loads(text) if text.strip() else {}}


def _told(header: str) -> list[Frame]:
    """The text that stands where a header should, of a model that writes no channels; a header itself is not told."""
    is_header = CHANNEL in header or START in header or not header.strip() or _RECIPIENT.search(header)
    return [] if is_header else [Text(content=header)]
