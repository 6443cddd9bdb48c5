"""The wire types of what /api/generate and /api/chat answer. Durations are nanoseconds."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from paddock.api.schemas import Answer


class AnswerFunction(msgspec.Struct, kw_only=True, frozen=True):
    """Which function the model calls, with what; `index` counts the calls of an answer."""

    index: int
    name: str
    arguments: dict[str, Any]


class AnswerCall(msgspec.Struct, kw_only=True, frozen=True):
    """A call of a tool."""

    id: str
    function: AnswerFunction


class AnswerMessage(Answer, frozen=True):
    """The assistant's turn; its content is there even when empty."""

    role: str
    content: str
    thinking: str = ""
    tool_calls: tuple[AnswerCall, ...] = ()


class AnswerLikelihood(msgspec.Struct, kw_only=True, frozen=True):
    """How likely a token was: the natural logarithm. Its bytes may be a part of a character."""

    token: str
    logprob: float
    bytes: tuple[int, ...]


class AnswerLogprob(AnswerLikelihood, kw_only=True, frozen=True):
    """A token of the answer, and the likeliest at its place."""

    top_logprobs: tuple[AnswerLikelihood, ...] | msgspec.UnsetType = msgspec.UNSET


class Metrics(Answer, frozen=True):
    """What the last chunk of an answer tells about the work."""

    done_reason: str | None = None
    total_duration: int = 0
    load_duration: int = 0
    prompt_eval_count: int = 0
    prompt_eval_duration: int = 0
    eval_count: int = 0
    eval_duration: int = 0
    context: tuple[int, ...] | None = None


class GenerateAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """What every chunk of /api/generate holds."""

    model: str
    created_at: datetime
    response: str = ""
    thinking: str | msgspec.UnsetType = msgspec.UNSET
    done: bool = False
    logprobs: tuple[AnswerLogprob, ...] | msgspec.UnsetType = msgspec.UNSET


class ChatAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """What every chunk of /api/chat holds."""

    model: str
    created_at: datetime
    message: AnswerMessage
    done: bool = False
    logprobs: tuple[AnswerLogprob, ...] | msgspec.UnsetType = msgspec.UNSET


class DebugInfo(msgspec.Struct, kw_only=True, frozen=True):
    """What a model would read."""

    rendered_template: str


class GenerateRendered(GenerateAnswer, kw_only=True, frozen=True):
    """What /api/generate answers where it is asked for the prompt alone."""

    debug_info: DebugInfo = msgspec.field(name="_debug_info")


class ChatRendered(ChatAnswer, kw_only=True, frozen=True):
    """The same of /api/chat."""

    debug_info: DebugInfo = msgspec.field(name="_debug_info")


def with_metrics(answer: msgspec.Struct, metrics: Metrics) -> dict[str, object]:
    """The last chunk of an answer: its own fields, then the figures."""
    return {**msgspec.to_builtins(answer), **msgspec.to_builtins(metrics)}
