"""Embeddings and reranking through the whole road, with the published clients of Ollama and OpenAI, unmodified."""

from __future__ import annotations

import math
from collections.abc import Iterator

import httpx
import ollama
import openai
import pytest

from paddock.store.create import import_folder
from paddock.store.library import Library
from paddock.store.names import ModelName
from tests.road.conftest import Road, road_from
from tests.runner.engines.embedding.tiny import make_tiny_bert

TEXTS = ["one", "another text, which is longer", "x"]


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    """A server that has a tiny encoder and a tiny reranker."""
    home = tmp_path_factory.mktemp("road")
    library = Library(home / "models")
    for name, is_reranker in (("vectors", False), ("scores", True)):
        folder = make_tiny_bert(tmp_path_factory.mktemp(name), is_reranker=is_reranker)
        import_folder(library, ModelName.parse(name), folder)
    with road_from(home) as road:
        yield road


@pytest.fixture(scope="module")
def openai_client(road: Road) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{road.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def length(vector: object) -> float:
    return math.sqrt(sum(number * number for number in vector))


def test_ollamas_client_embeds_texts(road: Road) -> None:
    answer = road.client.embed("vectors", TEXTS)

    assert [len(vector) for vector in answer.embeddings] == [32, 32, 32]
    assert all(length(vector) == pytest.approx(1, abs=1e-6) for vector in answer.embeddings)
    assert answer.prompt_eval_count == sum(len(text) + 2 for text in TEXTS)
    assert answer.total_duration
    single = road.client.embed("vectors", TEXTS[1], dimensions=8).embeddings[0]
    assert len(single) == 8
    assert length(single) == pytest.approx(1, abs=1e-6)
    assert single[0] / single[1] == pytest.approx(answer.embeddings[1][0] / answer.embeddings[1][1], rel=1e-4)


def test_the_former_route_gives_the_same_direction_at_its_own_length(road: Road) -> None:
    former = road.client.embeddings("vectors", TEXTS[0]).embedding

    unit = road.client.embed("vectors", TEXTS[0]).embeddings[0]
    assert length(former) != pytest.approx(1, abs=1e-3)
    assert [number / length(former) for number in former] == pytest.approx(unit, abs=1e-6)


def test_openais_client_gets_the_same_vectors(road: Road, openai_client: openai.OpenAI) -> None:
    expected = road.client.embed("vectors", TEXTS).embeddings

    in_base64 = openai_client.embeddings.create(model="vectors", input=TEXTS)
    as_numbers = openai_client.embeddings.create(model="vectors", input=TEXTS, encoding_format="float")

    for index, vector in enumerate(expected):
        assert in_base64.data[index].embedding == pytest.approx(vector, abs=1e-6)
        assert as_numbers.data[index].embedding == pytest.approx(vector, abs=1e-6)
    assert in_base64.usage.prompt_tokens == in_base64.usage.total_tokens == sum(len(text) + 2 for text in TEXTS)


def test_openais_client_may_send_token_ids(road: Road, openai_client: openai.OpenAI) -> None:
    first = openai_client.embeddings.create(model="vectors", input=[5, 6, 7])
    several = openai_client.embeddings.create(model="vectors", input=[[5, 6, 7], [8]])

    assert several.data[0].embedding == pytest.approx(first.data[0].embedding, abs=1e-6)
    assert several.usage.prompt_tokens == 4
    with pytest.raises(openai.BadRequestError, match="vocabulary"):
        openai_client.embeddings.create(model="vectors", input=[999_999])


def test_openais_client_reads_our_errors(openai_client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as absent:
        openai_client.embeddings.create(model="absent", input="x")
    with pytest.raises(openai.BadRequestError) as wide:
        openai_client.embeddings.create(model="vectors", input="x", dimensions=33)

    assert absent.value.type == "not_found_error"
    assert wide.value.type == "invalid_request_error"
    assert wide.value.body == {
        "message": "dimensions must be at most 32: this model's vectors have no more.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }


def test_documents_come_back_best_first(road: Road) -> None:
    body = {"model": "scores", "query": "which one?", "documents": [*TEXTS[:2], {"text": TEXTS[2]}]}

    answer = httpx.post(f"{road.url}/v1/rerank", json={**body, "return_documents": True}, timeout=60).json()
    best = httpx.post(f"{road.url}/v1/rerank", json={**body, "top_n": 1}, timeout=60).json()

    scores = [result["relevance_score"] for result in answer["results"]]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score < 1 for score in scores)
    assert {result["index"]: result["document"]["text"] for result in answer["results"]} == dict(enumerate(TEXTS))
    assert best["results"] == [{key: answer["results"][0][key] for key in ("index", "relevance_score")}]
    assert answer["usage"]["total_tokens"] == sum(len("which one?") + len(text) + 3 for text in TEXTS)


def test_models_say_what_they_are_for_and_refuse_the_rest(road: Road) -> None:
    assert road.client.show("vectors").capabilities == ["embedding"]
    assert road.client.show("scores").capabilities == ["rerank"]
    with pytest.raises(ollama.ResponseError, match='"vectors:latest" does not support chat') as chat:
        road.client.chat("vectors", [{"role": "user", "content": "hi"}])
    with pytest.raises(ollama.ResponseError, match="does not support embedding") as text:
        road.client.embed("scores", "x")
    assert chat.value.status_code == text.value.status_code == 400


def test_texts_beyond_the_context_are_cut_or_refused(road: Road) -> None:
    long_text = "x" * 200

    cut = road.client.embed("vectors", long_text)

    assert cut.prompt_eval_count == 64
    with pytest.raises(ollama.ResponseError, match="202 tokens, but the context holds 64") as refused:
        road.client.embed("vectors", long_text, truncate=False)
    assert refused.value.status_code == 400
