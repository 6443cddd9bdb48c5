"""The objects that /v1/chat/completions answers with."""

from __future__ import annotations

from typing import Literal

import msgspec

from paddock.api.openai.usage import Usage

Unset = msgspec.UnsetType
FinishReason = Literal["stop", "length", "tool_calls", "function_call"]


class CalledFunction(msgspec.Struct, kw_only=True, frozen=True):
    """Which function the model calls; the arguments are JSON in a string."""

    name: str
    arguments: str


class Call(msgspec.Struct, kw_only=True, frozen=True):
    """A call of a tool. Only those in chunks have an index."""

    index: int | Unset = msgspec.UNSET
    id: str
    type: str = "function"
    function: CalledFunction


class Message(msgspec.Struct, kw_only=True, frozen=True):
    """A whole answer."""

    role: str = "assistant"
    content: str | None
    """None where the model only calls tools."""
    refusal: None = None
    reasoning: str | Unset = msgspec.UNSET
    reasoning_content: str | Unset = msgspec.UNSET
    """Both not OpenAI's: what the model thought, under the two names in use."""
    tool_calls: tuple[Call, ...] | Unset = msgspec.UNSET
    function_call: CalledFunction | Unset = msgspec.UNSET


class Delta(msgspec.Struct, kw_only=True, frozen=True):
    """What a chunk adds to an answer."""

    role: str | Unset = msgspec.UNSET
    content: str | Unset = msgspec.UNSET
    reasoning: str | Unset = msgspec.UNSET
    reasoning_content: str | Unset = msgspec.UNSET
    tool_calls: tuple[Call, ...] | Unset = msgspec.UNSET
    function_call: CalledFunction | Unset = msgspec.UNSET


class TopLogprob(msgspec.Struct, kw_only=True, frozen=True):
    """A likely token at some place."""

    token: str
    logprob: float
    bytes: tuple[int, ...]


class ContentLogprob(TopLogprob, kw_only=True, frozen=True):
    """A token of the answer, and the likeliest at its place."""

    top_logprobs: tuple[TopLogprob, ...]


class Logprobs(msgspec.Struct, kw_only=True, frozen=True):
    """How likely the tokens of an answer were."""

    content: tuple[ContentLogprob, ...]
    refusal: None = None


class Choice(msgspec.Struct, kw_only=True, frozen=True):
    """One of the answers."""

    index: int
    message: Message
    logprobs: Logprobs | None
    finish_reason: FinishReason


class ChunkChoice(msgspec.Struct, kw_only=True, frozen=True):
    """Some of one of the answers."""

    index: int
    delta: Delta
    logprobs: Logprobs | None = None
    finish_reason: FinishReason | None = None


class Completion(msgspec.Struct, kw_only=True, frozen=True):
    """All answers as one object."""

    id: str
    object: str = "chat.completion"
    created: int
    model: str
    choices: tuple[Choice, ...]
    usage: Usage
    service_tier: str = "default"
    system_fingerprint: str


class Chunk(msgspec.Struct, kw_only=True, frozen=True):
    """An event of a stream. Where usage is asked for, only the last has it, and the others have null."""

    id: str
    object: str = "chat.completion.chunk"
    created: int
    model: str
    choices: tuple[ChunkChoice, ...]
    usage: Usage | Unset | None = msgspec.UNSET
    service_tier: str = "default"
    system_fingerprint: str
