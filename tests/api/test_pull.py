"""Pulls from the Hub over HTTP: a fake Hub behind a real server, as clients see it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from paddock.keys import Terms
from paddock.store.names import ModelName
from tests.api.conftest import Served, serving
from tests.api.door.keys import issue
from tests.fakes.fake_hub import FakeHub
from tests.fakes.waiting import until
from tests.store.hub.pulling import REPOSITORY, left_over, model_bytes


@pytest.fixture
async def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeHub]:
    """The Hub that the server's settings lead to, and a cache that is empty."""
    async with FakeHub.running() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.endpoint)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        running.repository(REPOSITORY, model_bytes(tmp_path, extra_values=500_000))
        yield running


def sizes(hub: FakeHub) -> int:
    [files] = hub.repositories[REPOSITORY].commits.values()
    return sum(map(len, files.values()))


async def test_a_repository_is_pulled_in_ollamas_lines(served: Served, hub: FakeHub) -> None:
    lines = await served.lines("/api/pull", {"model": f"hf.co/{REPOSITORY}"})

    assert lines[0] == {"status": "pulling manifest"}
    assert lines[-3:] == [{"status": word} for word in ("verifying sha256 digest", "writing manifest", "success")]
    layers = [line for line in lines if "digest" in line]
    assert {line["file"] for line in layers} == {"config.json", "model.safetensors", "tokenizer.json"}
    assert all(line["status"] == f"pulling {line['digest'][7:19]}" for line in layers)
    assert served.library.list()[0].name.display == f"hf.co/{REPOSITORY}:latest"


async def test_the_published_client_pulls(served: Served, hub: FakeHub) -> None:
    progress = [part async for part in await served.client.pull(REPOSITORY, stream=True)]

    assert progress[-1].status == "success"
    assert max(part.completed or 0 for part in progress) == max(part.total or 0 for part in progress) > 2_000_000
    assert (await served.client.pull(REPOSITORY)).status == "success"
    assert served.library.get(ModelName.parse(REPOSITORY)).origin


async def test_a_missing_repository_is_a_404_or_the_last_line(served: Served, hub: FakeHub) -> None:
    status, body = await served.post("/api/pull", {"model": "org/nothing", "stream": False})
    lines = await served.lines("/api/pull", {"model": "org/nothing"})

    assert status == 404
    assert "The Hub has no repository org/nothing" in body["error"]
    assert lines[-1] == body


async def test_a_gated_repository_is_a_403(served: Served, hub: FakeHub) -> None:
    hub.repositories[REPOSITORY].is_gated = True

    status, body = await served.post("/api/pull", {"model": REPOSITORY, "stream": False})

    assert status == 403
    assert "is gated: ask for access at" in body["error"]


@pytest.mark.parametrize("name", ["file:///etc/passwd", "gopher://h/a/b", "http://R/..;/", "hf.co@evil/x", "a/../b"])
async def test_what_is_no_name_is_a_400(served: Served, name: str) -> None:
    status, _ = await served.post("/api/pull", {"model": name, "stream": False})

    assert status == 400


async def test_a_short_name_of_the_users_own_is_looked_up(served: Served, hub: FakeHub, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    (home / "names.toml").write_text(f'[names]\nmine = "{REPOSITORY}"\n')
    assert await served.post("/api/pull", {"model": "mine", "stream": False}) == (200, {"status": "success"})

    (home / "names.toml").write_text("[names]\nmine = 3\n")
    status, body = await served.post("/api/pull", {"model": "mine", "stream": False})
    assert status == 400
    assert body["error"].startswith('names.toml: "mine" must lead to')


async def test_a_key_for_some_models_pulls_no_other_and_nothing_is_fetched_for_it(tmp_path: Path, hub: FakeHub) -> None:
    key = issue(tmp_path / "home", terms=Terms(scope="manage", models=("mine",)))
    async with serving(tmp_path, require_key=True) as served:
        served.session.headers.update(key.headers)
        status, body = await served.post("/api/pull", {"model": REPOSITORY, "stream": False})

    assert status == 403
    assert body["error"] == f"This API key may not make a model named '{REPOSITORY}:latest'."
    assert not hub.seen


async def test_32_clients_pull_one_model_and_each_byte_comes_once(served: Served, hub: FakeHub) -> None:
    answers = await asyncio.gather(
        *(served.post("/api/pull", {"model": REPOSITORY, "stream": number % 2 == 0}) for number in range(32))
    )

    assert answers == [(200, {"status": "success"})] * 32
    assert sum(hub.sent.values()) == sizes(hub)


async def test_a_client_that_leaves_ends_its_pull_and_what_came_is_gone_on_with(served: Served, hub: FakeHub) -> None:
    hub.faults.hold = asyncio.Event()
    async with served.session.post(served.url + "/api/pull", json={"model": REPOSITORY}) as response:
        assert json.loads(await response.content.readline()) == {"status": "pulling manifest"}
        await asyncio.wait_for(hub.holding.wait(), 20)
        await until(lambda: any(map(len, left_over(served.library))))
        response.close()
    await until(lambda: served.is_at_rest)
    assert left_over(served.library)

    hub.faults.hold = None
    assert await served.post("/api/pull", {"model": REPOSITORY, "stream": False}) == (200, {"status": "success"})
    assert left_over(served.library) == []
