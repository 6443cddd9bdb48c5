"""What /v1/messages answers: one message of blocks. Pure."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from paddock.api.anthropic.signatures import signature_of
from paddock.api.anthropic.tool_ids import anthropic_id
from paddock.api.chunks import Piece
from paddock.protocol import Done, ToolCall

Kind = Literal["text", "thinking", "tool_use"]
StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded"]


class TextContent(msgspec.Struct, kw_only=True, frozen=True, tag="text"):
    """What the model says."""

    text: str


class ThinkingContent(msgspec.Struct, kw_only=True, frozen=True, tag="thinking"):
    """What it thinks before; the text is empty where the request wants it left out."""

    thinking: str
    signature: str


class ToolUseContent(msgspec.Struct, kw_only=True, frozen=True, tag="tool_use"):
    """A call of a tool."""

    id: str
    name: str
    input: dict[str, Any]


Content = TextContent | ThinkingContent | ToolUseContent


class Usage(msgspec.Struct, kw_only=True, frozen=True):
    """Tokens. Those of the prompt that had been read before, for another request, are not among `input_tokens`."""

    input_tokens: int
    cache_creation_input_tokens: int = 0
    """Always 0: what is kept of a prompt costs nothing, so no token is of a kind of its own."""
    cache_read_input_tokens: int
    output_tokens: int


class Message(msgspec.Struct, kw_only=True, frozen=True, tag="message"):
    """The answer, whole or as it begins."""

    id: str
    role: str = "assistant"
    model: str
    content: tuple[Content, ...]
    stop_reason: StopReason | None
    stop_sequence: str | None
    usage: Usage


class TokensAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """POST /v1/messages/count_tokens"""

    input_tokens: int


@dataclass(frozen=True)
class Asked:
    """What of a request its answer depends on."""

    model: str
    """The name as the client wrote it."""
    max_tokens: int
    stop_sequences: tuple[str, ...] = ()
    omits_thinking: bool = False


class Part(msgspec.Struct, frozen=True):
    """Some of one block: text, thinking or a call."""

    text: str = ""
    thinking: str = ""
    call: ToolCall | None = None

    @property
    def kind(self) -> Kind:
        """Which kind of block it belongs to."""
        if self.call is not None:
            return "tool_use"
        return "thinking" if self.thinking else "text"

    def goes_on(self, kind: Kind | None) -> bool:
        """Whether it belongs to the block before it, one of this kind; each call is a block of its own."""
        return self.kind == kind != "tool_use"


def parts_of(piece: Piece) -> list[Part]:
    """A piece's parts in the order in which a model makes them; none for a piece that says nothing."""
    found = [Part(thinking=piece.thinking), Part(text=piece.text)]
    return [*(part for part in found if part.thinking or part.text), *(Part(call=call) for call in piece.calls)]


def message_of(pieces: Iterable[Piece], done: Done, asked: Asked) -> Message:
    """The whole answer."""
    parts = [part for piece in pieces for part in parts_of(piece)]
    reason, sequence = stop_of(done, asked, calls=any(part.call for part in parts))
    return Message(
        id=new_message_id(),
        model=asked.model,
        content=tuple(_content(block, asked) for block in _blocks(parts)),
        stop_reason=reason,
        stop_sequence=sequence,
        usage=usage_of(done),
    )


def _blocks(parts: Sequence[Part]) -> list[list[Part]]:
    found: list[list[Part]] = []
    for part in parts:
        if found and part.goes_on(found[-1][-1].kind):
            found[-1].append(part)
        else:
            found.append([part])
    return found


def _content(parts: Sequence[Part], asked: Asked) -> Content:
    call = parts[0].call
    if call is not None:
        return tool_use_of(call)
    if not parts[0].thinking:
        return TextContent(text="".join(part.text for part in parts))
    thinking = "".join(part.thinking for part in parts)
    signature = signature_of(thinking, is_omitted=asked.omits_thinking)
    return ThinkingContent(thinking="" if asked.omits_thinking else thinking, signature=signature)


def tool_use_of(call: ToolCall) -> ToolUseContent:
    """A call as a block."""
    return ToolUseContent(id=anthropic_id(call.id), name=call.name, input=call.arguments)


def stop_of(done: Done, asked: Asked, *, calls: bool) -> tuple[StopReason, str | None]:
    """Why the answer ended, and which of the client's sequences ended it. Those that a model brings along are a part of
    how it ends its turns."""
    if done.reason == "length":
        return ("max_tokens" if done.eval_count >= asked.max_tokens else "model_context_window_exceeded"), None
    if done.stop_string and done.stop_string in asked.stop_sequences:
        return "stop_sequence", done.stop_string
    return ("tool_use" if calls else "end_turn"), None


def usage_of(done: Done) -> Usage:
    """What the answer took."""
    return Usage(
        input_tokens=done.prompt_eval_count - done.cached_tokens,
        cache_read_input_tokens=done.cached_tokens,
        output_tokens=done.eval_count,
    )


def new_message_id() -> str:
    """A name for an answer that no other has."""
    return "msg_" + secrets.token_hex(12)
