"""The whole route table, one line per endpoint."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from paddock import __version__
from paddock.api import embeddings, fit, inference, models, status
from paddock.api.errors import on_not_found, on_paddock_error, on_wrong_method
from paddock.api.guard import Guard
from paddock.api.pictures import openai as openai_pictures
from paddock.api.pictures.files import PictureFiles
from paddock.api.services import Services
from paddock.errors import PaddockError


async def root(_request: Request) -> Response:
    """GET /: clients test with it whether a server is there, and some compare the very words."""
    return PlainTextResponse("Ollama is running")


async def version(_request: Request) -> Response:
    """GET /api/version"""
    return models.json_response({"version": __version__})


ROUTES = [
    Route("/", root),
    Route("/api/version", version),
    Route("/api/tags", models.tags),
    Route("/api/ps", models.ps),
    Route("/api/status", status.status),
    Route("/api/fit", fit.fit, methods=["POST"]),
    Route("/api/show", models.show, methods=["POST"]),
    Route("/api/copy", models.copy, methods=["POST"]),
    Route("/api/delete", models.delete, methods=["DELETE"]),
    Route("/api/create", models.create_model, methods=["POST"]),
    Route("/api/pull", models.pull, methods=["POST"]),
    Route("/api/blobs/{digest}", models.has_blob, methods=["HEAD"]),
    Route("/api/blobs/{digest}", models.upload_blob, methods=["POST"]),
    Route("/api/generate", inference.generate, methods=["POST"]),
    Route("/api/chat", inference.chat, methods=["POST"]),
    Route("/api/embed", embeddings.embed, methods=["POST"]),
    Route("/api/embeddings", embeddings.legacy, methods=["POST"]),
    Route("/v1/embeddings", embeddings.openai, methods=["POST"]),
    Route("/v1/rerank", embeddings.rerank, methods=["POST"]),
    Route("/v1/images/generations", openai_pictures.generations, methods=["POST"]),
    Route("/v1/images/edits", openai_pictures.edits, methods=["POST"]),
    Route(openai_pictures.FILES_PATH + "{name}", openai_pictures.picture_file),
]


def build_api(services: Services) -> Starlette:
    """The ASGI application over these services."""
    api = Starlette(
        routes=ROUTES,
        middleware=[Middleware(Guard, origins=services.config.origins)],
        exception_handlers={PaddockError: on_paddock_error, 404: on_not_found, 405: on_wrong_method},
    )
    api.state.services = services
    api.state.picture_files = PictureFiles()
    return api
