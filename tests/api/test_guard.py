"""Which pages and which names may talk to the server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from paddock.api.guard import (
    MOST_HEADER_BYTES,
    MOST_HEADERS,
    MOST_PATH_BYTES,
    Guard,
    host_pattern,
    is_host_allowed,
    origin_pattern,
)
from tests.api.conftest import Served, serving

BINDS = ("127.0.0.1", "::1", "0.0.0.0", "::", "192.168.1.5", "203.0.113.5")
"""Addresses on which a connection may arrive: loopback, any, a local network's and a public one."""
PATHS = ("/", "/api/tags", "/api/generate", "/v1/embeddings", "/nowhere")

WELCOME_HOSTS = (
    "localhost", "localhost:11434", "LOCALHOST:1", "localhost.", "127.0.0.1:11434", "127.8.8.8", "0.0.0.0:1",
    "[::1]:11434", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[0:0:0:0:0:0:0:1]", "192.168.1.5", "10.0.0.1:80",
    "172.16.9.9", "169.254.1.1", "[fe80::1]", "[fd00::1]:11434", "box", "BOX:80", "printer.local", "a.localhost:80",
    "host.docker.internal:11434", "llm.example.com", "a.team.example.org:443", "",
)  # fmt: skip
STRANGE_HOSTS = (
    "evil.example", "evil.example:11434", "EVIL.EXAMPLE", "8.8.8.8", "8.8.8.8:11434", "[2001:4860:4860::8888]",
    "[::ffff:8.8.8.8]", "localhost.evil.com", "127.0.0.1.nip.io", "127.0.0.1.evil.com:11434", "evil.com.",
    "evil-localhost", "notlocal", "local", "internal", "box.evil.com", "evilbox", "user@localhost",
    "localhost@evil.com", "localhost:11434@evil.com", "localhost:11434:80", "localhost:port", "localhost:123456", "a b",
    "[zz]", "[::1", "::1", "localhost/", "localhost/v1/x?", "localhost#", "localhost\\evil", "http://localhost", "*",
    "0x7f000001", "2130706433", "127.1", "[::1]evil.com", "llm.example.com.evil.com", "team.example.org",
    "xteam.example.org", "localhost,evil.com", "лocalhost", "127.0.0.1%00", "%6cocalhost", "localhost\tx",
)  # fmt: skip

WELCOME_ORIGINS = (
    "http://localhost", "https://localhost", "http://localhost:3000", "HTTP://LOCALHOST:3000", "https://127.0.0.1:8080",
    "http://0.0.0.0:1", "http://[::1]:3000", "app://whatever", "tauri://localhost", "vscode-webview://1a2b3c",
    "vscode-file://vscode-app", "https://chat.example", "https://a.team.example", "https://b.a.team.example",
)  # fmt: skip
STRANGE_ORIGINS = (
    "null", "NULL", "", "file://", "https://evil.example", "http://localhost.evil.com", "http://127.0.0.1.nip.io",
    "http://evil.com:80", "http://localhost:3000@evil.com", "http://localhost@evil.com", "http://localhost:",
    "http://localhost:3000/", "http://localhost:3000/x", "http://localhost:80.evil.com", "http://localhost:evil",
    "http://localhost.", "http://127.0.0.2:1", "http://192.168.1.9:3000", "http://[::2]", "ws://localhost",
    "chrome-extension://abcdefghijklmnop", "moz-extension://0-0", "safari-web-extension://0", "ftp://localhost",
    "javascript://localhost", "app://x@evil.com", "https://chat.example.evil.com", "https://chat.example:8443",
    "http://chat.example", "https://team.example", "https://evil.com/.team.example", "https://x@y.team.example",
    "http://localhost http://evil.com", "http://localhost,http://evil.com", "//localhost", "localhost",
)  # fmt: skip
CONFIGURED = ("https://chat.example", "https://*.team.example")
NAMED = ("box", "llm.example.com", "*.team.example.org")


