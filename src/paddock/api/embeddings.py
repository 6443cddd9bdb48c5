"""/api/embed, /api/embeddings, /v1/embeddings and /v1/rerank: one internal request each, and the answer's shape."""

from __future__ import annotations

import base64
import math
import struct
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from paddock.api.account import current_account
from paddock.api.body import read_json
from paddock.api.borrowing import Borrowing, Replaced, keep_alive_of
from paddock.api.embedding_schemas import (
    MAX_INPUTS,
    EmbedAnswer,
    EmbedBody,
    LegacyAnswer,
    LegacyBody,
    OpenAiAnswer,
    OpenAiBody,
    OpenAiVector,
    RerankAnswer,
    RerankBody,
    RerankDocument,
    RerankResult,
    Usage,
    Vector,
)
from paddock.api.models import find_model
from paddock.api.services import services_of
from paddock.api.stream import JSON, Stream
from paddock.errors import BadRequest, RunnerError, Unsupported
from paddock.options import merge
from paddock.protocol import EmbeddingReply, EmbeddingRequest, RerankReply, RerankRequest
from paddock.scheduler.service import LoadWish
from paddock.supervisor.model_server import ModelServer

_LEAST_LOGIT = -700.0
"""Below it the logistic function is 0 in 64 bits, and its formula would overflow."""

Reply = TypeVar("Reply", EmbeddingReply, RerankReply)
Input = str | tuple[int, ...]


async def embed(request: Request) -> Response:
    """POST /api/embed: a vector for each text, of length one."""
    began = time.monotonic_ns()
    body = await read_json(request, EmbedBody)
    borrowing = await _borrowing(request, body.model, body.keep_alive, body.options, "embedding")
    inputs = _native_inputs(body.input)
    wanted = EmbeddingRequest(inputs=inputs, truncate=body.truncate is not False, dimensions=_dimensions(body))
    name = body.model or ""

    async def answer() -> msgspec.Struct:
        if not inputs:
            return EmbedAnswer(model=name, embeddings=(), load_duration=await _load(borrowing))
        reply, load_duration = await _served(borrowing, lambda server: server.embedding(wanted))
        return EmbedAnswer(
            model=name,
            embeddings=reply.embeddings,
            total_duration=time.monotonic_ns() - began,
            load_duration=load_duration,
            prompt_eval_count=reply.prompt_tokens,
        )

    return _respond(answer)


async def legacy(request: Request) -> Response:
    """POST /api/embeddings: one vector as the model makes it, of whatever length."""
    body = await read_json(request, LegacyBody)
    borrowing = await _borrowing(request, body.model, body.keep_alive, body.options, "embedding")
    wanted = EmbeddingRequest(inputs=(body.prompt or "",), normalise=False)

    async def answer() -> msgspec.Struct:
        if not body.prompt:
            await _load(borrowing)
            return LegacyAnswer(embedding=())
        reply, _ = await _served(borrowing, lambda server: server.embedding(wanted))
        return LegacyAnswer(embedding=reply.embeddings[0])

    return _respond(answer)


async def openai(request: Request) -> Response:
    """POST /v1/embeddings: a vector for each text, of length one."""
    body = await read_json(request, OpenAiBody)
    if body.encoding_format not in (None, "float", "base64"):
        raise BadRequest(f"Invalid value for 'encoding_format' = {body.encoding_format[:80]}: ask for float or base64.")
    borrowing = await _borrowing(request, body.model, None, None, "embedding")
    wanted = EmbeddingRequest(inputs=_openai_inputs(body.input), dimensions=_dimensions(body))

    async def answer() -> msgspec.Struct:
        reply, _ = await _served(borrowing, lambda server: server.embedding(wanted))
        written = _base64 if body.encoding_format == "base64" else tuple
        data = (OpenAiVector(embedding=written(row), index=index) for index, row in enumerate(reply.embeddings))
        return OpenAiAnswer(data=tuple(data), model=body.model or "", usage=_usage(reply.prompt_tokens))

    return _respond(answer)


