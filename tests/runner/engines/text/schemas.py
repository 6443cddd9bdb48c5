"""JSON schemas to try answers on: some as people write them, some drawn at random, and some that mean harm."""

from __future__ import annotations

import random
from typing import Any

Schema = dict[str, Any]


def obj(required: list[str] | None = None, **properties: Any) -> Schema:
    names = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": names}


def listed(items: Any, **bounds: int) -> Schema:
    return {"type": "array", "items": items, **bounds}


TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
YES: Schema = {"type": "boolean"}

REAL: dict[str, Schema] = {
    "any object": {"type": "object"},
    "a person": obj(
        name=TEXT, age={"type": "integer", "minimum": 0, "maximum": 150}, email={**TEXT, "format": "email"}
    ),
    "a country": obj(name=TEXT, capital=TEXT, languages=listed(TEXT)),
    "pets": obj(
        pets=listed(
            obj(
                ["name", "kind", "age"],
                name=TEXT,
                kind={"enum": ["cat", "dog"]},
                age=WHOLE,
                toy={"anyOf": [TEXT, {"type": "null"}]},
            )
        )
    ),
    "sentiment": obj(
        label={"type": "string", "enum": ["positive", "neutral", "negative"]},
        score={**NUMBER, "minimum": 0, "maximum": 1},
    ),
    "reasoning": obj(steps=listed(obj(explanation=TEXT, output=TEXT), maxItems=5), final_answer=TEXT),
    "an event": obj(name=TEXT, date={**TEXT, "format": "date"}, participants=listed(TEXT, minItems=1, maxItems=10)),
    "a tree": {
        "$defs": {"node": obj(["value"], value=WHOLE, children=listed({"$ref": "#/$defs/node"}))},
        "$ref": "#/$defs/node",
    },
    "a linked list": {
        "$defs": {"cell": obj(head=TEXT, tail={"anyOf": [{"$ref": "#/$defs/cell"}, {"type": "null"}]})},
        **obj(list={"$ref": "#/$defs/cell"}),
    },
    "an interface": {
        "$defs": {
            "element": obj(
                kind={"enum": ["div", "button", "header"]}, label=TEXT, children=listed({"$ref": "#/$defs/element"})
            )
        },
        "$ref": "#/$defs/element",
    },
    "an invoice": obj(
        number={**TEXT, "pattern": "^INV-[0-9]{4,8}$"},
        lines=listed(
            obj(
                sku={**TEXT, "pattern": "^[A-Z]{3}[0-9]{3}$"}, quantity={"type": "integer", "minimum": 1}, price=NUMBER
            ),
            minItems=1,
        ),
        paid=YES,
    ),
    "an address": obj(
        ["street", "zip"], street=TEXT, zip={**TEXT, "pattern": "^[0-9]{5}(-[0-9]{4})?$"}, country={"const": "US"}
    ),
    "a moment": obj(
        id={**TEXT, "format": "uuid"}, at={**TEXT, "format": "date-time"}, address={**TEXT, "format": "ipv4"}
    ),
    "one of two shapes": {
        "oneOf": [
            obj(shape={"const": "circle"}, radius={**NUMBER, "exclusiveMinimum": 0}),
            obj(shape={"const": "box"}, width=NUMBER, height=NUMBER),
        ]
    },
    "numbers only": listed({"type": "integer", "minimum": -5, "maximum": 5}, minItems=3, maxItems=6),
    "a pair": {"type": "array", "prefixItems": [TEXT, WHOLE], "items": False, "minItems": 2},
    "a dictionary": {"type": "object", "additionalProperties": {"type": "integer"}},
    "a closed object": {**obj(["a"], a=TEXT, b=WHOLE), "additionalProperties": False},
    "allOf": {"allOf": [obj(a=TEXT), obj(b=WHOLE)]},
    "several types": obj(value={"type": ["string", "integer", "null"]}, short={**TEXT, "minLength": 2, "maxLength": 8}),
    "by pattern": {"type": "object", "patternProperties": {"^x_[a-z]{1,4}$": WHOLE}, "additionalProperties": False},
    "multiples": obj(
        step={"type": "integer", "multipleOf": 5},
        half={"type": "number", "multipleOf": 0.5, "minimum": 0, "maximum": 10},
    ),
    "a bare number": NUMBER,
    "a bare string": {**TEXT, "maxLength": 20},
    "an enum of many kinds": {"enum": [1, "one", None, True, [1, 2], {"a": 1.5}]},
}


def drawn(seed: int) -> Schema:
    """A schema of up to four levels, always the same one for a seed."""
    return _any(random.Random(seed), 0)


def _any(source: random.Random, level: int) -> Schema:
    kinds = [_string, _number, _enum, _plain]
    if level < 4:
        kinds += [_object, _object, _array, _either]
    return source.choice(kinds if level else [_object, _array, _either])(source, level)


def _string(source: random.Random, _: int) -> Schema:
    least = source.randrange(4)
    forms: list[Schema] = [
        {},
        {"minLength": least, "maxLength": least + source.randrange(20)},
        {"pattern": source.choice(["^[a-z]+$", "^(foo|bar)[0-9]{2}$", "[0-9]", "^\\w{1,8}$", '^[^"\\\\]*$'])},
        {"format": source.choice(["date", "time", "uuid", "ipv4", "email", "date-time"])},
    ]
    return {**TEXT, **source.choice(forms)}


