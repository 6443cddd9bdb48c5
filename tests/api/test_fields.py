"""The table of fields: complete, as it is on its page, and true where it says 400."""

from __future__ import annotations

import base64
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from paddock.api.openapi.document import document
from paddock.api.openapi.fields import BEGINNINGS, clause_of, fields_of, fields_page, rows_of, structs_in
from paddock.api.openapi.operations import OPERATIONS
from paddock.api.routes import ROUTES
from tests.api.conftest import Served
from tests.fakes.pictures import a_png

ROOT = Path(__file__).parent.parent.parent
_spec = importlib.util.spec_from_file_location("write_fields", ROOT / "scripts" / "write_fields.py")
assert _spec is not None
assert _spec.loader is not None
writer = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(writer)

BODIES = {route: operation.body for route, operation in OPERATIONS.items() if operation.body is not None}
STRUCTS = list(dict.fromkeys(kind for body in BODIES.values() for kind in structs_in(body)))
SAID = [{"role": "user", "content": "Hi"}]
PICTURE = f"data:image/png;base64,{base64.b64encode(a_png(64, 64)).decode()}"
TEMPLATE = "{{ tools }}<tool_call>{{ tool_call.name }}<think></think>"
CALLABLE = {"name": "add", "description": "Adds.", "parameters": {"type": "object", "properties": {}}}
SCHEMA = {"type": "object", "properties": {}}
BASES: dict[str, dict[str, Any]] = {
    "POST /api/generate": {"model": "tiny", "prompt": "Hi"},
    "POST /api/chat": {"model": "tiny", "messages": SAID},
    "POST /api/create": {"model": "new", "from": "tiny", "messages": SAID},
    "POST /v1/chat/completions": {
        "model": "smart",
        "messages": [*SAID, {"role": "assistant", "content": "Yes"}, *SAID],
    },
    "POST /v1/completions": {"model": "smart", "prompt": "Hi"},
    "POST /v1/responses": {
        "model": "smart",
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}],
        "tools": [{"type": "function", **CALLABLE}],
    },
    "POST /v1/messages": {
        "model": "smart",
        "max_tokens": 5,
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Hi"},
                    {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Once"}},
                ],
            }
        ],
        "tools": [{"name": "add", "input_schema": SCHEMA}],
    },
    "POST /v1/images/generations": {"model": "zimage", "prompt": "a circle"},
    "POST /v1/images/edits": {"model": "zimage", "prompt": "a circle", "images": [{"image_url": PICTURE}]},
}
"""A body of each route with fields that are answered 400, and is answered well itself."""


@pytest.mark.parametrize("kind", STRUCTS, ids=lambda kind: kind.__name__)
def test_every_field_of_a_request_is_told(kind: type[msgspec.Struct]) -> None:
    clauses = {field.encode_name: clause_of(kind, field.encode_name) for field in fields_of(kind)}

    assert [name for name, clause in clauses.items() if not clause.startswith(BEGINNINGS)] == []


@pytest.mark.parametrize("module", sorted({kind.__module__ for kind in STRUCTS}))
def test_nothing_is_told_of_fields_that_are_not_there(module: str) -> None:
    bases = {base for kind in STRUCTS for base in kind.__mro__ if issubclass(base, msgspec.Struct)}
    here = {kind for kind in bases if kind in vars(sys.modules[module]).values()}
    modules = {base.__module__ for kind in here for base in kind.__mro__}
    kinds = {kind for kind in bases if kind.__module__ in modules} | here
    names = {field.encode_name for kind in kinds for field in fields_of(kind)}
    names |= {f"{kind.__name__}.{field.encode_name}" for kind in kinds for field in fields_of(kind)}

    assert set(sys.modules[module].FIELDS) - names == set()


def test_the_page_shows_the_fields_as_they_are() -> None:
    assert writer.PAGE.read_text(encoding="utf-8") == fields_page(), "run scripts/write_fields.py"


def refused_fields() -> Iterator[tuple[str, str, str]]:
    for route, body in BODIES.items():
        for path, clause in rows_of(body):
            if clause.startswith("400"):
                yield route, path, clause


@pytest.mark.parametrize("route", sorted({route for route, _, _ in refused_fields()}))
async def test_what_is_said_to_be_answered_400_is(painting: Served, route: str) -> None:
    await painting.post("/api/create", {"model": "smart", "from": "tiny", "template": TEMPLATE})
    told = document(ROUTES, "")
    path = route.partition(" ")[2]
    base = BASES.get(route) or BASES[f"POST {path.removesuffix('/count_tokens').removesuffix('/input_tokens')}"]
    schema = told["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert (await painting.post(path, base))[0] == 200

    answered = {
        field: (await painting.post(path, with_field(base, field, told, schema, of_kind(route, clause))))[0]
        for of_route, field, clause in refused_fields()
        if of_route == route
    }

    assert [field for field, status in answered.items() if status != 400] == []


VALUES: dict[str, Any] = {
    "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]},
    "diagnostics": {"previous_message_id": "msg_1"},
    "messages[].content[].citations": {"enabled": True},
    "messages[].content[].source": {"type": "url", "url": "http://localhost", "file_id": "file_1"},
}
"""Of fields that are refused for what they hold, by the fields themselves or by those around them."""


def of_kind(route: str, clause: str) -> dict[str, str]:
    """What else an object needs to be of the kind that the field belongs to."""
    kinds = {"picture": "input_image", "file": "input_file", "sound": "input_audio"}
    if "chat" in route:
        kinds = {"picture": "image_url", "file": "file", "sound": "input_audio"}
    found = re.search(r"being of a (\w+)", clause)
    return {"type": kinds[found[1]]} if found else {}


def with_field(
    base: Any, path: str, told: dict[str, Any], schema: dict[str, Any], more: dict[str, str], above: str = ""
) -> dict[str, Any]:
    """The body with something in this field, and `more` beside it; in a list, in its last item."""
    first, _, rest = path.partition(".")
    name, place = first.removesuffix("[]"), f"{above}{first}"
    found = next(each["properties"][name] for each in branches(schema, told) if name in each.get("properties", {}))
    body = base if isinstance(base, dict) else {}
    given = body.get(name)
    if place in VALUES:
        return {**body, name: VALUES[place]}
    if not rest:
        return {**body, **more, name: something(found, told)}
    if first.endswith("[]"):
        items = given if isinstance(given, list) else [{}]
        inner = next(each["items"] for each in branches(found, told) if each.get("items"))
        return {**body, name: [*items[:-1], with_field(items[-1], rest, told, inner, more, f"{place}.")]}
    return {**body, name: with_field(given or {}, rest, told, found, more, f"{place}.")}


def branches(schema: dict[str, Any], told: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What a value may be, but for null."""
    if "anyOf" in schema:
        for one in schema["anyOf"]:
            yield from branches(one, told)
    elif "$ref" in schema:
        yield from branches(told["components"]["schemas"][schema["$ref"].rpartition("/")[2]], told)
    elif schema.get("type") != "null":
        yield schema


def something(schema: dict[str, Any], told: dict[str, Any]) -> Any:
    """A value of the right type that is not empty, and nobody's default."""
    found = next(branches(schema, told))
    match found.get("type", "string"):
        case "boolean":
            return True
        case "integer" | "number":
            return 2
        case "array":
            return [something(found.get("items") or {}, told)]
        case "object":
            return {"x": "x"}
    return "x"
