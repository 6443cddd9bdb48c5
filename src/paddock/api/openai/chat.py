"""POST /v1/chat/completions: a body becomes one internal request, its answers OpenAI's objects or chunks."""

from __future__ import annotations

import time

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from paddock.api.answering import Start
from paddock.api.body import read_json
from paddock.api.borrowing import Borrowing, keep_alive_of
from paddock.api.caller import client_of, tenant_of
from paddock.api.models import find_model
from paddock.api.openai.chat_answers import ChatWriter
from paddock.api.openai.chat_request import chat_request
from paddock.api.openai.chat_schemas import ChatCompletionBody
from paddock.api.openai.fields import with_seed_after
from paddock.api.openai.heading import Heading
from paddock.api.openai.serving import Order, respond
from paddock.api.services import services_of
from paddock.protocol import ChatRequest


async def chat_completions(request: Request) -> Response:
    """POST /v1/chat/completions: the next turn of a conversation."""
    began = time.monotonic_ns()
    body = await read_json(request, ChatCompletionBody)
    services = services_of(request)
    model = await find_model(services, body.model or "")
    wanted, wish = chat_request(body, model, client_of(request), tenant_of(request))
    count = body.answer_count
    heading = Heading.of("chatcmpl-", body, model)
    order = Order(
        borrowing=Borrowing(services, model, wish, keep_alive_of(body.keep_alive)),
        starts=[_start(wanted, place) for place in range(count)],
        answers_per_prompt=count,
        writer=ChatWriter(heading, tells_logprobs=body.logprobs is True, is_former=body.functions is not None),
        began=began,
    )
    return respond(order, is_streamed=body.stream is True)


def _start(wanted: ChatRequest, place: int) -> Start:
    own = msgspec.structs.replace(wanted, sampling=with_seed_after(wanted.sampling, place))
    return lambda server: server.chat(own)
