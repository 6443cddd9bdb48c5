"""POST /v1/completions: texts that the model answers or continues."""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import Response

from paddock.api.body import read_json
from paddock.api.borrowing import Borrowing, keep_alive_of
from paddock.api.caller import client_of, tenant_of
from paddock.api.models import find_model
from paddock.api.openai.completion_answers import TextWriter
from paddock.api.openai.completion_request import completion_starts
from paddock.api.openai.completion_schemas import CompletionBody
from paddock.api.openai.heading import Heading
from paddock.api.openai.serving import Order, respond
from paddock.api.services import services_of


async def completions(request: Request) -> Response:
    """POST /v1/completions: a text that follows a prompt."""
    began = time.monotonic_ns()
    body = await read_json(request, CompletionBody)
    services = services_of(request)
    model = await find_model(services, body.model or "")
    starts, wish = completion_starts(body, model, client_of(request), tenant_of(request))
    order = Order(
        borrowing=Borrowing(services, model, wish, keep_alive_of(body.keep_alive)),
        starts=starts,
        answers_per_prompt=body.answer_count,
        writer=TextWriter(Heading.of("cmpl-", body, model)),
        began=began,
    )
    return respond(order, is_streamed=body.stream is True)
