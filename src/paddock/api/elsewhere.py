"""What Ollama does on its makers' servers: refused with a sentence, since here all stays on the machine."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from paddock.errors import NotFound


async def account(_request: Request) -> Response:
    """POST /api/me and /api/signout: always refused, since nobody signs in here."""
    raise NotFound("This server has no accounts: nobody needs to sign in.")


async def web(_request: Request) -> Response:
    """POST /api/experimental/…: always refused, since the server asks nobody on the web."""
    raise NotFound("This server reaches nothing on the web: search and fetch with a tool of your own.")
