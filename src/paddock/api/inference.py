"""/api/generate and /api/chat: a body becomes one internal request, its frames become Ollama's chunks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from paddock.api.answering import Ending, answer
from paddock.api.answers import DebugInfo, Metrics, with_metrics
from paddock.api.body import read_json
from paddock.api.borrowing import Borrowing, keep_alive_of
from paddock.api.caller import Caller, caller_of, client_of, tenant_of
from paddock.api.chunks import Chunk, Piece, chat_chunk, generate_chunk, metrics_of, together
from paddock.api.conversation import conversation, opening
from paddock.api.models import find_model
from paddock.api.pictures import ollama as pictures
from paddock.api.refusals import check_chat, check_completes, check_generate, schema_of, think_of
from paddock.api.schemas import ChatBody, GenerateBody, InferenceBody, WireMessage
from paddock.api.services import Services, services_of
from paddock.api.stream import JSON, NDJSON, Stream
from paddock.api.tools import called_tools, vetted_tools
from paddock.options import merge
from paddock.protocol import ChatMessage, ChatRequest, CompletionRequest, Frame, Sampling
from paddock.scheduler.service import LoadWish
from paddock.store.library import StoredModel
from paddock.store.templates import check_template
from paddock.supervisor.model_server import ModelServer

_encoder = msgspec.json.Encoder()


Wanted = ChatRequest | CompletionRequest


@dataclass(frozen=True)
class _Job:
    """One request, ready to be served: everything that could be refused has been."""

    borrowing: Borrowing
    wanted: Wanted
    chunk: Chunk
    is_streamed: bool

    def start(self, server: ModelServer) -> AsyncGenerator[Frame, None]:
        """Begin it on the runner that was borrowed for it."""
        if isinstance(self.wanted, ChatRequest):
            return server.chat(self.wanted)
        return server.completion(self.wanted)


async def generate(request: Request) -> Response:
    """POST /api/generate: a text that follows a prompt, or a picture of it; without a prompt, the model is loaded."""
    began = time.monotonic_ns()
    body = await read_json(request, GenerateBody)
    services = services_of(request)
    model = await find_model(services, body.model or "", required="invalid model name")
    keep_alive = keep_alive_of(body.keep_alive)
    if model.facts.engine == "image":
        return await pictures.generate(request, body, model, began)
    check_generate(body, model)
    chunk = generate_chunk(body.model or "")
    if not body.prompt and not body.images and not body.suffix:
        return _without_prompt(services, model, body, keep_alive, chunk)
    check_completes(model, "generate")
    if body.template:
        await asyncio.to_thread(check_template, body.template)
    sampling, wish = _options(model, body)
    wanted = _generation(body, model, sampling, caller_of(request))
    job = _Job(Borrowing(services, model, wish, keep_alive), wanted, chunk, body.stream is not False)
    return _rendered(job) if body.debug_render_only else _answer(job, began)


async def chat(request: Request) -> Response:
    """POST /api/chat: the next turn of a conversation; without messages, the model is loaded."""
    began = time.monotonic_ns()
    body = await read_json(request, ChatBody)
    services = services_of(request)
    model = await find_model(services, body.model or "", required="model is required")
    keep_alive = keep_alive_of(body.keep_alive)
    check_chat(body, model)
    chunk = chat_chunk(body.model or "")
    if not body.messages:
        return _without_prompt(services, model, body, keep_alive, chunk)
    check_completes(model, "chat")
    sampling, wish = _options(model, body)
    wanted = ChatRequest(
        messages=conversation(model, tuple(map(_turn, body.messages))),
        template=model.template or None,
        think=think_of(body, model),
        tools=vetted_tools(body.tools),
        answer_schema=schema_of(body),
        sampling=sampling,
        truncate=body.truncate is not False,
        client=client_of(request),
        tenant=tenant_of(request),
    )
    job = _Job(Borrowing(services, model, wish, keep_alive), wanted, chunk, body.stream is not False)
    return _rendered(job) if body.debug_render_only else _answer(job, began)


# ---- the body as one internal request -------------------------------------------------------------------------------


def _options(model: StoredModel, body: InferenceBody) -> tuple[Sampling, LoadWish]:
    sampling, runner = merge(model.parameters, body.options or {})
    if body.logprobs:
        sampling = msgspec.structs.replace(sampling, logprobs=True, top_logprobs=body.top_logprobs or 0)
    return sampling, LoadWish(**runner)


def _generation(body: GenerateBody, model: StoredModel, sampling: Sampling, caller: Caller) -> Wanted:
    prompt, context = body.prompt or "", tuple(body.context or ())
    truncate, schema = body.truncate is not False, schema_of(body)
    think = think_of(body, model, body.template)
    if body.raw or body.suffix:
        return CompletionRequest(
            prompt=prompt,
            suffix=body.suffix or "",
            sampling=sampling,
            truncate=truncate,
            answer_schema=schema,
            client=caller.client,
            tenant=caller.tenant,
        )
    system = model.system if body.system is None else body.system
    history = () if context else opening(model)
    return ChatRequest(
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
        client=caller.client,
        tenant=caller.tenant,
    )


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
    async with aclosing(answer(job.borrowing, job.start, began)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Piece):
                yield _encoder.encode(job.chunk(piece, False)) + b"\n"
            else:
                yield _last(job.chunk(Piece(), True), piece) + b"\n"


async def _whole(job: _Job, began: int) -> AsyncGenerator[bytes, None]:
    """The same as one object."""
    gathered: list[Piece] = []
    async with aclosing(answer(job.borrowing, job.start, began)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Piece):
                gathered.append(piece)
            else:
                yield _last(job.chunk(together(gathered), True), piece)


def _last(chunk: msgspec.Struct, ending: Ending) -> bytes:
    return _with_metrics(chunk, metrics_of(ending.done, ending.load_duration_ns, ending.total_duration_ns))


def _with_metrics(answer: msgspec.Struct, metrics: Metrics) -> bytes:
    return _encoder.encode(with_metrics(answer, metrics))


def _rendered(job: _Job) -> Response:
    """What the model would read, in place of an answer."""
    wanted = job.wanted

    async def work() -> AsyncGenerator[bytes, None]:
        text = wanted.prompt if isinstance(wanted, CompletionRequest) else await _template(job.borrowing, wanted)
        info = {"_debug_info": DebugInfo(rendered_template=text)}
        yield _encoder.encode({**msgspec.to_builtins(job.chunk(Piece(), False)), **info})

    return Stream(work(), JSON)


async def _template(borrowing: Borrowing, wanted: ChatRequest) -> str:
    async with borrowing.lease(takes_slot=False) as lease:
        return await lease.server.apply_chat_template(wanted)


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
