"""/v1/models, and what is answered where there is no route."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.api.conftest import Served


async def get(served: Served, path: str, method: str = "GET") -> tuple[int, Any]:
    async with served.session.request(method, served.url + path) as response:
        return response.status, await response.json()


async def test_models_are_listed(served: Served) -> None:
    await served.client.copy("tiny", "someone/other:7b")

    status, answer = await get(served, "/v1/models")

    assert status == 200
    assert answer["object"] == "list"
    assert {(row["id"], row["object"], row["owned_by"]) for row in answer["data"]} == {
        ("tiny:latest", "model", "library"),
        ("someone/other:7b", "model", "someone"),
    }
    assert all(isinstance(row["created"], int) for row in answer["data"])


async def test_no_models_are_an_empty_list(served: Served) -> None:
    await served.client.delete("tiny")

    assert await get(served, "/v1/models") == (200, {"object": "list", "data": []})


@pytest.mark.parametrize("name", ["tiny", "tiny:latest", "someone/other:7b", "someone%2Fother%3A7b"])
async def test_a_model_is_told_under_the_name_it_was_asked_for(served: Served, name: str) -> None:
    await served.client.copy("tiny", "someone/other:7b")

    status, answer = await get(served, f"/v1/models/{name}")

    assert status == 200
    assert answer["id"] == name.replace("%2F", "/").replace("%3A", ":")


async def test_a_model_that_is_not_there(served: Served) -> None:
    status, answer = await get(served, "/v1/models/nobody/nothing")

    assert status == 404
    assert (answer["error"]["type"], answer["error"]["code"]) == ("not_found_error", "model_not_found")


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/v1/nothing", 404, "not_found_error"),
        ("GET", "/v1/chat/completions", 405, "invalid_request_error"),
        ("DELETE", "/v1/models", 405, "invalid_request_error"),
    ],
)
async def test_where_there_is_no_route_the_answer_is_json(
    served: Served, method: str, path: str, status: int, kind: str
) -> None:
    found, answer = await get(served, path, method)

    assert found == status
    assert answer["error"]["type"] == kind
    assert path in answer["error"]["message"]


async def test_the_published_client_lists_and_finds(served: Served) -> None:
    async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
        names = [model.id async for model in client.models.list()]
        found = await client.models.retrieve("tiny")
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("nobody")

    assert names == ["tiny:latest"]
    assert (found.id, found.owned_by) == ("tiny", "library")
