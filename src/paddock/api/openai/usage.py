"""What an answer took, as chat completions and completions tell it."""

from __future__ import annotations

import msgspec

from paddock.api.openai.fields import Counts


class PromptDetails(msgspec.Struct, kw_only=True, frozen=True):
    """Of the prompt's tokens, those that had been read for an earlier request."""

    cached_tokens: int


class CompletionDetails(msgspec.Struct, kw_only=True, frozen=True):
    """Of the answers' tokens, those of thinking."""

    reasoning_tokens: int


class Usage(msgspec.Struct, kw_only=True, frozen=True):
    """Tokens of a request, all its answers together."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails


def usage_of(counts: Counts) -> Usage:
    """The counts as they go over the wire."""
    return Usage(
        prompt_tokens=counts.prompt,
        completion_tokens=counts.completion,
        total_tokens=counts.total,
        prompt_tokens_details=PromptDetails(cached_tokens=counts.cached),
        completion_tokens_details=CompletionDetails(reasoning_tokens=counts.thinking),
    )
