"""Who is let in, with what, for how long and how often."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from paddock.api.door.gate import is_key_required
from paddock.config import Address, Config, read_config
from paddock.keys import FILE_NAME, KeyFile, Terms
from paddock.protocol import Text
from tests.api.conftest import Served, serving
from tests.api.door.keys import issue
from tests.fakes.fake_server import done
from tests.fakes.waiting import until

PROMPT = {"model": "tiny", "prompt": "hi", "stream": False}


@pytest.mark.parametrize(
    ("host", "is_required"),
    [("127.0.0.1", False), ("127.9.9.9", False), ("::1", False), ("localhost", False), ("LOCALHOST", False),
     ("0.0.0.0", True), ("::", True), ("192.168.1.5", True), ("mybox", True), ("localhost.evil.com", True), ("", True)],
)  # fmt: skip
def test_a_key_is_required_wherever_other_machines_can_call(host: str, is_required: bool) -> None:
    assert is_key_required(Config(address=Address(host=host))) is is_required
    assert is_key_required(Config(address=Address(host=host), require_key=True))
    assert not is_key_required(Config(address=Address(host=host), require_key=False))


def test_the_setting_is_open_closed_or_left_to_the_address() -> None:
    assert read_config({}).require_key is None
    assert read_config({"PADDOCK_REQUIRE_KEY": "1"}).require_key is True
    assert read_config({"PADDOCK_REQUIRE_KEY": "0"}).require_key is False
    assert "secret" not in repr(read_config({"PADDOCK_API_KEY": "pk-secret"}))


async def listed(served: Served, headers: dict[str, str] | None = None) -> int:
    async with served.session.get(served.url + "/api/tags", headers=headers) as response:
        return response.status


async def test_a_server_for_other_machines_lets_nobody_in_without_a_key(tmp_path: Path) -> None:
    async with serving(tmp_path, address=Address(host="0.0.0.0")) as served:
        assert await listed(served) == 401
        key = issue(tmp_path / "home")
        assert await listed(served, key.headers) == 200
        assert await listed(served, {"X-Api-Key": key.secret}) == 200
        assert await listed(served, {"Authorization": f"bearer  {key.secret} "}) == 200
        for wrong in (f"Basic {key.secret}", key.secret, f"Bearer {key.key.hash}", f"Bearer {key.key.id}", "Bearer "):
            assert await listed(served, {"Authorization": wrong}) == 401
        async with served.session.get(f"{served.url}/api/tags?api_key={key.secret}&key={key.secret}") as response:
            assert response.status == 401


async def test_on_loopback_the_keys_that_clients_make_up_are_passed_over(served: Served) -> None:
    for made_up in ("ollama", "sk-anything", "none"):
        assert await listed(served, {"Authorization": f"Bearer {made_up}"}) == 200
    assert await listed(served) == 200


async def test_a_key_that_is_known_counts_on_loopback_too(served: Served, tmp_path: Path) -> None:
    key = issue(tmp_path / "home")

    async with served.session.get(served.url + "/api/status", headers=key.headers) as response:
        assert response.status == 403
    async with served.session.get(served.url + "/api/status") as response:
        assert response.status == 200


async def test_a_revoked_key_is_out_at_once(tmp_path: Path) -> None:
    key = issue(tmp_path / "home", "short")
    async with serving(tmp_path, require_key=True) as served:
        assert await listed(served, key.headers) == 200
        KeyFile(tmp_path / "home").remove("short")
        assert await listed(served, key.headers) == 401


async def test_a_key_that_is_over_is_out(tmp_path: Path) -> None:
    soon = datetime.now(UTC) + timedelta(milliseconds=300)
    key = issue(tmp_path / "home", terms=Terms(expires=soon))
    async with serving(tmp_path, require_key=True) as served:
        await until(lambda: datetime.now(UTC) > soon)
        assert await listed(served, key.headers) == 401


async def test_a_damaged_file_of_keys_lets_nobody_in(tmp_path: Path) -> None:
    key = issue(tmp_path / "home")
    async with serving(tmp_path, require_key=True) as served:
        (tmp_path / "home" / FILE_NAME).write_bytes(b"{")
        assert await listed(served, key.headers) == 500
        assert await listed(served) == 401


@pytest.mark.parametrize(
    ("path", "shape"), [("/api/chat", "ollama"), ("/v1/embeddings", "openai"), ("/v1/messages", "anthropic")]
)
async def test_refusals_are_in_the_dialect_of_the_path(tmp_path: Path, path: str, shape: str) -> None:
    async with serving(tmp_path, require_key=True) as served, served.session.post(served.url + path) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"
        error = (await response.json())["error"]
    message = error if shape == "ollama" else error["message"]
    assert message.startswith("This server asks for an API key")
    assert message.endswith(".")
    if shape != "ollama":
        assert error["type"] == "authentication_error"


async def test_so_many_a_minute_and_then_when_to_come_back(tmp_path: Path) -> None:
    key = issue(tmp_path / "home", terms=Terms(rate=3))
    async with serving(tmp_path, require_key=True) as served:
        assert [await listed(served, key.headers) for _ in range(4)] == [200, 200, 200, 429]
        async with served.session.get(served.url + "/api/tags", headers=key.headers) as response:
            assert 15 <= int(response.headers["Retry-After"]) <= 20
        async with served.session.get(served.url + "/api/version", headers=key.headers) as response:
            assert response.status == 200, "what needs no key counts for none"


async def test_so_many_at_once(tmp_path: Path) -> None:
    key = issue(tmp_path / "home", terms=Terms(concurrent=2))
    async with serving(tmp_path, require_key=True) as served:
        gate = asyncio.Event()
        served.script().answer = (gate, Text(content="hi"), done())
        asking = [asyncio.create_task(ask(served, key.headers)) for _ in range(2)]
        await until(lambda: served.servers.made and served.servers.made[0].active == 2)

        assert await listed(served, key.headers) == 429
        gate.set()
        assert await asyncio.gather(*asking) == [200, 200]
        assert await listed(served, key.headers) == 200


async def ask(served: Served, headers: dict[str, str]) -> int:
    async with served.session.post(served.url + "/api/generate", json=PROMPT, headers=headers) as response:
        await response.read()
        return response.status


async def test_a_client_that_goes_gives_its_place_back(tmp_path: Path) -> None:
    key = issue(tmp_path / "home", terms=Terms(concurrent=1))
    async with serving(tmp_path, require_key=True) as served:
        served.script().answer = (asyncio.Event(), done())
        asking = asyncio.create_task(ask(served, key.headers))
        await until(lambda: served.servers.made and served.servers.made[0].active == 1)
        asking.cancel()
        await until(lambda: served.is_at_rest)

        assert await listed(served, key.headers) == 200


# ---- what a key sees ------------------------------------------------------------------------------------------------


async def test_other_models_are_not_there_for_a_key_with_a_list(served: Served, tmp_path: Path) -> None:
    other = await served.session.post(served.url + "/api/copy", json={"source": "tiny", "destination": "secret"})
    assert other.status == 200
    key = issue(tmp_path / "home", terms=Terms(models=("tiny",), scope="manage"))

    async def call(method: str, path: str, body: object = None) -> tuple[int, str]:
        async with served.session.request(method, served.url + path, json=body, headers=key.headers) as response:
            return response.status, await response.text()

    for path in ("/api/tags", "/v1/models"):
        status, text = await call("GET", path)
        assert (status, "tiny" in text, "secret" in text) == (200, True, False)
    for path in ("/api/show", "/api/generate", "/api/chat", "/api/embed", "/api/fit", "/v1/embeddings"):
        body = {"model": "secret", "prompt": "x", "messages": [{"role": "user", "content": "x"}], "input": "x"}
        found, absent = await call("POST", path, body), await call("POST", path, {**body, "model": "nobody"})
        assert found[0] == 404, path
        assert found[1] == absent[1].replace("nobody", "secret"), "as if it were not there"
    assert (await call("POST", "/api/copy", {"source": "secret", "destination": "tiny"}))[0] == 404
    assert (await call("DELETE", "/api/delete", {"model": "secret"}))[0] == 404
    assert (await call("POST", "/api/copy", {"source": "tiny", "destination": "secret"}))[0] == 403
    assert (await call("POST", "/api/copy", {"source": "tiny", "destination": "new"}))[0] == 403
    assert {model.name.display for model in served.library.list()} == {"tiny:latest", "secret:latest"}


async def test_a_key_with_a_list_is_not_told_of_other_models_by_the_figures_of_the_server(
    served: Served, tmp_path: Path
) -> None:
    await served.session.post(served.url + "/api/copy", json={"source": "tiny", "destination": "secret"})
    await served.client.generate("secret", "hi")
    key = issue(tmp_path / "home", terms=Terms(models=("tiny",), scope="manage"))

    for headers, is_told in (({}, True), (key.headers, False)):
        async with served.session.get(served.url + "/api/status", headers=headers) as response:
            assert response.status == 200
            assert ("secret" in await response.text()) == is_told
    async with served.session.get(served.url + "/metrics", headers=key.headers) as response:
        assert response.status == 403
        assert "for some models alone" in await response.text()


async def test_what_runs_of_other_models_is_not_shown(served: Served, tmp_path: Path) -> None:
    assert await ask(served, {}) == 200
    for name, models, names in (("a", ("tiny",), ["tiny:latest"]), ("b", ("other",), []), ("c", (), ["tiny:latest"])):
        key = issue(tmp_path / "home", name, Terms(models=models))
        async with served.session.get(served.url + "/api/ps", headers=key.headers) as response:
            assert [row["name"] for row in (await response.json())["models"]] == names


async def test_deleting_what_one_sees_keeps_what_others_need(served: Served, tmp_path: Path) -> None:
    """Blobs are shared between names, those of a hidden one too."""
    await served.session.post(served.url + "/api/copy", json={"source": "tiny", "destination": "hidden"})
    key = issue(tmp_path / "home", terms=Terms(models=("tiny",), scope="manage"))

    async with served.session.delete(
        served.url + "/api/delete", json={"model": "tiny"}, headers=key.headers
    ) as response:
        assert response.status == 200
    (left,) = served.library.list()
    assert left.name.display == "hidden:latest"
    assert served.library.files(left)


async def test_what_is_kept_for_one_key_is_not_there_for_another(served: Served, tmp_path: Path) -> None:
    one, two = issue(tmp_path / "home", "one"), issue(tmp_path / "home", "two")
    body = {"model": "tiny", "input": "hi", "store": True}
    async with served.session.post(served.url + "/v1/responses", json=body, headers=one.headers) as response:
        address = f"{served.url}/v1/responses/{(await response.json())['id']}"

    for method, headers, status in (
        ("GET", two.headers, 404),
        ("DELETE", two.headers, 404),
        ("GET", {}, 404),
        ("GET", one.headers, 200),
    ):
        async with served.session.request(method, address, headers=headers) as response:
            assert response.status == status, (method, status)


async def test_prompts_of_a_key_are_a_tenant_of_their_own(served: Served, tmp_path: Path) -> None:
    one, two = issue(tmp_path / "home", "one"), issue(tmp_path / "home", "two")
    chat = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "stream": False, "max_tokens": 5}
    calls = {
        "/api/generate": PROMPT,
        "/api/chat": chat,
        "/v1/chat/completions": chat,
        "/v1/completions": PROMPT,
        "/v1/responses": {"model": "tiny", "input": "hi"},
        "/v1/messages": chat,
    }
    for path, body in calls.items():
        seen = []
        for headers in (one.headers, two.headers, {}):
            async with served.session.post(served.url + path, json=body, headers=headers) as response:
                assert response.status == 200, (path, await response.text())
            request = served.servers.made[0].requests[-1]
            seen.append((request.client, request.tenant))
        assert seen == [(one.key.id, one.key.id), (two.key.id, two.key.id), ("127.0.0.1", "")], path
