"""Whole numbers in the arguments of calls stay what they are, however long: out to the client and back to the model."""

from __future__ import annotations

import json
from typing import Any

import pytest

from paddock.protocol import ToolCall
from tests.api.conftest import Served
from tests.fakes.fake_server import done

LONG = {"n": 12345678901234567890123456789, "below": [-(2**1024)]}
PARAMETERS = {"type": "object", "properties": {}}
FUNCTION = {"name": "add", "parameters": PARAMETERS}
TEXT = json.dumps(LONG)
HELLO = {"role": "user", "content": "Hi"}
CALLED = {"type": "tool_use", "id": "toolu_1", "name": "add", "input": LONG}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "3"}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "ollama": (
        "/api/chat",
        {
            "messages": [
                HELLO,
                {"role": "assistant", "tool_calls": [{"function": {"name": "add", "arguments": LONG}}]},
            ],
            "tools": [{"type": "function", "function": FUNCTION}],
        },
    ),
    "openai chat": (
        "/v1/chat/completions",
        {
            "messages": [
                HELLO,
                {
                    "role": "assistant",
                    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": TEXT}}],
                },
                {"role": "tool", "tool_call_id": "c1", "content": "3"},
            ],
            "tools": [{"type": "function", "function": FUNCTION}],
        },
    ),
    "openai responses": (
        "/v1/responses",
        {
            "input": [
                HELLO,
                {"type": "function_call", "call_id": "c1", "name": "add", "arguments": TEXT},
                {"type": "function_call_output", "call_id": "c1", "output": "3"},
            ],
            "tools": [{"type": "function", **FUNCTION}],
        },
    ),
    "anthropic": (
        "/v1/messages",
        {
            "messages": [HELLO, {"role": "assistant", "content": [CALLED]}, {"role": "user", "content": [RESULT]}],
            "tools": [{"name": "add", "input_schema": PARAMETERS}],
            "max_tokens": 100,
        },
    ),
}


@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("dialect", CASES)
async def test_long_integers_are_exact_both_ways(served: Served, dialect: str, is_streamed: bool) -> None:
    template = "{{ tools }}<tool_call>{{ tool_call.name }}"
    await served.post("/api/create", {"model": "smart", "from": "tiny", "template": template})
    served.script("smart:latest").answer = (ToolCall(id="call_1", name="add", arguments=LONG), done())
    path, body = CASES[dialect]

    asked = body | {"model": "smart", "stream": is_streamed}
    async with served.session.post(served.url + path, json=asked) as response:
        text = await response.text()
        assert response.status == 200, text

    assert str(LONG["n"]) in text
    assert str(-(2**1024)) in text
    said = served.servers.made[-1].requests[-1].messages[1]
    assert [call.arguments for call in said.tool_calls] == [LONG]


@pytest.mark.parametrize("dialect", CASES)
async def test_beyond_what_a_floating_number_could_hold_they_are_refused(served: Served, dialect: str) -> None:
    path, body = CASES[dialect]
    written = json.dumps(body | {"model": "tiny"}).replace(str(-(2**1024)), str(-(2**1024) - 1))

    async with served.session.post(served.url + path, data=written) as response:
        assert response.status == 400
        text = await response.text()
    assert "bits" in text or "does not support tools" in text
