"""/api/generate and /api/chat: a body becomes one internal request, its frames become Ollama's chunks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from paddock.api.answers import Metrics
from paddock.api.body import read_json
from paddock.api.chunks import Chunk, Piece, chat_chunk, generate_chunk, metrics_of, piece_of, together
from paddock.api.models import find_model
from paddock.api.refusals import check_chat, check_generate, schema_of, think_of
from paddock.api.schemas import ChatBody, GenerateBody, InferenceBody, WireMessage
from paddock.api.services import Services, services_of
from paddock.api.stream import JSON, NDJSON, Stream
from paddock.api.tools import called_tools, vetted_tools
from paddock.config import parse_keep_alive
from paddock.errors import BadRequest, RunnerError
from paddock.options import merge
from paddock.protocol import ChatMessage, ChatRequest, CompletionRequest, Done, Frame, Sampling
from paddock.scheduler.service import LoadWish
from paddock.store.library import StoredModel
from paddock.supervisor.model_server import ModelServer

_NOTICE_SECONDS = 0.02
"""How long after the end of a runner its replacement is asked for …"""
_LONGEST_NOTICE_SECONDS = 5.0
"""… and how long the dead one may still be lent."""

_encoder = msgspec.json.Encoder()


@dataclass(frozen=True)
class _Job:
    """One request, ready to be served: everything that could be refused has been."""

    model: StoredModel
    wish: LoadWish
    keep_alive_seconds: float | None
    start: Callable[[ModelServer], AsyncGenerator[Frame, None]]
    chunk: Chunk
    is_streamed: bool


async def generate(request: Request) -> Response:
    """POST /api/generate"""
    began = time.monotonic_ns()
    body = await read_json(request, GenerateBody)
    services = services_of(request)
    model = await find_model(services, body.model or "", required="invalid model name")
    keep_alive = _keep_alive(body)
    chunk = generate_chunk(body.model or "")
    if not body.prompt and not body.images and not body.suffix:
        return _without_prompt(services, model, body, keep_alive, chunk)
    check_generate(body, model)
    sampling, wish = _options(model, body)
    start = _generation(body, model, sampling)
    return _answer(services, _Job(model, wish, keep_alive, start, chunk, body.stream is not False), began)


async def chat(request: Request) -> Response:
    """POST /api/chat"""
    began = time.monotonic_ns()
    body = await read_json(request, ChatBody)
    services = services_of(request)
    model = await find_model(services, body.model or "", required="model is required")
    keep_alive = _keep_alive(body)
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
    )
    job = _Job(model, wish, keep_alive, lambda server: server.chat(wanted), chunk, body.stream is not False)
    return _answer(services, job, began)


# ---- the body as one internal request -------------------------------------------------------------------------------


def _keep_alive(body: InferenceBody) -> float | None:
    if body.keep_alive is None:
        return None
    try:
        return parse_keep_alive(body.keep_alive)
    except ValueError as error:
        raise BadRequest(f"{error}.") from None


def _options(model: StoredModel, body: InferenceBody) -> tuple[Sampling, LoadWish]:
    sampling, runner = merge(model.parameters, body.options or {})
    if body.logprobs:
        sampling = msgspec.structs.replace(sampling, logprobs=True, top_logprobs=body.top_logprobs or 0)
    return sampling, LoadWish(**runner)


def _generation(
    body: GenerateBody, model: StoredModel, sampling: Sampling
) -> Callable[[ModelServer], AsyncGenerator[Frame, None]]:
    prompt, context = body.prompt or "", tuple(body.context or ())
    truncate, schema = body.truncate is not False, schema_of(body)
    think = think_of(body, model, body.template)
    if body.raw or body.suffix:
        raw = CompletionRequest(
            prompt=prompt, suffix=body.suffix or "", sampling=sampling, truncate=truncate, answer_schema=schema
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


def _answer(services: Services, job: _Job, began: int) -> Response:
    if job.is_streamed:
        return Stream(_stream(services, job, began), NDJSON)
    return Stream(_whole(services, job, began), JSON)


async def _stream(services: Services, job: _Job, began: int) -> AsyncGenerator[bytes, None]:
    """One line per piece of the answer, then the line that tells how it went."""
    async with aclosing(_pieces(services, job, began)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Piece):
                yield _encoder.encode(job.chunk(piece, False)) + b"\n"
            else:
                yield _with_metrics(job.chunk(Piece(), True), piece) + b"\n"


async def _whole(services: Services, job: _Job, began: int) -> AsyncGenerator[bytes, None]:
    """The same as one object."""
    gathered: list[Piece] = []
    async with aclosing(_pieces(services, job, began)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Piece):
                gathered.append(piece)
            else:
                yield _with_metrics(job.chunk(together(gathered), True), piece)


async def _pieces(services: Services, job: _Job, began: int) -> AsyncGenerator[Piece | Metrics, None]:
    """Borrow the model, run the request on it, hand the model back: pieces as they come, metrics once at the end.

    A runner that dies before it said anything is replaced once; a request that sees two die ends.
    """
    replaced = _Replaced()
    while True:
        async with (
            services.scheduler.lease(job.model, job.wish, job.keep_alive_seconds) as lease,
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
        await asyncio.sleep(_NOTICE_SECONDS)


class _Replaced:
    """The one runner that died under a request before it said anything."""

    def __init__(self) -> None:
        self._dead: ModelServer | None = None
        self._until = 0.0

    def allows_another(self, server: ModelServer) -> bool:
        """Whether the request may be tried again after this server failed it. That the scheduler lends the dead one
        once more, because it has not noticed yet, does not count for a while."""
        if not server.has_exited:
            return False
        now = time.monotonic()
        if self._dead is None:
            self._dead, self._until = server, now + _LONGEST_NOTICE_SECONDS
            return True
        return server is self._dead and now < self._until


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
    _, wish = _options(model, body)

    async def work() -> AsyncGenerator[bytes, None]:
        if keep_alive == 0:
            await services.scheduler.unload(model.digest)
            yield _with_metrics(chunk(Piece(), True), Metrics(done_reason="unload"))
            return
        async with services.scheduler.lease(model, wish, keep_alive, takes_slot=False):
            yield _with_metrics(chunk(Piece(), True), Metrics(done_reason="load"))

    return Stream(work(), JSON)
