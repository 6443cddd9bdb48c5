"""A model that thinks and calls tools, and the published client to talk to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import openai
import pytest

from paddock.protocol import ChatRequest, Text, Thinking, ToolCall
from tests.api.conftest import Served
from tests.fakes.fake_server import done

TEMPLATE = "{{ tools }}<tool_call>{{ tool_call.name }}<think></think>"
CALL = ToolCall(id="call_1", name="add", arguments={"b": 2, "a": 1})
ANSWER = (Thinking(content="H"), Thinking(content="m"), Text(content="Ye"), Text(content="s"), CALL, done(eval_count=9))
"""What the model says unless a test has it say something else."""


@pytest.fixture
async def smart(served: Served) -> Served:
    await served.post("/api/create", {"model": "smart", "from": "tiny", "template": TEMPLATE})
    served.script("smart:latest").answer = ANSWER
    return served


@pytest.fixture
async def client(smart: Served) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{smart.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def asked(served: Served) -> ChatRequest:
    """What reached a runner last."""
    request = served.servers.made[-1].requests[-1]
    assert isinstance(request, ChatRequest)
    return request
