"""A runner without a model, for measuring what lies above it: each token is the time at which it was written.

The last line of what it is asked, "COUNT PACE_MS PHASE", says how many tokens, how far apart, and which part of the
pace after the beat; streams of the same phase are written together, as a batch would be.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import threading
import time
from collections.abc import Iterator

from paddock.protocol import (
    ChatRequest,
    CompletionRequest,
    Done,
    Frame,
    Health,
    Message,
    PromptProgress,
    RunnerState,
    Text,
    decode,
    encode,
    encode_line,
)


def main() -> None:
    """Serve until the server that started it closes its end of the control pipe."""
    parser = argparse.ArgumentParser()
    for name in ("--listen-fd", "--control-fd", "--num-ctx"):
        parser.add_argument(name, type=int, default=0)
    arguments = parser.parse_known_args()[0]
    threading.Thread(target=_end_with, args=(arguments.control_fd,), daemon=True).start()
    asyncio.run(_serve(socket.socket(fileno=arguments.listen_fd), arguments.num_ctx))


def _end_with(control_descriptor: int) -> None:
    os.read(control_descriptor, 1)
    os._exit(0)


async def _serve(listener: socket.socket, context_length: int) -> None:
    health = Health(state=RunnerState.READY, pid=os.getpid(), progress=1.0, context_length=context_length)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await _serve_one(reader, writer, health)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_unix_server(connected, sock=listener) as server:
        await server.serve_forever()


async def _serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, health: Health) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    lines = head.lower().split("\r\n")
    length = next((int(line.split(":")[1]) for line in lines if line.startswith("content-length")), 0)
    body = await reader.readexactly(length)
    path = head.split(" ")[1]
    if path in ("/chat", "/completion"):
        await _answer(writer, *_asked(path, body))
    else:
        _reply(writer, health)


def _asked(path: str, body: bytes) -> tuple[int, float, float, bool]:
    """How many tokens, seconds between them, seconds after the beat, and whether the prompt is to be told of."""
    if path == "/completion":
        text, tells_prompt = decode(body, CompletionRequest).prompt, False
    else:
        request = decode(body, ChatRequest)
        text, tells_prompt = request.messages[-1].content, request.tells_prompt
    count, pace_ms, phase = text.splitlines()[-1].split()
    return int(count), float(pace_ms) / 1000, float(pace_ms) / 1000 * float(phase), tells_prompt


async def _answer(writer: asyncio.StreamWriter, count: int, pace: float, phase: float, tells_prompt: bool) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n")
    if tells_prompt:
        _write(writer, PromptProgress(done=0, total=8))
    for due in _beats(count, pace, phase):
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        _write(writer, Text(content=f"t{time.monotonic_ns()} "))
    _write(
        writer,
        Done(reason="stop", prompt_eval_count=8, prompt_eval_duration_ns=1, eval_count=count, eval_duration_ns=1),
    )
    writer.write(b"0\r\n\r\n")
    await writer.drain()


def _beats(count: int, pace: float, phase: float) -> Iterator[float]:
    """When each token is due. The first is at once: it shows what lies before it."""
    now = time.monotonic()
    yield now
    first = (now // pace + 1) * pace + phase
    yield from (first + number * pace for number in range(count - 1))


def _write(writer: asyncio.StreamWriter, frame: Frame) -> None:
    line = encode_line(frame)
    writer.write(b"%x\r\n%s\r\n" % (len(line), line))


def _reply(writer: asyncio.StreamWriter, message: Message) -> None:
    body = encode(message)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


if __name__ == "__main__":
    main()
