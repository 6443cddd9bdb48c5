from __future__ import annotations

import asyncio
import hashlib

import pytest

from paddock.errors import BadRequest, InvalidModelFiles, NoAccess, NotFound, RemoteFailed, StoreError
from paddock.store.hub import pull as pulling
from paddock.store.transfer import room
from tests.fakes.fake_hub import git_id, sha256
from tests.fakes.waiting import until
from tests.store.hub.pulling import REPOSITORY, WEIGHTS, digest_of, left_over, model_bytes, stored_bytes
from tests.store.making import blob_count, named


async def test_a_repository_becomes_a_model_that_knows_where_it_came_from(hub, puller, tmp_path):
    files = model_bytes(tmp_path)
    model = await puller()
    assert stored_bytes(puller.library, model) == files
    assert puller.library.get(named("mine")) == model
    assert model.origin.repository == REPOSITORY
    assert model.origin.commit == hub.repositories[REPOSITORY].revisions["main"]
    assert left_over(puller.library) == []


async def test_the_lines_are_those_of_ollama(puller, tmp_path):
    files = model_bytes(tmp_path)
    await puller()
    digests = {line.digest for line in puller.lines if line.digest}
    assert puller.statuses[0] == "pulling manifest"
    assert puller.statuses[-3:] == ["verifying sha256 digest", "writing manifest", "success"]
    assert digests == {digest_of(data) for data in files.values()}
    last = {line.digest: line for line in puller.lines if line.digest}
    assert all(line.completed == line.total > 0 for line in last.values())
    assert all(line.status == f"pulling {digest[7:19]}" for digest, line in last.items())


async def test_only_what_the_engine_needs_is_fetched(hub, puller, tmp_path):
    files = model_bytes(tmp_path)
    extra = ["pytorch_model.bin", "modeling.py", "model-q4.gguf", "original/consolidated.safetensors", "README.md",
             "consolidated.safetensors", "model.fp16.safetensors", "onnx/model.onnx"]  # fmt: skip
    hub.repository(REPOSITORY, {**files, **dict.fromkeys(extra, b"x" * 500), "LICENSE": b"Do as you like."})
    model = await puller()
    assert stored_bytes(puller.library, model) == files
    assert model.licenses == ("Do as you like.",)
    asked = {seen.path.rpartition("/resolve/")[2].partition("/")[2] for seen in hub.seen if "/resolve/" in seen.path}
    assert asked == {*files, "LICENSE"}


async def test_without_a_licence_file_the_card_tells_its_name(hub, puller, tmp_path):
    hub.repositories[REPOSITORY].card = {"license": "apache-2.0"}
    assert (await puller()).licenses == ("apache-2.0",)


async def test_a_branch_that_moves_meanwhile_mixes_no_revisions(hub, puller, tmp_path):
    repository = hub.repositories[REPOSITORY]
    first, old = repository.revisions["main"], model_bytes(tmp_path)

    def move(request):
        repository.commit(model_bytes(tmp_path, fill=2.0))

    hub.faults.redirect = move
    model = await puller()
    assert model.origin.commit == first
    assert stored_bytes(puller.library, model) == old


async def test_a_second_pull_of_the_same_commit_fetches_no_large_file(hub, puller):
    first = await puller()
    before = hub.sent[sha256(stored_bytes(puller.library, first)[WEIGHTS])]
    assert (await puller()).digest == first.digest
    assert hub.sent[sha256(stored_bytes(puller.library, first)[WEIGHTS])] == before


async def test_a_revision_is_a_branch_a_tag_or_a_commit(hub, puller, tmp_path):
    other = model_bytes(tmp_path, fill=3.0)
    commit = hub.repositories[REPOSITORY].commit(other, "v2")
    for revision in ("v2", commit):
        assert stored_bytes(puller.library, await puller(revision=revision)) == other


async def test_a_way_of_packing_is_the_repository_beside_it(hub, puller, tmp_path):
    other = model_bytes(tmp_path, fill=4.0)
    hub.repository(f"{REPOSITORY}-4bit", other)
    model = await puller(revision="4bit")
    assert model.origin.repository == f"{REPOSITORY}-4bit"
    assert stored_bytes(puller.library, model) == other


@pytest.mark.parametrize(
    ("revision", "words"), [("v9", "no revision named 'v9'"), ("8bit", "there is no org/repo-8bit")]
)
async def test_an_absent_revision_is_explained(puller, revision, words):
    with pytest.raises(NotFound, match=words):
        await puller(revision=revision)


async def test_an_absent_repository_is_explained(puller):
    with pytest.raises(NotFound, match=r"The Hub has no repository org/nothing, or it is private"):
        await puller("org/nothing")


async def test_a_gated_repository_is_explained_with_and_without_a_token(hub, puller):
    hub.repositories[REPOSITORY].is_gated = True
    with pytest.raises(NoAccess, match=r"org/repo is gated: ask for access at .*/org/repo; then log in with"):
        await puller()
    with pytest.raises(NoAccess, match="the token that is set has none"):
        await puller.with_settings(token=hub.token)()


async def test_a_private_repository_is_read_with_a_token_and_a_wrong_one_is_told(hub, puller):
    hub.repositories[REPOSITORY].is_private = True
    with pytest.raises(NotFound):
        await puller()
    with pytest.raises(NoAccess, match="does not take the token"):
        await puller.with_settings(token="hf_wrong")()
    await puller.with_settings(token=hub.token)()


