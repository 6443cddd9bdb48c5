"""The pieces of an answer that comes as a stream, and their encoding."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from paddock.protocol.message import Message, encode


class Likelihood(Message, frozen=True):
    """How likely a token was, in the model's own distribution (before temperature, penalties and constraints)."""

    token: str
    logprob: float
    """Natural logarithm."""
    bytes: tuple[int, ...] = ()
    """The token as UTF-8; it may be a part of a character."""


class TokenLogprobs(Likelihood, frozen=True):
    """A token of the answer, and the likeliest at its place."""

    top: tuple[Likelihood, ...] = ()


class Text(Message, frozen=True, tag="text"):
    """Some more of the answer: whole characters only."""

    content: str
    logprobs: tuple[TokenLogprobs, ...] = ()
    """Of the tokens made since the frame before, if they were asked for."""


class Thinking(Message, frozen=True, tag="thinking"):
    """Some more of what the model thinks before it answers: whole characters only."""

    content: str
    logprobs: tuple[TokenLogprobs, ...] = ()


class ToolCall(Message, frozen=True, tag="tool_call"):
    """The model calls a tool: always the whole call."""

    id: str
    name: str
    arguments: dict[str, Any]


class PromptProgress(Message, frozen=True, tag="prompt_progress"):
    """A prompt is being read: tokens done of tokens in all. Long prompts tell; others, and what was read before, only
    if the request wants to know."""

    done: int
    total: int


class Vectors(Message, frozen=True, tag="vectors"):
    """What became of all texts of a request: a vector each, or of a pair of texts one number. Only inside a runner."""

    rows: tuple[tuple[float, ...], ...]


class Step(Message, frozen=True, tag="step"):
    """Pictures are being made: denoising steps done of steps in all. It only ever grows."""

    done: int
    total: int


class Preview(Message, frozen=True, tag="preview"):
    """A picture as it is so far, a PNG file; in JSON it is base64. It may be smaller than the picture will be."""

    data: bytes
    index: int
    """Which of the request's pictures it is, from 0 on."""
    number: int
    """Which preview of this picture it is, from 0 on."""


class Image(Message, frozen=True, tag="image"):
    """A whole picture as a PNG file, which tells in itself how it was made; in JSON it is base64."""

    data: bytes
    index: int
    """Which of the request's pictures it is, from 0 on."""
    seed: int
    width: int
    height: int


class Done(Message, frozen=True, tag="done"):
    """The answer is complete. Counts are tokens, durations nanoseconds; of pictures the first are the prompts' tokens
    and the others denoising steps."""

    reason: Literal["stop", "length"]
    prompt_eval_count: int
    prompt_eval_duration_ns: int
    eval_count: int
    eval_duration_ns: int
    context: tuple[int, ...] | None = None
    cached_tokens: int = 0
    """Tokens of the prompt that had been read before, for another request; `prompt_eval_count` has them in it."""
    thinking_tokens: int = 0
    """Of `eval_count`, those of thinking, told or not; a mark that is a token of its own is among them."""
    stop_string: str = ""
    """The one of `Sampling.stop` that ended the text, if one did."""


class Failed(Message, frozen=True, tag="failed"):
    """The request ends here, in an error: `code` names a class of `errors.py`."""

    code: str
    message: str


Frame = Text | Thinking | ToolCall | PromptProgress | Vectors | Step | Preview | Image | Done | Failed

_frame_decoder: msgspec.json.Decoder[Frame] = msgspec.json.Decoder(Frame)


def encode_line(frame: Frame) -> bytes:
    """A frame as one line of NDJSON."""
    return encode(frame) + b"\n"


def decode_frame(line: bytes) -> Frame:
    """One line of a stream; raises msgspec.DecodeError for anything that is no frame."""
    return _frame_decoder.decode(line)
