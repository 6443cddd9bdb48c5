"""What coding agents send when they are pointed here: the shape of Claude Code's requests, field by field."""

from __future__ import annotations

from typing import Any

from paddock.protocol import Text, Thinking, ToolCall
from tests.api.anthropic.conftest import TEMPLATE, Asking, events_in
from tests.fakes.fake_server import done

EPHEMERAL = {"type": "ephemeral", "ttl": "1h"}
HEADERS = {
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27",
    "anthropic-dangerous-direct-browser-access": "true",
    "authorization": "Bearer anything",
    "x-app": "cli",
    "x-stainless-retry-count": "0",
    "x-stainless-timeout": "600",
    "user-agent": "claude-cli/2.1.36 (external, cli)",
}


def tool(name: str) -> dict[str, Any]:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"file_path": {"type": "string", "description": "Which file"}, "limit": {"type": "number"}},
        "required": ["file_path"],
        "additionalProperties": False,
    }
    return {"name": name, "description": f"{name} something.\n\nUsage:\n- a lot", "input_schema": schema}


def request() -> dict[str, Any]:
    result = {"type": "tool_result", "tool_use_id": "toolu_call_1", "content": "1: import os", "is_error": False}
    return {
        "model": "smart",
        "max_tokens": 32000,
        "stream": True,
        "temperature": 1,
        "metadata": {"user_id": "user_0_account__session_1"},
        "thinking": {"type": "enabled", "budget_tokens": 31999},
        "output_config": {"effort": "high"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.36; cc_entrypoint=cli; cch=f00;"},
            {"type": "text", "text": "You are an agent.", "cache_control": EPHEMERAL},
            {"type": "text", "text": "Here is a lot to know.", "cache_control": EPHEMERAL},
        ],
        "tools": [tool(name) for name in ("Task", "Bash", "Glob", "Grep", "Read", "Edit", "mcp__files__list_all")],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "<system-reminder>\nToday.\n</system-reminder>"},
                    {"type": "text", "text": "What does this do?"},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "I should read it.", "signature": "c2lnbmVk"},
                    {"type": "text", "text": "Let me see."},
                    {"type": "tool_use", "id": "toolu_call_1", "name": "Read", "input": {"file_path": "/a.py"}},
                ],
            },
            {"role": "user", "content": [{**result, "cache_control": {"type": "ephemeral"}}]},
        ],
    }


async def post(asking: Asking, path: str, body: dict[str, Any]) -> tuple[int, str]:
    url = f"{asking.served.url}{path}?beta=true"
    async with asking.served.session.post(url, json=body, headers=HEADERS) as response:
        return response.status, await response.text()


async def test_a_turn_of_an_agent_is_answered_with_a_call(asking: Asking) -> None:
    call = ToolCall(id="call_2", name="Edit", arguments={"file_path": "/a.py"})
    asking.answers(Thinking(content="Now I edit."), Text(content="Done soon."), call, done(9, 40))

    status, text = await post(asking, "/v1/messages", request())

    assert status == 200, text
    kinds = [data["content_block"]["type"] for name, data in events_in(text) if name == "content_block_start"]
    assert kinds == ["thinking", "text", "tool_use"]
    wanted = asking.last
    assert [turn.role for turn in wanted.messages] == ["system", "user", "assistant", "tool"]
    assert wanted.messages[0].content == "You are an agent.\n\nHere is a lot to know."
    assert wanted.messages[2].thinking == "I should read it."
    assert wanted.messages[3].tool_name == "Read"
    assert wanted.messages[3].tool_call_id == wanted.messages[2].tool_calls[0].id == "call_1"
    assert len(wanted.tools) == 7
    assert (wanted.think, wanted.thinking_budget) == ("high", 31999)


async def test_an_agent_counts_before_it_asks(asking: Asking) -> None:
    sent = request()
    counted = {name: sent[name] for name in ("model", "system", "tools", "messages", "thinking")}

    status, text = await post(asking, "/v1/messages/count_tokens", counted)

    assert status == 200, text
    assert text.startswith('{"input_tokens":')


async def test_the_prompt_is_the_same_in_every_request_of_a_session(asking: Asking) -> None:
    first, second = request(), request()
    second["system"][0]["text"] = second["system"][0]["text"].replace("f00", "ba7")

    await post(asking, "/v1/messages", first)
    before = asking.last
    await post(asking, "/v1/messages", second)

    assert asking.last == before


async def test_adaptive_thinking_suits_a_model_that_does_not_think(asking: Asking) -> None:
    template = TEMPLATE.replace("<think></think>", "")
    await asking.served.post("/api/create", {"model": "hasty", "from": "tiny", "template": template})

    status, text = await post(asking, "/v1/messages", request() | {"model": "hasty", "thinking": {"type": "adaptive"}})

    assert status == 200, text
    assert asking.last.think is False
