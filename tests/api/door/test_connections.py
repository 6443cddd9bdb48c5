"""Connections that are too slow end in their time, too many are turned away, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import io
import resource
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from paddock.api.door import connections
from paddock.api.door.connections import make_room_for
from paddock.api.door.pace import Limits
from paddock.protocol import Text
from tests.api.conftest import Served, serving
from tests.api.door.sockets import HEAD, connected, seconds_until_closed, trickle
from tests.fakes.fake_server import done
from tests.fakes.waiting import until

QUICK = Limits(
    head_seconds=1.0,
    body_idle_seconds=1.0,
    body_bytes_per_second=100,
    stalled_seconds=1.0,
    rest_seconds=1.0,
    idle_seconds=2,
)
LATEST_SECONDS = 4.0
"""A limit, the look that comes a second later, and a machine that has other things to do."""


@pytest.fixture
async def hasty(tmp_path: Path) -> AsyncIterator[Served]:
    """A server with little patience."""
    async with serving(tmp_path, limits=QUICK) as served:
        yield served


@pytest.mark.parametrize(
    "sent",
    [b"", b"G", b"GET /api/tags HTTP/1.1\r\nHost: localhost\r\n", b"GET /api/tags HTTP/1.1\r\nX: " + b"y" * 1000, HEAD],
    ids=["silence", "a letter", "half a head", "half a header", "no body"],
)
async def test_a_client_that_falls_silent_is_cut_off(hasty: Served, sent: bytes) -> None:
    async with connected(hasty.url, sent) as (reader, _):
        assert await asyncio.wait_for(seconds_until_closed(reader), LATEST_SECONDS) > 0.5


@pytest.mark.parametrize("begun", [b"GET / HTTP/1.1\r\nHost: localhost\r\n", HEAD], ids=["head", "body"])
async def test_a_client_that_trickles_is_cut_off(hasty: Served, begun: bytes) -> None:
    async with connected(hasty.url, begun) as (reader, writer):
        trickling = asyncio.create_task(trickle(writer, [b"x: y\r\n"] * 100, 0.1))
        await asyncio.wait_for(seconds_until_closed(reader), LATEST_SECONDS)
        trickling.cancel()
        await asyncio.gather(trickling, return_exceptions=True)
    await until(lambda: hasty.is_at_rest)


async def test_a_second_request_has_its_own_time(hasty: Served) -> None:
    whole = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with connected(hasty.url, whole) as (reader, writer):
        await reader.readuntil(b"running")
        writer.write(whole[:20])
        assert await asyncio.wait_for(seconds_until_closed(reader), LATEST_SECONDS) > 0.5


async def test_a_connection_may_rest_between_requests_for_a_while(hasty: Served) -> None:
    async with connected(hasty.url, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n") as (reader, _):
        await reader.readuntil(b"running")
        assert await asyncio.wait_for(seconds_until_closed(reader), LATEST_SECONDS + 1) > 1.0


async def test_a_reader_that_never_reads_gives_its_model_back(hasty: Served) -> None:
    big = Text(content="x" * 1_000_000)
    hasty.script().answer = (*[big] * 40, done())
    body = b'{"model": "tiny", "prompt": "x"}'
    head = b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with connected(hasty.url, head + body, buffer_bytes=1024):
        await until(lambda: hasty.servers.made and hasty.servers.made[0].active == 1)
        await until(lambda: hasty.is_at_rest and not hasty.servers.made[0].active, within_seconds=LATEST_SECONDS + 1)


async def test_a_slow_answer_to_a_patient_client_is_no_fault(hasty: Served) -> None:
    gate = asyncio.Event()
    hasty.script().answer = (gate, Text(content="at last"), done())
    asking = asyncio.create_task(hasty.post("/api/generate", {"model": "tiny", "prompt": "x", "stream": False}))
    await asyncio.wait({asking}, timeout=2.5)
    assert not asking.done()
    gate.set()

    assert (await asking)[1]["response"] == "at last"


async def test_a_body_that_nobody_wants_is_not_taken_for_ever(hasty: Served) -> None:
    head = b"POST /api/show HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000000\r\n\r\n"
    async with connected(hasty.url, head) as (reader, writer):
        sending = asyncio.create_task(trickle(writer, [b" " * 65536] * 10_000, 0.01))
        assert b"413" in await asyncio.wait_for(reader.readline(), LATEST_SECONDS)
        await asyncio.wait_for(seconds_until_closed(reader), LATEST_SECONDS)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


# ---- how many, how large --------------------------------------------------------------------------------------------


async def test_beyond_the_most_connections_the_next_is_told_so_and_closed(tmp_path: Path) -> None:
    async with serving(tmp_path, max_connections=3) as served, contextlib.AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(connected(served.url))
        await until(lambda: len(served.server.server_state.connections) == 3)
        async with connected(served.url, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n") as (reader, _):
            answer = await asyncio.wait_for(reader.read(), LATEST_SECONDS)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1\r\n" in answer
        await stack.aclose()
        await until(lambda: not served.server.server_state.connections)
        async with served.session.get(served.url) as response:
            assert response.status == 200


@pytest.mark.parametrize("line", [b"X: " + b"y" * 2**20 + b"\r\n", b"x: y\r\n" * 100_000], ids=["one", "many"])
async def test_headers_are_bounded_before_they_are_whole(served: Served, line: bytes) -> None:
    async with connected(served.url, b"GET /api/tags HTTP/1.1\r\nHost: localhost\r\n") as (reader, writer):
        sending = asyncio.create_task(trickle(writer, [line], 0))
        assert b" 400 " in await asyncio.wait_for(reader.readline(), LATEST_SECONDS)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


@pytest.mark.parametrize(
    ("path", "most_mib"), [("/api/show", 1), ("/v1/images/generations", 1), ("/api/embed", 16), ("/api/generate", 64)]
)
async def test_a_body_is_bounded_by_its_route(served: Served, path: str, most_mib: int) -> None:
    head = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (path.encode(), most_mib * 2**20 + 1)
    async with connected(served.url, head) as (reader, _):
        assert b" 413 " in await asyncio.wait_for(reader.readline(), LATEST_SECONDS), "before any of it is read"


async def test_a_body_of_unknown_length_is_counted(served: Served) -> None:
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    head = b"POST /api/show HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with connected(served.url, head) as (reader, writer):
        sending = asyncio.create_task(trickle(writer, [chunk] * 200, 0))
        assert b" 413 " in await asyncio.wait_for(reader.readline(), LATEST_SECONDS)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "gzip, gzip"])
async def test_a_compressed_body_is_refused_unread(served: Served, encoding: str) -> None:
    async with served.session.post(
        served.url + "/api/show", data=b"\x1f\x8b", headers={"Content-Encoding": encoding}
    ) as response:
        assert response.status == 415
        assert "Content-Encoding" in (await response.json())["error"]


async def test_a_blob_is_bounded_by_the_disk_alone(served: Served) -> None:
    digest = "sha256:" + "0" * 64
    async with served.session.post(f"{served.url}/api/blobs/{digest}", data=io.BytesIO(bytes(3 * 2**20))) as response:
        assert response.status == 400
        assert "digest" in (await response.json())["error"].lower()


def test_room_for_files_is_asked_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(connections.resource, "getrlimit", lambda _: (256, 1200))
    monkeypatch.setattr(connections.resource, "setrlimit", lambda _, limits: asked.append(limits))
    make_room_for(1024)
    monkeypatch.setattr(connections.resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    make_room_for(1024)

    assert asked == [(1200, 1200)]
