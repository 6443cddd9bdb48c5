"""From what a model wrote as calls of tools to the calls themselves. What is no call is no error: it stays text."""

from __future__ import annotations

import json
import math
import re
import secrets
import string
from collections.abc import Mapping
from typing import Any

from paddock.protocol import ToolCall
from paddock.runner.engines.text.answer.style import ToolSyntax

MAX_CALL_CHARACTERS = 128 * 1024
"""A longer one is text."""
_MOST_WORK = 2_000_000
"""The library's parsers look from each opening on to the end: of more openings times characters they may take seconds,
in which nobody else would get a token."""
_OPENING = re.compile(r"call:|functions\.|\[ARGS\]|<\||<function|<param|<invoke|<atem:|<arg_|<longcat_|<tool_call")
_MAX_DEPTH = 32
_MAX_ID_CHARACTERS = 64
_ID_LETTERS = string.digits + string.ascii_lowercase
_ID_LENGTH = 8
_MOST_INTEGER_BITS = 1024

_NO_CALL = (
    *(ValueError, TypeError, LookupError, AttributeError, SyntaxError, ArithmeticError, RecursionError),
    *(AssertionError, MemoryError, NotImplementedError, StopIteration),
)
"""What the library's parsers raise when a text is not what they expect."""


def read_calls(text: str, syntax: ToolSyntax) -> list[ToolCall]:
    """The calls that are written in `text`, the marks left out; none if any of them is not whole.

    A call of a function that was not offered is none: clients would not know what to do with it.
    """
    if len(text) > MAX_CALL_CHARACTERS or len(_OPENING.findall(text)) * len(text) > _MOST_WORK:
        return []
    try:
        found = syntax.parse(text, [dict(tool) for tool in syntax.tools])
        return [_call(each, syntax.names) for each in (found if isinstance(found, list) else [found])]
    except _NO_CALL:
        return []


def is_whole(text: str) -> bool:
    """Whether a call whose end mark never came is all there: only JSON tells where it ends."""
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def new_id() -> str:
    """A name for a call that no other call has."""
    return "call_" + "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH))


def _call(found: Mapping[str, Any], names: frozenset[str]) -> ToolCall:
    """ValueError, or one of its kind, for what is no call."""
    arguments = found.get("arguments", found.get("parameters"))
    if isinstance(arguments, str):
        arguments = json.loads(arguments)
    if not isinstance(arguments, dict | None) or found["name"] not in names:
        raise ValueError("no call of a function that was offered")
    given = found.get("id")
    is_usable = isinstance(given, str) and 0 < len(given) <= _MAX_ID_CHARACTERS and given.isprintable()
    return ToolCall(id=str(given) if is_usable else new_id(), name=found["name"], arguments=_plain(arguments or {}))


def _plain(value: Any, depth: int = 0) -> Any:
    """The value in the types of JSON, as another program can read it; ValueError if it has no such form."""
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        value.encode()  # a lone surrogate is no text
        return value
    if isinstance(value, int | float):
        return _number(value)
    if isinstance(value, Mapping):
        return {_plain(str(key)): _plain(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, depth + 1) for each in value]
    raise ValueError("no JSON")


def _number(value: int | float) -> int | float:
    """As it is: a whole number stays exact however many digits it has, as far as a floating one could go."""
    if value.bit_length() > _MOST_INTEGER_BITS if isinstance(value, int) else not math.isfinite(value):
        raise ValueError("no number that others could read")
    return value
