"""Constraints on random walks: every answer is whole, valid and in time, whatever tokenizer spells it."""

import json
import random

import numpy as np
import pytest
from mlx_lm.tokenizer_utils import TokenizerWrapper
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from paddock.errors import BadRequest, Unsupported
from paddock.runner.engines.text.grammar import constraint as constraint_module
from paddock.runner.engines.text.grammar.constraint import MAX_NUMBER_CHARACTERS, Constraints
from paddock.runner.engines.text.grammar.lexicon import tokens_of
from paddock.runner.watch import Watch
from tests.runner.engines.text.schemas import REAL, TEXT, WHOLE, drawn, listed, obj
from tests.runner.engines.text.walking import allowed, check, demo_constraints, demo_size, demo_tokenizer, walk, wrapped

BUDGET = 400
DRAWN = range(40)


@pytest.fixture(scope="module")
def tokenizer() -> TokenizerWrapper:
    return demo_tokenizer()


@pytest.fixture(scope="module")
def constraints() -> Constraints:
    return demo_constraints()


def checked_walk(constraints, tokenizer, schema, seed, budget=BUDGET):
    answer = walk(constraints.compile(json.dumps(schema)), tokenizer.eos_token_ids, random.Random(seed), budget)
    assert answer.ended
    check(schema, json.loads(answer.text(tokenizer)))
    return answer


# ---- whole and valid ----


@pytest.mark.parametrize("name", REAL)
def test_every_answer_to_a_real_schema_is_whole_and_valid(constraints, tokenizer, name):
    for seed in range(3):
        checked_walk(constraints, tokenizer, REAL[name], seed)


@pytest.mark.parametrize("seed", DRAWN)
def test_every_answer_to_a_random_schema_is_whole_and_valid(constraints, tokenizer, seed):
    checked_walk(constraints, tokenizer, drawn(seed), seed)


@pytest.mark.parametrize("budget", [40, 80, 160, 320])
def test_whatever_is_open_is_closed_before_the_tokens_run_out(constraints, tokenizer, budget):
    for seed in range(4):
        checked_walk(constraints, tokenizer, {"type": "object"}, seed, budget)
        checked_walk(constraints, tokenizer, listed({**TEXT, "minLength": 3}, minItems=2), seed, budget)


def test_a_list_of_large_parts_is_closed_in_time_if_there_was_room_for_one(constraints, tokenizer):
    large = obj(**{f"property_number_{index}": {**TEXT, "minLength": 4} for index in range(8)})

    for seed in range(4):
        checked_walk(constraints, tokenizer, listed(large), seed, 900)


def test_too_small_a_budget_ends_the_answer_in_the_middle(constraints, tokenizer):
    schema = obj(long={**TEXT, "minLength": 100})

    answer = walk(constraints.compile(json.dumps(schema)), tokenizer.eos_token_ids, random.Random(0), 20)

    assert not answer.ended
    assert len(answer.tokens) == 20


def test_numbers_have_no_exponent_and_do_not_go_on_for_ever(constraints, tokenizer):
    texts = [checked_walk(constraints, tokenizer, {"type": "number"}, seed).text(tokenizer) for seed in range(40)]

    assert max(map(len, texts)) < 40
    assert not any("e" in text.lower() for text in texts)


def test_a_number_that_the_schema_wants_longer_is_as_long_as_it_wants(monkeypatch, constraints, tokenizer):
    monkeypatch.setattr(constraint_module, "MAX_NUMBER_CHARACTERS", 4)

    for seed in range(5):
        answer = checked_walk(constraints, tokenizer, {"type": "integer", "minimum": 10**9}, seed)
        assert int(answer.text(tokenizer)) >= 10**9


def test_whitespace_between_two_parts_is_bounded(constraints, tokenizer):
    compiled = constraints.compile(json.dumps({"type": "object"}))
    for token in tokenizer.encode("{\n", add_special_tokens=False):
        compiled.accept(token)

    blanks = 0
    while blank := [token for token in tokens_of(compiled.allowed()) if not tokenizer.decode([token]).strip()]:
        compiled.accept(blank[0])
        blanks += len(tokenizer.decode([blank[0]]))

    assert blanks <= 16


