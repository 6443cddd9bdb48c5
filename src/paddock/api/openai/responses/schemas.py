"""What clients send to /v1/responses and /v1/responses/input_tokens. What becomes of each field stands in `FIELDS`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from paddock.api.described import KeepAlive, Options
from paddock.api.schemas import Body


class Part(Body, frozen=True):
    """A part of a message, of a tool's answer or of a reasoning item, of any type."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None
    prompt_cache_breakpoint: Any = None
    """Accepted, no effect: what was read of a prompt is kept up to every place that later prompts share."""
    annotations: Any = None
    """As the next: of an answer that is sent back; no effect."""
    logprobs: Any = None
    detail: str | None = None
    image_url: str | None = None
    file_id: str | None = None
    file_url: str | None = None
    file_data: str | None = None
    filename: str | None = None
    """This and those above, from `detail` on: of pictures and files, which are refused."""


class InputItem(Body, frozen=True):
    """One item of `input`, of any type. Without a type it is a message, or with nothing but an id a reference."""

    arguments_of_calls: ClassVar = ("arguments",)

    type: str | None = None
    id: str | None = None
    status: str | None = None
    """Accepted, no effect: what was sent is what the model reads."""
    role: str | None = None
    content: str | list[Part] | None = None
    phase: str | None = None
    """Accepted, no effect: only models of OpenAI's tell commentary from answers."""
    call_id: str | None = None
    name: str | None = None
    namespace: str | None = None
    arguments: str | dict[str, Any] | None = None
    """An object in place of its text is taken as well: some clients send back what they have parsed."""
    output: str | list[Part] | None = None
    caller: Any = None
    """Accepted, no effect: whoever called a tool, the model reads the call."""
    summary: list[Part] | None = None
    encrypted_content: str | None = None


class ReasoningWish(Body, frozen=True):
    """How the model should think."""

    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None
    """The former name of `summary`."""
    context: str | None = None
    mode: str | None = None


class TextFormat(Body, frozen=True):
    """What the answer has to be."""

    type: str = ""
    name: str | None = None
    description: str | None = None
    """Accepted, no effect: the schema is enforced, not explained."""
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    """Accepted, no effect: every schema is enforced."""


class TextWish(Body, frozen=True):
    """How the answer should be written."""

    format: TextFormat | None = None
    verbosity: str | None = None


class Tool(Body, frozen=True):
    """A function that the model may call. Tools of other types are refused."""

    type: str = ""
    name: str = ""
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    output_schema: dict[str, Any] | None = None
    """Accepted, no effect: what a tool answers, the model reads as it is."""
    allowed_callers: list[str] | None = None
    defer_loading: bool | None = None
    async_: bool | None = msgspec.field(name="async", default=None)


class StreamOptions(Body, frozen=True):
    """How a stream is written."""

    include_obfuscation: bool | None = None


class PromptBody(Body, frozen=True):
    """What the model is to read, and in which form it is to answer."""

    model: str | None = None
    input: str | list[InputItem] | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    conversation: Any = None
    tools: list[Tool] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    text: TextWish | None = None
    reasoning: ReasoningWish | None = None
    truncation: str | None = None


class InputTokensBody(PromptBody, frozen=True):
    """POST /v1/responses/input_tokens"""

    personality: str | None = None


class ResponseBody(PromptBody, frozen=True):
    """POST /v1/responses"""

    store: bool | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: int | None = None
    include: list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    service_tier: str | None = None
    background: bool | None = None
    background_options: Any = None
    prompt: Any = None
    context_management: Any = None
    moderation: Any = None
    access_programs: Any = None
    image: Any = None
    # From here on not OpenAI's, but what clients of local servers send.
    seed: int | None = None
    keep_alive: KeepAlive = None
    options: Options | None = None


