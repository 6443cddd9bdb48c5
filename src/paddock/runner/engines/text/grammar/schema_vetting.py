"""What a JSON Schema of a stranger may be: read strictly, with bounds, and refused by name where it asks for something
that cannot be enforced. It knows no tokens and no grammars.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from paddock.errors import BadRequest

MAX_SCHEMA_BYTES = 256 * 1024
MAX_DEPTH = 64
MAX_SCHEMAS = 4096
MAX_PROPERTIES = 1000
MAX_BRANCHES = 256
MAX_ENUM_VALUES = 5000
MAX_PATTERNS = 64
MAX_PATTERN_CHARACTERS = 1024
MAX_NUMBER_DIGITS = 40
"""Of a number written in a schema."""
MAX_MULTIPLE_DIGITS = 4
"""Of a multipleOf: the grammar of the multiples of n has n states."""

FORMATS = frozenset(("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"))
_TYPES = frozenset(("null", "boolean", "integer", "number", "string", "array", "object"))
_ANNOTATIONS = frozenset(
    (
        *("$schema", "$comment", "title", "description", "default", "example", "examples"),
        *("deprecated", "readOnly", "writeOnly", "discriminator"),
    )
)
"""Keywords that never make an answer wrong; `discriminator` is OpenAPI's hint beside a oneOf that says the same."""
_MAPS = ("properties", "patternProperties", "$defs", "definitions")
_LISTS = ("prefixItems", "anyOf", "oneOf", "allOf")
_SINGLES = ("items", "additionalProperties")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _is_type(value: object) -> bool:
    names = value if isinstance(value, list) else [value]
    return bool(names) and all(isinstance(name, str) and name in _TYPES for name in names)


def _is_multiple(value: object) -> bool:
    """Of few digits, wherever its point is."""
    if not _is_number(value):
        return False
    mantissa = f"{value:e}" if isinstance(value, int) else repr(value)
    digits = mantissa.split("e")[0].replace(".", "").strip("0")
    return value > 0 and len(digits) <= MAX_MULTIPLE_DIGITS and 1e-9 <= value <= 1e9  # type: ignore[operator]


def _is_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


_VALUES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "type": (_is_type, "a type of JSON or a list of them"),
    "enum": (lambda value: isinstance(value, list) and 0 < len(value) <= MAX_ENUM_VALUES, "a list of 1 to 5000 values"),
    "const": (lambda value: True, "a value"),
    "required": (_is_names, "a list of names"),
    "minimum": (_is_number, "a number"),
    "maximum": (_is_number, "a number"),
    "exclusiveMinimum": (_is_number, "a number"),
    "exclusiveMaximum": (_is_number, "a number"),
    "multipleOf": (_is_multiple, "a number above 0 of at most 4 digits"),
    "minLength": (_is_count, "a count"),
    "maxLength": (_is_count, "a count"),
    "minItems": (_is_count, "a count"),
    "maxItems": (_is_count, "a count"),
    "minProperties": (_is_count, "a count"),
    "maxProperties": (_is_count, "a count"),
    "pattern": (
        lambda value: isinstance(value, str) and len(value) <= MAX_PATTERN_CHARACTERS,
        "a regular expression of at most 1024 characters",
    ),
    "format": (lambda value: value in FORMATS, f"one of {', '.join(sorted(FORMATS))}"),
    "$ref": (
        lambda value: isinstance(value, str) and (value == "#" or value.startswith("#/")),
        'a place in the same schema, like "#/$defs/name"',
    ),
}


def vet(text: str) -> dict[str, Any]:
    """The schema without its annotations, BadRequest if it is too large, malformed or asks for what is not enforced.

    An object that lists its `properties` and says nothing of others gets `additionalProperties: false`, as far as no
    other part of the schema could add properties to it: extra properties would be valid, but nobody asked for them.
    """
    schema = _parse(text)
    if not isinstance(schema, dict):
        raise BadRequest("The JSON schema of the answer must be an object.")
    vetting = _Vetting()
    vetted = vetting.schema(schema, "#")
    assert isinstance(vetted, dict)
    vetting.check_references()
    if not vetting.combines_objects:
        _close_objects(vetted)
    return vetted


def _parse(text: str) -> object:
    if len(text.encode(errors="replace")) > MAX_SCHEMA_BYTES:
        raise BadRequest(f"The JSON schema is larger than {MAX_SCHEMA_BYTES // 1024} KiB: make it smaller.")
    if _deepest(text) > MAX_DEPTH * 2:
        raise _too_deep()
    try:
        text.encode()
        parsed = json.loads(
            text, parse_constant=_not_json, parse_int=_integer, parse_float=_finite, object_pairs_hook=_once
        )
        json.dumps(parsed, ensure_ascii=False).encode()  # escaped halves of characters are no text
    except (ValueError, RecursionError):
        raise BadRequest("The JSON schema is not valid JSON: check it.") from None
    return parsed


def _deepest(text: str) -> int:
    """At least the depth of nesting: brackets in strings count as well, closing ones only outside of any."""
    depth = deepest = 0
    in_string = escaped = False
    for character in text:
        if in_string:
            in_string = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            in_string = True
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _not_json(_: str) -> NoReturn:
    raise ValueError


