"""Pieces of an answer as the events of Anthropic's streams: blocks with rising indices, one open at a time. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from paddock.api.anthropic.answers import (
    Asked,
    Content,
    Kind,
    Message,
    Part,
    StopReason,
    TextContent,
    ThinkingContent,
    Usage,
    new_message_id,
    parts_of,
    stop_of,
    tool_use_of,
    usage_of,
)
from paddock.api.anthropic.signatures import signature_of
from paddock.api.chunks import Piece
from paddock.protocol import Done


class TextDelta(msgspec.Struct, kw_only=True, frozen=True, tag="text_delta"):
    """More of a text."""

    text: str


class ThinkingDelta(msgspec.Struct, kw_only=True, frozen=True, tag="thinking_delta"):
    """More thinking."""

    thinking: str


class SignatureDelta(msgspec.Struct, kw_only=True, frozen=True, tag="signature_delta"):
    """The signature, once a block of thinking is whole."""

    signature: str


class InputJsonDelta(msgspec.Struct, kw_only=True, frozen=True, tag="input_json_delta"):
    """What a tool is called with: all of it, since a call is told when it is whole."""

    partial_json: str


class MessageStart(msgspec.Struct, kw_only=True, frozen=True, tag="message_start"):
    """The answer begins."""

    message: Message


class BlockStart(msgspec.Struct, kw_only=True, frozen=True, tag="content_block_start"):
    """A block begins, empty."""

    index: int
    content_block: Content


class BlockDelta(msgspec.Struct, kw_only=True, frozen=True, tag="content_block_delta"):
    """More of the block that is open."""

    index: int
    delta: TextDelta | ThinkingDelta | SignatureDelta | InputJsonDelta


class BlockStop(msgspec.Struct, kw_only=True, frozen=True, tag="content_block_stop"):
    """The block is whole."""

    index: int


class Stopped(msgspec.Struct, kw_only=True, frozen=True):
    """Why the answer ends."""

    stop_reason: StopReason
    stop_sequence: str | None


class MessageDelta(msgspec.Struct, kw_only=True, frozen=True, tag="message_delta"):
    """What is known at the end."""

    delta: Stopped
    usage: Usage


class MessageStop(msgspec.Struct, kw_only=True, frozen=True, tag="message_stop"):
    """Nothing comes after it."""


class Ping(msgspec.Struct, kw_only=True, frozen=True, tag="ping"):
    """The stream is alive."""


Event = MessageStart | BlockStart | BlockDelta | BlockStop | MessageDelta | MessageStop | Ping


def name_of(event: Event) -> str:
    """The name under which an event is sent, which its data says once more."""
    return str(type(event).__struct_config__.tag)


class Events:
    """The events of one answer."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._index = -1
        self._kind: Kind | None = None
        """Of the block that is open; None if none is."""
        self._thought: list[str] = []
        self._has_called = False
        self.has_started = False
        """Whether the message has begun, after which silence may be filled."""

    def add(self, piece: Piece, prompt: Usage) -> list[Event]:
        """What a piece makes; the message begins with the first that says anything. `prompt` counts its tokens."""
        parts = parts_of(piece)
        opening = self._start(prompt) if parts else []
        return [*opening, *(event for part in parts for event in self._add(part))]

    def finish(self, done: Done) -> list[Event]:
        """How the answer ends, after which nothing comes."""
        opening = self._start(usage_of(done))
        reason, sequence = stop_of(done, self._asked, calls=self._has_called)
        stopped = Stopped(stop_reason=reason, stop_sequence=sequence)
        return [*opening, *self._close(), MessageDelta(delta=stopped, usage=usage_of(done)), MessageStop()]

    def _start(self, prompt: Usage) -> list[Event]:
        if self.has_started:
            return []
        self.has_started = True
        message = Message(
            id=new_message_id(),
            model=self._asked.model,
            content=(),
            stop_reason=None,
            stop_sequence=None,
            usage=msgspec.structs.replace(prompt, output_tokens=0),
        )
        return [MessageStart(message=message), Ping()]

    def _add(self, part: Part) -> Iterable[Event]:
        if not part.goes_on(self._kind):
            yield from self._close()
            yield self._open(part)
        if part.call is not None:
            written = msgspec.json.encode(part.call.arguments).decode()
            yield BlockDelta(index=self._index, delta=InputJsonDelta(partial_json=written))
        elif not part.thinking:
            yield BlockDelta(index=self._index, delta=TextDelta(text=part.text))
        else:
            self._thought.append(part.thinking)
            if not self._asked.omits_thinking:
                yield BlockDelta(index=self._index, delta=ThinkingDelta(thinking=part.thinking))

    def _open(self, part: Part) -> Event:
        self._index += 1
        self._kind = part.kind
        if part.call is not None:
            self._has_called = True
            block: Content = msgspec.structs.replace(tool_use_of(part.call), input={})
        else:
            block = ThinkingContent(thinking="", signature="") if part.thinking else TextContent(text="")
        return BlockStart(index=self._index, content_block=block)

    def _close(self) -> Iterable[Event]:
        if self._kind == "thinking":
            signature = signature_of("".join(self._thought), is_omitted=self._asked.omits_thinking)
            self._thought.clear()
            yield BlockDelta(index=self._index, delta=SignatureDelta(signature=signature))
        if self._kind is not None:
            yield BlockStop(index=self._index)
        self._kind = None
