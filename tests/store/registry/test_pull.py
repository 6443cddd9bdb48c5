from __future__ import annotations

import asyncio
import re

import msgspec
import pytest

from paddock.errors import BadRequest, InvalidModelFiles, NotFound, RemoteFailed, StoreError, UnsupportedModel
from paddock.store.names import ModelName
from paddock.store.transfer import room
from tests.fakes.fake_registry import MANIFEST_TYPE, digest_of
from tests.fakes.waiting import until
from tests.store.making import blob_count, write_model
from tests.store.registry.pulling import (
    MODEL,
    WEIGHTS,
    manifest_bytes,
    per_tensor_model,
    serve_model,
    stored_blobs,
    weights_of,
    with_layer,
    write_large_model,
)


def partials(library):
    folder = library.root / "partial"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


async def test_a_model_is_pulled_byte_by_byte(client, registry, served):
    model = await client.pull()
    assert client.library.manifest_bytes(client.name()) == served
    assert model.digest == digest_of(served).removeprefix("sha256:")
    assert stored_blobs(client.library) == registry.blobs
    assert (model.system, model.parameters) == ("Be brief.", {"temperature": 0.5})
    assert client.library.files(model)[WEIGHTS].read_bytes() == registry.blobs[weights_of(served)]
    assert partials(client.library) == []


async def test_the_lines_are_those_of_ollama(client, served):
    await client.pull()
    assert client.statuses[0] == "pulling manifest"
    assert client.statuses[-3:] == ["verifying sha256 digest", "writing manifest", "success"]
    told = {line.digest: line for line in client.lines if line.digest}
    body = msgspec.json.decode(served)
    assert told.keys() == {layer["digest"] for layer in (body["config"], *body["layers"])}
    assert all(line.status == f"pulling {digest[7:19]}" for digest, line in told.items())
    assert all(line.completed == line.total > 0 for line in told.values())


async def test_a_model_that_is_replaced_loses_the_layers_that_only_it_had(client, registry, tmp_path, served):
    await client.pull()
    other = serve_model(registry, write_model(tmp_path / "other", fill=2.0))
    await client.pull()
    assert client.statuses[-2:] == ["removing unused layers", "success"]
    assert not client.library.blobs.has(weights_of(served))
    assert client.library.blobs.has(weights_of(other))


async def test_a_second_pull_fetches_nothing_but_the_manifest(client, registry, served):
    first = await client.pull()
    registry.sent.clear()
    assert (await client.pull()).digest == first.digest
    assert not registry.sent
    assert "removing unused layers" not in client.statuses


async def test_a_model_stored_one_tensor_at_a_time_is_pulled_and_told_of_as_one(client, registry, tmp_path):
    data = per_tensor_model(registry, tmp_path)
    model = await client.pull()
    assert client.library.manifest_bytes(client.name()) == data
    assert model.facts.engine == "text"
    [*_, last] = [line for line in client.lines if line.digest == "sha256:model"]
    assert last.status == "pulling model"
    assert last.completed == last.total
    assert b'"unknown"' in client.library.manifest_bytes(client.name())


async def test_a_manifest_in_the_words_of_oci_is_taken(client, registry, served):
    data = served.replace(MANIFEST_TYPE.encode(), b"application/vnd.oci.image.manifest.v1+json")
    registry.add_manifest(MODEL, "latest", data)
    await client.pull()
    assert client.library.manifest_bytes(client.name()) == data
    assert "oci" in registry.asked("GET", "/manifests/")[0].headers["Accept"]


@pytest.mark.parametrize("kind", ["model", "projector", "adapter"])
async def test_gguf_is_refused_before_a_blob_is_asked_for(client, registry, served, kind):
    registry.add_manifest(MODEL, "latest", with_layer(served, mediaType=f"application/vnd.ollama.image.{kind}"))
    with pytest.raises(UnsupportedModel, match="me/model:latest is in GGUF format, and models run from safetensors"):
        await client.pull()
    assert not registry.asked("GET", "/blobs/")


async def test_a_model_without_weights_is_refused(client, registry, served):
    body = msgspec.json.decode(served)
    body["layers"] = [layer for layer in body["layers"] if layer.get("name") != WEIGHTS]
    registry.add_manifest(MODEL, "latest", msgspec.json.encode(body))
    with pytest.raises(InvalidModelFiles, match="holds no weights in safetensors"):
        await client.pull()
    assert not registry.asked("GET", "/blobs/")


