"""POST /v1/messages/count_tokens: the conversation that would be asked goes to the runner that counts it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.api.anthropic.conftest import ADD, QUESTION, Asking

PATH = "/v1/messages/count_tokens"
LONG = {
    "system": [{"type": "text", "text": "Be kind", "cache_control": {"type": "ephemeral"}}],
    "tools": [ADD],
    "thinking": {"type": "enabled", "budget_tokens": 2048},
    "messages": [*QUESTION, {"role": "assistant", "content": "Hello you"}, *QUESTION],
}


async def test_the_runners_count_is_the_answer(asking: Asking) -> None:
    status, answer = await asking.ask(PATH, max_tokens=None, **LONG)

    assert (status, answer) == (200, {"input_tokens": 6})
    assert asking.served.servers.made[-1].calls[-1] == "count"


async def test_what_is_counted_is_what_would_be_asked(asking: Asking) -> None:
    await asking.ask(PATH, max_tokens=None, **LONG)
    counted = asking.last
    await asking.ask(**{**LONG, "max_tokens": 4096})

    asked = msgspec.structs.replace(asking.last, sampling=counted.sampling, client="")
    assert counted == asked


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"messages": []}, "at least one turn"),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "Anthropic's own"),
        ({"thinking": {"type": "enabled"}}, "at least 1024"),
        ({"mcp_servers": [{}]}, '"mcp_servers" is not supported'),
    ],
)
async def test_what_could_not_be_asked_is_not_counted(asking: Asking, fields: dict[str, Any], sentence: str) -> None:
    status, answer = await asking.ask(PATH, **fields)

    assert status == 400
    assert sentence in answer["error"]["message"]
