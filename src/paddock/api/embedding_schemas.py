"""The wire types of embeddings and reranking: Ollama's, OpenAI's, and Jina's and Cohere's for the last."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from paddock.api.schemas import Answer, Body

Vector = tuple[float, ...]


class EmbedBody(Body, frozen=True):
    """POST /api/embed"""

    model: str | None = None
    input: Any = None
    truncate: bool | None = None
    dimensions: int | None = None
    keep_alive: Any = None
    options: dict[str, Any] | None = None


class EmbedAnswer(Answer, frozen=True):
    """Its answer; durations are nanoseconds."""

    model: str
    embeddings: tuple[Vector, ...]
    total_duration: int = 0
    load_duration: int = 0
    prompt_eval_count: int = 0


class LegacyBody(Body, frozen=True):
    """POST /api/embeddings"""

    model: str | None = None
    prompt: str | None = None
    keep_alive: Any = None
    options: dict[str, Any] | None = None


class LegacyAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """Its answer."""

    embedding: Vector


class OpenAiBody(Body, frozen=True):
    """POST /v1/embeddings"""

    model: str | None = None
    input: Any = None
    encoding_format: str | None = None
    dimensions: int | None = None
    user: str | None = None
    """For the client's own bookkeeping: it changes nothing."""


class OpenAiVector(msgspec.Struct, kw_only=True, frozen=True):
    """One of its vectors: numbers, or their 32-bit form in base64."""

    embedding: Vector | str
    index: int
    object: Literal["embedding"] = "embedding"


class Usage(msgspec.Struct, kw_only=True, frozen=True):
    """Tokens of a request."""

    prompt_tokens: int
    total_tokens: int


class OpenAiAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """Its answer."""

    data: tuple[OpenAiVector, ...]
    model: str
    usage: Usage
    object: Literal["list"] = "list"


class RerankDocument(msgspec.Struct, kw_only=True, frozen=True):
    """A document, or a part of an answer."""

    text: str


class RerankBody(Body, frozen=True):
    """POST /v1/rerank"""

    model: str | None = None
    query: str | None = None
    documents: list[str | RerankDocument] | None = None
    top_n: int | None = None
    return_documents: bool | None = None


class RerankResult(Answer, frozen=True):
    """How well one document answers the query, 0 to 1."""

    index: int
    relevance_score: float
    document: RerankDocument | None = None


class RerankAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """Its answer, the best document first."""

    model: str
    results: tuple[RerankResult, ...]
    usage: Usage
