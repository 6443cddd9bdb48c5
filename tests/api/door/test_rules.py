"""Every route without a key, with one that may use models, and with one that may manage them: the exact table."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.routing import Route

from paddock.api.door.rules import RULES, TEXTS_BYTES, UNCLASSIFIED, Access, Rule, Rulebook, names_of
from paddock.api.routes import ROUTES
from paddock.keys import Terms
from tests.api.conftest import Served, serving
from tests.api.door.keys import Issued, issue

PUBLIC = {"GET /", "GET /api/version", "GET /v1/images/files/{name}"}
MANAGED = {
    "GET /api/status",
    "POST /api/fit",
    "POST /api/copy",
    "DELETE /api/delete",
    "POST /api/create",
    "POST /api/pull",
    "POST /api/push",
    "HEAD /api/blobs/{digest}",
    "POST /api/blobs/{digest}",
}
OPERATED = {"GET /metrics"}
"""All others are for using models."""
ROWS = sorted({row for route in ROUTES for row in names_of(route)})
HOSTS = ("a/v1/x?", "a#", "a\\", "localhost/api/version", "@", "localhost:11434/", "evil.example")


@pytest.fixture
async def shut(tmp_path: Path) -> AsyncIterator[Served]:
    """A server that wants a key for everything that is not public."""
    async with serving(tmp_path, require_key=True) as served:
        yield served


@pytest.fixture
def infer(tmp_path: Path) -> Issued:
    return issue(tmp_path / "home", "user")


@pytest.fixture
def manage(tmp_path: Path) -> Issued:
    return issue(tmp_path / "home", "manager", Terms(scope="manage"))


@pytest.fixture
def some(tmp_path: Path) -> Issued:
    """A key that may manage one model alone."""
    return issue(tmp_path / "home", "manager-of-one", Terms(scope="manage", models=("tiny",)))


def test_every_route_is_in_the_table_and_everything_in_it_is_a_route() -> None:
    assert {name for _, name in ROWS} == set(RULES), "decide in api/door/rules.py who may call a new route"


def test_the_table_says_what_is_public_and_what_is_managed() -> None:
    assert {name for name, rule in RULES.items() if rule.access is Access.OPEN} == PUBLIC
    assert {name for name, rule in RULES.items() if rule.access is Access.MANAGE} == MANAGED
    assert {name for name, rule in RULES.items() if rule.access is Access.OPERATE} == OPERATED


async def status_of(served: Served, method: str, path: str, headers: dict[str, str]) -> int:
    path = (
        path.replace("{digest}", "sha256:" + "0" * 64).replace("{model:path}", "tiny").replace("{", "").replace("}", "")
    )
    async with served.session.request(method, served.url + path, headers=headers) as response:
        return response.status


async def test_every_route_asks_for_the_key_that_the_table_says(
    shut: Served, infer: Issued, manage: Issued, some: Issued
) -> None:
    for method, name in ROWS:
        path = name.partition(" ")[2]
        expected = 401 if name not in PUBLIC else None
        for headers in ({}, {"Authorization": "Bearer pk-wrong"}, {"X-Api-Key": infer.secret[:-1]}):
            status = await status_of(shut, method, path, headers)
            assert status == expected or (expected is None and status in (200, 404)), (name, headers)
        status = await status_of(shut, method, path, infer.headers)
        assert (status == 403) == (name in MANAGED | OPERATED), (name, status)
        assert status != 401, name
        assert await status_of(shut, method, path, manage.headers) not in (401, 403), name
        status = await status_of(shut, method, path, some.headers)
        assert (status == 403) == (name in OPERATED), (name, status)


async def test_paths_that_are_no_route_want_a_key_too(shut: Served, infer: Issued) -> None:
    paths = ("/nowhere", "/api", "/api/tags/", "//api/tags", "/API/TAGS", "/%61pi/nowhere", "/api/version/", "/?", "/.")
    for path, method in itertools.product(paths[:-2], ("GET", "POST", "DELETE", "PUT", "PATCH")):
        assert await status_of(shut, method, path, {}) == 401, path
        assert await status_of(shut, method, path, infer.headers) in (200, 307, 404, 405), path


async def test_an_escaped_path_is_the_route_that_it_spells(shut: Served) -> None:
    assert await status_of(shut, "GET", "/%61pi/tags", {}) == 401
    assert await status_of(shut, "POST", "/api%2fchat", {}) == 401


@pytest.mark.parametrize("host", HOSTS)
async def test_no_host_header_opens_anything(shut: Served, host: str) -> None:
    for method, name in ROWS:
        path = name.partition(" ")[2]
        assert await status_of(shut, method, path, {"Host": host}) in (400, 403), (host, name)


async def test_a_preflight_needs_no_key_since_it_cannot_have_one(shut: Served) -> None:
    headers = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "POST"}
    assert await status_of(shut, "OPTIONS", "/api/chat", headers) == 204


async def nothing(_request: object) -> None:
    """Of routes that are only looked up."""


def test_a_route_that_nobody_decided_about_asks_for_the_most() -> None:
    routes = [Route("/new", nothing), Route("/new/{name}", nothing, methods=["POST"])]
    book = Rulebook(routes, {})

    for method, path in (("GET", "/new"), ("HEAD", "/new"), ("POST", "/new/x")):
        assert book.rule_for({"type": "http", "method": method, "path": path}) is UNCLASSIFIED
    assert UNCLASSIFIED.access is Access.OPERATE


def test_a_rule_is_found_by_method_and_path() -> None:
    book = Rulebook(ROUTES)

    def rule_for(method: str, path: str) -> Rule:
        return book.rule_for({"type": "http", "method": method, "path": path})

    assert rule_for("HEAD", "/api/tags") == RULES["GET /api/tags"]
    assert rule_for("POST", "/api/blobs/sha256:x") == RULES["POST /api/blobs/{digest}"]
    assert rule_for("POST", "/api/tags").access is Access.INFER
    assert rule_for("POST", "/api/embed").body_bytes == TEXTS_BYTES
