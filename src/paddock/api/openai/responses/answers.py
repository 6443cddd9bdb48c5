"""What /v1/responses answers: the response itself, and lists and notes about kept ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from paddock.api.openai.responses.items import Item, Told
from paddock.protocol import Done


class InputDetails(Told, kw_only=True, frozen=True):
    """What of the input had been read before."""

    cached_tokens: int
    cache_write_tokens: int = 0
    """Always 0: writing into the cache costs nobody anything here."""


class OutputDetails(Told, kw_only=True, frozen=True):
    """What of the output was thinking."""

    reasoning_tokens: int


class Usage(Told, kw_only=True, frozen=True):
    """Tokens of a response."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class Incomplete(Told, kw_only=True, frozen=True):
    """Why an answer has no end of its own: `max_output_tokens`, or the context was full."""

    reason: str = "max_output_tokens"


class Failure(Told, kw_only=True, frozen=True):
    """Why there is no answer."""

    code: str
    message: str


class ToldFormat(Told, kw_only=True, frozen=True, omit_defaults=True):
    """The form that the answer was held to."""

    type: str
    name: str | None = None
    description: str | None = None
    schema: Mapping[str, Any] | None = None
    strict: bool | None = None


class ToldText(Told, kw_only=True, frozen=True):
    format: ToldFormat
    verbosity: str = "medium"


class ToldReasoning(Told, kw_only=True, frozen=True):
    effort: str | None
    summary: str | None


class ToldTool(Told, kw_only=True, frozen=True):
    """A function as it was offered."""

    name: str
    description: str | None
    parameters: Mapping[str, Any] | None
    strict: bool
    type: str = "function"


class ResponseAnswer(Told, kw_only=True, frozen=True):
    """One response, at any time of its life. The fields from `instructions` on are the request's, as it was taken."""

    id: str
    created_at: int
    model: str
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    metadata: Mapping[str, str]
    parallel_tool_calls: bool
    previous_response_id: str | None
    prompt_cache_key: str | None
    reasoning: ToldReasoning
    safety_identifier: str | None
    store: bool
    temperature: float
    text: ToldText
    tool_choice: Any
    tools: tuple[ToldTool, ...]
    top_logprobs: int
    top_p: float
    truncation: str
    user: str | None
    object: str = "response"
    status: Literal["in_progress", "completed", "incomplete", "failed"] = "in_progress"
    background: bool = False
    completed_at: int | None = None
    error: Failure | None = None
    incomplete_details: Incomplete | None = None
    output: tuple[Item, ...] = ()
    service_tier: str = "default"
    usage: Usage | None = None


class DeletedAnswer(Told, kw_only=True, frozen=True):
    """A response that is kept no longer."""

    id: str
    object: str = "response"
    deleted: bool = True


class InputTokensAnswer(Told, kw_only=True, frozen=True):
    """How long a prompt is."""

    input_tokens: int
    object: str = "response.input_tokens"


class ItemsAnswer(Told, kw_only=True, frozen=True):
    """Some of the items that a response answered."""

    data: tuple[Item, ...]
    first_id: str | None
    last_id: str | None
    has_more: bool
    object: str = "list"


def usage_of(done: Done) -> Usage:
    """The figures of an answer."""
    return Usage(
        input_tokens=done.prompt_eval_count,
        input_tokens_details=InputDetails(cached_tokens=done.cached_tokens),
        output_tokens=done.eval_count,
        output_tokens_details=OutputDetails(reasoning_tokens=done.thinking_tokens),
        total_tokens=done.prompt_eval_count + done.eval_count,
    )
