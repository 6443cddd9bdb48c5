"""The runner's HTTP surface: the routes of `protocol/` on an inherited Unix socket."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import msgspec
from aiohttp import web

from paddock import protocol
from paddock.errors import (
    BadRequest,
    Busy,
    NotFound,
    PaddockError,
    ProtocolError,
    ServerClosing,
    from_code,
)
from paddock.protocol import (
    AnyMessage,
    ChatRequest,
    CompletionRequest,
    Done,
    EmbeddingRequest,
    Failed,
    ImageRequest,
    Message,
    RerankRequest,
    Vectors,
)
from paddock.runner.service import AnswerStream, RunnerService

NDJSON = "application/x-ndjson"

_STATUSES: tuple[tuple[type[PaddockError], int], ...] = (
    (BadRequest, 400),
    (ProtocolError, 400),
    (NotFound, 404),
    (ServerClosing, 503),
    (Busy, 503),
)


def make_app(service: RunnerService, begin: Callable[[Sequence[str]], None] | None = None) -> web.Application:
    """The application that serves one runner. `begin` gives a model to one that has none, from the arguments that its
    command line would have had; PaddockError if they make no sense."""
    surface = _Surface(service, begin)
    # Bodies come from our own server, which has its own limit.
    app = web.Application(client_max_size=0, middlewares=[_errors_as_json])
    app.router.add_get("/health", surface.health)
    app.router.add_post("/load", surface.load)
    app.router.add_post("/completion", surface.completion)
    app.router.add_post("/chat", surface.chat)
    app.router.add_post("/image", surface.image)
    app.router.add_post("/template", surface.template)
    app.router.add_post("/count", surface.count)
    app.router.add_post("/tokenize", surface.tokenize)
    app.router.add_post("/detokenize", surface.detokenize)
    app.router.add_post("/embedding", surface.embedding)
    app.router.add_post("/rerank", surface.rerank)
    app.router.add_post("/shrink", surface.shrink)
    return app


class _Surface:
    def __init__(self, service: RunnerService, begin: Callable[[Sequence[str]], None] | None) -> None:
        self._service = service
        self._begin = begin

    async def health(self, _request: web.Request) -> web.Response:
        return _reply(self._service.health())

    async def load(self, request: web.Request) -> web.Response:
        message = await _read(request, protocol.LoadRequest)
        if self._begin is None or self._service.has_model:
            raise ProtocolError("This runner has a model already.")
        self._begin(message.arguments)
        return _reply(self._service.health())

    async def completion(self, request: web.Request) -> web.StreamResponse:
        return await self._generate(request, await _read(request, CompletionRequest))

    async def chat(self, request: web.Request) -> web.StreamResponse:
        return await self._generate(request, await _read(request, ChatRequest))

    async def image(self, request: web.Request) -> web.StreamResponse:
        return await self._generate(request, await _read(request, ImageRequest))

    async def template(self, request: web.Request) -> web.Response:
        message = await _read(request, ChatRequest)
        return _reply(protocol.TemplateReply(prompt=await self._service.call(lambda engine: engine.render(message))))

    async def count(self, request: web.Request) -> web.Response:
        message = await _read(request, ChatRequest)
        return _reply(protocol.CountReply(tokens=await self._service.call(lambda engine: engine.count(message))))

    async def tokenize(self, request: web.Request) -> web.Response:
        message = await _read(request, protocol.TokenizeRequest)
        tokens = await self._service.call(lambda engine: engine.tokenize(message))
        return _reply(protocol.TokenizeReply(tokens=tuple(tokens)))

    async def detokenize(self, request: web.Request) -> web.Response:
        message = await _read(request, protocol.DetokenizeRequest)
        text = await self._service.call(lambda engine: engine.detokenize(message.tokens))
        return _reply(protocol.DetokenizeReply(text=text))

    async def embedding(self, request: web.Request) -> web.Response:
        rows, tokens = await self._vectors(await _read(request, EmbeddingRequest))
        return _reply(protocol.EmbeddingReply(embeddings=rows, prompt_tokens=tokens))

    async def rerank(self, request: web.Request) -> web.Response:
        rows, tokens = await self._vectors(await _read(request, RerankRequest))
        return _reply(protocol.RerankReply(logits=tuple(row[0] for row in rows), prompt_tokens=tokens))

    async def shrink(self, request: web.Request) -> web.Response:
        message = await _read(request, protocol.ShrinkRequest)
        return _reply(protocol.ShrinkReply(freed_bytes=await self._service.shrink(message.keep_bytes)))

    async def _vectors(self, message: EmbeddingRequest | RerankRequest) -> tuple[tuple[tuple[float, ...], ...], int]:
        """What a request's texts became, and how many tokens they have."""
        rows: tuple[tuple[float, ...], ...] = ()
        async with self._service.answer(message) as stream:
            while True:
                for frame in await stream.next_frames():
                    if isinstance(frame, Vectors):
                        rows = frame.rows
                    elif isinstance(frame, Failed):
                        raise from_code(frame.code, frame.message)
                    elif isinstance(frame, Done):
                        return rows, frame.prompt_eval_count

    async def _generate(
        self, request: web.Request, message: CompletionRequest | ChatRequest | ImageRequest
    ) -> web.StreamResponse:
        async with self._service.answer(message) as stream:
            frames = await stream.next_frames()
            if isinstance(frames[0], Failed):
                return _failure(frames[0])
            response = web.StreamResponse(headers={"Content-Type": NDJSON, "Cache-Control": "no-store"})
            await response.prepare(request)
            # A client may leave at any moment: leaving the block cancels its request, and there is no one to tell.
            with contextlib.suppress(ConnectionResetError):
                async for data in _lines(frames, stream):
                    await response.write(data)
                await response.write_eof()
            return response


async def _lines(frames: list[protocol.Frame], stream: AnswerStream) -> AsyncIterator[bytes]:
    """The rest of a stream, one chunk of NDJSON for all the frames that wait at a time."""
    while True:
        yield b"".join(map(protocol.encode_line, frames))
        if isinstance(frames[-1], protocol.Done | Failed):
            return
        frames = await stream.next_frames()


async def _read(request: web.Request, kind: type[AnyMessage]) -> AnyMessage:
    try:
        return protocol.decode(await request.read(), kind)
    except msgspec.DecodeError as error:
        raise ProtocolError(f"This is no {kind.__name__} that the runner knows: {error}.") from None


def _reply(message: Message) -> web.Response:
    return web.Response(body=protocol.encode(message), content_type="application/json")


def _failure(failed: Failed) -> web.Response:
    error = from_code(failed.code, failed.message)
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
    return web.Response(body=protocol.encode(failed), status=status, content_type="application/json")


@web.middleware
async def _errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except PaddockError as error:
        return _failure(Failed(code=error.code, message=error.message))
    except web.HTTPException:
        return _failure(Failed(code=NotFound.code, message=f"The runner has no route {request.method} {request.path}."))
