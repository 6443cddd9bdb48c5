"""The whole route table, one line per endpoint."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from paddock.api import (
    blobs,
    creating,
    elsewhere,
    embeddings,
    fit,
    inference,
    management,
    models,
    show,
    status,
    transfers,
)
from paddock.api.access_log import AccessLog
from paddock.api.anthropic import count_tokens as anthropic_tokens
from paddock.api.anthropic import messages as anthropic_messages
from paddock.api.door.bodies import Bodies
from paddock.api.door.gate import Gate, is_key_required
from paddock.api.door.ring import KeyRing
from paddock.api.door.rules import Rulebook
from paddock.api.errors import on_not_found, on_paddock_error, on_wrong_method
from paddock.api.guard import Guard
from paddock.api.metrics import route as metrics
from paddock.api.openai import chat as openai_chat
from paddock.api.openai import completions as openai_completions
from paddock.api.openai import models as openai_models
from paddock.api.openai.responses import route as responses
from paddock.api.openai.responses.memory import ResponseMemory
from paddock.api.openapi import routes as openapi
from paddock.api.pictures import openai as openai_pictures
from paddock.api.pictures.files import PictureFiles
from paddock.api.services import Services
from paddock.errors import PaddockError
from paddock.keys import KeyFile


async def root(_request: Request) -> Response:
    """GET /: whether a server is there. Clients test with it, and some compare the very words."""
    return PlainTextResponse("Ollama is running")


ROUTES = [
    Route("/", root),
    Route("/api/version", models.version),
    Route("/api/tags", models.tags),
    Route("/api/ps", models.ps),
    Route("/api/status", status.status),
    Route("/metrics", metrics.metrics),
    Route("/api/fit", fit.fit, methods=["POST"]),
    Route("/api/show", show.show, methods=["POST"]),
    Route("/api/copy", management.copy, methods=["POST"]),
    Route("/api/delete", management.delete, methods=["DELETE"]),
    Route("/api/create", creating.create_model, methods=["POST"]),
    Route("/api/pull", transfers.pull, methods=["POST"]),
    Route("/api/push", transfers.push, methods=["POST"]),
    Route("/api/blobs/{digest}", blobs.has_blob, methods=["HEAD"]),
    Route("/api/blobs/{digest}", blobs.upload_blob, methods=["POST"]),
    Route("/api/generate", inference.generate, methods=["POST"]),
    Route("/api/chat", inference.chat, methods=["POST"]),
    Route("/api/embed", embeddings.embed, methods=["POST"]),
    Route("/api/embeddings", embeddings.legacy, methods=["POST"]),
    Route("/api/me", elsewhere.account, methods=["POST"]),
    Route("/api/signout", elsewhere.account, methods=["POST"]),
    Route("/api/experimental/web_search", elsewhere.web, methods=["POST"]),
    Route("/api/experimental/web_fetch", elsewhere.web, methods=["POST"]),
    Route("/openapi.json", openapi.openapi),
    Route("/docs", openapi.docs),
    Route("/v1/chat/completions", openai_chat.chat_completions, methods=["POST"]),
    Route("/v1/completions", openai_completions.completions, methods=["POST"]),
    Route("/v1/models", openai_models.models),
    Route("/v1/models/{model:path}", openai_models.model),
    Route("/v1/embeddings", embeddings.openai, methods=["POST"]),
    Route("/v1/rerank", embeddings.rerank, methods=["POST"]),
    Route("/v1/responses", responses.create, methods=["POST"]),
    Route("/v1/responses/input_tokens", responses.input_tokens, methods=["POST"]),
    Route("/v1/responses/{id}", responses.retrieve),
    Route("/v1/responses/{id}", responses.delete, methods=["DELETE"]),
    Route("/v1/responses/{id}/cancel", responses.cancel, methods=["POST"]),
    Route("/v1/responses/{id}/input_items", responses.input_items),
    Route("/v1/messages", anthropic_messages.messages, methods=["POST"]),
    Route("/v1/messages/count_tokens", anthropic_tokens.count_tokens, methods=["POST"]),
    Route("/v1/images/generations", openai_pictures.generations, methods=["POST"]),
    Route("/v1/images/edits", openai_pictures.edits, methods=["POST"]),
    Route(openai_pictures.FILES_PATH + "{name}", openai_pictures.picture_file),
]


def build_api(services: Services) -> Starlette:
    """The ASGI application over these services."""
    config = services.config
    bodies = Bodies(config.body_memory_bytes)
    api = Starlette(
        routes=ROUTES,
        middleware=[
            Middleware(AccessLog, tell=services.counted.request_ended),
            Middleware(Guard, origins=config.origins, hosts=(*config.hosts, config.address.host)),
            Middleware(
                Gate,
                ring=KeyRing(KeyFile(config.home)),
                rulebook=Rulebook(ROUTES),
                is_required=is_key_required(config),
                bodies=bodies,
            ),
        ],
        exception_handlers={PaddockError: on_paddock_error, 404: on_not_found, 405: on_wrong_method},
    )
    api.state.services = services
    api.state.bodies = bodies
    api.state.openapi_document = None
    api.state.picture_files = PictureFiles()
    api.state.response_memory = ResponseMemory()
    return api