HEX = "0" * 64
HOSTILE_DIGESTS = [
    "sha256:../../../../tmp/pwn", "sha256-" + HEX, "sha256:" + HEX[:-1], "sha256:" + HEX + "0", "sha256:" + "A" * 64,
    "sha512:" + HEX, "", "sha256:", "x", "/etc/passwd", "sha256:..\\..\\x", "sha256:%2e%2e%2fpwn",
    "sha256:" + "\uff10" * 64,
    "sha256:" + HEX[:-1] + "\0",
]  # fmt: skip


@pytest.mark.parametrize("digest", HOSTILE_DIGESTS)
@pytest.mark.parametrize("media_type", ["application/vnd.ollama.image.tensor", "application/vnd.paddock.image.weights"])
async def test_a_hostile_digest_ends_the_pull_before_a_blob_is_asked_for(client, registry, served, digest, media_type):
    registry.add_manifest(MODEL, "latest", with_layer(served, digest=digest, mediaType=media_type))
    with pytest.raises(RemoteFailed, match="names a blob by what is no digest"):
        await client.pull()
    assert not registry.asked("GET", "/blobs/")
    assert blob_count(client.library.root) == 0
    assert partials(client.library) == []


@pytest.mark.parametrize("digest", [None, 5, ["x"], {}])
async def test_a_digest_that_is_no_text_makes_the_manifest_unreadable(client, registry, served, digest):
    registry.add_manifest(MODEL, "latest", with_layer(served, digest=digest))
    with pytest.raises(RemoteFailed, match="cannot be read"):
        await client.pull()


@pytest.mark.parametrize("size", [-1, 2**50, 2**63, 2**64, 10**30])
async def test_a_size_that_cannot_be_is_refused(client, registry, served, size):
    before, separator, layers = served.partition(b'"layers":')
    changed = re.sub(rb'"size":\d+', b'"size":%d' % size, layers, count=1)
    registry.add_manifest(MODEL, "latest", before + separator + changed)
    with pytest.raises(RemoteFailed):
        await client.pull()
    assert not registry.asked("GET", "/blobs/")


@pytest.mark.parametrize(
    "name", ["../../evil", "/abs", "a\\..\\b", "CON", "a/../b.json", "a//b", "x" * 300, "a\0b", "./a", "nul.json", ""]
)
async def test_a_hostile_file_name_is_refused_before_a_blob_is_asked_for(client, registry, served, name):
    registry.add_manifest(MODEL, "latest", with_layer(served, name=name))
    with pytest.raises(RemoteFailed, match="not one inside a model"):
        await client.pull()
    assert not registry.asked("GET", "/blobs/")