def _number(source: random.Random, _: int) -> Schema:
    least = source.randrange(-100, 100)
    bounds: list[Schema] = [
        {},
        {"minimum": least},
        {"maximum": least},
        {"minimum": least, "maximum": least + source.randrange(50)},
    ]
    return {"type": source.choice(["integer", "number"]), **source.choice(bounds)}


def _enum(source: random.Random, _: int) -> Schema:
    return {"enum": source.sample(["red", "green", 'a "quoted" one', "ünï", 7, -1.5, None, False, [], {"k": []}], 3)}


def _plain(source: random.Random, _: int) -> Schema:
    return {"type": source.choice(["null", "boolean"])}


def _object(source: random.Random, level: int) -> Schema:
    names = source.sample(["name", "id", "value", "größe", "items", "next one", "x"], source.randrange(1, 5))
    schema = obj([name for name in names if source.random() < 0.6], **{name: _any(source, level + 1) for name in names})
    if source.random() < 0.3:
        schema["additionalProperties"] = source.choice([False, TEXT])
    return schema


def _array(source: random.Random, level: int) -> Schema:
    least = source.randrange(3)
    bounds = source.choice([{}, {"minItems": least}, {"minItems": least, "maxItems": least + source.randrange(4)}])
    return listed(_any(source, level + 1), **bounds)


def _either(source: random.Random, level: int) -> Schema:
    return {"anyOf": [_any(source, level + 1) for _ in range(source.randrange(2, 4))]}


def _nested(levels: int) -> Schema:
    schema: Schema = TEXT
    for _ in range(levels):
        schema = listed(schema)
    return schema


def _doubling(levels: int) -> Schema:
    """Two of the next level on every level."""
    steps = {
        f"d{level}": obj(a={"$ref": f"#/$defs/d{level + 1}"}, b={"$ref": f"#/$defs/d{level + 1}"})
        for level in range(levels)
    }
    return {"$defs": {**steps, f"d{levels}": {"type": "null"}}, "$ref": "#/$defs/d0"}


HOSTILE: dict[str, Schema] = {
    "nested 60 deep": _nested(60),
    "nested 65 deep": _nested(65),
    "nested 900 deep": _nested(900),
    "1000 properties": obj([], **{f"p{index}": TEXT for index in range(1000)}),
    "5000 properties": obj([], **{f"p{index}": TEXT for index in range(5000)}),
    "500 required properties": obj(**{f"p{index}": TEXT for index in range(500)}),
    "an enum of 5000": {"enum": [f"value {index}" for index in range(5000)]},
    "an enum of 20000": {"enum": [f"v{index}" for index in range(20_000)]},
    "an enum of long words": {"enum": ["x" * 2000 + str(index) for index in range(100)]},
    "a string of a billion": {**TEXT, "minLength": 10**9},
    "a list of a million": listed(WHOLE, minItems=10**6),
    "bounds without end": {**TEXT, "maxLength": 2**31 - 1},
    "nested repetition": {**TEXT, "pattern": "((a{1,100}){1,100}){1,100}"},
    "ambiguous repetition": {**TEXT, "pattern": "^(a+)+$"},
    "exponentially many states": {**TEXT, "pattern": "^(.*a.{20})$"},
    "exponential alternatives": {
        "anyOf": [{**TEXT, "pattern": f"^.*{letter}.{{{at}}}$"} for at, letter in enumerate("abcdefghijklmnop")]
    },
    "an intersection of patterns": {"allOf": [{**TEXT, "pattern": f".*{letter}.*"} for letter in "abcdefghij"]},
    "a group in 200 groups": {**TEXT, "pattern": "(" * 200 + "a" + ")" * 200},
    "a million of a letter": {**TEXT, "pattern": "a{1000000}"},
    "look-ahead": {**TEXT, "pattern": "(?=a)b"},
    "a product of alternatives": {
        "allOf": [{"anyOf": [obj([], **{f"k{row}{column}": TEXT}) for column in range(4)]} for row in range(6)]
    },
    "a larger product": {
        "allOf": [{"anyOf": [obj([], **{f"k{row}{column}": TEXT}) for column in range(8)]} for row in range(8)]
    },
    "a reference to itself": {"$ref": "#"},
    "references in a circle": {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
    "references in an allOf circle": {"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}, YES]}}, "$ref": "#/$defs/a"},
    "an object that needs itself": {"$defs": {"a": obj(a={"$ref": "#/$defs/a"})}, "$ref": "#/$defs/a"},
    "2 to the 25 parts": _doubling(25),
    "patterns for names": {
        "type": "object",
        "patternProperties": {f"^.*{letter}.{{10}}$": TEXT for letter in "abcdefgh"},
    },
    "multiples of many": {"type": "integer", "multipleOf": 99_999},
    "multiples of a few": {"type": "integer", "multipleOf": 9973},
    "multiples of hardly anything": {"type": "number", "multipleOf": 1e-300},
    "a remote reference": {"$ref": "https://example.com/schema.json"},
}
