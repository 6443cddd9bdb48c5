"""POST /v1/messages/count_tokens: the prompt of a conversation, counted by the model's own template and tokenizer."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from paddock.api.anthropic.answers import TokensAnswer
from paddock.api.anthropic.asking import chat_request, load_wish_of
from paddock.api.anthropic.schemas import CountTokensBody
from paddock.api.body import read_json
from paddock.api.borrowing import Borrowing
from paddock.api.models import find_model
from paddock.api.services import services_of
from paddock.api.stream import JSON, Stream
from paddock.protocol import ChatRequest


async def count_tokens(request: Request) -> Response:
    """POST /v1/messages/count_tokens: how many tokens a conversation would have."""
    body = await read_json(request, CountTokensBody)
    services = services_of(request)
    model = await find_model(services, body.model or "")
    borrowing = Borrowing(services, model, load_wish_of(model))
    return Stream(_counted(borrowing, chat_request(body, model)), JSON)


async def _counted(borrowing: Borrowing, wanted: ChatRequest) -> AsyncGenerator[bytes, None]:
    """Counting reads nothing, so it does not wait for those who use the model."""
    async with borrowing.lease(takes_slot=False) as lease:
        tokens = await lease.server.count(wanted)
    yield msgspec.json.encode(TokensAnswer(input_tokens=tokens))