async def status_of(
    headers: Mapping[str, str] | list[tuple[str, str]],
    bind: str = "127.0.0.1",
    path: str = "/api/tags",
    method: str = "GET",
    origins: tuple[str, ...] = CONFIGURED,
) -> int:
    """What the guard lets happen to a request; 200 is that it went through."""
    statuses: list[int] = []

    async def beyond(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    given = list(headers.items()) if isinstance(headers, Mapping) else headers
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "server": (bind, 11434),
        "headers": [(name.encode(), value.encode("utf-8")) for name, value in given],
    }
    guard = Guard(beyond, origins, NAMED)
    await guard(scope, None, send)  # type: ignore[arg-type]
    (status,) = statuses
    return status


@pytest.mark.parametrize("bind", BINDS)
async def test_the_table_of_hosts_is_the_same_wherever_the_server_listens(bind: str) -> None:
    for path in PATHS:
        for host in WELCOME_HOSTS:
            assert await status_of({"host": host}, bind, path) == 200, host
        for host in STRANGE_HOSTS:
            for method in ("GET", "POST", "OPTIONS", "HEAD"):
                assert await status_of({"host": host}, bind, path, method) == 403, host


@pytest.mark.parametrize("bind", BINDS)
async def test_the_table_of_origins_is_the_same_wherever_the_server_listens(bind: str) -> None:
    for origin in WELCOME_ORIGINS:
        assert await status_of({"host": "localhost:11434", "origin": origin}, bind) == 200, origin
    for origin in STRANGE_ORIGINS:
        for path in PATHS:
            for method in ("GET", "POST", "DELETE", "OPTIONS"):
                headers = {"host": "localhost:11434", "origin": origin}
                assert await status_of(headers, bind, path, method) == 403, origin


async def test_the_very_address_that_was_called_is_welcome_even_a_public_one() -> None:
    assert await status_of({"host": "203.0.113.77:11434"}, bind="203.0.113.77") == 200
    assert await status_of({"host": "8.8.4.4:11434"}, bind="8.8.4.4") == 200
    assert await status_of({"host": "8.8.4.4:11434"}, bind="8.8.8.8") == 403


@pytest.mark.parametrize("host", ["192.168.1.5:11434", "printer.local:8080", "[fd00::1]:11434"])
async def test_a_page_that_the_same_authority_served_may_call(host: str) -> None:
    assert await status_of({"host": host, "origin": f"http://{host}"}) == 200
    assert await status_of({"host": host, "origin": f"HTTPS://{host.upper()}"}) == 200
    assert await status_of({"host": host, "origin": f"http://{host}0"}) == 403
    assert await status_of({"host": host, "origin": f"ftp://{host}"}) == 403
    assert await status_of({"host": host, "origin": f"http://{host.rpartition(':')[0]}:3000"}) == 403


async def test_there_is_exactly_one_host_and_at_most_one_origin() -> None:
    local = ("host", "localhost")
    assert await status_of([]) == 400
    assert await status_of([local, local]) == 400
    assert await status_of([local, ("host", "evil.com")]) == 400
    assert await status_of([local, ("origin", "http://localhost"), ("origin", "https://evil.com")]) == 400


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "chrome-extension://abc", "file://"])
async def test_a_star_takes_every_origin_but_no_other_host(origin: str) -> None:
    assert await status_of({"host": "localhost", "origin": origin}, origins=("*",)) == 200
    assert await status_of({"host": "localhost", "sec-fetch-site": "cross-site"}, origins=("*",)) == 200
    assert await status_of({"host": "evil.example", "origin": origin}, origins=("*",)) == 403


def test_origins_and_hosts_are_read_as_they_are_written() -> None:
    assert origin_pattern(["https://chat.example/"]).fullmatch("https://chat.example")
    assert origin_pattern(["chrome-extension://*"]).fullmatch("chrome-extension://abc")
    assert not origin_pattern(["https://chat.example"]).fullmatch("https://chatxexample")
    assert is_host_allowed("anything.at.all:1", host_pattern(["*"]))
    assert not is_host_allowed("llmxexample.com", host_pattern(["llm.example.com", ""]))


async def test_a_head_of_any_length_has_its_status() -> None:
    local = ("host", "localhost")
    assert await status_of([local, *(("x", "y") for _ in range(MOST_HEADERS - 1))]) == 200
    assert await status_of([local, *(("x", "y") for _ in range(MOST_HEADERS))]) == 431
    assert await status_of([local, ("x", "y" * MOST_HEADER_BYTES)]) == 431
    assert await status_of([local], path="/" + "x" * (MOST_PATH_BYTES - 1)) == 200
    assert await status_of([local], path="/" + "x" * MOST_PATH_BYTES) == 414
    assert await status_of([local], path="http://localhost/api/tags") == 400
    assert await status_of([local], path="*", method="OPTIONS") == 400


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


