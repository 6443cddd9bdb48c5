"""Lines of a stream stay lines for clients that know more ends of lines than HTTP does."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from paddock.api.stream import Stream
from paddock.errors import RunnerDied

ENDS = "a\u0085b\u2028c\u2029d"


async def chunks(fails: bool) -> AsyncGenerator[bytes, None]:
    for number in range(2):
        yield json.dumps({"number": number, "text": ENDS}, ensure_ascii=False).encode() + b"\n"
    if fails:
        raise RunnerDied(f"It ended: {ENDS}.")


@pytest.mark.parametrize("fails", [False, True])
async def test_a_text_with_other_ends_of_lines_stays_on_one_line(fails: bool) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await Stream(chunks(fails))(scope, receive, send)

    async with (
        httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://x") as client,
        client.stream("GET", "/api/chat") as response,
    ):
        lines = [json.loads(line) async for line in response.aiter_lines()]

    assert [line["text"] for line in lines[:2]] == [ENDS, ENDS]
    assert len(lines) == 2 + fails
    assert not fails or ENDS in lines[2]["error"]
