"""Every route as its clients see it, one entry each: the document, its page and the table of fields follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from paddock.api import answers, embedding_schemas, fit, model_schemas, schemas, sse, status_schemas
from paddock.api.anthropic import answers as anthropic_answers
from paddock.api.anthropic import events as anthropic_events
from paddock.api.anthropic import models as anthropic_models
from paddock.api.anthropic import schemas as anthropic_schemas
from paddock.api.openai import chat_schemas, chat_shapes, completion_schemas
from paddock.api.openai import models as openai_models
from paddock.api.openai.responses import answers as response_answers
from paddock.api.openai.responses import events as response_events
from paddock.api.openai.responses import schemas as response_schemas
from paddock.api.pictures import ollama as picture_lines
from paddock.api.pictures import openai_schemas as pictures
from paddock.api.stream import NDJSON

Dialect = Literal["Ollama", "OpenAI", "Anthropic", "Jina and Cohere", "Paddock"]


class Together:
    """One object with the fields of several Structs."""

    def __init__(self, *parts: type[msgspec.Struct]) -> None:
        self.parts = parts


BYTES = "application/octet-stream"
"""Of a body that is a file."""

Shape = type[msgspec.Struct] | Together


@dataclass(frozen=True)
class Operation:
    """What a route takes and gives. What its error looks like follows from the dialect, its summary from the handler's
    docstring."""

    dialect: Dialect
    body: type[msgspec.Struct] | None = None
    answer: Shape | tuple[Shape, ...] = ()
    """Of a whole answer in JSON: one of these; empty for an answer that has no body, or another type."""
    stream: tuple[Shape, ...] = ()
    """What the lines or events of a streamed answer may be."""
    stream_type: str = NDJSON
    other_type: str = ""
    """Content type of an answer that is no JSON."""
    request_type: str = "application/json"
    form: bool = False
    """Whether the body may come as a form with files as well."""
    query: Mapping[str, str] = field(default_factory=dict)
    """What may stand behind the path, with what it does."""
    status: int = 200
    example: Mapping[str, Any] | None = None
    """A body for the page's curl line."""

    @property
    def answers(self) -> tuple[Shape, ...]:
        """What a whole answer may be."""
        return self.answer if isinstance(self.answer, tuple) else (self.answer,)


_SAID = [{"role": "user", "content": "Why is the sky blue?"}]
_GENERATED = Together(answers.GenerateAnswer, answers.Metrics)
_PAINTED = Together(answers.GenerateAnswer, answers.Metrics, picture_lines.PictureAnswer)
_CHATTED = Together(answers.ChatAnswer, answers.Metrics)
_PICTURE_EVENTS = (pictures.StepEvent, pictures.PartialEvent, pictures.CompletedEvent)
_RESPONSE_EVENTS = (
    response_events.ResponseEvent,
    response_events.ItemEvent,
    response_events.PartEvent,
    response_events.DeltaEvent,
    response_events.TextEvent,
    response_events.ArgumentsEvent,
    response_events.ErrorEvent,
)
_MESSAGE_EVENTS = (
    anthropic_events.MessageStart,
    anthropic_events.BlockStart,
    anthropic_events.BlockDelta,
    anthropic_events.BlockStop,
    anthropic_events.MessageDelta,
    anthropic_events.MessageStop,
    anthropic_events.Ping,
)

