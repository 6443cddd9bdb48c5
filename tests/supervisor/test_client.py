import asyncio
from collections import deque
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from paddock.errors import ProtocolError
from paddock.protocol import CompletionRequest, Done, Text, encode_line
from paddock.supervisor import client
from paddock.supervisor.client import LineReader, RunnerClient
from paddock.supervisor.process import ProcessState
from tests.fakes.fake_server import done

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


class Neighbour:
    """A runner in this process, which notes the connections that its requests come on."""

    name, state = "near", ProcessState.READY

    def __init__(self, socket_path: Path) -> None:
        self.socket_path = socket_path
        self.connections: list[int] = []
        self.holds = asyncio.Event()
        self.was_left = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.connections.append(id(request.protocol))
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(encode_line(Text(content="one")))
        try:
            await self.holds.wait()
        except asyncio.CancelledError:
            self.was_left.set()
            raise
        await response.write(encode_line(done()))
        await response.write_eof()
        return response


@pytest.fixture
async def neighbour(short_folder):
    found = Neighbour(short_folder / "socket")
    app = web.Application()
    app.router.add_post("/completion", found.answer)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    await web.UnixSite(runner, str(found.socket_path)).start()
    yield found
    await runner.cleanup()


@asynccontextmanager
async def client_of(neighbour):
    """A client of it."""
    found = RunnerClient(neighbour)
    try:
        yield found
    finally:
        await found.close()


async def test_requests_one_after_the_other_share_a_connection(neighbour):
    neighbour.holds.set()
    async with client_of(neighbour) as runner_client:
        for _ in range(3):
            async with aclosing(runner_client.completion(PROMPT)) as stream:
                assert [type(frame) async for frame in stream] == [Text, Done]
    assert len(set(neighbour.connections)) == 1


async def test_a_request_that_is_left_takes_its_connection_with_it(neighbour):
    async with client_of(neighbour) as runner_client:
        async with aclosing(runner_client.completion(PROMPT)) as stream:
            assert isinstance(await anext(stream), Text)
        await asyncio.wait_for(neighbour.was_left.wait(), 2)
        neighbour.holds.set()
        async with aclosing(runner_client.completion(PROMPT)) as stream:
            assert [type(frame) async for frame in stream] == [Text, Done]
    assert len(set(neighbour.connections)) == 2
