"""Which pages and which names may talk to the server."""

from __future__ import annotations

import pytest

from paddock.api.guard import is_host_allowed, origin_pattern
from tests.api.conftest import Served


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:11434", "127.0.0.1:11434", "[::1]:11434", "[::1]", "192.168.1.5", "0.0.0.0:1", "box",
     "BOX:80", "printer.local", "a.localhost:80", "x.internal", ""],
)  # fmt: skip
def test_local_names_and_addresses_are_welcome(host: str) -> None:
    assert is_host_allowed(host, own_name="box")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:11434", "8.8.8.8", "localhost.evil.example", "a b", "[zz]"]
)
def test_public_names_are_not(host: str) -> None:
    assert not is_host_allowed(host, own_name="box")


@pytest.mark.parametrize(
    ("origin", "is_allowed"),
    [
        ("http://localhost", True),
        ("https://127.0.0.1:8080", True),
        ("http://[::1]:3000", True),
        ("app://whatever", True),
        ("tauri://localhost", True),
        ("https://chat.example", True),
        ("https://a.team.example", True),
        ("https://evil.example", False),
        ("http://localhost.evil.example", False),
        ("null", False),
        ("file://", False),
    ],
)
def test_origins_are_the_local_ones_and_the_configured(origin: str, is_allowed: bool) -> None:
    pattern = origin_pattern(["https://chat.example", "https://*.team.example"])

    assert bool(pattern.fullmatch(origin)) is is_allowed


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
@pytest.mark.parametrize("path", ["/", "/api/tags", "/nowhere"])
async def test_strangers_get_403_on_every_path(served: Served, path: str, headers: dict[str, str]) -> None:
    async with served.session.get(served.url + path, headers=headers) as response:
        assert response.status == 403
        assert await response.read() == b""


async def test_a_local_page_is_told_that_it_may_read_the_answer(served: Served) -> None:
    async with served.session.get(served.url + "/api/tags", headers={"Origin": "http://localhost:3000"}) as response:
        assert response.status == 200
        assert response.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
        assert "Origin" in response.headers["Vary"]


async def test_a_preflight_is_answered_before_any_route(served: Served) -> None:
    async with served.session.options(
        served.url + "/api/chat",
        headers={"Origin": "http://localhost:3000", "Access-Control-Request-Method": "POST"},
    ) as response:
        assert response.status == 204
        assert "POST" in response.headers["Access-Control-Allow-Methods"]
        assert "Authorization" in response.headers["Access-Control-Allow-Headers"]
