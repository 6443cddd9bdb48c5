"""/api/generate and /api/chat: a body becomes one internal request, its frames become Ollama's chunks."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from paddock.api.answers import Metrics
from paddock.api.body import read_json
from paddock.api.borrowing import Borrowing, Replaced, client_of, keep_alive_of
from paddock.api.chunks import Chunk, Piece, chat_chunk, generate_chunk, metrics_of, piece_of, together
from paddock.api.models import find_model
from paddock.api.pictures import ollama as pictures
from paddock.api.refusals import check_chat, check_generate, schema_of, think_of
from paddock.api.schemas import ChatBody, GenerateBody, InferenceBody, WireMessage
from paddock.api.services import Services, services_of
from paddock.api.stream import JSON, NDJSON, Stream
from paddock.api.tools import called_tools, vetted_tools
from paddock.errors import RunnerError
from paddock.options import merge
from paddock.protocol import ChatMessage, ChatRequest, CompletionRequest, Done, Frame, Sampling
from paddock.scheduler.service import LoadWish
from paddock.store.library import StoredModel
from paddock.supervisor.model_server import ModelServer

_encoder = msgspec.json.Encoder()


@dataclass(frozen=True)
class _Job:
    """One request, ready to be served: everything that could be refused has been."""

    borrowing: Borrowing
    start: Callable[[ModelServer], AsyncGenerator[Frame, None]]
    chunk: Chunk
    is_streamed: bool


async def generate(request: Request) -> Response:
    """POST /api/generate"""
    began = time.monotonic_ns()
    body = await read_json(request, GenerateBody)
    services = services_of(request)
    model = await find_model(services, body.model or "", required="invalid model name")
    keep_alive = keep_alive_of(body.keep_alive)
    if model.facts.engine == "image":
        return await pictures.generate(request, body, model, began)
    chunk = generate_chunk(body.model or "")
    if not body.prompt and not body.images and not body.suffix:
        return _without_prompt(services, model, body, keep_alive, chunk)
    check_generate(body, model)
    sampling, wish = _options(model, body)
    start = _generation(body, model, sampling, client_of(request))
    borrowing = Borrowing(services, model, wish, keep_alive)
    return _answer(_Job(borrowing, start, chunk, body.stream is not False), began)


async def chat(request: Request) -> Response:
    """POST /api/chat"""
    began = time.monotonic_ns()
    body = await read_json(request, ChatBody)
    services = services_of(request)
    model = await find_model(services, body.model or "", required="model is required")
    keep_alive = keep_alive_of(body.keep_alive)
    chunk = chat_chunk(body.model or "")
    if not body.messages:
        return _without_prompt(services, model, body, keep_alive, chunk)
    check_chat(body, model)
    sampling, wish = _options(model, body)
    wanted = ChatRequest(
        messages=_conversation(model, body.messages),
        template=model.template or None,
        think=think_of(body, model),
        tools=vetted_tools(body.tools),
        answer_schema=schema_of(body),
        sampling=sampling,
        truncate=body.truncate is not False,
        client=client_of(request),
    )
    borrowing = Borrowing(services, model, wish, keep_alive)
    return _answer(_Job(borrowing, lambda server: server.chat(wanted), chunk, body.stream is not False), began)


# ---- the body as one internal request -------------------------------------------------------------------------------


def _options(model: StoredModel, body: InferenceBody) -> tuple[Sampling, LoadWish]:
    sampling, runner = merge(model.parameters, body.options or {})
    if body.logprobs:
        sampling = msgspec.structs.replace(sampling, logprobs=True, top_logprobs=body.top_logprobs or 0)
    return sampling, LoadWish(**runner)


def _generation(
    body: GenerateBody, model: StoredModel, sampling: Sampling, client: str
) -> Callable[[ModelServer], AsyncGenerator[Frame, None]]:
    prompt, context = body.prompt or "", tuple(body.context or ())
    truncate, schema = body.truncate is not False, schema_of(body)
    think = think_of(body, model, body.template)
    if body.raw or body.suffix:
        raw = CompletionRequest(
            prompt=prompt,
            suffix=body.suffix or "",
            sampling=sampling,
            truncate=truncate,
            answer_schema=schema,
            client=client,
        )
        return lambda server: server.completion(raw)
    system = model.system if body.system is None else body.system
    history = () if context else _opening(model)
    templated = ChatRequest(
        messages=(
            *((ChatMessage(role="system", content=system),) if system else ()),
            *history,
            ChatMessage(role="user", content=prompt),
        ),
        context=context,
        template=body.template or model.template or None,
        think=think,
        answer_schema=schema,
        sampling=sampling,
        truncate=truncate,
        return_context=True,
        client=client,
    )
    return lambda server: server.chat(templated)


def _conversation(model: StoredModel, messages: list[WireMessage]) -> tuple[ChatMessage, ...]:
    """The model's own opening messages, then the client's; its SYSTEM only where the client brings none."""
    turns = tuple(map(_turn, messages))
    system = (ChatMessage(role="system", content=model.system),) if model.system else ()
    return (*(system if turns[0].role != "system" else ()), *_opening(model), *turns)


def _opening(model: StoredModel) -> tuple[ChatMessage, ...]:
    """The turns that the model's maker put before every conversation."""
    return tuple(ChatMessage(role=message["role"], content=message["content"]) for message in model.messages)


