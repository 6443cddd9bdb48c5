"""What there is, what runs, and how it changes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import ollama
import pytest

from tests.api.conftest import Served, write_model_folder


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_root_says_the_words_that_clients_look_for(served: Served, method: str) -> None:
    async with served.session.request(method, served.url + "/") as response:
        assert response.status == 200
        assert await response.text() == ("Ollama is running" if method == "GET" else "")


@pytest.mark.parametrize("path", ["/api/version", "/api/tags", "/"])
async def test_head_is_answered_where_clients_use_it(served: Served, path: str) -> None:
    async with served.session.head(served.url + path) as response:
        assert response.status == 200


async def test_unknown_paths_and_methods_are_told_apart(served: Served) -> None:
    async with served.session.get(served.url + "/api/nothing") as response:
        assert (response.status, await response.text()) == (404, "404 page not found")
    async with served.session.get(served.url + "/api/chat") as response:
        assert response.status == 405


async def test_tags_lists_every_model_with_its_facts(served: Served) -> None:
    listed = (await served.client.list()).models

    assert [model.model for model in listed] == ["tiny:latest"]
    assert listed[0].digest == served.library.list()[0].digest
    assert listed[0].size > 1000
    assert listed[0].details.family == "llama"
    assert listed[0].details.format == "safetensors"
    assert listed[0].details.quantization_level == "F32"


async def test_ps_tells_what_runs_until_when(served: Served) -> None:
    client = served.client
    assert (await client.ps()).models == []

    await client.generate("tiny", keep_alive="5m", options={"num_ctx": 1024})

    (running,) = (await client.ps()).models
    assert running.model == "tiny:latest"
    assert running.size == 1_000_000_000
    assert running.size_vram == 0
    assert running.context_length == 1024
    async with served.session.get(served.url + "/api/ps") as response:
        assert (await response.json())["models"][0]["expires_at"]


async def test_forever_is_so_far_away_that_clients_say_so(served: Served) -> None:
    await served.post("/api/generate", {"model": "tiny", "keep_alive": -1})

    (running,) = (await served.client.ps()).models

    assert running.expires_at.year > 2300


async def test_show_tells_what_a_model_is(served: Served) -> None:
    await served.post(
        "/api/create",
        {"model": "shown", "from": "tiny", "system": "Be brief.", "parameters": {"temperature": 0.5}, "license": "MIT"},
    )

    shown = await served.client.show("shown")

    assert shown.capabilities == ["completion"]
    assert shown.modelinfo["general.architecture"] == "llama"
    assert shown.modelinfo["llama.context_length"] == 2048
    assert shown.parameters == "temperature                    0.5"
    assert "FROM" in shown.modelfile
    assert "SYSTEM" in shown.modelfile
    assert shown.license == "MIT"
    _, verbose = await served.post("/api/show", {"model": "shown", "verbose": True})
    assert verbose["system"] == "Be brief."
    assert verbose["tensors"] == [{"name": "model.embed_tokens.weight", "type": "F32", "shape": [32, 8]}]


async def test_copy_and_delete_by_the_published_client(served: Served) -> None:
    client = served.client

    await client.copy("tiny", "team/other:v1")
    assert {model.model for model in (await client.list()).models} == {"tiny:latest", "team/other:v1"}

    await client.delete("tiny")
    assert [model.model for model in (await client.list()).models] == ["team/other:v1"]
    with pytest.raises(ollama.ResponseError, match="model 'tiny' not found") as caught:
        await client.delete("tiny")
    assert caught.value.status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "status", "sentence"),
    [
        ("/api/show", {}, 400, "model is required"),
        ("/api/show", {"model": "nobody"}, 404, "model 'nobody' not found"),
        ("/api/copy", {"source": "nobody", "destination": "b"}, 404, 'model "nobody" not found'),
        ("/api/copy", {"source": "tiny", "destination": "a//b"}, 400, 'destination "a//b" is invalid'),
        ("/api/copy", {"destination": "b"}, 400, 'source "" is invalid'),
        ("/api/create", {"model": "a//b", "from": "tiny"}, 400, "invalid model name"),
        ("/api/create", {"model": "new"}, 400, "neither 'from' or 'files' was specified"),
        ("/api/create", {"model": "new", "from": "tiny", "adapters": {"a": "b"}}, 400, '"adapters" is not supported'),
        ("/api/create", {"model": "new", "from": "tiny", "quantize": "int4"}, 400, '"quantize" is not supported'),
        ("/api/create", {"model": "new", "files": {"../x": "sha256:" + "0" * 64}}, 400, "path"),
        ("/api/create", {"model": "new", "from": "tiny", "template": "{{ .Prompt }}"}, 400, "Jinja"),
        ("/api/create", {"model": "new", "from": "tiny", "parameters": {"warmth": 1}}, 400, "warmth"),
        ("/api/pull", {"model": "llama3"}, 404, "cannot be pulled"),
    ],
)
async def test_mistakes_are_named(served: Served, path: str, body: object, status: int, sentence: str) -> None:
    answered, error = await served.post(path, body)

    assert answered == status
    assert sentence in error["error"]


async def test_a_model_is_created_from_uploaded_blobs(served: Served, tmp_path: Path) -> None:
    client = served.client
    folder = write_model_folder(tmp_path / "new", seed=1)
    files = {path.name: await client.create_blob(path) for path in sorted(folder.iterdir())}

    statuses = [
        progress.status async for progress in await client.create("fresh", files=files, system="Hi.", stream=True)
    ]

    assert statuses[-1] == "success"
    assert "writing manifest" in statuses
    assert "fresh:latest" in [model.model for model in (await client.list()).models]


async def test_create_without_streaming_answers_only_success(served: Served) -> None:
    assert await served.post("/api/create", {"model": "b", "from": "tiny", "stream": False}) == (
        200,
        {"status": "success"},
    )


async def test_a_blob_has_its_name_only_when_its_digest_is_right(served: Served) -> None:
    digest = "sha256:" + hashlib.sha256(b"right").hexdigest()
    url = f"{served.url}/api/blobs/{digest}"

    async with served.session.head(url) as response:
        assert response.status == 404
    async with served.session.post(url, data=b"wrong") as response:
        assert response.status == 400
        assert "digest mismatch" in (await response.json())["error"]
    async with served.session.head(url) as response:
        assert response.status == 404
    async with served.session.post(url, data=b"right") as response:
        assert response.status == 201
    async with served.session.post(url, data=b"right") as response:
        assert response.status == 200
    async with served.session.head(url) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    "digest", ["x", "sha256:abc", "sha256:" + "g" * 64, "sha512:" + "0" * 64, "sha256-..%2f..%2fx"]
)
async def test_a_digest_is_never_a_path(served: Served, digest: str) -> None:
    async with served.session.post(f"{served.url}/api/blobs/{digest}", data=b"x") as response:
        assert response.status in (400, 404)
