"""Short texts of patterns and formats."""

from __future__ import annotations

import re

import jsonschema
import pytest

from paddock.runner.engines.text.grammar.samples import OF_FORMATS, sample_of, samples_of
from paddock.runner.engines.text.grammar.schema_vetting import FORMATS
from tests.runner.engines.text.walking import CHECKED_FORMATS

PATTERNS = {
    r"^[^@]+@[^@]+\.[a-z]{2,}$": "a@a.aa",
    r"\d{3}x": "000x",
    r"[A-Z]\d+": "A0",
    r"^https?://.+\.(com|org)$": "http://a.com",
    r"^(\(\d{3}\))?\d{3}-\d{4}$": "000-0000",
    r"^\S+@\S+\.\S+$": "a@a.a",
    r"^\\x$": r"\x",
    r"^[^a-zA-Z0-9]+$": " ",
    r"^[^a]\D\W[\s\w]$": "Aa a",
    r"^(long|a|longer)$": "a",
    "^[\u4e00-\u9fff]{2,}$": "\u4e00\u4e00",
    "^(a|)$": "",
    "^.{3,9}?$": "aaa",
}


@pytest.mark.parametrize(("pattern", "sample"), PATTERNS.items())
def test_a_pattern_has_a_short_sample_in_which_it_is_found(pattern: str, sample: str) -> None:
    assert sample_of(pattern) == sample
    assert re.search(pattern, sample)


NESTED = "(" * 9 + "a" + "{200})" * 9


@pytest.mark.parametrize(
    "pattern", [r"\p{L}+", "^.{1000}$", "^a{99999999999}$", "(", r"^(a)\1$", "[^\x00-\U0010ffff]", "[[a]{300}", NESTED]
)
def test_what_is_written_otherwise_or_long_or_impossible_has_none(pattern: str) -> None:
    assert sample_of(pattern) is None


def test_each_format_has_a_sample_that_is_of_it() -> None:
    assert set(OF_FORMATS) == FORMATS
    for name, sample in OF_FORMATS.items():
        jsonschema.Draft202012Validator({"format": name}, format_checker=CHECKED_FORMATS).validate(sample)


def test_samples_are_found_wherever_a_schema_has_strings() -> None:
    schema = {
        "type": "object",
        "properties": {"when": {"type": "string", "format": "date"}},
        "patternProperties": {"^x-": {"type": "array", "items": {"type": "string", "pattern": "^b+$"}}},
        "$defs": {"other": {"anyOf": [{"type": "string", "pattern": "^c$"}, True]}},
    }

    assert sorted(samples_of(schema)) == ["2000-01-01", "b", "c", "x-"]
