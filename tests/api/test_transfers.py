"""Pulls from a registry and pushes to one over HTTP: a fake registry behind a real server, as clients see it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import ollama
import pytest

from paddock.keys import Terms
from paddock.store.names import ModelName
from tests.api.conftest import Served, serving
from tests.api.door.keys import issue
from tests.fakes.fake_registry import FakeRegistry
from tests.fakes.waiting import until
from tests.store.hub.pulling import left_over
from tests.store.registry.pulling import serve_model, weights_of, write_large_model


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[FakeRegistry]:
    """A registry with `me/model`, whose weights have two megabytes."""
    async with FakeRegistry.running() as running:
        serve_model(running, write_large_model(tmp_path / "large", 500_000))
        yield running


def pulling(registry: FakeRegistry, **more: object) -> dict[str, object]:
    return {"model": f"{registry.host}/me/model", "insecure": True, **more}


def large(registry: FakeRegistry) -> str:
    """The digest of the weights."""
    return weights_of(registry.manifests["me/model", "latest"][0])


async def test_a_model_is_pulled_in_ollamas_lines(served: Served, registry: FakeRegistry) -> None:
    lines = await served.lines("/api/pull", pulling(registry))

    assert lines[0] == {"status": "pulling manifest"}
    assert lines[-3:] == [{"status": word} for word in ("verifying sha256 digest", "writing manifest", "success")]
    layers = [line for line in lines if "digest" in line]
    assert all(line["status"] == f"pulling {line['digest'][7:19]}" for line in layers)
    assert f"{registry.host}/me/model:latest" in [model.name.display for model in served.library.list()]


async def test_the_published_client_pulls_and_pushes(served: Served, registry: FakeRegistry) -> None:
    name = f"{registry.host}/me/model"
    progress = [part async for part in await served.client.pull(name, insecure=True, stream=True)]

    assert progress[-1].status == "success"
    assert max(part.completed or 0 for part in progress) == max(part.total or 0 for part in progress) > 2_000_000
    copy = f"{registry.host}/me/tiny"
    await served.client.copy("tiny", copy)
    sent = [part async for part in await served.client.push(copy, insecure=True, stream=True)]
    assert [sent[0].status, sent[-2].status, sent[-1].status] == ["retrieving manifest", "pushing manifest", "success"]
    assert any((part.status or "").startswith("pushing ") and part.total for part in sent)
    data = served.library.manifest_bytes(ModelName.parse("tiny"))
    assert registry.manifests["me/tiny", "latest"][0] == data
    assert (await served.client.push(copy, insecure=True)).status == "success"

    await served.client.delete(copy)
    assert (await served.client.pull(copy, insecure=True)).status == "success"
    assert served.library.manifest_bytes(ModelName.parse(copy)) == data


async def test_a_registry_that_is_not_there_is_told_by_the_published_client(served: Served) -> None:
    with pytest.raises(ollama.ResponseError) as error:
        await served.client.pull("127.0.0.1:9/me/model", insecure=True)

    assert error.value.status_code == 502
    assert "the registry 127.0.0.1:9 cannot be reached" in error.value.error


async def test_plain_http_is_spoken_only_where_that_is_asked_for(served: Served, registry: FakeRegistry) -> None:
    status, body = await served.post("/api/pull", {"model": f"http://{registry.host}/me/model", "stream": False})
    assert (status, body) == (400, {"error": "insecure protocol http"})
    status, body = await served.post("/api/pull", {"model": f"{registry.host}/me/model", "stream": False})
    assert status == 502
    assert "has no https, or no certificate for it that is in order" in body["error"]
    assert not registry.seen


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"model": "no/such/model", "insecure": True}, 502, "cannot be reached"),
        ({"model": "169.254.169.254/me/model", "insecure": True}, 502, "not a public address"),
        ({"model": "host:x/me/model"}, 400, "invalid model name"),
        ({"model": "http://host/..;/"}, 400, "invalid model name"),
        ({"password": "x"}, 400, "A password was given without a username."),
        ({"username": 5}, 400, "username"),
    ],
)
async def test_what_cannot_be_pulled_is_told(
    served: Served, registry: FakeRegistry, change: dict[str, object], status: int, words: str
) -> None:
    found, body = await served.post("/api/pull", {**pulling(registry, stream=False), **change})

    assert found == status
    assert words in body["error"]


async def test_a_username_and_a_password_of_the_request_are_shown(served: Served, registry: FakeRegistry) -> None:
    registry.rules.is_closed = True
    registry.rules.gives_anonymous = False
    registry.rules.users = {"me": "secret"}

    status, body = await served.post("/api/pull", pulling(registry, stream=False))
    assert status == 403
    assert "give a username and a password, or a token, in registries.toml" in body["error"]
    shown = pulling(registry, stream=False, username="me", password="secret")
    assert await served.post("/api/pull", shown) == (200, {"status": "success"})


async def test_the_users_table_of_registries_is_looked_up(
    served: Served, registry: FakeRegistry, tmp_path: Path
) -> None:
    registry.rules.is_closed = True
    registry.rules.gives_anonymous = False
    registry.rules.users = {"me": "secret"}
    (tmp_path / "home").mkdir(exist_ok=True)
    table = tmp_path / "home" / "registries.toml"
    table.write_text(f'["{registry.host}"]\nusername = "me"\npassword = "secret"\ninsecure = true\n')

    body = {"model": f"{registry.host}/me/model", "stream": False}
    assert await served.post("/api/pull", body) == (200, {"status": "success"})
    table.write_text("x = 3")
    status, told = await served.post("/api/pull", body)
    assert status == 400
    assert told["error"].startswith('registries.toml: "x" may have')


async def test_plain_names_that_are_no_short_names_come_from_the_registry_of_the_setting(
    tmp_path: Path, registry: FakeRegistry
) -> None:
    registry.add_model("library/mine", "7b", *_model(registry))
    async with serving(tmp_path, registry=registry.url) as served:
        assert await served.post("/api/pull", {"model": "mine:7b", "stream": False}) == (200, {"status": "success"})
        assert "mine:7b" in [model.name.display for model in served.library.list()]
        status, body = await served.post("/api/pull", {"model": "nothing", "stream": False})
        assert status == 404
        assert f"The registry {registry.host} has no model nothing:latest" in body["error"]


def _model(registry: FakeRegistry) -> tuple[bytes, dict[str, bytes]]:
    return registry.manifests["me/model", "latest"][0], registry.blobs


async def test_a_model_to_start_from_is_pulled_first(served: Served, registry: FakeRegistry, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(exist_ok=True)
    (tmp_path / "home" / "registries.toml").write_text(f'["{registry.host}"]\ninsecure = true\n')
    lines = await served.lines("/api/create", {"model": "new", "from": f"{registry.host}/me/model", "system": "Hi."})

    assert lines[-1] == {"status": "success"}
    assert served.library.get(ModelName.parse("new")).system == "Hi."


@pytest.mark.parametrize("name", ["../../../etc/passwd", "../../../etc/nothing-there", "file:///etc/passwd", "a/../b"])
async def test_a_push_of_what_is_no_name_tells_nothing_of_this_machine(served: Served, name: str) -> None:
    status, body = await served.post("/api/push", {"model": name, "stream": False})

    assert status == 400
    assert body["error"] == f'"{name}" is not a model name: write it as model, model:tag or namespace/model:tag.'


async def test_a_push_without_a_registry_is_refused(served: Served) -> None:
    await served.client.copy("tiny", "hf.co/me/tiny")

    for name, place in (("tiny", "a registry that its name does not say"), ("hf.co/me/tiny", "the Hugging Face Hub")):
        status, body = await served.post("/api/push", {"model": name, "stream": False})
        assert status == 400
        assert f"cannot be pushed to {place}: copy it to HOST/NAMESPACE/MODEL" in body["error"]
    assert (await served.post("/api/push", {"model": "nobody", "stream": False}))[0] == 404


async def test_a_key_for_some_models_pulls_no_other_and_nothing_is_fetched_for_it(
    tmp_path: Path, registry: FakeRegistry
) -> None:
    key = issue(tmp_path / "home", terms=Terms(scope="manage", models=("mine",)))
    async with serving(tmp_path, require_key=True) as served:
        served.session.headers.update(key.headers)
        assert (await served.post("/api/pull", pulling(registry, stream=False)))[0] == 403
        assert (await served.post("/api/push", {"model": "tiny", "stream": False}))[0] == 404
    assert not registry.seen


async def test_32_clients_and_the_command_pull_one_model_and_each_byte_comes_once(
    served: Served, registry: FakeRegistry, tmp_path: Path
) -> None:
    registry.faults.hold = asyncio.Event()
    command = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "paddock", "pull", f"{registry.host}/me/model", "--insecure"),
        env={**os.environ, "PADDOCK_HOST": served.url},
        stderr=asyncio.subprocess.PIPE,
    )
    await asyncio.wait_for(registry.holding.wait(), 30)
    pulls = [served.post("/api/pull", pulling(registry, stream=number % 2 == 0)) for number in range(31)]
    tasks = [asyncio.create_task(pull) for pull in pulls]
    await until(lambda: len(served.server.server_state.tasks) == 32)
    registry.faults.hold.set()

    assert await asyncio.gather(*tasks) == [(200, {"status": "success"})] * 31
    _, told = await command.communicate()
    assert (command.returncode, told.decode().splitlines()[-1]) == (0, "success")
    assert registry.sent[large(registry)] == len(registry.blobs[large(registry)])


async def test_31_of_32_leave_and_the_last_one_finishes(served: Served, registry: FakeRegistry) -> None:
    registry.faults.hold = asyncio.Event()
    tasks = [asyncio.create_task(served.post("/api/pull", pulling(registry, stream=True))) for _ in range(32)]
    await asyncio.wait_for(registry.holding.wait(), 20)
    await until(lambda: len(served.server.server_state.tasks) == 32)
    for task in tasks[1:]:
        task.cancel()
    await asyncio.wait(tasks[1:])
    await until(lambda: len(served.server.server_state.tasks) == 1)
    registry.faults.hold.set()

    assert await tasks[0] == (200, {"status": "success"})
    assert registry.sent[large(registry)] == len(registry.blobs[large(registry)])


async def test_a_client_that_leaves_ends_its_pull_and_what_came_is_gone_on_with(
    served: Served, registry: FakeRegistry
) -> None:
    registry.faults.hold = asyncio.Event()
    async with served.session.post(served.url + "/api/pull", json=pulling(registry)) as response:
        assert json.loads(await response.content.readline()) == {"status": "pulling manifest"}
        await asyncio.wait_for(registry.holding.wait(), 20)
        response.close()
    await until(lambda: served.is_at_rest)
    assert left_over(served.library)

    registry.faults.hold = None
    assert await served.post("/api/pull", pulling(registry, stream=False)) == (200, {"status": "success"})
    assert left_over(served.library) == []
    assert registry.sent[large(registry)] < 1.6 * len(registry.blobs[large(registry)])
