import asyncio
from collections import deque
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock.errors import ProtocolError
from paddock.protocol import CompletionRequest, Done
from paddock.supervisor import client
from paddock.supervisor.client import LineReader

PROMPT = CompletionRequest(prompt="one two")


class Chunks:
    """The body of a response that arrives in these pieces."""

    def __init__(self, chunks) -> None:
        self._chunks = deque(chunk for chunk in chunks if chunk)

    async def readany(self) -> bytes:
        return self._chunks.popleft() if self._chunks else b""


async def lines_of(reader: LineReader) -> list[bytes]:
    lines = []
    while (line := await reader.next()) is not None:
        lines.append(line)
    return lines


@given(st.lists(st.binary(max_size=20).map(lambda line: line.replace(b"\n", b""))), st.lists(st.integers(1, 9)))
def test_lines_are_the_same_however_they_arrive(lines, sizes):
    body = b"".join(line + b"\n" for line in lines)
    chunks = []
    for size in sizes:
        chunks.append(body[:size])
        body = body[size:]
    assert asyncio.run(lines_of(LineReader(Chunks([*chunks, body])))) == lines


async def test_a_line_that_has_no_end_is_not_a_line():
    assert await lines_of(LineReader(Chunks([b"one\ntw", b"o"]))) == [b"one"]


async def test_a_line_beyond_the_bound_is_refused():
    reader = LineReader(Chunks([b"x" * 60] * 3), longest_bytes=100)
    with pytest.raises(ProtocolError, match="too long"):
        await reader.next()


async def test_a_connection_that_stays_open_after_done_does_not_hold_the_answer(start_runner, monkeypatch):
    monkeypatch.setattr(client, "END_OF_STREAM_SECONDS", 0.1)
    server = await start_runner(hold_after_done=True)
    async with aclosing(server.completion(PROMPT)) as stream:
        frames = [frame async for frame in stream]
    assert isinstance(frames[-1], Done)


async def test_a_runner_that_dies_after_done_has_answered(start_runner):
    server = await start_runner(die_after_frames=3)
    async with aclosing(server.completion(PROMPT)) as stream:
        frames = [frame async for frame in stream]
    assert [type(frame).__name__ for frame in frames] == ["Text", "Text", "Done"]
    assert "exit code 1" in await asyncio.wait_for(server.wait_exited(), 2)
