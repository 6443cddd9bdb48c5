"""The wire types of /api/generate and /api/chat as clients send them, and what all wire types have in common.

Bodies ignore fields that Ollama does not document, and take null for "not given", as its own decoder does. Answers
leave out what has no value. Durations are nanoseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from paddock.api.described import Format, KeepAlive, Options, Think, TopLogprobs


class Body(msgspec.Struct, kw_only=True, frozen=True):
    """Base of all request bodies. Beside them stands `FIELDS`: what becomes of each field, for the documents."""


class Answer(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """Base of all answers: fields that hold their default are left out."""


class InferenceBody(Body, frozen=True):
    """What generating and chatting have in common."""

    model: str | None = None
    stream: bool | None = None
    format: Format = None
    keep_alive: KeepAlive = None
    options: Options | None = None
    think: Think = None
    truncate: bool | None = None
    shift: bool | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None
    debug_render_only: bool | None = msgspec.field(name="_debug_render_only", default=None)


class GenerateBody(InferenceBody, frozen=True):
    """POST /api/generate"""

    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    context: list[int] | None = None
    raw: bool | None = None
    images: list[str] | None = None
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    negative_prompt: str | None = None


class WireFunction(Body, frozen=True):
    """Which function was called, with what."""

    arguments_of_calls: ClassVar = ("arguments",)

    name: str = ""
    arguments: dict[str, Any] | None = None
    index: int | None = None


class WireCall(Body, frozen=True):
    """A call that the model made in an earlier turn, as clients hand it back."""

    id: str | None = None
    function: WireFunction | None = None


class WireMessage(Body, frozen=True):
    """One turn of a conversation, as clients write it."""

    role: str = ""
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[WireCall] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class ChatBody(InferenceBody, frozen=True):
    """POST /api/chat"""

    messages: list[WireMessage] | None = None
    tools: list[Any] | None = None


FIELDS: Mapping[str, str] = {
    "model": "honoured, required: name of a stored model",
    "stream": "honoured: a line for each piece, which is the default, or with false one object",
    "format": 'honoured: "json" for any object, or a JSON schema that the answer obeys; 400 where a model makes '
    "pictures",
    "keep_alive": "honoured: how long the model stays afterwards, in seconds or as a duration; negative is forever, "
    "0 unloads it",
    "options": "honoured: over the model's own parameters; 400 for an option that is unknown, out of its range, or "
    "another engine's and not at its default",
    "think": "honoured: whether, or how much, the model thinks first; models that can do unless told not to; max is "
    "high; 400 where the model cannot",
    "truncate": "honoured: false answers 400 where the prompt is longer than the context, true drops the oldest of it",
    "shift": '400 unless false: a full context ends the answer with done_reason "length"',
    "logprobs": "honoured: how likely each token of the answer was",
    "top_logprobs": "honoured: 0 to 20 alternatives for each token; needs logprobs",
    "_debug_render_only": "honoured: the prompt as the model would read it, in place of an answer; 400 where a model "
    "makes pictures",
    "prompt": "honoured: what to answer, or to paint; none only loads the model, or with a keep_alive of 0 unloads it",
    "suffix": "honoured: the text after the gap that the answer fills; 400 where the model cannot insert",
    "system": "honoured: in place of the model's own system message; 400 beside raw and where a model makes pictures",
    "template": "honoured: a Jinja template in place of the model's own; 400 for a Go template, beside raw, and where "
    "a model makes pictures",
    "context": "honoured: the tokens of an earlier answer, to go on from; 400 beside raw and where a model makes "
    "pictures",
    "raw": "honoured: the prompt is read as it stands; 400 where a model makes pictures",
    "GenerateBody.images": "honoured: pictures to work from, in base64, where a model makes pictures; 400 for others",
    "width": "honoured: of the picture, in pixels; 400 where a model makes texts",
    "height": "honoured: of the picture, in pixels; 400 where a model makes texts",
    "steps": "honoured: of denoising; 400 where a model makes texts",
    "negative_prompt": "honoured: what a picture should not show (not Ollama's); 400 where a model makes texts",
    "messages": "honoured: the conversation; none only loads the model, or with a keep_alive of 0 unloads it",
    "tools": "honoured: functions that the model may call; 400 where it cannot call any",
    "role": "honoured: system, user, assistant, tool, or another that the model's template knows",
    "content": "honoured: what was said",
    "thinking": "honoured: what the model thought in an earlier turn, as far as its template shows it again",
    "WireMessage.images": "400 unless empty: no model here looks at pictures in a conversation",
    "tool_calls": "honoured: calls that the model made in an earlier turn",
    "tool_name": "honoured: which tool a message of the role tool answers for",
    "tool_call_id": "honoured: which call a message of the role tool answers",
    "id": "honoured: of the call, for templates that show it",
    "function": "honoured, required: what was called",
    "name": "honoured, required: of the function",
    "arguments": "honoured: what it was called with",
    "index": "no effect: calls stay in their order",
}
