"""What clients send to /v1/completions, and what they get. What becomes of each field stands in `FIELDS`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from paddock.api.openai import sampled_body
from paddock.api.openai.sampled_body import SampledBody
from paddock.api.openai.usage import Usage


class CompletionBody(SampledBody, frozen=True):
    """POST /v1/completions"""

    prompt: Any = None
    suffix: str | None = None
    best_of: int | None = None
    echo: bool | None = None
    logprobs: int | None = None
    raw: bool | None = None
    """Not OpenAI's."""


FIELDS: Mapping[str, str] = {
    **sampled_body.FIELDS,
    "prompt": "honoured: a text, texts, the ids of one prompt's tokens, or those of several; each text is a user's "
    "message, written through the chat template, as at Ollama; ids go to the model as they are",
    "suffix": "honoured where the model fills gaps, else 400: the text that comes after the answer",
    "best_of": "400 unless it is 1 or n",
    "echo": "honoured: the prompt comes before its answer; 400 with logprobs",
    "logprobs": "honoured: 0 to 5",
    "raw": "honoured, not OpenAI's: true leaves the template out",
}
"""What becomes of each field, in one clause."""


class TextLogprobs(msgspec.Struct, kw_only=True, frozen=True):
    """How likely the tokens of a text were; all four are of the same length."""

    tokens: tuple[str, ...]
    token_logprobs: tuple[float, ...]
    top_logprobs: tuple[dict[str, float], ...]
    """The token itself is among them."""
    text_offset: tuple[int, ...]
    """Where each token begins in the answer's text, in characters."""


class TextChoice(msgspec.Struct, kw_only=True, frozen=True):
    """One of the answers, or some of it."""

    text: str
    index: int
    logprobs: TextLogprobs | None = None
    finish_reason: Literal["stop", "length"] | None = None


class TextCompletion(msgspec.Struct, kw_only=True, frozen=True):
    """All answers, or a chunk of a stream. Where usage is asked for, only the last chunk has it."""

    id: str
    object: str = "text_completion"
    created: int
    model: str
    choices: tuple[TextChoice, ...]
    usage: Usage | msgspec.UnsetType | None = msgspec.UNSET
    system_fingerprint: str
