"""Answers that take time: written as they come, cancelled when the client goes, ended exactly once.

An error before the first byte is a response with its own status; a later one is the last line of the stream.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from paddock.api.account import current_account
from paddock.api.errors import body_of, error_response
from paddock.errors import BadRequest, PaddockError

log = logging.getLogger(__name__)

NDJSON = "application/x-ndjson"
JSON = "application/json; charset=utf-8"

_FURTHER_LINE_ENDS = ((b"\xc2\x85", rb"\u0085"), (b"\xe2\x80\xa8", rb"\u2028"), (b"\xe2\x80\xa9", rb"\u2029"))
"""What ends no line of HTTP, but does for Python's `splitlines`, with which httpx and so Ollama's client read lines."""


class Stream(Response):
    """A response whose chunks are made while it is sent.

    `chunks` is closed as soon as the client is gone, even while it waits for its first chunk (a queue, a load, a
    prefill): closing it is what cancels the work. `error_line` turns a late error into the stream's last bytes.
    """

    def __init__(
        self,
        chunks: AsyncGenerator[bytes, None],
        media_type: str = NDJSON,
        error_line: Callable[[PaddockError], bytes] = lambda error: body_of(error) + b"\n",
    ) -> None:
        super().__init__(media_type=media_type)
        del self.headers["content-length"]
        self._chunks = chunks
        self._error_line = error_line

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send everything, or stop when the client is gone: whichever comes first."""
        sending = asyncio.create_task(self._send_all(scope, receive, send))
        gone = asyncio.create_task(_client_gone(receive))
        try:
            await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            sending.cancel()
            results = await asyncio.gather(sending, gone, return_exceptions=True)
        if isinstance(results[0], Exception) and not isinstance(results[0], OSError):
            raise results[0]

    async def _send_all(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_started = False
        async with aclosing(self._chunks) as chunks:
            try:
                async for chunk in chunks:
                    if not has_started:
                        has_started = True
                        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                    await send({"type": "http.response.body", "body": _on_one_line(chunk), "more_body": True})
            except PaddockError as error:
                _note(error)
                if not has_started:
                    await error_response(error, scope["path"])(scope, receive, send)
                    return
                line = _on_one_line(self._error_line(error))
                await send({"type": "http.response.body", "body": line, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _on_one_line(chunk: bytes) -> bytes:
    """The same JSON with these characters escaped. They can only stand within its strings."""
    if chunk.isascii():
        return chunk
    for character, escaped in _FURTHER_LINE_ENDS:
        chunk = chunk.replace(character, escaped)
    return chunk


def _note(error: PaddockError) -> None:
    """What a client did wrong may quote what it said, which has no place in a log that is not for debugging."""
    current_account().failed(error)
    level = logging.DEBUG if isinstance(error, BadRequest) else logging.WARNING
    log.log(level, "event=answer_failed code=%s why=%r", error.code, error.message)


async def _client_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
