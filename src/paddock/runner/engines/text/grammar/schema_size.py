"""How long the parts of a vetted JSON schema are at the least, once an answer has begun them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from paddock.runner.engines.text.grammar.schema_vetting import children

_SCALAR_BYTES = 24
_NESTED = 8
"""Levels of references that are followed."""


def largest_part_bytes(schema: Mapping[str, Any]) -> int:
    """An estimate from above of what one token can add to the shortest end of an answer: the greatest least length of a
    part that need not be there at all, or of which there may be several.
    """
    places = _places(schema, "#")
    sizes = [_least_bytes(part, places, _NESTED) for node in places.values() for part in _choices(node)]
    return max(sizes, default=0)


def _choices(node: Mapping[str, Any]) -> list[Any]:
    """Schemas that an answer enters by a choice of its own."""
    required = set(node.get("required", ()))
    optional = [part for name, part in node.get("properties", {}).items() if name not in required]
    free = [node[keyword] for keyword in ("items", "additionalProperties") if keyword in node]
    branches = [part for keyword in ("anyOf", "oneOf") for part in node.get(keyword, ())]
    return optional + free + branches + list(node.get("patternProperties", {}).values())


def _places(schema: Any, place: str) -> dict[str, Mapping[str, Any]]:
    """All schemas by the JSON pointers that references may use."""
    if not isinstance(schema, dict):
        return {}
    found: dict[str, Mapping[str, Any]] = {place: schema}
    for step, part in children(schema):
        found |= _places(part, f"{place}/{step}")
    return found


def _least_bytes(schema: Any, places: Mapping[str, Any], levels: int) -> int:
    if not isinstance(schema, dict) or levels == 0:
        return _SCALAR_BYTES
    if "const" in schema or "enum" in schema:
        return max(len(json.dumps(value)) for value in schema.get("enum", [schema.get("const")]))

    def least(part: Any) -> int:
        return _least_bytes(part, places, levels - 1)

    total = schema.get("minLength", 0) + len(schema.get("pattern", "")) + _SCALAR_BYTES
    if "$ref" in schema:
        total += least(places.get(schema["$ref"]))
    total += max((least(part) for keyword in ("anyOf", "oneOf") for part in schema.get(keyword, ())), default=0)
    total += sum(least(part) for part in schema.get("allOf", ()))
    properties = schema.get("properties", {})
    total += sum(len(name) + 4 + least(properties.get(name, {})) for name in schema.get("required", ()))
    return total + schema.get("minItems", 0) * (1 + least(schema.get("items", {})))
