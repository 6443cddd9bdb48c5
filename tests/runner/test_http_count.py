"""POST /count of a runner, over a scripted engine."""

from __future__ import annotations

from aiohttp.test_utils import TestClient, TestServer

from paddock import protocol
from paddock.protocol import ChatMessage, ChatRequest, CountReply
from paddock.runner.http import make_app
from paddock.runner.service import RunnerService
from tests.runner.scripted import ScriptedEngine


async def test_the_tokens_of_a_conversation_are_counted() -> None:
    engine = ScriptedEngine()
    service = RunnerService(lambda: engine)
    request = ChatRequest(messages=(ChatMessage(role="user", content="Hi"),) * 3)
    async with TestClient(TestServer(make_app(service))) as client:
        service.start()
        await service.load_ended.wait()
        async with client.post("/count", data=protocol.encode(request)) as response:
            assert response.status == 200
            assert protocol.decode(await response.read(), CountReply) == CountReply(tokens=3)
        engine.allow(1_000)
