"""The wire types of embeddings and reranking: Ollama's, OpenAI's, and Jina's and Cohere's for the last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from paddock.api.described import KeepAlive, Options, described
from paddock.api.schemas import Answer, Body

MAX_INPUTS = 2048
"""Of one request, as at OpenAI."""

Vector = tuple[float, ...]

_TEXTS = {"type": "array", "items": {"type": "string"}, "maxItems": MAX_INPUTS}
_TOKENS = {"type": "array", "items": {"type": "integer"}, "minItems": 1}
_NativeInput = Annotated[Any, described(anyOf=[{"type": "string"}, _TEXTS, {"type": "null"}])]
_OpenAiInput = Annotated[
    Any,
    described(
        anyOf=[
            {"type": "string", "minLength": 1},
            _TOKENS,
            {
                "type": "array",
                "items": {"anyOf": [{"type": "string", "minLength": 1}, _TOKENS]},
                "minItems": 1,
                "maxItems": MAX_INPUTS,
            },
        ]
    ),
]


class EmbedBody(Body, frozen=True):
    """POST /api/embed"""

    model: str | None = None
    input: _NativeInput = None
    truncate: bool | None = None
    dimensions: Annotated[int, described(minimum=0)] | None = None
    keep_alive: KeepAlive = None
    options: Options | None = None


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
    keep_alive: KeepAlive = None
    options: Options | None = None


class LegacyAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """Its answer."""

    embedding: Vector


class OpenAiBody(Body, frozen=True):
    """POST /v1/embeddings"""

    model: str | None = None
    input: _OpenAiInput = None
    encoding_format: Annotated[str, described(enum=["float", "base64"])] | None = None
    dimensions: Annotated[int, described(minimum=1)] | None = None
    user: str | None = None


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
    documents: Annotated[list[str | RerankDocument], described(minItems=1, maxItems=MAX_INPUTS)] | None = None
    top_n: Annotated[int, described(minimum=1)] | None = None
    return_documents: bool | None = None


FIELDS: Mapping[str, str] = {
    "model": "honoured, required: name of a stored model",
    "EmbedBody.input": "honoured: a text or several; none only loads the model",
    "OpenAiBody.input": "honoured, required: a text, texts, the token ids of one, or those of several",
    "truncate": "honoured: false answers 400 where a text is longer than the context, true cuts it at its end",
    "EmbedBody.dimensions": "honoured: so many numbers of each vector, which keeps the length one; 0 is all of them",
    "OpenAiBody.dimensions": "honoured: so many numbers of each vector, which keeps the length one",
    "keep_alive": "honoured: how long the model stays afterwards, in seconds or as a duration; negative is forever, "
    "0 unloads it",
    "options": "honoured: those of loading (num_ctx and the like); those of choosing tokens have no effect; 400 for an "
    "unknown one",
    "prompt": "honoured: the text; none only loads the model",
    "encoding_format": "honoured: float, or base64 for 32-bit numbers; 400 for others",
    "user": "no effect: for the client's own bookkeeping",
    "query": "honoured, required: what the documents should answer",
    "documents": "honoured, required: texts, or objects with a text",
    "top_n": "honoured: so many of the best results; all without it",
    "return_documents": "honoured: whether results repeat their document",
    "text": "honoured, required: of the document",
}


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
