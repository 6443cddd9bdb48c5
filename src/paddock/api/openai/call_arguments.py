"""The arguments of a call that a client brings along: JSON in a text, which no check of its body has looked into."""

from __future__ import annotations

from typing import Any

import msgspec

from paddock.api.body import MOST_ARGUMENT_BITS, check_shape, has_long_argument
from paddock.errors import InvalidField


def object_of(arguments: str, where: str) -> dict[str, Any]:
    """The JSON object that the text is. InvalidField, BadRequest."""
    data = arguments.encode()
    check_shape(data)
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InvalidField(f'The arguments of "{where}" must be a JSON object, written as a text.', where)
    if has_long_argument(found):
        raise InvalidField(f'The arguments of "{where}" hold an integer of more than {MOST_ARGUMENT_BITS} bits.', where)
    return found
