"""/api/embed, /api/embeddings, /v1/embeddings and /v1/rerank over runners that exist only in memory."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest

from paddock.errors import RunnerDied
from paddock.protocol import EmbeddingRequest, RerankRequest
from paddock.store.create import import_folder
from paddock.store.names import ModelName
from tests.api.conftest import CONFIG, Served, write_model_folder
from tests.fakes.fake_server import FakeModelServer
from tests.fakes.waiting import until


@pytest.fixture
def encoders(served: Served, tmp_path: Path) -> Served:
    """With an encoder and a reranker beside the text model."""
    for name, architecture in (("vectors", "BertModel"), ("scores", "BertForSequenceClassification")):
        folder = write_model_folder(tmp_path / name, seed=len(name))
        (folder / "config.json").write_text(
            json.dumps({**CONFIG, "model_type": "bert", "architectures": [architecture]})
        )
        import_folder(served.library, ModelName.parse(name), folder)
    return served


async def test_embed_answers_in_the_order_of_its_inputs(encoders: Served) -> None:
    status, answer = await encoders.post("/api/embed", {"model": "vectors", "input": ["a b", "c"], "truncate": False})

    assert status == 200
    assert answer["embeddings"] == [[1.0, 0.0, 0.0]] * 2
    assert answer["model"] == "vectors"
    assert answer["prompt_eval_count"] == 3
    assert answer["total_duration"] >= answer["load_duration"] > 0
    assert encoders.servers.made[0].requests == [EmbeddingRequest(inputs=("a b", "c"), truncate=False)]
    assert encoders.servers.made[0].spec.engine == "embedding"


async def test_one_text_is_a_list_of_one(encoders: Served) -> None:
    _, answer = await encoders.post("/api/embed", {"model": "vectors", "input": "a", "dimensions": 2})

    assert len(answer["embeddings"]) == 1
    assert encoders.servers.made[0].requests == [EmbeddingRequest(inputs=("a",), dimensions=2)]


@pytest.mark.parametrize("given", [{}, {"input": ""}, {"input": []}, {"input": None}])
async def test_no_input_loads_the_model_and_answers_nothing(encoders: Served, given: dict[str, Any]) -> None:
    status, answer = await encoders.post("/api/embed", {"model": "vectors", **given})

    assert (status, answer["embeddings"]) == (200, [])
    assert encoders.servers.made[0].requests == []
    assert "wait_until_running" in encoders.servers.made[0].calls


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/api/embed", {"model": "vectors", "input": 3}, "invalid input type"),
        ("/api/embed", {"model": "vectors", "input": ["a", 3]}, "invalid input type"),
        ("/api/embed", {"model": "vectors", "input": "a", "dimensions": -1}, "dimensions must be at least 1."),
        ("/api/embed", {"model": "vectors", "input": "a", "options": {"odd": 1}}, 'unknown option "odd"'),
        ("/api/embed", {"model": "tiny", "input": "a"}, '"tiny:latest" does not support embedding'),
        ("/api/embed", {"model": "scores", "input": "a"}, '"scores:latest" does not support embedding'),
        ("/api/embed", {"model": "vectors", "input": ["a"] * 2049}, "There are 2049 inputs"),
        ("/api/embed", {"input": "a"}, "model is required"),
        ("/api/embeddings", {"model": "tiny", "prompt": "a"}, "does not support embedding"),
        ("/api/chat", {"model": "vectors", "messages": [{"role": "user", "content": "a"}]}, "does not support chat"),
        ("/api/generate", {"model": "vectors", "prompt": "a"}, "does not support generate"),
    ],
)
async def test_what_cannot_be_done_is_refused_in_ollamas_shape(
    encoders: Served, path: str, body: dict[str, Any], message: str
) -> None:
    status, answer = await encoders.post(path, body)

    assert status == 400
    assert message in answer["error"]


async def test_the_former_route_asks_for_one_vector_as_it_is(encoders: Served) -> None:
    status, answer = await encoders.post("/api/embeddings", {"model": "vectors", "prompt": "a b"})

    assert (status, answer) == (200, {"embedding": [1.0, 0.0, 0.0]})
    assert encoders.servers.made[0].requests == [EmbeddingRequest(inputs=("a b",), normalise=False)]
    assert await encoders.post("/api/embeddings", {"model": "vectors"}) == (200, {"embedding": []})


async def test_openai_shape(encoders: Served) -> None:
    body = {"model": "vectors", "input": ["a b", "c"], "dimensions": 3, "user": "somebody"}

    status, answer = await encoders.post("/v1/embeddings", body)

    assert status == 200
    assert answer == {
        "object": "list",
        "data": [{"object": "embedding", "embedding": [1.0, 0.0, 0.0], "index": index} for index in range(2)],
        "model": "vectors",
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }


async def test_openai_base64_is_little_endian_numbers_of_32_bits(encoders: Served) -> None:
    body = {"model": "vectors", "input": "a", "encoding_format": "base64"}

    _, answer = await encoders.post("/v1/embeddings", body)

    assert struct.unpack("<3f", base64.b64decode(answer["data"][0]["embedding"])) == (1.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"model": "vectors"}, "invalid input"),
        ({"model": "vectors", "input": []}, "invalid input"),
        ({"model": "vectors", "input": ""}, "invalid input"),
        ({"model": "vectors", "input": [[1], []]}, "invalid input"),
        ({"model": "vectors", "input": [1, "a"]}, "invalid input"),
        ({"model": "vectors", "input": [True]}, "invalid input"),
        ({"model": "vectors", "input": "a", "encoding_format": "hex"}, "Invalid value for 'encoding_format' = hex"),
        ({"model": "vectors", "input": "a", "dimensions": 0}, "dimensions must be at least 1."),
        ({"model": "tiny", "input": "a"}, '"tiny:latest" does not support embedding'),
    ],
)
async def test_what_cannot_be_done_is_refused_in_openais_shape(
    encoders: Served, body: dict[str, Any], message: str
) -> None:
    status, answer = await encoders.post("/v1/embeddings", body)

    assert status == 400
    assert message in answer["error"].pop("message")
    assert answer["error"] == {"type": "invalid_request_error", "param": None, "code": None}


async def test_a_model_that_is_not_there_is_told_in_openais_shape(encoders: Served) -> None:
    status, answer = await encoders.post("/v1/rerank", {"model": "absent", "query": "a", "documents": ["b"]})

    assert status == 404
    assert answer["error"]["type"] == "not_found_error"


async def test_documents_are_ranked(encoders: Served) -> None:
    body = {"model": "scores", "query": "one two", "documents": ["none", {"text": "two one"}, "one"]}

    _, answer = await encoders.post("/v1/rerank", {**body, "return_documents": True})
    _, shortened = await encoders.post("/v1/rerank", {**body, "top_n": 1})

    logistic = [1 / (1 + math.exp(-logit)) for logit in (2, 1, 0)]
    assert [result["index"] for result in answer["results"]] == [1, 2, 0]
    assert [result["relevance_score"] for result in answer["results"]] == pytest.approx(logistic)
    assert [result["document"]["text"] for result in answer["results"]] == ["two one", "one", "none"]
    assert shortened["results"] == [{"index": 1, "relevance_score": pytest.approx(logistic[0])}]
    assert encoders.servers.made[0].requests[0] == RerankRequest(query="one two", documents=("none", "two one", "one"))


@pytest.mark.parametrize(
    "body",
    [
        {"documents": ["a"]},
        {"query": "a"},
        {"query": "a", "documents": []},
        {"query": "a", "documents": ["b"], "top_n": 0},
    ],
)
async def test_a_ranking_needs_a_query_and_documents(encoders: Served, body: dict[str, Any]) -> None:
    status, _ = await encoders.post("/v1/rerank", {"model": "scores", **body})

    assert status == 400


async def test_a_runner_that_dies_is_replaced_once(encoders: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    embedding = FakeModelServer.embedding

    async def dies_first(server: FakeModelServer, request: EmbeddingRequest) -> Any:
        if server is encoders.servers.made[0]:
            server.die()
            raise RunnerDied("The runner ended.")
        return await embedding(server, request)

    monkeypatch.setattr(FakeModelServer, "embedding", dies_first)

    status, _ = await encoders.post("/api/embed", {"model": "vectors", "input": "a"})

    assert status == 200
    assert len(encoders.servers.made) == 2


async def test_a_client_that_goes_away_ends_its_request(encoders: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def never(_server: FakeModelServer, _request: EmbeddingRequest) -> Any:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    monkeypatch.setattr(FakeModelServer, "embedding", never)
    asking = asyncio.create_task(encoders.post("/api/embed", {"model": "vectors", "input": "a"}))
    await asyncio.wait_for(begun.wait(), 5)

    asking.cancel()

    await asyncio.wait_for(ended.wait(), 5)
    await until(lambda: encoders.is_at_rest)
