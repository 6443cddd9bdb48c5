"""Answers that are to end now need few tokens more, wherever in a string they are."""

from __future__ import annotations

import json

import pytest

from paddock.runner.engines.text.grammar.constraint import Constraints
from tests.runner.engines.text.walking import check, demo_constraints, demo_tokenizer

PATTERNS = [r"^[^@]+@[^@]+\.[a-z]{2,}$", r"\d{3}x", r"[A-Z]\d+", r"^https?://.+\.(com|org)$", r"^\\x$", r"^a\"b$"]
BEGUN = {
    "email": ['"', '"fox', '"fox@', '"fox@den', '"fox@den.'],
    "date": ['"', '"2', '"2024', '"2024-', '"2024-1', '"2024-12-'],
    "time": ['"', '"1', '"12:', '"12:30:5'],
    "ipv4": ['"', '"19', '"192.', '"192.168.2'],
    "ipv6": ['"', '"::', '"2001:d'],
    "uri": ['"', '"http', '"http:', '"http://a'],
    "uuid": ['"', '"0123a', '"01234567-89', '"01234567-89ab-4def-8'],
    "hostname": ['"', '"fox-'],
    "duration": ['"', '"P', '"P1'],
}


@pytest.fixture(scope="module")
def constraints() -> Constraints:
    return demo_constraints()


def ended(constraints: Constraints, schema: object, begun: str) -> tuple[str, int]:
    """The answer that begins like this when it is brought to an end, and how many tokens that takes."""
    constraint, tokenizer = constraints.compile(json.dumps(schema)), demo_tokenizer()
    for character in begun:
        [token] = tokenizer.encode(character, add_special_tokens=False)
        constraint.accept(token)
    end = constraint._grammar.ends.shortest_end(constraint._matcher, constraint._place, 100)
    assert end is not None
    return begun + str(tokenizer.decode(end)), len(end)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_that_must_be_found_ends_within_a_few_tokens(constraints: Constraints, pattern: str) -> None:
    schema = {"type": "string", "pattern": pattern}

    text, tokens = ended(constraints, schema, "")

    check(schema, json.loads(text))
    assert tokens <= 12


@pytest.mark.parametrize(("name", "begun"), [(name, begun) for name, texts in BEGUN.items() for begun in texts])
def test_a_string_of_a_format_ends_from_wherever_it_is(constraints: Constraints, name: str, begun: str) -> None:
    schema = {"type": "string", "format": name}

    text, tokens = ended(constraints, schema, begun)

    check(schema, json.loads(text))
    assert tokens <= 38 - len(begun)


def test_a_string_that_has_to_be_long_ends_when_it_is(constraints: Constraints) -> None:
    schema = {"type": "string", "minLength": 30, "pattern": "^a+b*$"}

    check(schema, json.loads(ended(constraints, schema, "")[0]))


LIST = {"type": "array", "minItems": 2, "items": {"type": "object", "properties": {"a": {"type": "string"}}}}
LIST["items"]["required"] = ["a"]


def known_rest(constraints: Constraints, schema: object, begun: str) -> str:
    """How the answer that begins like this goes on as its schema's shortest answer ends; "" if it does not."""
    constraint, tokenizer = constraints.compile(json.dumps(schema)), demo_tokenizer()
    for character in begun:
        [token] = tokenizer.encode(character, add_special_tokens=False)
        constraint.accept(token)
    rest = constraint._end.rest(constraint._matcher)
    return "" if rest is None else str(tokenizer.decode(rest))


@pytest.mark.parametrize("begun", ["", "[", '[{"', '[{"a":"', '[{"a":"f', '[{"a":"fox and owl', '[{"a":""},{"a'])
def test_an_end_that_is_known_is_gone_on_with_from_wherever_it_leads_on(constraints: Constraints, begun: str) -> None:
    rest = known_rest(constraints, LIST, begun)

    check(LIST, json.loads(begun + rest))
    assert len(json.loads(begun + rest)) == 2


def test_what_was_said_in_other_tokens_is_known_as_well(constraints: Constraints) -> None:
    whole = known_rest(constraints, LIST, "")
    for count in range(1, len(whole)):
        assert known_rest(constraints, LIST, whole[:count]) == whole[count:]


def test_a_string_that_was_said_otherwise_and_may_not_end_so_has_no_known_end(constraints: Constraints) -> None:
    schema = {"enum": ["a", "bcdefghijk"]}

    assert known_rest(constraints, schema, '"') == 'a"'
    assert known_rest(constraints, schema, '"b') == ""