async def test_a_form_of_another_site_deletes_nothing(served: Served) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        async with served.session.delete(
            served.url + "/api/delete", data='{"model": "tiny"}', headers={**headers, "Content-Type": "text/plain"}
        ) as response:
            assert response.status == 403

    assert [model.name.display for model in served.library.list()] == ["tiny:latest"]


async def test_a_local_page_is_told_that_it_may_read_the_answer(served: Served) -> None:
    async with served.session.get(served.url + "/api/tags", headers={"Origin": "http://localhost:3000"}) as response:
        assert response.status == 200
        assert response.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
        assert "Access-Control-Allow-Credentials" not in response.headers
        assert "Origin" in response.headers["Vary"]


async def test_a_preflight_is_answered_before_any_route(served: Served) -> None:
    asked = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "POST"}
    async with served.session.options(served.url + "/api/chat", headers=asked) as response:
        assert response.status == 204
        assert "POST" in response.headers["Access-Control-Allow-Methods"]
        assert {"Authorization", "X-Api-Key", "anthropic-version"} <= set(
            response.headers["Access-Control-Allow-Headers"].split(", ")
        )
        assert "Access-Control-Allow-Private-Network" not in response.headers


async def test_a_public_page_may_reach_a_private_network_only_where_its_origin_was_let_in(tmp_path: Path) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Private-Network": "true"}
    async with serving(tmp_path, origins=("https://chat.example",)) as served:
        for origin, status, answer in (("https://chat.example", 204, "true"), ("https://evil.example", 403, None)):
            async with served.session.options(
                served.url + "/api/chat", headers={**asked, "Origin": origin}
            ) as response:
                assert response.status == status
                assert response.headers.get("Access-Control-Allow-Private-Network") == answer


# ---- as bytes on the wire -------------------------------------------------------------------------------------------


async def answer_to(served: Served, head: bytes, until_closed: bool) -> bytes:
    """What the server says to these bytes: the first line, or all until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(served.url.rpartition(":")[2]))
    try:
        writer.write(head)
        return await asyncio.wait_for(reader.read() if until_closed else reader.readline(), 5)
    finally:
        writer.close()
        await writer.wait_closed()


HEADS = (
    (b"GET /api/tags HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
    (b"GET /api/tags HTTP/1.0\r\nHost: localhost\r\n\r\n", 200),
    (b"GET /api/tags HTTP/1.1\r\n\r\n", 400),
    (b"GET /api/tags HTTP/1.0\r\n\r\n", 400),
    (b"GET /api/tags HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
    (b"GET /api/tags HTTP/1.1\r\nHost: localhost\r\nHost: evil.com\r\n\r\n", 400),
    (b"GET /api/tags HTTP/1.1\r\nHost: evil.com\r\n\r\n", 403),
    (b"GET http://localhost/api/tags HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    (b"GET http://evil.com/api/tags HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    (b"CONNECT evil.com:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    (b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    (b"GET /api/tags\r\n\r\n", 400),
    (b"GET /api/tags HTTP/2.0\r\nHost: localhost\r\n\r\n", 400),
    (b"GET /api/tags HTTP/1.1\r\nHost: localhost\r\nX : y\r\n\r\n", 400),
    (b"GET /api/tags HTTP/1.1\r\nHost: localhost\r\n folded: y\r\n\r\n", 403),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    (
        b"GET /api/tags HTTP/1.1\r\nHost: evil.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        403,
    ),
    (
        b"POST /api/show HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n",
        400,
    ),
    (b"POST /api/show HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde", 400),
    (b"POST /api/show HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 400),
    (b"POST /api/show HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 400),
)


async def test_the_head_of_a_request_is_one_thing_or_refused(served: Served) -> None:
    for head, status in HEADS:
        answer = await answer_to(served, head, until_closed=status == 400)

        assert answer.split(b" ")[1:2] == [str(status).encode()], (head, answer)
        assert answer.count(b"HTTP/1.1 ") == 1, "what follows a malformed request is no request"