async def rerank(request: Request) -> Response:
    """POST /v1/rerank: how well each document answers a query, as Jina and Cohere have it."""
    body = await read_json(request, RerankBody)
    borrowing = await _borrowing(request, body.model, None, None, "rerank")
    documents = [document if isinstance(document, str) else document.text for document in body.documents or ()]
    if not body.query or not documents:
        raise BadRequest("query and documents are required, and neither may be empty.")
    _check_count(documents)
    if body.top_n is not None and body.top_n < 1:
        raise BadRequest("top_n must be at least 1.")
    wanted = RerankRequest(query=body.query, documents=tuple(documents))

    async def answer() -> msgspec.Struct:
        reply, _ = await _served(borrowing, lambda server: server.rerank(wanted))
        shown = [RerankDocument(text=text) if body.return_documents else None for text in documents]
        best = sorted(range(len(documents)), key=lambda index: -reply.logits[index])[: body.top_n]
        results = (
            RerankResult(index=index, relevance_score=_logistic(reply.logits[index]), document=shown[index])
            for index in best
        )
        return RerankAnswer(model=body.model or "", results=tuple(results), usage=_usage(reply.prompt_tokens))

    return _respond(answer)


# ---- the body -------------------------------------------------------------------------------------------------------


async def _borrowing(
    request: Request, name: str | None, keep_alive: Any, options: dict[str, Any] | None, capability: str
) -> Borrowing:
    services = services_of(request)
    model = await find_model(services, name or "")
    if capability not in model.facts.capabilities:
        raise Unsupported(f'"{model.name.display}" does not support {capability}')
    _, runner = merge(model.parameters, options or {})
    return Borrowing(services, model, LoadWish(**runner), keep_alive_of(keep_alive))


def _native_inputs(given: Any) -> tuple[Input, ...]:
    """One text or several; none at all, and an empty one, ask for nothing but the model."""
    if given is None or given == "":
        return ()
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadRequest("invalid input type")
    _check_count(texts)
    return tuple(texts)


def _openai_inputs(given: Any) -> tuple[Input, ...]:
    """A text, texts, the token ids of one, or those of several."""
    items = given if isinstance(given, list) else [given]
    if items and all(type(item) is int for item in items):
        items = [items]
    if not items or not all(_is_input(item) for item in items):
        raise BadRequest("invalid input: it must be a text, a list of texts, or one or more lists of token ids.")
    _check_count(items)
    return tuple(item if isinstance(item, str) else tuple(item) for item in items)


def _is_input(item: Any) -> bool:
    if isinstance(item, list):
        return bool(item) and all(type(token) is int for token in item)
    return isinstance(item, str) and bool(item)


def _check_count(inputs: list[Any]) -> None:
    if len(inputs) > MAX_INPUTS:
        raise BadRequest(f"There are {len(inputs)} inputs, and at most {MAX_INPUTS} are taken at once.")


def _dimensions(body: EmbedBody | OpenAiBody) -> int | None:
    """Ollama's clients send 0 for "all"; OpenAI's leave it out."""
    if isinstance(body, EmbedBody) and body.dimensions == 0:
        return None
    if body.dimensions is not None and body.dimensions < 1:
        raise BadRequest("dimensions must be at least 1.")
    return body.dimensions


# ---- the answer -----------------------------------------------------------------------------------------------------


def _respond(answer: Callable[[], Awaitable[msgspec.Struct]]) -> Response:
    """An answer that is worked out while its client is there, and dropped once it is gone."""

    async def whole() -> AsyncGenerator[bytes, None]:
        yield msgspec.json.encode(await answer())

    return Stream(whole(), JSON)


async def _load(borrowing: Borrowing) -> int:
    """Have the model loaded (or, with a keep_alive of 0, let go); how long that took in nanoseconds."""
    asked = time.monotonic_ns()
    async with borrowing.lease(takes_slot=False) as borrowed:
        return max(borrowed.load_duration_ns, time.monotonic_ns() - asked)


async def _served(borrowing: Borrowing, call: Callable[[ModelServer], Awaitable[Reply]]) -> tuple[Reply, int]:
    """Borrow the model, ask it, hand it back: its reply, and how long the load took in nanoseconds.

    A runner that dies is replaced once.
    """
    replaced = Replaced()
    while True:
        asked = time.monotonic_ns()
        async with borrowing.lease() as borrowed:
            load_duration_ns = max(borrowed.load_duration_ns, time.monotonic_ns() - asked)
            try:
                reply = await call(borrowed.server)
                current_account().prompt_tokens += reply.prompt_tokens
                return reply, load_duration_ns
            except RunnerError:
                if not replaced.allows_another(borrowed.server):
                    raise
        await replaced.be_noticed()


def _usage(tokens: int) -> Usage:
    return Usage(prompt_tokens=tokens, total_tokens=tokens)


def _base64(row: Vector) -> str:
    """Little-endian numbers of 32 bits."""
    return base64.b64encode(struct.pack(f"<{len(row)}f", *row)).decode()


def _logistic(logit: float) -> float:
    return 1.0 / (1.0 + math.exp(-max(logit, _LEAST_LOGIT)))
