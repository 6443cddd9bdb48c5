"""POST /v1/messages: a body in Anthropic's dialect becomes one internal request, its pieces become one message or its
events.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from paddock.api.answering import answer
from paddock.api.anthropic.answers import Asked, Usage, message_of
from paddock.api.anthropic.asking import chat_request, sampling_of
from paddock.api.anthropic.events import Event, Events, Ping, name_of
from paddock.api.anthropic.schemas import MessagesBody
from paddock.api.anthropic.silence import with_silence
from paddock.api.body import read_json
from paddock.api.borrowing import Borrowing
from paddock.api.caller import client_of, tenant_of
from paddock.api.chunks import Piece
from paddock.api.errors import anthropic_body_of
from paddock.api.models import find_model
from paddock.api.services import services_of
from paddock.api.sse import EVENTS, event
from paddock.api.stream import JSON, Stream
from paddock.errors import PaddockError
from paddock.protocol import ChatRequest, Frame, PromptProgress
from paddock.supervisor.model_server import ModelServer

PING_SECONDS = 10.0
"""Longest silence within a stream."""

_encoder = msgspec.json.Encoder()


@dataclass
class _Job:
    """One request, ready to be served: everything that could be refused has been."""

    borrowing: Borrowing
    wanted: ChatRequest
    asked: Asked
    began: int
    prompt: Usage = field(default_factory=lambda: Usage(input_tokens=0, cache_read_input_tokens=0, output_tokens=0))
    """Of the prompt that is being read."""

    async def start(self, server: ModelServer) -> AsyncGenerator[Frame, None]:
        """The frames; the first tells how long the prompt is, and how much of it had been read."""
        async with aclosing(server.chat(self.wanted)) as frames:
            async for frame in frames:
                if isinstance(frame, PromptProgress) and not self.prompt.input_tokens:
                    self.prompt = Usage(
                        input_tokens=frame.total - frame.done, cache_read_input_tokens=frame.done, output_tokens=0
                    )
                yield frame


async def messages(request: Request) -> Response:
    """POST /v1/messages: the next turn of a conversation, as blocks."""
    began = time.monotonic_ns()
    body = await read_json(request, MessagesBody)
    services = services_of(request)
    model = await find_model(services, body.model or "")
    sampling, wish = sampling_of(body, model)
    wanted = msgspec.structs.replace(
        chat_request(body, model),
        sampling=sampling,
        tells_prompt=bool(body.stream),
        client=client_of(request),
        tenant=tenant_of(request),
    )
    asked = Asked(
        model=body.model or "",
        max_tokens=sampling.num_predict,
        stop_sequences=tuple(body.stop_sequences or ()),
        omits_thinking=body.thinking is not None and body.thinking.display == "omitted",
    )
    job = _Job(Borrowing(services, model, wish), wanted, asked, began)
    if body.stream:
        return Stream(_stream(job), EVENTS, _error_event)
    return Stream(_whole(job), JSON)


async def _stream(job: _Job) -> AsyncGenerator[bytes, None]:
    """Events as the pieces come. Silence is filled only once the message has begun: an error before that has a status
    of its own."""
    events = Events(job.asked)
    pieces = answer(job.borrowing, job.start, job.began)
    async with aclosing(with_silence(pieces, PING_SECONDS)) as items:
        async for item in items:
            if item is None:
                found: Iterable[Event] = [Ping()] if events.has_started else []
            elif isinstance(item, Piece):
                found = events.add(item, job.prompt)
            else:
                found = events.finish(item.done)
            if data := b"".join(map(_written, found)):
                yield data


async def _whole(job: _Job) -> AsyncGenerator[bytes, None]:
    """The same as one object."""
    gathered: list[Piece] = []
    async with aclosing(answer(job.borrowing, job.start, job.began)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Piece):
                gathered.append(piece)
            else:
                yield _encoder.encode(message_of(gathered, piece.done, job.asked))


def _written(made: Event) -> bytes:
    return event(name_of(made), _encoder.encode(made))


def _error_event(error: PaddockError) -> bytes:
    return event("error", anthropic_body_of(error))
