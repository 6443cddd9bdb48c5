"""What clients send to /v1/messages and /v1/messages/count_tokens. What becomes of each field stands in `FIELDS`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from paddock.api.schemas import Body


class Source(Body, frozen=True):
    """Where a document or a picture is: in itself (of the type text or content), or elsewhere."""

    type: str = ""
    media_type: str | None = None
    data: str | None = None
    content: str | list[Block] | None = None
    url: str | None = None
    file_id: str | None = None


class Citations(Body, frozen=True):
    """Whether an answer should tell what of a document it rests on."""

    enabled: bool | None = None


class Block(Body, frozen=True):
    """A part of a turn, of the system prompt, or of a tool's result; which fields it has depends on its type."""

    arguments_of_calls: ClassVar = ("input",)

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None
    tool_use_id: str | None = None
    content: str | list[Block] | None = None
    is_error: bool | None = None
    source: str | Source | None = None
    title: str | None = None
    context: str | None = None
    citations: Citations | list[Any] | None = None
    """A wish of a document; of a text that an earlier answer held, what that rested on."""
    cache_control: dict[str, Any] | None = None
    caller: dict[str, Any] | None = None
    toolset_name: str | None = None


class SystemBlock(Body, frozen=True):
    """A part of the system prompt."""

    type: str = ""
    text: str | None = None
    citations: list[Any] | None = None
    cache_control: dict[str, Any] | None = None


class Turn(Body, frozen=True):
    """One turn of a conversation."""

    role: str = ""
    content: str | list[Block] | None = None


class Tool(Body, frozen=True):
    """A function that the model may call."""

    type: str | None = None
    name: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    input_examples: list[dict[str, Any]] | None = None
    strict: bool | None = None
    cache_control: dict[str, Any] | None = None
    eager_input_streaming: bool | None = None
    defer_loading: bool | None = None
    allowed_callers: list[str] | None = None


class ToolChoice(Body, frozen=True):
    """Whether a tool has to be called."""

    type: str = ""
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class ThinkingWish(Body, frozen=True):
    """Whether the model thinks before it answers, and for how long."""

    type: str = ""
    budget_tokens: int | None = None
    display: str | None = None


class OutputFormat(Body, frozen=True):
    """What the answer has to be."""

    type: str = ""
    schema: dict[str, Any] | None = None


class OutputConfig(Body, frozen=True):
    """How much effort goes into an answer, and what it has to be."""

    effort: str | None = None
    format: OutputFormat | None = None


class Diagnostics(Body, frozen=True):
    """A wish to be told why a prompt was not found in the cache."""

    previous_message_id: str | None = None


class ConversationBody(Body, frozen=True):
    """What both routes take."""

    model: str | None = None
    messages: list[Turn] | None = None
    system: str | list[SystemBlock] | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    thinking: ThinkingWish | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None
    cache_control: dict[str, Any] | None = None
    context_management: dict[str, Any] | None = None
    mcp_servers: list[Any] | None = None
    speed: str | None = None


class CountTokensBody(ConversationBody, frozen=True):
    """POST /v1/messages/count_tokens"""


class MessagesBody(ConversationBody, frozen=True):
    """POST /v1/messages"""

    max_tokens: int | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    metadata: dict[str, Any] | None = None
    service_tier: str | None = None
    inference_geo: str | None = None
    container: Any = None
    diagnostics: Diagnostics | None = None
    fallbacks: Any = None
    fallback_credit_token: Any = None
    billing_policy: Any = None
    compaction: Any = None
    thread: Any = None


_ELSEWHERE = "400 unless absent: only Anthropic's own service has it"