@pytest.mark.parametrize("name", ["modeling.py", "model.gguf", "weights.pkl", "run.sh"])
async def test_a_file_that_no_model_needs_is_refused_before_a_blob_is_asked_for(client, registry, served, name):
    registry.add_manifest(MODEL, "latest", with_layer(served, name=name, mediaType="application/vnd.ollama.image.json"))
    with pytest.raises((InvalidModelFiles, BadRequest)):
        await client.pull()
    assert not registry.asked("GET", "/blobs/")


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{", b'{"schemaVersion":1}', b"[" * 100_000, b'{"manifests":[]}', b"\xff\xfe", b" " * 5_000_000],
)
async def test_what_is_no_manifest_is_refused(client, registry, served, data):
    registry.add_manifest(MODEL, "latest", data)
    with pytest.raises(RemoteFailed):
        await client.pull()


async def test_a_list_of_manifests_is_refused(client, registry, served):
    index = served.replace(MANIFEST_TYPE.encode(), b"application/vnd.oci.image.index.v1+json")
    registry.add_manifest(MODEL, "latest", index)
    with pytest.raises(RemoteFailed, match="of a kind that is not known here"):
        await client.pull()


async def test_one_blob_with_two_sizes_is_refused(client, registry, served):
    body = msgspec.json.decode(served)
    body["layers"].append({**body["layers"][0], "size": 7})
    registry.add_manifest(MODEL, "latest", msgspec.json.encode(body))
    with pytest.raises(RemoteFailed, match="two sizes"):
        await client.pull()


async def test_a_model_that_is_not_there_is_explained_without_the_registrys_words(client, registry, served):
    with pytest.raises(NotFound) as error:
        await client.pull("me/nothing")
    assert error.value.message == (
        f"The registry {registry.host} has no model me/nothing:latest: check the name and the tag."
    )


async def test_a_hostile_template_is_refused_before_the_weights_come_and_leaves_nothing(client, registry, tmp_path):
    data = serve_model(registry, write_model(tmp_path / "bad"), system="{% if %}")
    body = msgspec.json.decode(data)
    for layer in body["layers"]:
        layer["mediaType"] = layer["mediaType"].replace("image.system", "image.template")
    registry.add_manifest(MODEL, "latest", msgspec.json.encode(body))
    with pytest.raises(BadRequest, match="not valid Jinja"):
        await client.pull()
    assert not registry.sent[weights_of(data)]
    assert blob_count(client.library.root) == 0


@pytest.mark.parametrize(
    ("media_type", "data"),
    [
        ("application/vnd.ollama.image.params", b'{"no_such_option": 1}'),
        ("application/vnd.ollama.image.params", b"[]"),
        ("application/vnd.ollama.image.messages", b'[{"role": "villain", "content": "x"}]'),
        ("application/vnd.ollama.image.system", b"\xff\xfe"),
        ("application/vnd.docker.container.image.v1+json", b"no json"),
    ],
)
async def test_what_would_make_every_request_fail_is_refused_before_the_weights_come(
    client, registry, served, media_type, data
):
    body = msgspec.json.decode(served)
    layer = {"mediaType": media_type, "digest": registry.add_blob(MODEL, data), "size": len(data)}
    if "config" in media_type or "container" in media_type:
        body["config"] = layer
    else:
        body["layers"] = [each for each in body["layers"] if each["mediaType"] != media_type] + [layer]
    registry.add_manifest(MODEL, "latest", msgspec.json.encode(body))
    with pytest.raises(BadRequest):
        await client.pull()
    assert not registry.sent[weights_of(served)]
    assert blob_count(client.library.root) == 0


async def test_weights_that_are_none_leave_nothing_and_the_model_that_had_the_name(client, registry, served):
    before = await client.pull()
    kept = stored_blobs(client.library)
    wrong = b"\xff" * 1000
    bad = with_layer(served, name="extra.json", digest=registry.add_blob(MODEL, b"{}"), size=2)
    body = msgspec.json.decode(bad)
    body["layers"].append(
        {"mediaType": "application/vnd.paddock.image.weights", "digest": registry.add_blob(MODEL, wrong), "size": 1000,
         "name": "model-2.safetensors"}
    )  # fmt: skip
    registry.add_manifest(MODEL, "latest", msgspec.json.encode(body))
    with pytest.raises(InvalidModelFiles):
        await client.pull()
    assert client.library.get(client.name()) == before
    assert stored_blobs(client.library) == kept


async def test_a_description_that_lies_is_not_what_counts(client, registry, served):
    body = msgspec.json.decode(served)
    config = msgspec.json.decode(registry.blobs[body["config"]["digest"]])
    data = msgspec.json.encode({**config, "engine": "image", "weights_bytes": 1, "context_length": 10**9})
    body["config"] = {**body["config"], "digest": registry.add_blob(MODEL, data), "size": len(data)}
    registry.add_manifest(MODEL, "latest", msgspec.json.encode(body))
    facts = (await client.pull()).facts
    assert (facts.engine, facts.context_length) == ("text", 64)
    assert facts.weights_bytes > 1


async def test_too_little_room_is_told_in_bytes_before_a_blob_is_asked_for(client, registry, served, monkeypatch):
    total = sum(len(data) for data in registry.blobs.values())

    class Usage:
        free = 2 * total - 7

    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: Usage)
    with pytest.raises(StoreError, match=f"{total} bytes are to come, .* 7 bytes are short"):
        await client.pull()
    assert not registry.asked("GET", "/blobs/")


async def test_a_cancelled_pull_keeps_what_has_come_and_goes_on_with_it(client, registry, tmp_path):
    data = serve_model(registry, write_large_model(tmp_path / "large", 500_000))
    digest = weights_of(data)
    registry.faults.hold = asyncio.Event()
    task = asyncio.create_task(client.pull())
    await asyncio.wait_for(registry.holding.wait(), 20)
    await until(lambda: registry.sent[digest] and partials(client.library))
    task.cancel()
    await asyncio.wait({task})
    assert partials(client.library)
    registry.faults.hold = None
    model = await client.pull()
    assert client.library.files(model)[WEIGHTS].read_bytes() == registry.blobs[digest]
    assert registry.sent[digest] < len(registry.blobs[digest]) * 1.6
    assert partials(client.library) == []


async def test_a_name_may_be_another_than_that_of_the_repository(client, served):
    model = await client.pull(name="mine")
    assert model.name == ModelName.parse("mine")


def test_the_fakes_manifests_are_what_they_say():
    assert manifest_bytes({"a": 1}, []) == b'{"schemaVersion":2,"mediaType":"%s","config":{"a":1},"layers":[]}' % (
        MANIFEST_TYPE.encode()
    )
