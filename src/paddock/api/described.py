"""What a JSON schema tells of a field beyond its type: bounds, and forms that the type leaves open.

Nothing is checked by it: who reads the field does that, and answers in words of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from paddock.options import MAX_STOP_BYTES, MAX_STOP_STRINGS, NEUTRAL, RUNNER_OPTIONS, SAMPLING_OPTIONS, Number

Schema = dict[str, Any]


def described(**schema: Any) -> msgspec.Meta:
    """These words of JSON Schema, put over those that follow from the type."""
    return msgspec.Meta(extra_json_schema=schema)


def options_schema() -> Schema:
    """Every option of a request: what `paddock.options` takes, and no other. Null leaves one out."""
    numbers: Mapping[str, Number] = {**SAMPLING_OPTIONS, **RUNNER_OPTIONS}
    stop: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_STOP_BYTES}
    properties = {
        **{name: _number(number) for name, number in numbers.items()},
        **{name: {"enum": [*values, None]} for name, values in NEUTRAL.items()},
        "stop": {"anyOf": [stop, {"type": "array", "items": stop, "maxItems": MAX_STOP_STRINGS}, {"type": "null"}]},
        "guidance": {"type": ["number", "null"]},
        "strength": {"type": ["number", "null"]},
    }
    return {"properties": properties, "additionalProperties": False}


def _number(number: Number) -> Schema:
    """A fraction is cut off where a whole number is wanted, so the ends of the range lie almost one further out."""
    is_cut = number.type_name == "integer"
    least: Schema = (
        {"exclusiveMinimum": number.least - 1} if is_cut and number.least <= 0 else {"minimum": number.least}
    )
    most: Schema = {"exclusiveMaximum": number.most + 1} if is_cut else {"maximum": number.most}
    return {"type": ["number", "null"], **least, **most}


_DURATION = r"^\s*[+-]?(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)\s*$"

Options = Annotated[dict[str, Any], described(**options_schema())]
KeepAlive = Annotated[
    Any, described(anyOf=[{"type": "number"}, {"type": "string", "pattern": _DURATION}, {"type": "null"}])
]
"""Seconds, or a duration as Go writes it."""
Think = Annotated[
    Any, described(anyOf=[{"type": "boolean"}, {"enum": ["low", "medium", "high", "max"]}, {"type": "null"}])
]
Format = Annotated[Any, described(anyOf=[{"enum": ["", "json"]}, {"type": "object"}, {"type": "null"}])]
TopLogprobs = Annotated[int, described(minimum=0, maximum=20)]
"""As many alternatives as a likelihood is told with."""
