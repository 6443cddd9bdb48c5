"""Connections as bytes: clients that send slowly, too much, or never read."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Sequence
from urllib.parse import urlsplit

HEAD = b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"


@contextlib.asynccontextmanager
async def connected(
    url: str, sent: bytes = b"", buffer_bytes: int = 2**16
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection that has sent so much. A small buffer is soon full where nobody reads it."""
    address = urlsplit(url)
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    plain.setblocking(False)
    await asyncio.get_running_loop().sock_connect(plain, (address.hostname, address.port))
    reader, writer = await asyncio.open_connection(sock=plain, limit=buffer_bytes)
    try:
        writer.write(sent)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        yield reader, writer
    finally:
        writer.transport.abort()


async def seconds_until_closed(reader: asyncio.StreamReader) -> float:
    """How long the server kept it open, whatever it said meanwhile."""
    began = time.monotonic()
    with contextlib.suppress(ConnectionError):
        while await reader.read(2**16):
            pass
    return time.monotonic() - began


async def trickle(writer: asyncio.StreamWriter, pieces: Sequence[bytes], pause_seconds: float) -> None:
    """Send them one by one until they are sent or nobody listens."""
    with contextlib.suppress(ConnectionError):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_seconds)