OPERATIONS: Mapping[str, Operation] = {
    "GET /": Operation("Ollama", other_type="text/plain"),
    "GET /api/version": Operation("Ollama", answer=model_schemas.VersionAnswer),
    "GET /api/tags": Operation("Ollama", answer=model_schemas.TagsAnswer),
    "GET /api/ps": Operation("Ollama", answer=model_schemas.PsAnswer),
    "GET /api/status": Operation("Paddock", answer=status_schemas.StatusAnswer),
    "POST /api/fit": Operation("Paddock", fit.FitBody, fit.FitAnswer, example={"model": "demo"}),
    "POST /api/show": Operation("Ollama", model_schemas.ShowBody, model_schemas.ShowAnswer, example={"model": "demo"}),
    "POST /api/copy": Operation("Ollama", model_schemas.CopyBody, example={"source": "demo", "destination": "my-demo"}),
    "DELETE /api/delete": Operation("Ollama", model_schemas.DeleteBody, example={"model": "my-demo"}),
    "POST /api/create": Operation(
        "Ollama",
        model_schemas.CreateBody,
        model_schemas.Progress,
        (model_schemas.Progress,),
        example={"model": "pirate", "from": "demo", "system": "Answer as a pirate would."},
    ),
    "POST /api/pull": Operation(
        "Ollama",
        model_schemas.TransferBody,
        model_schemas.Progress,
        (model_schemas.Progress,),
        example={"model": "demo"},
    ),
    "POST /api/push": Operation(
        "Ollama",
        model_schemas.TransferBody,
        model_schemas.Progress,
        (model_schemas.Progress,),
        example={"model": "registry.example.com/me/demo"},
    ),
    "HEAD /api/blobs/{digest}": Operation("Ollama"),
    "POST /api/blobs/{digest}": Operation("Ollama", request_type=BYTES, status=201),
    "POST /api/generate": Operation(
        "Ollama",
        schemas.GenerateBody,
        (_GENERATED, _PAINTED, answers.GenerateRendered),
        (answers.GenerateAnswer, picture_lines.StepLine, picture_lines.WaitLine, _GENERATED, _PAINTED),
        example={"model": "demo", "prompt": "Once upon a time", "stream": False},
    ),
    "POST /api/chat": Operation(
        "Ollama",
        schemas.ChatBody,
        (_CHATTED, answers.ChatRendered),
        (answers.ChatAnswer, _CHATTED),
        example={"model": "demo", "messages": _SAID, "stream": False},
    ),
    "POST /api/embed": Operation(
        "Ollama",
        embedding_schemas.EmbedBody,
        embedding_schemas.EmbedAnswer,
        example={"model": "my-encoder", "input": ["A text", "and another"]},
    ),
    "POST /api/embeddings": Operation(
        "Ollama",
        embedding_schemas.LegacyBody,
        embedding_schemas.LegacyAnswer,
        example={"model": "my-encoder", "prompt": "A text"},
    ),
    "POST /api/me": Operation("Ollama"),
    "POST /api/signout": Operation("Ollama"),
    "POST /api/experimental/web_search": Operation("Ollama"),
    "POST /api/experimental/web_fetch": Operation("Ollama"),
    "POST /v1/chat/completions": Operation(
        "OpenAI",
        chat_schemas.ChatCompletionBody,
        chat_shapes.Completion,
        (chat_shapes.Chunk,),
        sse.EVENTS,
        example={"model": "demo", "messages": _SAID},
    ),
    "POST /v1/completions": Operation(
        "OpenAI",
        completion_schemas.CompletionBody,
        completion_schemas.TextCompletion,
        (completion_schemas.TextCompletion,),
        sse.EVENTS,
        example={"model": "demo", "prompt": "Once upon a time", "max_tokens": 50},
    ),
    "POST /v1/responses": Operation(
        "OpenAI",
        response_schemas.ResponseBody,
        response_answers.ResponseAnswer,
        _RESPONSE_EVENTS,
        sse.EVENTS,
        example={"model": "demo", "input": "Why is the sky blue?"},
    ),
    "POST /v1/responses/input_tokens": Operation(
        "OpenAI",
        response_schemas.InputTokensBody,
        response_answers.InputTokensAnswer,
        example={"model": "demo", "input": "Why is the sky blue?"},
    ),
    "GET /v1/responses/{id}": Operation("OpenAI", answer=response_answers.ResponseAnswer),
    "DELETE /v1/responses/{id}": Operation("OpenAI", answer=response_answers.DeletedAnswer),
    "POST /v1/responses/{id}/cancel": Operation("OpenAI"),
    "GET /v1/responses/{id}/input_items": Operation(
        "OpenAI",
        answer=response_answers.ItemsAnswer,
        query={
            "order": "honoured: asc or desc, which is the default",
            "limit": "honoured: so many items, 1 to 100; 20 without it",
            "after": "honoured: the id of the item that they follow",
        },
    ),
    "GET /v1/models": Operation(
        "OpenAI",
        answer=(openai_models.Models, anthropic_models.ModelPage),
        query={
            "limit": "honoured for clients of Anthropic's, which send the header anthropic-version and get the second "
            "shape: 1 to 1000 models, 20 unless it is given; no effect on others, which get all",
            "after_id": "honoured with that header: the id of the model that they follow",
            "before_id": "honoured with that header: the id of the model that they come before",
        },
    ),
    "GET /v1/models/{model}": Operation("OpenAI", answer=(openai_models.Model, anthropic_models.ModelInfo)),
    "POST /v1/embeddings": Operation(
        "OpenAI",
        embedding_schemas.OpenAiBody,
        embedding_schemas.OpenAiAnswer,
        example={"model": "my-encoder", "input": "A text"},
    ),
    "POST /v1/rerank": Operation(
        "Jina and Cohere",
        embedding_schemas.RerankBody,
        embedding_schemas.RerankAnswer,
        example={"model": "my-reranker", "query": "What is the sky?", "documents": ["Blue.", "A river."]},
    ),
    "POST /v1/images/generations": Operation(
        "OpenAI",
        pictures.GenerationBody,
        pictures.PicturesAnswer,
        _PICTURE_EVENTS,
        sse.EVENTS,
        example={"model": "demo-image", "prompt": "a red circle"},
    ),
    "POST /v1/images/edits": Operation(
        "OpenAI",
        pictures.EditBody,
        pictures.PicturesAnswer,
        _PICTURE_EVENTS,
        sse.EVENTS,
        form=True,
        example={"model": "demo-image", "prompt": "a blue circle", "image": "data:image/png;base64,…"},
    ),
    "GET /v1/images/files/{name}": Operation("OpenAI", other_type="image/*"),
    "POST /v1/messages": Operation(
        "Anthropic",
        anthropic_schemas.MessagesBody,
        anthropic_answers.Message,
        _MESSAGE_EVENTS,
        sse.EVENTS,
        example={"model": "demo", "max_tokens": 100, "messages": _SAID},
    ),
    "POST /v1/messages/count_tokens": Operation(
        "Anthropic",
        anthropic_schemas.CountTokensBody,
        anthropic_answers.TokensAnswer,
        example={"model": "demo", "messages": _SAID},
    ),
    "GET /metrics": Operation("Paddock", other_type="text/plain"),
    "GET /openapi.json": Operation("Paddock", other_type="application/json"),
    "GET /docs": Operation("Paddock", other_type="text/html"),
}
"""By method and path, as in the table of routes."""