async def test_the_token_goes_to_the_hub_and_nowhere_else(hub, puller):
    await puller.with_settings(token=hub.token)()
    with_token = {seen.where for seen in hub.seen if "Authorization" in seen.headers}
    assert {seen.where for seen in hub.seen} == {"hub", "cdn"}
    assert with_token == {"hub"}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"model-Q4_K_M.gguf": b"x"}, "its files are GGUF"),
        ({"config.json": b"{}", "pytorch_model.bin": b"x"}, "its weights are pickles"),
        ({"README.md": b"x"}, "are missing"),
    ],
)
async def test_a_repository_without_a_model_says_what_it_has_instead(hub, puller, files, words):
    hub.repository("org/other", files)
    with pytest.raises(InvalidModelFiles, match=words):
        await puller("org/other")


@pytest.mark.parametrize(
    "name",
    ["../../evil", "/abs", "a\\..\\b", "CON", "a/../b.json", "a//b", "x" * 300, "a\0b", "./a", "nul.json", "a\nb", ""],
)
async def test_a_hostile_file_name_ends_the_pull_before_a_byte_is_written(hub, puller, name):
    hub.faults.listed_too = [{"rfilename": name, "size": 3, "blobId": git_id(b"abc")}]
    with pytest.raises(RemoteFailed, match="lists a file whose name"):
        await puller()
    assert blob_count(puller.library.root) == 0
    assert left_over(puller.library) == []
    assert not [seen for seen in hub.seen if "/resolve/" in seen.path]


async def test_a_huge_listing_is_refused(hub, puller):
    hub.faults.listed_too = [{"rfilename": f"f{number}"} for number in range(50_001)]
    with pytest.raises(RemoteFailed, match="cannot be right"):
        await puller()


async def test_a_compressed_answer_is_refused(hub, puller):
    hub.faults.compressed = True
    with pytest.raises(RemoteFailed, match="compressed"):
        await puller()


async def test_a_hostile_model_is_refused_before_its_weights_come_and_leaves_nothing(hub, puller, tmp_path):
    files = model_bytes(tmp_path)
    files["tokenizer_config.json"] = b'{"auto_map": {"AutoTokenizer": ["evil.Tokenizer", null]}}'
    hub.repository(REPOSITORY, files)
    with pytest.raises(BadRequest):
        await puller()
    assert not hub.sent[sha256(files[WEIGHTS])]
    assert blob_count(puller.library.root) == 0
    with pytest.raises(NotFound):
        puller.library.get(named("mine"))


async def test_weights_that_are_none_leave_nothing_either(hub, puller, tmp_path):
    hub.repository(REPOSITORY, {**model_bytes(tmp_path), WEIGHTS: b"\xff" * 1000})
    with pytest.raises(InvalidModelFiles):
        await puller()
    assert blob_count(puller.library.root) == 0


async def test_a_pull_that_fails_leaves_the_model_that_had_the_name(hub, puller, tmp_path):
    before = await puller()
    hub.repository(REPOSITORY, {**model_bytes(tmp_path), WEIGHTS: b"\xff" * 1000})
    with pytest.raises(InvalidModelFiles):
        await puller()
    assert puller.library.get(named("mine")) == before
    assert puller.library.files(before)


async def test_too_little_room_is_told_in_bytes_before_anything_is_fetched(hub, puller, tmp_path, monkeypatch):
    total = sum(map(len, model_bytes(tmp_path).values()))

    class Usage:
        free = 2 * total - 7

    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: Usage)
    with pytest.raises(StoreError, match=f"{total} bytes are to come, .* 7 bytes are short"):
        await puller()
    assert not hub.sent


async def test_what_somebody_removes_meanwhile_is_fetched_again(hub, puller, tmp_path, monkeypatch):
    weights = model_bytes(tmp_path)[WEIGHTS]
    real, calls = pulling.create, []

    def create(library, spec, progress):
        if not calls:
            library.blobs.remove(digest_of(weights))
        calls.append(spec)
        return real(library, spec, progress)

    monkeypatch.setattr(pulling, "create", create)
    model = await puller()
    assert len(calls) == 2
    assert stored_bytes(puller.library, model)[WEIGHTS] == weights


async def test_a_cancelled_pull_keeps_what_has_come_and_goes_on_with_it(hub, puller, tmp_path):
    files = model_bytes(tmp_path, extra_values=500_000)
    hub.repository(REPOSITORY, files)
    content = sha256(files[WEIGHTS])
    hub.faults.hold = asyncio.Event()
    task = asyncio.create_task(puller())
    await asyncio.wait_for(hub.holding.wait(), 10)
    await until(lambda: any(_sizes(puller)))
    task.cancel()
    await asyncio.wait({task})
    [partial] = left_over(puller.library)
    assert partial == f"sha256-{content}-{len(files[WEIGHTS])}"
    hub.faults.hold = None
    model = await puller()
    assert stored_bytes(puller.library, model) == files
    ranges = [seen.headers.get("Range") for seen in hub.seen if seen.where == "cdn"]
    assert ranges[0] is None
    assert ranges[-1] is not None
    assert hub.sent[content] < len(files[WEIGHTS]) * 1.6
    assert hashlib.sha256(stored_bytes(puller.library, model)[WEIGHTS]).hexdigest() == content


def _sizes(puller):
    folder = puller.library.root / "partial"
    return [path.stat().st_size for path in folder.iterdir()] if folder.is_dir() else []
