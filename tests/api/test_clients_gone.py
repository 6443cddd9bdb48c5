"""Clients that leave, in every dialect and at every station: the work ends, the lease is back, the queue is empty."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from paddock.protocol import Step, Text
from paddock.store.create import import_folder
from paddock.store.names import ModelName
from tests.api.conftest import CONFIG, Served, serving, write_model_folder
from tests.fakes.fake_server import FakeModelServer, done
from tests.fakes.waiting import settle, until

TURNS = [{"role": "user", "content": "Hi"}]


@dataclass(frozen=True)
class Dialect:
    """One way to ask, and for which model."""

    path: str
    body: dict[str, Any]
    model: str = "tiny"

    def asked(self, is_streamed: bool | None) -> bytes:
        """The whole request, as it goes over the wire."""
        body = {"model": self.model, **self.body} | ({} if is_streamed is None else {"stream": is_streamed})
        data = json.dumps(body).encode()
        head = f"POST {self.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


WORDS = {
    "ollama-generate": Dialect("/api/generate", {"prompt": "Hi"}),
    "ollama-chat": Dialect("/api/chat", {"messages": TURNS}),
    "openai-chat": Dialect("/v1/chat/completions", {"messages": TURNS}),
    "openai-completions": Dialect("/v1/completions", {"prompt": "Hi"}),
    "openai-responses": Dialect("/v1/responses", {"input": "Hi"}),
    "anthropic": Dialect("/v1/messages", {"messages": TURNS, "max_tokens": 100}),
}
REPLIES = {
    "ollama-embed": Dialect("/api/embed", {"input": "Hi"}, "vectors"),
    "ollama-embeddings": Dialect("/api/embeddings", {"prompt": "Hi"}, "vectors"),
    "openai-embeddings": Dialect("/v1/embeddings", {"input": "Hi"}, "vectors"),
    "rerank": Dialect("/v1/rerank", {"query": "Hi", "documents": ["a", "b"]}, "scores"),
}

PICTURES = {
    "ollama-pictures": Dialect("/api/generate", {"prompt": "a circle"}, "zimage"),
    "openai-pictures": Dialect("/v1/images/generations", {"prompt": "a circle"}, "zimage"),
}


@pytest.fixture
async def narrow(tmp_path: Path) -> AsyncIterator[Served]:
    """A server whose models answer one request at a time: a second one waits in the runner, the third in the queue."""
    async with serving(tmp_path, num_parallel=1) as served:
        for name, architecture in (("vectors", "BertModel"), ("scores", "BertForSequenceClassification")):
            folder = write_model_folder(tmp_path / name, seed=len(name))
            config = {**CONFIG, "model_type": "bert", "architectures": [architecture]}
            (folder / "config.json").write_text(json.dumps(config))
            import_folder(served.library, ModelName.parse(name), folder)
        yield served


@dataclass
class Client:
    """One connection, and the ways to leave it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """Without a farewell, as a client that crashed or lost its network."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()

    def close_half(self) -> None:
        """It sends nothing any more, but would still read."""
        self.writer.write_eof()


WAYS: list[Callable[[Client], None]] = [Client.close, Client.reset, Client.close_half]


Ask = Callable[[Dialect, bool | None], Awaitable[Client]]


@pytest.fixture
async def ask(narrow: Served) -> AsyncIterator[Ask]:
    """Sends a request on a connection of its own."""
    opened: list[Client] = []

    async def send(dialect: Dialect, is_streamed: bool | None) -> Client:
        host, port = narrow.url.removeprefix("http://").split(":")
        client = Client(*await asyncio.open_connection(host, int(port)))
        opened.append(client)
        client.writer.write(dialect.asked(is_streamed))
        return client

    yield send
    for client in opened:
        client.writer.transport.abort()


def runner(served: Served, dialect: Dialect) -> FakeModelServer:
    (found,) = served.servers.running(f"{dialect.model}:latest")
    return found


def is_working(served: Served, dialect: Dialect, count: int = 1) -> bool:
    running = served.servers.running(f"{dialect.model}:latest")
    return bool(running) and running[0].active == count


async def be_at_rest(served: Served) -> None:
    """Nobody waits, nobody has a lease, no request is open."""

    def is_at_rest() -> bool:
        residents = served.scheduler.residents()
        is_unused = not any(row.active_requests or row.waiting_requests for row in residents)
        return is_unused and not served.scheduler.queue().waiting and served.is_at_rest

    await until(is_at_rest)


@pytest.mark.parametrize("is_streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("dialect", WORDS.values(), ids=WORDS)
@pytest.mark.parametrize("spoken", [(), (Text(content="Once"),)], ids=["reading", "decoding"])
async def test_work_on_an_answer_ends_with_its_client(
    narrow: Served, ask: Ask, dialect: Dialect, is_streamed: bool, spoken: tuple[Text, ...]
) -> None:
    narrow.script().answer = (*spoken, asyncio.Event(), done())
    client = await ask(dialect, is_streamed)
    await until(lambda: is_working(narrow, dialect))
    if spoken and is_streamed:
        await client.reader.readuntil(b"Once")
    await settle()

    client.close()

    await until(lambda: not runner(narrow, dialect).active)
    await be_at_rest(narrow)
    assert runner(narrow, dialect).calls.count("cancelled") == 1


@pytest.mark.parametrize("dialect", REPLIES.values(), ids=REPLIES)
async def test_work_on_a_reply_ends_with_its_client(narrow: Served, ask: Ask, dialect: Dialect) -> None:
    narrow.script(f"{dialect.model}:latest").reply_gate = asyncio.Event()
    client = await ask(dialect, None)
    await until(lambda: is_working(narrow, dialect))

    client.close()

    await until(lambda: not runner(narrow, dialect).active)
    await be_at_rest(narrow)
    assert runner(narrow, dialect).calls.count("cancelled") == 1


@pytest.mark.parametrize("is_streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("dialect", PICTURES.values(), ids=PICTURES)
@pytest.mark.parametrize("made", [(), (Step(done=1, total=3),)], ids=["reading", "denoising"])
async def test_work_on_a_picture_ends_with_its_client(
    narrow: Served,
    ask: Ask,
    tmp_path: Path,
    image_store: Path,
    dialect: Dialect,
    is_streamed: bool,
    made: tuple[Step, ...],
) -> None:
    shutil.copytree(image_store, tmp_path / "models", dirs_exist_ok=True)
    narrow.script("zimage:latest").pictures = (*made, asyncio.Event(), done())
    client = await ask(dialect, is_streamed)
    await until(lambda: is_working(narrow, dialect))
    await settle()

    client.close()

    await until(lambda: not runner(narrow, dialect).active)
    await be_at_rest(narrow)
    assert runner(narrow, dialect).calls.count("cancelled") == 1


@pytest.mark.parametrize("dialect", [*WORDS.values(), *REPLIES.values()], ids=[*WORDS, *REPLIES])
async def test_who_leaves_during_a_load_is_never_served(narrow: Served, ask: Ask, dialect: Dialect) -> None:
    script = narrow.script(f"{dialect.model}:latest")
    script.load_gate = asyncio.Event()
    client = await ask(dialect, None)
    await until(lambda: narrow.scheduler.queue().waiting == 1 and narrow.servers.made)

    client.close()
    await be_at_rest(narrow)
    script.load_gate.set()

    await until(lambda: narrow.scheduler.residents()[0].state == "ready")
    assert runner(narrow, dialect).requests == []


@pytest.mark.parametrize("dialect", [*WORDS.values(), *REPLIES.values()], ids=[*WORDS, *REPLIES])
async def test_who_leaves_the_queue_disturbs_nobody(narrow: Served, ask: Ask, dialect: Dialect) -> None:
    script, gate = narrow.script(f"{dialect.model}:latest"), asyncio.Event()
    script.answer, script.reply_gate = (Text(content="Once"), gate, done()), gate
    before = [await ask(dialect, False if dialect in WORDS.values() else None) for _ in range(2)]
    await until(lambda: is_working(narrow, dialect, 2))
    client = await ask(dialect, None)
    await until(lambda: narrow.scheduler.queue().waiting == 1)

    client.close()
    await until(lambda: not narrow.scheduler.queue().waiting)
    gate.set()

    for other in before:
        assert (await other.reader.readline()).startswith(b"HTTP/1.1 200")
    await be_at_rest(narrow)
    assert len(runner(narrow, dialect).requests) == 2
    assert "cancelled" not in runner(narrow, dialect).calls


@pytest.mark.parametrize("leave", WAYS, ids=["closed", "reset", "half closed"])
@pytest.mark.parametrize("station", ["queue", "load", "decoding"])
async def test_however_a_client_leaves(narrow: Served, ask: Ask, leave: Callable[[Client], None], station: str) -> None:
    dialect, script = WORDS["ollama-chat"], narrow.script()
    script.load_gate = asyncio.Event()
    script.answer = (Text(content="Once"), asyncio.Event(), done())
    if station != "load":
        script.load_gate.set()
    others = [await ask(dialect, True) for _ in range(2 if station == "queue" else 0)]
    await until(lambda: is_working(narrow, dialect, len(others)) if others else True)
    client = await ask(dialect, True)
    await until(lambda: is_working(narrow, dialect) if station == "decoding" else narrow.scheduler.queue().waiting)

    leave(client)

    await until(lambda: not narrow.scheduler.queue().waiting and len(narrow.server.server_state.tasks) == len(others))
    for other in others:
        leave(other)
    await be_at_rest(narrow)
    cancelled = [call for server in narrow.servers.made for call in server.calls if call == "cancelled"]
    assert len(cancelled) == {"queue": 2, "load": 0, "decoding": 1}[station]


@pytest.mark.parametrize("leave", WAYS[:2], ids=["closed", "reset"])
@pytest.mark.parametrize("dialect", WORDS.values(), ids=WORDS)
async def test_who_stops_reading_and_then_leaves_holds_nothing(
    narrow: Served, ask: Ask, dialect: Dialect, leave: Callable[[Client], None]
) -> None:
    narrow.script().answer = (*(Text(content="word " * 2000),) * 2000, asyncio.Event(), done())
    client = await ask(dialect, True)
    client.writer.transport.pause_reading()
    await until(lambda: any(other.flow.write_paused for other in narrow.server.server_state.connections), 10)

    leave(client)

    await until(lambda: not runner(narrow, dialect).active)
    await be_at_rest(narrow)
    assert runner(narrow, dialect).calls.count("cancelled") == 1


async def test_a_hundred_who_leave_at_once_leave_nothing_behind(narrow: Served, ask: Ask) -> None:
    dialect = WORDS["openai-chat"]
    narrow.script().answer = (Text(content="Once"), asyncio.Event(), done())
    clients = [await ask(dialect, number % 2 == 0) for number in range(100)]
    await until(lambda: narrow.scheduler.queue().waiting == 98, 10)

    for client in clients:
        client.close()

    await be_at_rest(narrow)
    assert runner(narrow, dialect).active == 0
    assert runner(narrow, dialect).calls.count("cancelled") <= len(runner(narrow, dialect).requests)
    assert not narrow.server.server_state.connections