def _turn(message: WireMessage) -> ChatMessage:
    return ChatMessage(
        role=message.role.lower(),
        content=message.content or "",
        thinking=message.thinking or "",
        tool_calls=called_tools(message.tool_calls),
        tool_name=message.tool_name or "",
        tool_call_id=message.tool_call_id or "",
    )


# ---- the answer -----------------------------------------------------------------------------------------------------


def _answer(job: _Job, began: int) -> Response:
    if job.is_streamed:
        return Stream(_stream(job, began), NDJSON)
    return Stream(_whole(job, began), JSON)


async def _stream(job: _Job, began: int) -> AsyncGenerator[bytes, None]:
    """One line per piece of the answer, then the line that tells how it went."""
    async with aclosing(_pieces(job, began)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Piece):
                yield _encoder.encode(job.chunk(piece, False)) + b"\n"
            else:
                yield _with_metrics(job.chunk(Piece(), True), piece) + b"\n"


async def _whole(job: _Job, began: int) -> AsyncGenerator[bytes, None]:
    """The same as one object."""
    gathered: list[Piece] = []
    async with aclosing(_pieces(job, began)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Piece):
                gathered.append(piece)
            else:
                yield _with_metrics(job.chunk(together(gathered), True), piece)


async def _pieces(job: _Job, began: int) -> AsyncGenerator[Piece | Metrics, None]:
    """Borrow the model, run the request on it, hand the model back: pieces as they come, metrics once at the end.

    A runner that dies before it said anything is replaced once; a request that sees two die ends.
    """
    replaced = Replaced()
    while True:
        async with (
            job.borrowing.lease() as lease,
            aclosing(job.start(lease.server)) as frames,
        ):
            is_silent, calls = True, 0
            try:
                async for frame in frames:
                    if (piece := piece_of(frame, calls)) is not None:
                        is_silent, calls = False, calls + len(piece.calls)
                        yield piece
                    elif isinstance(frame, Done):
                        yield metrics_of(frame, lease.load_duration_ns, time.monotonic_ns() - began)
                return
            except RunnerError:
                if not is_silent or not replaced.allows_another(lease.server):
                    raise
        await replaced.be_noticed()


def _with_metrics(answer: msgspec.Struct, metrics: Metrics) -> bytes:
    return _encoder.encode({**msgspec.to_builtins(answer), **msgspec.to_builtins(metrics)})


def _without_prompt(
    services: Services,
    model: StoredModel,
    body: InferenceBody,
    keep_alive: float | None,
    chunk: Chunk,
) -> Response:
    """No prompt: load the model and answer when it is there, or (keep_alive 0) let it go and answer at once."""
    borrowing = Borrowing(services, model, _options(model, body)[1], keep_alive)

    async def work() -> AsyncGenerator[bytes, None]:
        done_reason = await borrowing.hold()
        yield _with_metrics(chunk(Piece(), True), Metrics(done_reason=done_reason))

    return Stream(work(), JSON)