@pytest.mark.parametrize("seed", range(3))
def test_what_is_allowed_is_permitted_and_no_more_but_other_spellings_of_what_must_come(constraints, tokenizer, seed):
    number = {"type": "number", "minimum": -5}
    schema = obj(name=TEXT, age=number, kinds={"enum": ["a", "ab", 7]}, more={"type": "array"})
    compiled, source = constraints.compile(json.dumps(schema)), random.Random(seed)

    for remaining in range(90, 0, -3):
        tokens = allowed(compiled, remaining)
        more = {token for token in range(demo_size()) if compiled.permits(token)} - set(tokens)
        if more:
            [only] = tokenizer.batch_decode([tokens])
            assert all(tokenizer.decode([token])[0] == only[0] for token in more)
        assert all(map(compiled.permits, tokens))
        compiled.accept(source.choice([*tokens, *more]))


def test_digits_of_a_number_that_is_long_are_not_permitted(constraints, tokenizer):
    compiled = constraints.compile('{"type":"number"}')
    [digit] = tokenizer.encode("7", add_special_tokens=False)

    said = 0
    while compiled.permits(digit) and said < 100:
        compiled.accept(digit)
        said += 1

    assert said == MAX_NUMBER_CHARACTERS


def test_an_object_with_listed_properties_has_no_others(constraints, tokenizer):
    for seed in range(10):
        answer = checked_walk(constraints, tokenizer, obj(["a"], a=WHOLE, b=WHOLE), seed)
        assert json.loads(answer.text(tokenizer)).keys() <= {"a", "b"}


# ---- the row of allowed tokens ----


def test_the_row_has_a_bit_for_each_logit_and_none_beyond_the_tokenizer():
    compiled = demo_constraints(vocabulary=demo_size() + 21).compile('{"type":"string"}')

    row = compiled.allowed()

    assert (row.dtype, row.size) == (np.uint32, (demo_size() + 21 + 31) // 32)
    assert max(tokens_of(row)) < demo_size()


def test_logits_fewer_than_the_tokenizer_has_tokens_get_no_bits_beyond():
    compiled = demo_constraints(vocabulary=1000).compile('{"type":"string"}')
    compiled.accept(tokens_of(compiled.allowed())[0])

    row = compiled.allowed()

    assert row.shape == (32,)
    assert max(tokens_of(row)) < 1000


def test_all_end_tokens_of_the_model_may_end_an_answer(tokenizer):
    ends = special_tokens(tokenizer)
    constraints = Constraints(tokenizer, demo_size(), frozenset(ends), Watch())

    for end in ends:
        compiled = constraints.compile('{"type":"integer"}')
        compiled.accept(tokenizer.encode("7", add_special_tokens=False)[0])
        assert ends <= set(tokens_of(compiled.allowed()))
        compiled.accept(end)
        assert compiled.is_finished


def special_tokens(tokenizer) -> set[int]:
    added = tokenizer._tokenizer.backend_tokenizer.get_added_tokens_decoder()
    return {token for token, each in added.items() if each.special}


def test_after_the_last_bracket_only_the_end_is_left(constraints, tokenizer):
    compiled = constraints.compile('{"type":"object"}')
    for token in tokenizer.encode("{}", add_special_tokens=False):
        assert not compiled.is_finished
        compiled.accept(token)

    assert compiled.is_finished
    assert set(tokens_of(compiled.allowed())) == set(tokenizer.eos_token_ids)


def test_special_tokens_are_never_part_of_a_text(constraints, tokenizer):
    compiled = constraints.compile('{"type":"string"}')
    compiled.accept(tokens_of(compiled.allowed())[0])

    assert not special_tokens(tokenizer) & set(tokens_of(compiled.allowed()))


# ---- tokenizers of every kind ----

TRAINING = [
    '{"name": "an old fox", "ages": [1, 2.5, -3e4], "größe": null}',
    "the quick brown fox jumps",
    "日本語 😀 ünï",
]
VISIBLE_SPACE = "\u2581"


def byte_level() -> TokenizerWrapper:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: index for index, letter in enumerate([*alphabet, '{"', '":', "Ġa", '",', "ee", '"}'])}
    merges = [("{", '"'), ('"', ":"), ("Ġ", "a"), ('"', ","), ("e", "e"), ('"', "}")]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<end>", special=True)])
    return wrapped(tokenizer, "<end>")


