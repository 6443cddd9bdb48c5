"""What the server tells of itself: complete, well-formed, and a page that needs nothing from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import jsonschema
import pytest
from starlette.routing import Route

from paddock.api.openapi.document import document, methods_of, summary_of
from paddock.api.openapi.operations import OPERATIONS
from paddock.api.openapi.page import page
from paddock.api.routes import ROUTES
from tests.api.conftest import Served

NOT_DESCRIBED: set[str] = set()
"""Routes that stand before their description does."""

ROUTE_KEYS = [(f"{method} {route.path_format}", route) for method, route in methods_of(ROUTES)]


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    return document(ROUTES, "1.2.3")


def operations(told: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in told["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


@pytest.mark.parametrize("key", [key for key, _ in ROUTE_KEYS])
def test_every_route_is_described(key: str) -> None:
    assert key in OPERATIONS or key in NOT_DESCRIBED


def test_nothing_is_described_that_is_not_there(told: dict[str, Any]) -> None:
    assert set(OPERATIONS) <= {key for key, _ in ROUTE_KEYS}
    assert {key for key, _ in operations(told)} == set(OPERATIONS)


@pytest.mark.parametrize(("key", "route"), ROUTE_KEYS, ids=[key for key, _ in ROUTE_KEYS])
def test_every_handler_says_what_it_is_for(key: str, route: Route) -> None:
    summary = summary_of(route)

    assert re.fullmatch(r"[A-Z].{10,}\.", summary), f"{key}: {summary!r}"


def test_schemas_are_json_schemas_and_references_lead_somewhere(told: dict[str, Any]) -> None:
    for schema in told["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    named = {f"#/components/schemas/{name}" for name in told["components"]["schemas"]}
    assert set(references(told)) == named


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_operations_have_names_of_their_own(told: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, operation in operations(told)]

    assert len(set(names)) == len(names)


def test_examples_are_what_their_schemas_ask_for(told: dict[str, Any]) -> None:
    examples = 0
    for _, operation in operations(told):
        content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        if "example" in content:
            examples += 1
            jsonschema.Draft202012Validator({**told, **content["schema"]}).validate(content["example"])
    assert examples > 10


def test_bounds_and_needs_stand_in_the_schemas(told: dict[str, Any]) -> None:
    body = told["components"]["schemas"]["GenerateBody"]
    valid = jsonschema.Draft202012Validator({**told, **body})

    assert valid.is_valid({"model": "m", "prompt": None, "options": {"temperature": 0.5, "top_k": 4.7, "seed": None}})
    for wrong in (
        {},
        {"model": None},
        {"model": "m", "top_logprobs": 21},
        {"model": "m", "options": {"temperature": -1}},
        {"model": "m", "options": {"warmth": 1}},
        {"model": "m", "options": {"use_mmap": False}},
        {"model": "m", "keep_alive": "soon"},
        {"model": "m", "think": "hard"},
        {"model": "m", "format": [1]},
    ):
        assert not valid.is_valid(wrong), wrong


async def test_the_document_is_served(served: Served) -> None:
    async with served.session.get(served.url + "/openapi.json") as response:
        assert response.status == 200
        told = await response.json()

    assert told["openapi"].startswith("3.1")
    assert told["info"]["version"] == (await version(served))


async def version(served: Served) -> str:
    async with served.session.get(served.url + "/api/version") as response:
        return str((await response.json())["version"])


# ---- the page -------------------------------------------------------------------------------------------------------


class Elements(HTMLParser):
    """Which elements a page has, with their attributes; and whether all are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


async def test_the_page_needs_no_script_and_nothing_from_elsewhere(served: Served) -> None:
    async with served.session.get(served.url + "/docs") as response:
        assert response.status == 200
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        text = await response.text()
    elements = Elements()
    elements.feed(text)

    assert elements.open == []
    assert {tag for tag, _ in elements.found}.isdisjoint({"script", "link", "img", "iframe"})
    links = [attributes["href"] for tag, attributes in elements.found if tag == "a"]
    assert all(link and (link.startswith("#") or link == "openapi.json") for link in links)
    assert len(links) == len(OPERATIONS) + 1
    assert {f"#{attributes['id']}" for _, attributes in elements.found if "id" in attributes} == {
        link for link in links if link != "openapi.json"
    }
    assert f"curl {served.url}/api/chat" in text
    assert "messages[].tool_calls[].function.name" in text


def test_what_a_client_says_of_the_server_is_no_markup(told: dict[str, Any]) -> None:
    assert "<script" not in page(told, 'http://localhost"><script>')