FIELDS: Mapping[str, str] = {
    "model": "honoured, required: the name of a model that is here",
    "messages": "honoured, required: turns of the roles user, assistant and system, neighbours of one role being one "
    "turn; a turn of the assistant at the end is the beginning of the answer",
    "system": "honoured: goes before the conversation in place of the model's own system prompt; the line with which "
    "Claude Code tells its version for the bill is left out",
    "tools": "honoured: functions with a schema; Anthropic's own tools are answered with 400",
    "tool_choice": "honoured: auto, any, tool, none",
    "thinking": "honoured: disabled, which is also what absent means, enabled and adaptive; 400 for between_tools",
    "output_config": "honoured: effort and format",
    "output_format": "honoured: the former name of output_config.format",
    "max_tokens": "honoured, required: most tokens of the answer, thinking included; at least 1",
    "stream": "honoured: server-sent events",
    "temperature": "honoured: 0 to 1; absent: the model's own",
    "top_p": "honoured: 0 to 1; absent: the model's own",
    "top_k": "honoured: only so many of the likeliest tokens, 0 for all; absent: the model's own",
    "stop_sequences": "honoured: up to 16 strings of 1 to 256 bytes; absent: the model's own",
    "metadata": "no effect: it serves Anthropic's own bookkeeping",
    "service_tier": "no effect: auto and standard_only are the same here; 400 for others",
    "speed": "400 unless standard",
    "inference_geo": "400 unless global: an answer is made where this server runs",
    "cache_control": "no effect: prompts that begin alike are found without being told where",
    "context_management": "400 unless it keeps all thinking",
    "mcp_servers": "400 unless empty: only Anthropic's own service calls them",
    "container": _ELSEWHERE,
    "diagnostics": "400 if it names an earlier answer: why a prompt was not found again is not told",
    "fallbacks": _ELSEWHERE,
    "fallback_credit_token": _ELSEWHERE,
    "billing_policy": _ELSEWHERE,
    "compaction": _ELSEWHERE,
    "thread": _ELSEWHERE,
    "Turn.role": "honoured, required: user, assistant or system",
    "Turn.content": "honoured: a text, or blocks",
    "Block.type": "honoured, required: text, document, search_result, thinking, redacted_thinking, tool_use and "
    "tool_result; 400 for image, since no model here sees, and for the blocks of Anthropic's own tools",
    "Block.text": "honoured: of a text",
    "Block.thinking": "honoured: what the model thought in an earlier turn, as far as its template shows it",
    "Block.signature": "honoured: holds thinking that an answer left out; otherwise it is not looked at",
    "Block.data": "no effect: redacted thinking is dropped, since only who made it can read it",
    "Block.id": "honoured: of a tool_use",
    "Block.name": "honoured: of a tool_use",
    "Block.input": "honoured: of a tool_use",
    "Block.tool_use_id": "honoured: which call a tool_result answers",
    "Block.content": "honoured: of a tool_result or a search_result, a text or blocks",
    "Block.is_error": "honoured: the model is told that the tool failed",
    "Block.source": "honoured: of a document, plain text or blocks of it (400 for PDF, addresses and files); of a "
    "search_result, where it comes from",
    "Block.title": "honoured: of a document or a search_result",
    "Block.context": "honoured: of a document",
    "Block.citations": "400 if enabled; of an earlier answer no effect",
    "Block.cache_control": "no effect: prompts that begin alike are found without being told where",
    "Block.caller": "no effect: who called a tool in an earlier turn",
    "Block.toolset_name": "no effect: there are no toolsets",
    "SystemBlock.type": "honoured, required: text",
    "SystemBlock.text": "honoured, required",
    "SystemBlock.citations": "no effect: a system prompt rests on nothing",
    "Source.type": "honoured: text and content; 400 for base64, url and file",
    "Source.media_type": "honoured: text/plain; 400 for others",
    "Source.data": "honoured: the text",
    "Source.content": "honoured: a text, or blocks of text",
    "Source.url": "400: nothing is fetched",
    "Source.file_id": "400: no files are kept",
    "Citations.enabled": "400 if true: answers do not tell what they rest on",
    "Tool.type": "honoured: custom; 400 for Anthropic's own tools",
    "Tool.name": "honoured, required: 1 to 128 letters, digits, underscores, dots or hyphens",
    "Tool.description": "honoured: shown to the model",
    "Tool.input_schema": "honoured: shown to the model, and enforced where a call is demanded",
    "Tool.input_examples": "honoured: shown to the model as examples in the schema",
    "Tool.strict": "honoured: true enforces the schema in every call, where the model writes calls as JSON after a "
    "token that is a mark of calls; no effect on other models, and where a call is demanded: that is enforced anyway",
    "Tool.eager_input_streaming": "no effect: the input of a call comes in one piece, when it is whole",
    "Tool.defer_loading": "400 if true: every tool is shown to the model from the beginning",
    "Tool.allowed_callers": "400 unless direct is among them",
    "ToolChoice.type": "honoured, required: auto, any, tool or none; 400 where a call is demanded of a model that does "
    "not write calls as JSON",
    "ToolChoice.name": "honoured: the tool that has to be called",
    "ToolChoice.disable_parallel_tool_use": "honoured: the answer ends with its first call",
    "ThinkingWish.type": "honoured, required: enabled, disabled or adaptive; 400 if enabled where the model does not "
    "think, which adaptive leaves it to decide",
    "ThinkingWish.budget_tokens": "honoured: after so many tokens the thinking is closed; at least 1024 and less than "
    "max_tokens, and required with enabled",
    "ThinkingWish.display": "honoured: omitted leaves the text out of the answer; summarized tells it whole",
    "OutputFormat.type": "honoured, required: json_schema",
    "OutputFormat.schema": "honoured, required: the answer obeys it; 400 together with tools",
    "OutputConfig.effort": "honoured: low, medium and high, higher ones as high, for models whose template asks how "
    "much to think; no effect on others, and while thinking is off",
    "OutputConfig.format": "honoured: what the answer has to be",
    "Diagnostics.previous_message_id": "400 unless null",
}
"""What becomes of each field, in one clause. Struct.field goes before field where a name means several things."""
