"""Schemas of strangers: those that mean harm end in bounded time, those that cannot be enforced are refused by name."""

import json
import time

import pytest

from paddock.errors import BadRequest
from paddock.runner.engines.text.grammar.schema_vetting import FORMATS, MAX_SCHEMA_BYTES, vet
from tests.runner.engines.text.schemas import HOSTILE, TEXT, WHOLE, obj
from tests.runner.engines.text.walking import demo_constraints

SECONDS = 1.5


@pytest.fixture(scope="module")
def constraints():
    return demo_constraints()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_schema_is_refused_or_compiled_in_bounded_time(constraints, name):
    begun = time.thread_time()

    refusal = outcome(constraints, json.dumps(HOSTILE[name]))

    assert time.thread_time() - begun < SECONDS
    assert refusal == "" or (refusal.endswith(".") and len(refusal) < 300)


def outcome(constraints, text: str) -> str:
    """Why a schema was refused; empty for one that an answer could begin to obey."""
    try:
        assert constraints.compile(text).allowed().any()
    except BadRequest as error:
        return error.message
    return ""


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nested 900 deep", "nested deeper"),
        ("5000 properties", "more than 1000"),
        ("a string of a billion", "short enough"),
        ("a list of a million", "short enough"),
        ("an object that needs itself", "short enough"),
        ("2 to the 25 parts", "short enough"),
        ("look-ahead", "looks ahead"),
        ("a reference to itself", "No answer"),
        ("a remote reference", "same schema"),
        ("a larger product", "too complex"),
        ("multiples of hardly anything", "multipleOf"),
    ],
)
def test_a_schema_that_cannot_be_served_is_refused_with_its_reason(constraints, name, reason):
    with pytest.raises(BadRequest, match=reason):
        constraints.compile(json.dumps(HOSTILE[name]))


@pytest.mark.parametrize(
    "keyword",
    [
        *("not", "if", "then", "contains", "uniqueItems", "propertyNames", "dependentRequired", "dependentSchemas"),
        *("unevaluatedProperties", "$dynamicRef", "$anchor", "nullable", "contentEncoding", "x-guidance"),
        "additionalItems",
    ],
)
def test_a_keyword_that_is_not_enforced_is_refused_by_its_name(keyword):
    with pytest.raises(BadRequest, match=f'"{keyword}'.replace("$", "[$]")):
        vet(json.dumps({"type": "object", "properties": {"a": {keyword: True}}}))


def test_a_property_may_have_the_name_of_a_keyword():
    vetted = vet(json.dumps({"type": "object", "properties": {"not": TEXT, "title": TEXT, "$ref": TEXT}}))

    assert list(vetted["properties"]) == ["not", "title", "$ref"]


def test_annotations_are_left_out_and_unique_items_may_be_false():
    noted = {
        "$schema": "s",
        "$id": "i",
        "title": "t",
        "description": "d",
        "default": 1,
        "examples": [1],
        "type": "integer",
    }

    assert vet(json.dumps(noted)) == {"type": "integer"}
    assert vet('{"type":"array","uniqueItems":false}') == {"type": "array"}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "text"},
        {"type": []},
        {"enum": []},
        {"required": "a"},
        {"minimum": True},
        {"minimum": 0, "exclusiveMinimum": True},
        {"minLength": -1},
        {"maxItems": 1.5},
        {"pattern": "a" * 2000},
        {"format": "password"},
        {"format": 1},
        {"properties": []},
        {"properties": {"a": 1}},
        {"items": [{"type": "string"}]},
        {"anyOf": []},
        {"anyOf": {}},
        {"$ref": "other.json#/a"},
        {"multipleOf": 0},
        {"patternProperties": {f"^{index}": {} for index in range(65)}},
        {"type": "object", "minProperties": 2},
    ],
    ids=str,
)
def test_a_malformed_value_is_refused(schema):
    with pytest.raises(BadRequest):
        vet(json.dumps(schema))


def test_a_reference_must_lead_to_a_schema_that_was_looked_at():
    hidden = {"properties": {"not": {"type": "string"}}, "$ref": "#/properties"}

    with pytest.raises(BadRequest, match="#/properties"):
        vet(json.dumps(hidden))
    with pytest.raises(BadRequest, match="#/examples/0"):
        vet(json.dumps({"examples": [{"not": {}}], "$ref": "#/examples/0"}))
    vet(json.dumps({"properties": {"a/b~c": WHOLE, "d": {"$ref": "#/properties/a~1b~0c"}}}))


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "true", "null", '{"a":NaN}', '{"minimum":1e999}', '{"minimum":' + "9" * 5000 + "}"),
        *('{"type":"string","type":"integer"}', '{"const":"\\ud800"}', '{"const":"\ud800"}', "[" * 100_000),
        " " * (MAX_SCHEMA_BYTES + 1) + "{}",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_what_is_no_object_of_json_is_refused(text):
    with pytest.raises(BadRequest):
        vet(text)


def test_objects_are_closed_unless_something_else_could_add_to_them():
    closed = {**obj(a=TEXT), "additionalProperties": False}

    assert vet(json.dumps(obj(a=TEXT))) == closed
    assert vet(json.dumps({"type": "array", "items": obj(a=TEXT)}))["items"] == closed
    assert "additionalProperties" not in vet(json.dumps({"type": "object"}))
    assert vet(json.dumps({**obj(a=TEXT), "additionalProperties": True}))["additionalProperties"] is True
    assert "additionalProperties" not in vet(json.dumps({"allOf": [obj(a=TEXT), obj(b=TEXT)]}))["allOf"][0]
    assert "additionalProperties" not in vet(json.dumps({**obj(a=TEXT), "anyOf": [obj(b=TEXT)]}))
    assert "additionalProperties" not in vet(json.dumps(obj(["b"], a=TEXT)))


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_every_format_that_is_taken_is_one_that_the_grammar_knows(constraints, form):
    assert constraints.compile(json.dumps({**TEXT, "format": form})).allowed().any()