def _integer(text: str) -> int:
    if len(text) > MAX_NUMBER_DIGITS:
        raise ValueError
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if len(text) > MAX_NUMBER_DIGITS or not math.isfinite(value):
        raise ValueError
    return value


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError
    return found


def _too_deep() -> BadRequest:
    return BadRequest(f"The JSON schema is nested deeper than {MAX_DEPTH} levels: make it flatter.")


class _Vetting:
    """One schema's places and counts."""

    def __init__(self) -> None:
        self.combines_objects = False
        self._places: set[str] = set()
        self._references: list[str] = []
        self._patterns = 0

    def schema(self, schema: object, place: str, depth: int = 0) -> dict[str, Any] | bool:
        """A schema at a JSON pointer, with those in it."""
        if depth > MAX_DEPTH:
            raise _too_deep()
        self._places.add(place)
        if len(self._places) > MAX_SCHEMAS:
            raise BadRequest(f"The JSON schema has more than {MAX_SCHEMAS} parts: make it smaller.")
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict):
            raise BadRequest("The JSON schema has a value where a schema should be: check its properties and items.")
        self._note_combination(schema)
        kept = {
            keyword: self._keyword(keyword, value, place, depth)
            for keyword, value in schema.items()
            if keyword not in _ANNOTATIONS and not (keyword == "$id" and place == "#")
        }
        if kept.get("uniqueItems") is False:
            del kept["uniqueItems"]
        _check_least_properties(kept)
        return kept

    def check_references(self) -> None:
        """BadRequest for a $ref that leads nowhere, or to something that is no schema."""
        for reference in self._references:
            if reference not in self._places:
                raise BadRequest(f'The JSON schema refers to "{reference}", where it has no schema.')

    def _keyword(self, keyword: str, value: Any, place: str, depth: int) -> Any:
        if keyword in _MAPS:
            return self._map(keyword, value, place, depth)
        if keyword in _LISTS:
            return self._list(keyword, value, place, depth)
        if keyword in _SINGLES:
            return self.schema(value, f"{place}/{keyword}", depth + 1)
        if keyword == "uniqueItems" and value is False:
            return value
        if keyword not in _VALUES:
            raise BadRequest(
                f'The JSON schema uses "{keyword[:64]}", which cannot be enforced on an answer: leave it out.'
            )
        is_right, expected = _VALUES[keyword]
        if not is_right(value):
            raise BadRequest(f'"{keyword}" in the JSON schema must be {expected}.')
        if keyword == "$ref":
            self._references.append(value)
        if keyword == "pattern":
            self._count_pattern()
        return value

    def _map(self, keyword: str, value: object, place: str, depth: int) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise BadRequest(f'"{keyword}" in the JSON schema must be an object of schemas.')
        if len(value) > MAX_PROPERTIES:
            raise BadRequest(f'"{keyword}" in the JSON schema has more than {MAX_PROPERTIES} members: use fewer.')
        if keyword == "patternProperties":
            for pattern in value:
                self._keyword("pattern", pattern, place, depth)
        return {
            name: self.schema(part, f"{place}/{keyword}/{_escaped(name)}", depth + 1) for name, part in value.items()
        }

    def _list(self, keyword: str, value: object, place: str, depth: int) -> list[Any]:
        if not isinstance(value, list) or not 0 < len(value) <= MAX_BRANCHES:
            raise BadRequest(f'"{keyword}" in the JSON schema must be a list of 1 to {MAX_BRANCHES} schemas.')
        return [self.schema(part, f"{place}/{keyword}/{index}", depth + 1) for index, part in enumerate(value)]

    def _count_pattern(self) -> None:
        self._patterns += 1
        if self._patterns > MAX_PATTERNS:
            raise BadRequest(f"The JSON schema has more than {MAX_PATTERNS} patterns: use fewer.")

    def _note_combination(self, schema: Mapping[str, Any]) -> None:
        """Whether properties of one object may be said in several places."""
        alternatives = any(keyword in schema for keyword in ("anyOf", "oneOf", "$ref"))
        about_objects = any(keyword in schema for keyword in ("properties", "required", "patternProperties"))
        self.combines_objects |= "allOf" in schema or (alternatives and about_objects)


def _escaped(name: str) -> str:
    """As JSON pointers write it (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def _check_least_properties(schema: Mapping[str, Any]) -> None:
    """Names could repeat in an object with free ones, so a count is only kept where it follows from `required`."""
    if schema.get("minProperties", 0) > max(1, len(set(schema.get("required", ())))):
        raise BadRequest(
            '"minProperties" in the JSON schema cannot be enforced beyond the required properties: list those instead.'
        )


def _close_objects(schema: object) -> None:
    if not isinstance(schema, dict):
        return
    if "properties" in schema and "patternProperties" not in schema and "additionalProperties" not in schema:
        names = schema["properties"]
        if all(name in names for name in schema.get("required", ())) and names:
            schema["additionalProperties"] = False
    for _, part in children(schema):
        _close_objects(part)


def children(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The schemas directly in a schema, with the rest of their JSON pointers."""
    for keyword in _MAPS:
        for name, part in schema.get(keyword, {}).items():
            yield f"{keyword}/{_escaped(name)}", part
    for keyword in _LISTS:
        for index, part in enumerate(schema.get(keyword, ())):
            yield f"{keyword}/{index}", part
    for keyword in _SINGLES:
        if keyword in schema:
            yield keyword, schema[keyword]
