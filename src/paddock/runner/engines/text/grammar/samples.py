"""Short texts of the patterns and formats that a schema has for strings: ways to end one that has been begun."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from paddock.runner.engines.text.grammar.schema_vetting import children

OF_FORMATS = {
    "date": "2000-01-01",
    "date-time": "2000-01-01T00:00:00Z",
    "duration": "P1D",
    "email": "a@a.aa",
    "hostname": "a",
    "ipv4": "1.1.1.1",
    "ipv6": "::",
    "time": "00:00:00Z",
    "uri": "a:a",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
MOST_BYTES = 256
"""A longer one is no short end."""
_TRIED_FIRST = "aA0 -_.:/@"
_PLAIN = [*_TRIED_FIRST, *(character for character in map(chr, range(0x20, 0x7F)) if character not in _TRIED_FIRST)]

_KINDS: dict[Any, Callable[[str], bool]] = {
    codes.CATEGORY_DIGIT: lambda character: character.isdigit(),
    codes.CATEGORY_NOT_DIGIT: lambda character: not character.isdigit(),
    codes.CATEGORY_SPACE: lambda character: character.isspace(),
    codes.CATEGORY_NOT_SPACE: lambda character: not character.isspace(),
    codes.CATEGORY_WORD: lambda character: character.isalnum() or character == "_",
    codes.CATEGORY_NOT_WORD: lambda character: not (character.isalnum() or character == "_"),
}


def samples_of(schema: Any) -> Iterator[str]:
    """A short text for each pattern and format anywhere in a vetted schema, if one is found."""
    if not isinstance(schema, Mapping):
        return
    if "format" in schema:
        yield OF_FORMATS[schema["format"]]
    for pattern in (schema.get("pattern"), *schema.get("patternProperties", ())):
        if pattern is not None and (sample := sample_of(pattern)) is not None:
            yield sample
    for _, part in children(schema):
        yield from samples_of(part)


def sample_of(pattern: str) -> str | None:
    """A text in which the pattern is found, near to the shortest; None for a pattern of no such text, or one that is
    written as Python's expressions are not. Whether it is right is for the caller to see."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what later versions of Python will read otherwise
            sample = _of_all(parser.parse(pattern))
    except (re.error, _NoSample, OverflowError, RecursionError):
        return None
    return sample if len(sample.encode("utf-8", "replace")) <= MOST_BYTES else None


class _NoSample(Exception):
    """There is none for a part of a pattern. It never leaves this module."""


def _shortest(part: tuple[Any, Any]) -> str:
    """For one part of a parsed pattern."""
    code, value = part
    if code in (codes.AT, codes.ASSERT, codes.ASSERT_NOT):
        return ""
    if code is codes.SUBPATTERN:
        return _of_all(value[-1])
    if code is codes.ATOMIC_GROUP:
        return _of_all(value)
    if code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
        least, _, repeated = value
        return _repeated(_of_all(repeated), least) if least else ""
    if code is codes.BRANCH:
        return min((_of_all(branch) for branch in value[1]), key=len)
    return _character(code, value)


def _repeated(text: str, times: int) -> str:
    if len(text) * times > MOST_BYTES:  # a few repetitions within each other are gigabytes
        raise _NoSample
    return text * times


def _of_all(parts: Any) -> str:
    return "".join(map(_shortest, parts))


def _character(code: Any, value: Any) -> str:
    """One that the part allows, a plain one if there is any."""
    if code is codes.LITERAL:
        return chr(value)
    if code is codes.ANY:
        return _PLAIN[0]
    if code is codes.NOT_LITERAL:
        return next(character for character in _PLAIN if character != chr(value))
    if code is not codes.IN:
        raise _NoSample
    is_negated = value[0][0] is codes.NEGATE
    found = [character for character in _PLAIN if any(_allows(each, character) for each in value) != is_negated]
    starts = [chr(each[0] if of is codes.RANGE else each) for of, each in value if of in (codes.RANGE, codes.LITERAL)]
    if not found and (is_negated or not starts):
        raise _NoSample
    return found[0] if found else starts[0]


def _allows(member: tuple[Any, Any], character: str) -> bool:
    """Whether a member of a set has this character."""
    code, value = member
    if code is codes.LITERAL:
        return bool(character == chr(value))
    if code is codes.RANGE:
        return bool(value[0] <= ord(character) <= value[1])
    return code is codes.CATEGORY and _KINDS[value](character)
