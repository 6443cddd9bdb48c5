"""A client that leaves ends the work of a real engine, whichever dialect it spoke: told by the engine's own counter."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
import psutil
import pytest

from paddock.protocol import Activity, Health
from tests.road.conftest import Road, road_from
from tests.road.test_failures import create, health_of
from tests.runner.tiny import TinyShape, make_tiny_model

MANY = 100_000
"""Tokens of an answer that would go on for minutes."""
TURNS = [{"role": "user", "content": "Hello"}]
OPTIONS = {"num_ctx": MANY, "num_predict": -1}
DIALECTS: dict[str, tuple[str, dict[str, Any]]] = {
    "ollama-generate": ("/api/generate", {"prompt": "Hello", "raw": True, "options": OPTIONS}),
    "ollama-chat": ("/api/chat", {"messages": TURNS, "options": OPTIONS}),
    "openai-chat": ("/v1/chat/completions", {"messages": TURNS}),
    "openai-completions": ("/v1/completions", {"prompt": "Hello", "max_tokens": MANY - 100}),
    "openai-responses": ("/v1/responses", {"input": "Hello"}),
    "anthropic": ("/v1/messages", {"messages": TURNS, "max_tokens": MANY - 100}),
}


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    """A server with a model whose answers do not end by themselves."""
    with road_from(tmp_path_factory.mktemp("home"), PADDOCK_CONTEXT_LENGTH=str(MANY)) as road:
        create(road, "endless", make_tiny_model(tmp_path_factory.mktemp("model"), TinyShape(context=MANY)))
        road.client.generate("endless", options=OPTIONS)
        yield road


async def at_rest(runner: psutil.Process) -> Health:
    deadline = time.monotonic() + 5
    while (health := await health_of(runner)).active_requests or health.activity is not Activity.IDLE:
        assert time.monotonic() < deadline, f"still at work: {health}"
    return health


@pytest.mark.parametrize("is_streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_the_engine_stops_within_a_few_steps(endless: Road, dialect: str, is_streamed: bool) -> None:
    path, body = DIALECTS[dialect]
    (runner,) = endless.runners()
    before = (await health_of(runner)).tokens
    async with aiohttp.ClientSession() as session:
        asking = asyncio.create_task(
            session.post(endless.url + path, json={"model": "endless", "stream": is_streamed, **body})
        )
        while (await health_of(runner)).tokens < before + 10:
            assert not (asking.done() and (await asking).status != 200), await (await asking).text()
        left = (await health_of(runner)).tokens
        if asking.done():
            (await asking).close()
        asking.cancel()

        rest = await at_rest(runner)

    assert rest.tokens - left < 500  # one or two, unless the machine holds the server up
    assert (await health_of(runner)).steps == rest.steps
    print(f"{dialect}: {rest.tokens - left} tokens after the client had left")
