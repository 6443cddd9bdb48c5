"""The least size of what an answer may begin by a choice of its own."""

import json

from paddock.runner.engines.text.grammar.schema_size import largest_part_bytes
from paddock.runner.engines.text.grammar.schema_vetting import vet
from tests.runner.engines.text.schemas import REAL, TEXT, drawn, listed, obj


def size_of(schema) -> int:
    return largest_part_bytes(vet(json.dumps(schema)))


def test_what_is_required_anyway_is_no_choice():
    assert size_of(obj(a={**TEXT, "minLength": 500})) < 50
    assert size_of(obj([], a={**TEXT, "minLength": 500})) > 500


def test_a_part_is_as_large_as_all_that_it_requires():
    part = obj(first={**TEXT, "minLength": 100}, second={**TEXT, "minLength": 100})

    assert 200 < size_of(listed(part)) < 400
    assert size_of(listed(listed(part, minItems=3))) > 600


def test_references_are_followed_and_end():
    assert size_of({"$defs": {"long": {**TEXT, "minLength": 300}}, **listed({"$ref": "#/$defs/long"})}) > 300
    assert size_of(REAL["a tree"]) < 1000
    assert size_of(REAL["a linked list"]) < 2000


def test_constants_have_their_own_length():
    assert size_of({"anyOf": [{"const": "x" * 50}, {"type": "null"}]}) >= 52


def test_every_schema_has_a_size():
    for seed in range(100):
        assert 0 <= size_of(drawn(seed)) < 100_000
