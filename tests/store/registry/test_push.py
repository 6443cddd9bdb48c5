from __future__ import annotations

import asyncio
from dataclasses import replace

import msgspec
import pytest

from paddock.errors import DamagedModel, NoAccess, NotFound, RemoteFailed
from paddock.store.library import Library
from tests.fakes.fake_registry import digest_of
from tests.fakes.waiting import until
from tests.store.making import derive, make, write_model
from tests.store.registry.pulling import MODEL, per_tensor_model, stored_blobs, weights_of, write_large_model

PIECE = 300_000


@pytest.fixture
def stored(client, tmp_path):
    """The manifest of a model in the library, under a name of the registry."""
    folder = write_large_model(tmp_path / "mine", 500_000)
    make(client.library, folder, f"{client.registry.host}/{MODEL}", system="Be brief.")
    return client.library.manifest_bytes(client.name())


def has_all(registry, manifest, repository=MODEL):
    body = msgspec.json.decode(manifest)
    return {layer["digest"] for layer in (body["config"], *body["layers"])} <= registry.owned[repository]


async def test_what_is_pushed_is_pulled_again_byte_by_byte(client, registry, stored, tmp_path):
    await client.push()
    assert registry.manifests[MODEL, "latest"][0] == stored
    elsewhere = replace(client, library=Library(tmp_path / "elsewhere"))
    model = await elsewhere.pull()
    assert elsewhere.library.manifest_bytes(client.name()) == stored
    assert model.digest == client.library.get(client.name()).digest
    assert stored_blobs(elsewhere.library) == stored_blobs(client.library)


async def test_the_lines_are_those_of_ollama(client, stored):
    await client.push()
    assert client.statuses[0] == "retrieving manifest"
    assert client.statuses[-2:] == ["pushing manifest", "success"]
    told = {line.digest: line for line in client.lines if line.digest}
    body = msgspec.json.decode(stored)
    assert told.keys() == {layer["digest"] for layer in (body["config"], *body["layers"])}
    assert all(line.status == f"pushing {digest[7:19]}" for digest, line in told.items())
    assert all(line.completed == line.total > 0 for line in told.values())


async def test_the_manifest_goes_last_and_what_is_there_already_is_not_sent(client, registry, stored):
    registry.add_blob(MODEL, client.library.blobs.path(weights_of(stored)).read_bytes())
    await client.push()
    writes = [seen for seen in registry.seen if seen.method == "PUT"]
    assert "/manifests/" in writes[-1].path
    assert not [seen for seen in writes if weights_of(stored)[7:] in seen.path]
    before = len(writes)
    await client.push()
    assert [seen.path for seen in registry.seen if seen.method == "PUT"][before:] == [writes[-1].path]


async def test_a_model_of_single_tensors_is_pushed_as_it_came(client, registry, tmp_path):
    data = per_tensor_model(registry, tmp_path)
    await client.pull()
    registry.manifests.clear()
    registry.owned.clear()
    await client.push()
    assert registry.manifests[MODEL, "latest"][0] == data
    assert any(line.status == "pushing model" and line.completed == line.total for line in client.lines)


async def test_the_blobs_of_a_parent_are_mounted_from_its_repository(client, registry, stored, tmp_path):
    await client.push()
    derive(client.library, f"{registry.host}/me/child", f"{registry.host}/{MODEL}", system="Be long.")
    before = len(registry.seen)
    await client.push("me/child")
    assert has_all(registry, client.library.manifest_bytes(client.name("me/child")), "me/child")
    sent = [seen for seen in registry.seen[before:] if seen.method == "PUT" and "/uploads/" in seen.path]
    assert not [seen for seen in sent if weights_of(stored)[7:] in seen.path]
    assert [seen for seen in registry.seen[before:] if "from=me%2Fmodel" in seen.path]


async def test_where_mounting_is_not_offered_the_blobs_are_sent(client, registry, stored):
    await client.push()
    registry.mounts = False
    derive(client.library, f"{registry.host}/me/child", f"{registry.host}/{MODEL}", system="Be long.")
    await client.push("me/child")
    assert has_all(registry, client.library.manifest_bytes(client.name("me/child")), "me/child")


