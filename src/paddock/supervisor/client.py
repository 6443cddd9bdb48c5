"""A runner's HTTP surface, spoken by the server: requests out, frames and replies in, failures as exceptions.

It does not know how a runner is started or stopped; when a connection breaks it asks the process why it ended.
"""

from __future__ import annotations

import asyncio
import io
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import aiohttp
import msgspec

from paddock.errors import PaddockError, ProtocolError, RunnerDied, from_code
from paddock.protocol import (
    AnyMessage,
    ChatRequest,
    CompletionRequest,
    CountReply,
    DetokenizeReply,
    DetokenizeRequest,
    Done,
    EmbeddingReply,
    EmbeddingRequest,
    Failed,
    Frame,
    Health,
    ImageRequest,
    LoadRequest,
    Message,
    RerankReply,
    RerankRequest,
    ShrinkReply,
    ShrinkRequest,
    TemplateReply,
    TokenizeReply,
    TokenizeRequest,
    decode,
    decode_frame,
    encode,
)
from paddock.supervisor.exit_report import classify
from paddock.supervisor.process import ProcessState, RunnerProcess

logger = logging.getLogger(__name__)

LONGEST_LINE_BYTES = 128 * 1024 * 1024
"""A picture of 4096 x 4096 pixels that cannot be compressed has 64 MiB in base64, and a little around it."""
EXIT_REASON_SECONDS = 1.5
"""How long a broken connection waits to learn that its process has ended."""
END_OF_STREAM_SECONDS = 1.0
"""How long after Done the stream may take to end."""

_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)
_BROKEN = (aiohttp.ClientError, OSError)


class LineReader:
    """Splits a body into lines of any length up to 128 MiB, as they arrive."""

    def __init__(self, content: aiohttp.StreamReader, longest_bytes: int = LONGEST_LINE_BYTES) -> None:
        self._content = content
        self._longest_bytes = longest_bytes
        self._lines: deque[bytes] = deque()
        """Whole ones."""
        self._parts: list[bytes] = []
        """Of the line after them, so far."""
        self._parts_bytes = 0

    async def next(self) -> bytes | None:
        """The next whole line, without its end, or None when there are no more. ProtocolError for a line that is too
        long; aiohttp's errors for a connection that breaks."""
        while not self._lines:
            if self._parts_bytes > self._longest_bytes:
                raise ProtocolError("A runner sent a line that is too long.")
            chunk = await self._content.readany()
            if not chunk:
                return None
            self._take(chunk)
        return self._lines.popleft()

    def _take(self, chunk: bytes) -> None:
        *ended, rest = chunk.split(b"\n")
        if ended:
            self._lines.append(b"".join((*self._parts, ended[0])))
            self._lines.extend(ended[1:])
            self._parts, self._parts_bytes = [], 0
        self._parts.append(rest)
        self._parts_bytes += len(rest)


