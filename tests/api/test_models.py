"""What there is, what runs, and how it changes."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path

import ollama
import pytest

from paddock.store.create import import_folder
from paddock.store.names import ModelName
from tests.api.conftest import CONFIG, Served, write_model_folder
from tests.fakes.waiting import until


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


async def test_show_puts_what_the_request_brings_in_place_of_the_models_own(served: Served) -> None:
    await served.post("/api/create", {"model": "b", "from": "tiny", "system": "Old.", "parameters": {"seed": 1}})

    _, shown = await served.post(
        "/api/show", {"name": "b", "system": "New.", "template": "{{ messages }}", "options": {"seed": 2, "top_k": 5}}
    )

    assert (shown["system"], shown["template"]) == ("New.", "{{ messages }}")
    assert [line.split() for line in shown["parameters"].splitlines()] == [["seed", "2"], ["top_k", "5"]]
    assert 'SYSTEM """New."""' in shown["modelfile"]
    assert (await served.post("/api/show", {"name": "b"}))[1]["system"] == "Old."


async def test_show_tells_of_template_and_tokenizer_what_the_files_say(served: Served, tmp_path: Path) -> None:
    folder = write_model_folder(tmp_path / "marked")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    config = CONFIG | {"bos_token_id": 1, "eos_token_id": [2, 3], "pad_token_id": "none"}
    (folder / "config.json").write_text(json.dumps(config))
    import_folder(served.library, ModelName.parse("marked"), folder)

    _, shown = await served.post("/api/show", {"model": "marked", "verbose": True})

    assert shown["template"] == "{{ messages }}"
    assert "TEMPLATE" not in shown["modelfile"]
    about = {key: value for key, value in shown["model_info"].items() if key.startswith("tokenizer")}
    assert about == {
        "tokenizer.chat_template": "{{ messages }}",
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.eos_token_ids": [2, 3],
    }
    assert not any(key.startswith("tokenizer") for key in (await served.client.show("marked")).modelinfo or {})


async def test_a_model_that_makes_pictures_has_no_context(painting: Served) -> None:
    _, shown = await painting.post("/api/show", {"model": "zimage"})
    assert not {"context_length", "embedding_length"} & shown["details"].keys()

    async with painting.session.get(painting.url + "/api/tags") as response:
        details = {model["name"]: model["details"] for model in (await response.json())["models"]}
    assert "context_length" not in details["zimage:latest"]
    assert details["tiny:latest"]["context_length"] == 2048


async def test_a_model_that_makes_pictures_gets_no_parameters_of_texts(painting: Served) -> None:
    wrong = {"model": "warm", "from": "zimage", "parameters": {"temperature": 0.5}}
    status, error = await painting.post("/api/create", wrong)
    assert (status, error["error"]) == (
        400,
        'parameter "temperature" is for texts, and this model makes pictures: leave it out.',
    )

    status, _ = await painting.post("/api/create", wrong | {"parameters": {"seed": 7, "temperature": None}})
    assert status == 200


async def test_pull_tells_its_steps_as_clients_show_them(served: Served) -> None:
    lines = await served.lines("/api/pull", {"model": "demo"})

    assert lines[0] == {"status": "pulling manifest"}
    assert lines[-1] == {"status": "success"}
    layers = [line for line in lines if "total" in line]
    assert layers
    for layer in layers:
        assert layer["status"] == f"pulling {layer['digest'].removeprefix('sha256:')[:12]}"
        assert layer["completed"] == layer["total"] > 0
    assert "demo:latest" in [model.model for model in (await served.client.list()).models]


async def test_an_upload_that_breaks_off_leaves_nothing_behind(served: Served) -> None:
    digest = "sha256:" + hashlib.sha256(b"whole").hexdigest()
    _, writer = await asyncio.open_connection("127.0.0.1", int(served.url.rpartition(":")[2]))
    writer.write(f"POST /api/blobs/{digest} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nwho".encode())
    await writer.drain()
    folder = served.library.blobs.path(digest).parent
    await until(lambda: any("partial" in path.name for path in folder.iterdir()))

    writer.close()

    await until(lambda: served.is_at_rest and not any("partial" in path.name for path in folder.iterdir()))
    assert not served.library.blobs.has(digest)


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
        ("/api/create", {"model": "new", "from": "tiny", "adapters": {"a": "b"}}, 400, "invalid digest format"),
        ("/api/create", {"model": "new", "from": "tiny", "quantize": "int5"}, 400, "unsupported quantize type"),
        ("/api/create", {"model": "new", "files": {"../x": "sha256:" + "0" * 64}}, 400, "path"),
        ("/api/create", {"model": "new", "from": "tiny", "template": "{{ .Prompt }}"}, 400, "Jinja"),
        ("/api/create", {"model": "new", "from": "tiny", "parameters": {"warmth": 1}}, 400, "warmth"),
        ("/api/create", {"model": "new", "from": "tiny", "messages": [{"images": ["AA"]}]}, 400, "words alone"),
        ("/api/pull", {"model": "llama3"}, 404, "cannot be pulled"),
        ("/api/pull", {"model": "a//b"}, 400, "invalid model name"),
        ("/api/push", {"model": "tiny"}, 400, "cannot be pushed"),
        ("/api/push", {"model": "nobody"}, 404, "model 'nobody' not found"),
        ("/api/show", {"model": "tiny", "options": {"warmth": 1}}, 400, "warmth"),
        ("/api/me", {}, 404, "no accounts"),
        ("/api/signout", {}, 404, "no accounts"),
        ("/api/experimental/web_search", {"query": "x"}, 404, "nothing on the web"),
        ("/api/experimental/web_fetch", {"url": "http://localhost"}, 404, "nothing on the web"),
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
