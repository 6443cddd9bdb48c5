import json

import pytest

from paddock.errors import InvalidModelFiles
from paddock.vetting.tokenizer import MAX_TOKENIZER_BYTES, check_tokenizer

GOOD = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [{"id": 2, "content": "<s>", "special": True}],
    "normalizer": {
        "type": "Sequence",
        "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ],
    },
    "pre_tokenizer": {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": r"\p{N}{1,3}| ?\p{L}+|\s+"}, "behavior": "Isolated"},
            {"type": "ByteLevel", "add_prefix_space": False},
        ],
    },
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [2], "tokens": ["<s>"]}},
    },
    "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}]},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []},
}


def check(tmp_path, found) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(found) if isinstance(found, dict | list) else found)
    check_tokenizer(path)


def test_ordinary_tokenizers_pass(tmp_path):
    check(tmp_path, GOOD)
    check(tmp_path, GOOD | {"model": {"type": "Unigram", "vocab": [["a", -1.0], ["b", -2.0]]}})
    check(tmp_path, {"model": {"type": "WordPiece", "vocab": {"a": 0}}})


REPLACE = {"type": "Replace", "pattern": {"String": "a"}, "content": "aaaa"}
BAD = {
    "no JSON": ("{", "not valid JSON"),
    "nested": ("[" * 100_000, "not valid JSON"),
    "no object": ([], "not the description"),
    "no model": ({}, "not the description"),
    "no vocabulary": ({"model": {"vocab": 1}}, "no vocabulary"),
    "a giant id": ({"model": {"vocab": {"a": 2**32 - 1}}}, "token id outside"),
    "a negative id": ({"model": {"vocab": {"a": -1}}}, "token id outside"),
    "a fraction for an id": ({"model": {"vocab": {"a": 0.5}}}, "token id outside"),
    "an id twice": ({"model": {"vocab": {"a": 0, "b": 0}}}, "same id"),
    "a giant added id": (GOOD | {"added_tokens": [{"id": 4_000_000_000, "content": "x"}]}, "token id outside"),
    "too many added tokens": (GOOD | {"added_tokens": [{"id": 1}] * 100_001}, "added tokens"),
    "added tokens that are none": (GOOD | {"added_tokens": [1]}, "added tokens"),
    "replacements": (GOOD | {"normalizer": {"type": "Sequence", "normalizers": [REPLACE] * 3}}, "times longer"),
    "an empty pattern": (
        GOOD | {"normalizer": {"type": "Replace", "pattern": {"String": ""}, "content": "x"}},
        "times longer",
    ),
    "a pattern that grows": (
        GOOD | {"decoder": {"type": "Replace", "pattern": {"Regex": "."}, "content": "x" * 17}},
        "times longer",
    ),
    "a sequence in itself": (
        GOOD | {"normalizer": {"normalizers": [{"normalizers": [{"type": "Lowercase"}] * 300}]}},
        "more steps",
    ),
    "a step that is none": (GOOD | {"decoder": {"decoders": [1]}}, "more steps"),
    "a long pattern": (
        GOOD | {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "a" * 20_000}}},
        "absurd length",
    ),
    "a long prefix": (GOOD | {"normalizer": {"type": "Prepend", "prepend": "a" * 20_000}}, "absurd length"),
    "a repeated text": (
        GOOD | {"post_processor": {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A"}}] * 2}},
        "repeats every text",
    ),
    "many special tokens": (
        GOOD | {"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x"}}] * 65}},
        "absurd number",
    ),
    "a special token of many ids": (
        GOOD | {"post_processor": {"type": "TemplateProcessing", "special_tokens": {"x": {"ids": [1] * 100_000}}}},
        "absurd number",
    ),
    "padding": (GOOD | {"padding": {"strategy": {"Fixed": 10**9}}}, "absurd length"),
    "padding to a multiple": (
        GOOD | {"padding": {"strategy": "BatchLongest", "pad_to_multiple_of": 10**9}},
        "absurd length",
    ),
}


@pytest.mark.parametrize(("found", "reason"), BAD.values(), ids=BAD.keys())
def test_bombs_are_refused_by_name(tmp_path, found, reason):
    with pytest.raises(InvalidModelFiles, match=reason) as error:
        check(tmp_path, found)
    assert error.value.message.startswith("The file tokenizer.json ")


def test_a_tokenizer_that_is_too_large_is_not_read(tmp_path):
    with (tmp_path / "tokenizer.json").open("wb") as file:
        file.truncate(MAX_TOKENIZER_BYTES + 1)
    with pytest.raises(InvalidModelFiles, match="larger than"):
        check_tokenizer(tmp_path / "tokenizer.json")