async def test_a_registry_that_demands_pieces_gets_them_no_smaller_than_it_wants(client, registry, stored):
    registry.least_chunk_bytes = PIECE
    await client.with_settings(chunk_bytes=1000).push()
    assert has_all(registry, stored)
    size = len(registry.blobs[weights_of(stored)])
    pieces = [seen.body_bytes for seen in registry.asked("PATCH", "/uploads/") if seen.body_bytes]
    assert sum(pieces) >= size
    assert max(pieces) == PIECE


async def test_a_registry_that_does_not_take_so_much_at_once_gets_pieces(client, registry, stored):
    registry.largest_whole_bytes = PIECE
    await client.with_settings(chunk_bytes=PIECE).push()
    assert has_all(registry, stored)
    assert len(registry.asked("PATCH", "/uploads/")) >= 6


async def test_a_line_that_breaks_while_it_is_sent_is_gone_on_with_in_pieces(client, registry, stored):
    registry.faults.break_upload_after = lambda method, attempt: 100_000 if attempt in (1, 2) else None
    await client.with_settings(chunk_bytes=PIECE).push()
    assert has_all(registry, stored)
    starts = [seen.headers["Content-Range"].partition("-")[0] for seen in registry.asked("PATCH", "/uploads/")]
    assert len(set(starts)) == len(starts) or starts.count("0") < len(starts)


async def test_a_line_that_breaks_without_end_is_given_up_and_the_manifest_is_not_sent(client, registry, stored):
    registry.faults.break_upload_after = lambda method, attempt: 1000
    with pytest.raises(RemoteFailed, match="The upload failed 6 times in a row"):
        await client.push()
    assert not registry.manifests


async def test_who_may_not_write_is_told_and_who_may_is_let_in(client, registry, stored):
    registry.rules.users = {"me": "secret"}
    with pytest.raises(NoAccess, match="does not open me/model:latest to whoever asks"):
        await client.push()
    assert not registry.manifests
    await client.with_credentials("me", "secret").push()
    assert registry.manifests[MODEL, "latest"][0] == stored
    scopes = [seen.path for seen in registry.seen if seen.where == "token"]
    assert any("pull%2Cpush" in path for path in scopes)


async def test_a_blob_that_is_damaged_here_is_not_sent(client, registry, stored):
    path = client.library.blobs.path(weights_of(stored))
    data = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(DamagedModel):
        await client.push()
    assert not registry.manifests
    assert weights_of(stored) not in registry.blobs


async def test_a_model_that_is_not_here_is_not_found(client):
    with pytest.raises(NotFound):
        await client.push()


async def test_a_cancelled_push_leaves_no_manifest_and_the_next_one_finishes(client, registry, stored):
    registry.faults.statuses = []
    sent = asyncio.Event()
    real = registry._take

    async def hold(request, come, seen):
        sent.set()
        await asyncio.sleep(60)
        return await real(request, come, seen)

    registry._take = hold
    task = asyncio.create_task(client.push())
    await asyncio.wait_for(sent.wait(), 10)
    task.cancel()
    await asyncio.wait({task})
    assert not registry.manifests
    registry._take = real
    await client.push()
    assert has_all(registry, stored)


async def test_the_registry_is_asked_for_what_it_has_of_each_blob(client, registry, stored):
    await client.push()
    asked = {seen.path.rpartition("/")[2] for seen in registry.asked("HEAD", "/blobs/")}
    body = msgspec.json.decode(stored)
    assert asked == {layer["digest"] for layer in (body["config"], *body["layers"])}
    await until(lambda: digest_of(stored) == f"sha256:{client.library.get(client.name()).digest}")


async def test_a_push_holds_the_model_that_it_sends(client, registry, stored, tmp_path):
    """Somebody replaces the model meanwhile: what is sent is whole all the same."""
    real, replaced = registry._take, []

    async def take(request, come, seen):
        if not replaced:
            replaced.append(1)
            await asyncio.to_thread(
                make, client.library, write_model(tmp_path / "new", fill=3.0), f"{registry.host}/{MODEL}"
            )
        return await real(request, come, seen)

    registry._take = take
    await client.push()
    assert registry.manifests[MODEL, "latest"][0] == stored
    assert has_all(registry, stored)
