"""What a runner answers at once, and as a whole."""

from __future__ import annotations

from paddock.protocol.message import Message


class TemplateReply(Message, frozen=True):
    prompt: str


class TokenizeReply(Message, frozen=True):
    tokens: tuple[int, ...]


class CountReply(Message, frozen=True):
    """How many tokens a request's prompt has."""

    tokens: int


class DetokenizeReply(Message, frozen=True):
    text: str


class EmbeddingReply(Message, frozen=True):
    """One vector per input, of length one unless asked otherwise, and the prompt tokens of all inputs together."""

    embeddings: tuple[tuple[float, ...], ...]
    prompt_tokens: int


class RerankReply(Message, frozen=True):
    """One logit per document in their order, and the prompt tokens of all pairs together."""

    logits: tuple[float, ...]
    prompt_tokens: int


class ShrinkReply(Message, frozen=True):
    freed_bytes: int
    """As the allocator counts it."""
