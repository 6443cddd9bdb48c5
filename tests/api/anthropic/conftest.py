"""Helpers for Anthropic's dialect: a model that thinks and calls tools, and streams taken apart."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from paddock.protocol import ChatRequest, Text, Thinking, ToolCall
from tests.api.conftest import Served
from tests.fakes.fake_server import Step, done

TEMPLATE = "{{ tools }}<tool_call>{{ tool_call.name }}<think></think>"
QUESTION = [{"role": "user", "content": "Hi"}]
ADD = {
    "name": "add",
    "description": "Adds two numbers.",
    "input_schema": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
}
CALL = ToolCall(id="call_1", name="add", arguments={"a": 1})


@dataclass
class Asking:
    """A server with the model `smart`, asked in Anthropic's dialect."""

    served: Served

    def answers(self, *steps: Step) -> None:
        """What the runner does next."""
        self.served.script("smart:latest").answer = steps

    @property
    def last(self) -> ChatRequest:
        """The last request that reached a runner."""
        request = self.served.servers.made[-1].requests[-1]
        assert isinstance(request, ChatRequest)
        return request

    @property
    def reached(self) -> int:
        """How many requests reached a runner."""
        return sum(len(server.requests) for server in self.served.servers.made)

    async def ask(self, path: str = "/v1/messages", **fields: Any) -> tuple[int, Any]:
        """Status and body of one request; fields that are None are left out."""
        return await self.served.post(path, body(**fields))

    async def events(self, **fields: Any) -> list[tuple[str, dict[str, Any]]]:
        """Names and data of a stream's events, in their order."""
        url = f"{self.served.url}/v1/messages"
        async with self.served.session.post(url, json=body(stream=True, **fields)) as response:
            assert response.status == 200, await response.text()
            assert response.headers["content-type"].startswith("text/event-stream")
            return events_in(await response.text())


def body(**fields: Any) -> dict[str, Any]:
    """A small request with these fields."""
    whole = {"model": "smart", "max_tokens": 100, "messages": QUESTION, **fields}
    return {name: value for name, value in whole.items() if value is not None}


def events_in(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Every event has its two lines and an empty one, and nothing else is there."""
    found = []
    assert text.endswith("\n\n")
    for one in text.removesuffix("\n\n").split("\n\n"):
        first, second = one.split("\n")
        found.append((first.removeprefix("event: "), json.loads(second.removeprefix("data: "))))
    return found


@pytest.fixture
async def asking(served: Served) -> Asking:
    status, answer = await served.post("/api/create", {"model": "smart", "from": "tiny", "template": TEMPLATE})
    assert status == 200, answer
    asking = Asking(served)
    asking.answers(Thinking(content="H"), Thinking(content="m"), Text(content="Ye"), Text(content="s"), done(5, 7))
    return asking