class RunnerClient:
    """The client of one runner. A request has its connection to itself, so closing that cancels the request; one whose
    answer came to its end serves the next request."""

    def __init__(self, process: RunnerProcess) -> None:
        """Needs a running loop; `close` it."""
        self._process = process
        self._responses: set[aiohttp.ClientResponse] = set()
        self._in_flight = 0
        self.in_use = asyncio.Event()
        """Set while somebody waits for an answer of the runner, its health aside."""
        connector = aiohttp.UnixConnector(path=str(process.socket_path), limit=0)
        self._session = aiohttp.ClientSession(
            "http://runner",
            connector=connector,
            timeout=_NO_TIMEOUT,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )

    async def close(self) -> None:
        """Break every connection: requests under way end in RunnerDied. Idempotent.

        A session that is closed closes its sockets, but leaves who reads from them waiting: they are told first.
        """
        for response in self._responses:
            response.content.set_exception(aiohttp.ClientConnectionError("hung up"))
        await self._session.close()

    async def health(self, timeout_seconds: float | None) -> Health:
        """What the runner says of itself. TimeoutError when it does not answer in time; None waits for ever."""
        async with asyncio.timeout(timeout_seconds), self._exchange("GET", "/health") as response:
            return self._decoded(await response.read(), Health)

    async def load(self, request: LoadRequest, timeout_seconds: float) -> Health:
        """Give a model to a runner that has none. TimeoutError when it does not answer in time."""
        async with asyncio.timeout(timeout_seconds):
            return await self._call("/load", request, Health)

    def completion(self, request: CompletionRequest) -> AsyncGenerator[Frame, None]:
        """Frames of one generation; see `ModelServer.completion`."""
        return self._stream("/completion", request)

    def chat(self, request: ChatRequest) -> AsyncGenerator[Frame, None]:
        """Frames of one answer; see `ModelServer.chat`."""
        return self._stream("/chat", request)

    def image(self, request: ImageRequest) -> AsyncGenerator[Frame, None]:
        """Steps and pictures; see `ModelServer.image`."""
        return self._stream("/image", request)

    async def template(self, request: ChatRequest) -> TemplateReply:
        """The rendered conversation."""
        return await self._call("/template", request, TemplateReply)

    async def count(self, request: ChatRequest) -> CountReply:
        """How many tokens the rendered conversation has."""
        return await self._call("/count", request, CountReply)

    async def tokenize(self, request: TokenizeRequest) -> TokenizeReply:
        """Token ids of a text."""
        return await self._call("/tokenize", request, TokenizeReply)

    async def detokenize(self, request: DetokenizeRequest) -> DetokenizeReply:
        """The text of token ids."""
        return await self._call("/detokenize", request, DetokenizeReply)

    async def embedding(self, request: EmbeddingRequest) -> EmbeddingReply:
        """Vectors for a batch of texts."""
        return await self._call("/embedding", request, EmbeddingReply)

    async def rerank(self, request: RerankRequest) -> RerankReply:
        """Scores for documents."""
        return await self._call("/rerank", request, RerankReply)

    async def shrink(self, request: ShrinkRequest) -> ShrinkReply:
        """What a runner gave back of its caches."""
        return await self._call("/shrink", request, ShrinkReply)

    async def _call(self, path: str, request: Message, reply: type[AnyMessage]) -> AnyMessage:
        with self._using():
            async with self._exchange("POST", path, request) as response:
                return self._decoded(await response.read(), reply)

    async def _stream(self, path: str, request: Message) -> AsyncGenerator[Frame, None]:
        with self._using():
            async with self._exchange("POST", path, request) as response:
                lines = LineReader(response.content)
                while (line := await lines.next()) is not None:
                    frame = self._frame(line)
                    if isinstance(frame, Failed):
                        raise from_code(frame.code, frame.message)
                    if isinstance(frame, Done):
                        await self._expect_end(lines)
                        yield frame
                        return
                    yield frame
                raise await self._broken()

    @contextmanager
    def _using(self) -> Iterator[None]:
        self._in_flight += 1
        self.in_use.set()
        try:
            yield
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self.in_use.clear()

    @asynccontextmanager
    async def _exchange(
        self, method: str, path: str, request: Message | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One request and its answer, on a connection that is closed when the block is left before the end."""
        if self._process.state in (ProcessState.STUCK, ProcessState.GONE):
            raise RunnerDied((await self._process.wait_over()).sentence)
        if self._session.closed:
            raise await self._broken()
        body = None if request is None else io.BytesIO(encode(request))
        try:
            response = await self._session.request(
                method, path, data=body, headers={"Content-Type": "application/json"}
            )
            self._responses.add(response)
            try:
                if response.status != 200:
                    raise self._refusal(await response.read())
                yield response
            finally:
                self._responses.discard(response)
                response.close()
        except _BROKEN as error:
            logger.debug("The connection to the runner of %s broke: %r", self._process.name, error)
            raise await self._broken(is_refused=isinstance(error, aiohttp.ClientConnectorError)) from None

    async def _expect_end(self, lines: LineReader) -> None:
        """Nothing follows Done. That the connection stays open, or breaks, no longer matters to anyone."""
        try:
            async with asyncio.timeout(END_OF_STREAM_SECONDS):
                if await lines.next() is None:
                    return
        except (TimeoutError, *_BROKEN) as error:
            logger.warning("The runner of %s did not end its answer properly: %r", self._process.name, error)
            return
        raise ProtocolError(f"The runner of '{self._process.name}' went on after the end of its answer.")

    async def _broken(self, is_refused: bool = False) -> PaddockError:
        """The error of an answer that has no end: with the reason of the process's own end, if that is why.

        One that lives but takes no connections (`is_refused`) is of no use to anyone, and is ended.
        """
        name = self._process.name
        try:
            report = await self._process.wait_gone(EXIT_REASON_SECONDS)
        except TimeoutError:
            if self._process.state is ProcessState.STUCK:
                return classify(self._process.stuck_report(), is_loading=False)
            if is_refused and self._process.state is ProcessState.READY:
                self._process.condemn("it has closed its socket")
                return classify(await self._process.wait_over(), is_loading=False)
            if self._process.state is ProcessState.DRAINING:
                return RunnerDied(f"The runner of '{name}' was stopped while it was answering.")
            return ProtocolError(f"The runner of '{name}' broke off its answer.")
        return classify(report, is_loading=False)

    def _refusal(self, body: bytes) -> PaddockError:
        failed = self._decoded(body, Failed)
        return from_code(failed.code, failed.message)

    def _frame(self, line: bytes) -> Frame:
        try:
            return decode_frame(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise self._unknown(line) from None

    def _decoded(self, body: bytes, kind: type[AnyMessage]) -> AnyMessage:
        try:
            return decode(body, kind)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise self._unknown(body) from None

    def _unknown(self, said: bytes) -> ProtocolError:
        logger.error("event=runner_unknown_words model=%s bytes=%d", self._process.name, len(said))
        logger.debug("They were: %r", said[:200])  # which may be a part of an answer
        return ProtocolError(f"The runner of '{self._process.name}' said something that the protocol does not know.")