FIELDS: Mapping[str, str] = {
    "model": "honoured, required: the name of a model that is here",
    "input": "honoured: a text, or messages, function calls and their outputs, reasoning, and references to kept items",
    "instructions": "honoured: the opening system message of this response alone",
    "previous_response_id": "honoured while that response is kept, else 400",
    "store": "honoured: false keeps nothing; else the response is kept in memory, within bounds",
    "max_output_tokens": "honoured: most tokens of the answer, thinking included",
    "max_tool_calls": "no effect: it counts calls of built-in tools, of which there are none",
    "temperature": "honoured: 0 to 2; absent: the model's own",
    "top_p": "honoured: 0 to 1; absent: the model's own",
    "top_logprobs": "honoured: 0 to 20",
    "include": "honoured: message.output_text.logprobs and reasoning.encrypted_content; OpenAI's other values have no "
    "effect, unknown ones are answered with 400",
    "tools": "honoured: functions; tools of other types are answered with 400",
    "tool_choice": "honoured: none, auto, required, a function, or allowed_tools; 400 where a call is demanded of a "
    "model that does not write calls as JSON",
    "parallel_tool_calls": "honoured: false ends the answer with its first call",
    "PromptBody.text": "honoured: the form of the answer",
    "reasoning": "honoured: how much the model thinks, and how that is told",
    "truncation": "honoured: auto drops the oldest of a conversation that is too long, disabled answers it with 400",
    "stream": "honoured: typed events",
    "stream_options": "honoured; 400 without stream",
    "metadata": "no effect: returned as it came; up to 16 pairs",
    "user": "no effect: returned as it came",
    "safety_identifier": "no effect: returned as it came",
    "prompt_cache_key": "no effect: prompts that begin alike are found without a key; returned as it came",
    "prompt_cache_retention": "no effect: what was read of a prompt is kept while there is memory",
    "prompt_cache_options": "400 unless its mode is implicit and it asks for nothing else",
    "service_tier": "400 unless auto or default",
    "background": "400 unless false",
    "background_options": "400 unless absent",
    "conversation": "400 unless absent: use previous_response_id",
    "prompt": "400 unless absent: no prompts are kept here",
    "context_management": "400 unless empty",
    "moderation": "400 unless absent",
    "access_programs": "400 unless absent",
    "image": "400 unless absent",
    "personality": "400 unless absent: say in instructions how to answer",
    "seed": "honoured, not OpenAI's: the same request gives the same answer",
    "keep_alive": "honoured, not OpenAI's: how long the model stays, as in /api/chat",
    "options": "honoured, not OpenAI's: as in /api/chat, under the fields of this body",
    "InputItem.type": "honoured: message (also without a type), function_call, function_call_output, reasoning, "
    "item_reference; 400 for others",
    "id": "honoured: the item's name, for references to it; new where there is none",
    "status": "no effect: what was sent is what the model reads",
    "role": "honoured: user, assistant, system, developer (as system)",
    "content": "honoured: a text, or parts",
    "phase": "no effect: models here do not tell commentary from answers",
    "call_id": "honoured: which call it is, or answers; calls and outputs must have one",
    "InputItem.name": "honoured: which function is called; calls must have one",
    "namespace": "400 unless absent",
    "arguments": "honoured: a JSON object as text, or as it is",
    "output": "honoured: a text, or parts of the type input_text",
    "caller": "no effect: whoever called a tool, the model reads the call",
    "ReasoningWish.summary": "honoured: auto and detailed tell the thinking as its own summary; 400 for concise",
    "InputItem.summary": "honoured: what the model thought, where it is told in no other way",
    "encrypted_content": "honoured: what the model thought, as this server told it; 400 for others",
    "Part.type": "honoured: input_text, output_text, refusal; 400 for pictures and files",
    "Part.text": "honoured: what was said",
    "refusal": "honoured: what was said",
    "prompt_cache_breakpoint": "no effect: what was read of a prompt serves every later one that begins alike",
    "annotations": "no effect: they are not shown to the model",
    "logprobs": "no effect: they are not shown to the model",
    "detail": "400, being of a picture or a file",
    "image_url": "400, being of a picture",
    "file_id": "400, being of a file",
    "file_url": "400, being of a file",
    "file_data": "400, being of a file",
    "filename": "400, being of a file",
    "effort": "honoured: none, minimal (as low), low, medium, high, xhigh and max (as high); 400 where the model does "
    "not think, unless none",
    "generate_summary": "honoured: the former name of summary",
    "context": "400 unless auto: what is shown of earlier thinking is up to the model's template",
    "mode": "400 unless standard",
    "format": "honoured: what the answer has to be",
    "TextFormat.type": "honoured: text, json_object, json_schema",
    "TextFormat.name": "no effect: returned as it came",
    "TextFormat.description": "no effect: the schema is enforced, not explained",
    "schema": "honoured: the answer obeys it",
    "TextFormat.strict": "no effect: every schema is enforced",
    "verbosity": "400 unless medium",
    "Tool.type": "honoured: function; 400 for others",
    "Tool.name": "honoured, required",
    "Tool.description": "honoured: shown to the model",
    "parameters": "honoured: shown to the model, and enforced where a call is demanded",
    "Tool.strict": "honoured: true enforces the parameters in every call, where the model writes calls as JSON after "
    "a token that is a mark of calls; no effect on other models, and where a call is demanded: that is enforced anyway",
    "output_schema": "no effect: the model reads what a tool answers as it is",
    "allowed_callers": "400 unless direct",
    "defer_loading": "400 unless false",
    "async": "400 unless false",
    "include_obfuscation": "honoured: true pads each delta to hide its length; absent: no padding",
}
"""What becomes of each field, in one clause; `Struct.field` where fields of one name differ."""