def byte_fallback() -> TokenizerWrapper:
    """As Llama 2 and Gemma have it: pieces, and a token for each byte that no piece has."""
    pieces = ["<unk>", "<end>", *(f"<0x{byte:02X}>" for byte in range(256)), VISIBLE_SPACE]
    letters = [*map(chr, range(0x21, 0x7F)), "ü", "日"]
    vocabulary = {piece: index for index, piece in enumerate([*pieces, *letters, '{"', VISIBLE_SPACE + "a"])}
    merges = [("{", '"'), (VISIBLE_SPACE, "a")]
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    tokenizer.normalizer = normalizers.Replace(" ", VISIBLE_SPACE)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(VISIBLE_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.add_special_tokens([AddedToken("<end>", special=True), AddedToken("<unk>", special=True)])
    return wrapped(tokenizer, "<end>")


def sentence_pieces() -> TokenizerWrapper:
    """As T5 and many others have it: a unigram model, whose first piece has a blank that is no text."""
    pieces = ["<unk>", "<end>", VISIBLE_SPACE, *map(chr, range(0x21, 0x7F)), "ü", VISIBLE_SPACE + "a", '{"', "12"]
    tokenizer = Tokenizer(models.Unigram([(piece, -1.0 - index / 100) for index, piece in enumerate(pieces)], unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=VISIBLE_SPACE, prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(replacement=VISIBLE_SPACE, prepend_scheme="first")
    tokenizer.add_special_tokens([AddedToken("<end>", special=True), AddedToken("<unk>", special=True)])
    return wrapped(tokenizer, "<end>")


@pytest.mark.parametrize("make", [byte_level, byte_fallback, sentence_pieces])
@pytest.mark.parametrize(
    "name", ["any object", "a person", "a tree", "an invoice", "a moment", "an enum of many kinds"]
)
def test_answers_are_whole_and_valid_with_tokenizers_of_every_kind(make, name):
    tokenizer = make()
    size = tokenizer.vocab_size + 64
    constraints = Constraints(tokenizer, size, frozenset(tokenizer.eos_token_ids), Watch())

    for seed in range(3):
        checked_walk(constraints, tokenizer, REAL[name], seed, 600)


def test_a_tokenizer_that_is_not_of_the_library_refuses_schemas_and_nothing_else():
    class Foreign:
        backend_tokenizer = None

    class Wrapper:
        _tokenizer = Foreign()

    constraints = Constraints(Wrapper(), 100, frozenset({1}), Watch())

    with pytest.raises(Unsupported, match="cannot be constrained"):
        constraints.compile('{"type":"object"}')


def test_a_text_that_the_tokenizer_cannot_spell_fails_that_answer():
    tokenizer = sentence_pieces()
    constraints = Constraints(tokenizer, tokenizer.vocab_size, frozenset(tokenizer.eos_token_ids), Watch())

    with pytest.raises(BadRequest):
        walk(constraints.compile('{"const":"日"}'), tokenizer.eos_token_ids, random.Random(0), 20)


# ---- what is kept, and what is not ----


def test_sound_grammars_are_kept_up_to_a_count(monkeypatch, constraints):
    approved = []
    monkeypatch.setattr(constraint_module, "MAX_KEPT_GRAMMARS", 2)
    original = Constraints._approved
    monkeypatch.setattr(Constraints, "_approved", lambda self, *rest: (approved.append(rest), original(self, *rest))[1])

    for letter in "aabcac":
        constraints.compile(json.dumps({"const": letter}))

    assert len(approved) == 4  # a, b, c, and a again after two others


def test_sound_grammars_are_kept_up_to_a_size(monkeypatch, constraints):
    monkeypatch.setattr(constraint_module, "MAX_KEPT_BYTES", 2000)

    for index in range(10):
        constraints.compile(json.dumps({"const": "x" * 400 + str(index)}))

    assert constraints._kept_bytes <= 2000


def test_answers_to_one_schema_do_not_touch_each_other(constraints, tokenizer):
    first, second = (constraints.compile('{"enum":["ab","cd"]}') for _ in range(2))
    for token in tokenizer.encode('"ab"', add_special_tokens=False):
        first.accept(token)

    assert first.is_finished
    assert not second.is_finished
    assert tokenizer.encode('"', add_special_tokens=False)[0] in tokens_of(second.allowed())


def test_a_pattern_that_blows_up_while_it_is_followed_fails_that_answer_alone(constraints, tokenizer):
    schema = {
        "anyOf": [{**TEXT, "pattern": f"^.*{letter}.{{{at}}}$"} for at, letter in enumerate("abcdefghijklmnopqrst")]
    }
    text = json.dumps(schema)
    source = random.Random(1)

    def follow():
        compiled = constraints.compile(text)
        for _ in range(200):
            tokens = [token for token in tokens_of(compiled.allowed()) if token not in tokenizer.eos_token_ids]
            compiled.accept(source.choice(tokens))

    for _ in range(2):
        with pytest.raises(BadRequest, match="too complex"):
            follow()
        assert len(tokens_of(constraints.compile(text).allowed())) > 0
