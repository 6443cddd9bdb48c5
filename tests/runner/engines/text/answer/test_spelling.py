from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlx_lm import utils
from tokenizers import AddedToken, Tokenizer, decoders

from paddock import demo
from paddock.runner.engines.text.answer.detokenizer import Detokenizer, SpellingStream, stream_of
from paddock.runner.engines.text.answer.spelling import spelling_of
from tests.runner.engines.text.answer.test_detokenizer import sentencepiece_tokenizer
from tests.runner.tiny import byte_tokenizer, save_tokenizer


def load(folder: Path):
    return utils.load_tokenizer(folder, {"trust_remote_code": False})


def loaded(folder: Path, tokenizer: Tokenizer):
    (folder / "config.json").write_text('{"model_type": "llama"}')
    save_tokenizer(folder, tokenizer)
    return load(folder)


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory):
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens([AddedToken("<think>", special=True), AddedToken("two words", special=False)])
    return loaded(tmp_path_factory.mktemp("bytes"), tokenizer)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    return loaded(tmp_path_factory.mktemp("pieces"), sentencepiece_tokenizer())


@pytest.fixture(scope="module")
def demo_tokenizer():
    return load(demo.model_folder())


def streamed(tokenizer, ids, before=()) -> str:
    spelling = spelling_of(tokenizer)
    assert spelling is not None
    stream = stream_of(tokenizer.decode, spelling, before)
    assert isinstance(stream, SpellingStream)
    return "".join([*(stream.add(token) for token in ids), stream.finish()])


def decoded(tokenizer, ids) -> str:
    return tokenizer.decode(ids, clean_up_tokenization_spaces=False)


@given(data=st.data())
@pytest.mark.parametrize("kind", ["byte_level", "demo_tokenizer"])
def test_byte_level_tokens_spell_what_decoding_says(kind, data, request):
    tokenizer = request.getfixturevalue(kind)
    ids = data.draw(st.lists(st.integers(0, len(tokenizer) - 1), max_size=30))

    assert streamed(tokenizer, ids) == decoded(tokenizer, ids)


@given(
    parts=st.lists(
        st.one_of(st.integers(256, 264).map(lambda word: [word]), st.characters().map(lambda c: list(c.encode())))
    )
)
def test_pieces_spell_what_decoding_says(pieces, parts):
    ids = [token for part in parts for token in part]

    assert streamed(pieces, ids) == decoded(pieces, ids)


def test_only_a_text_of_its_own_loses_its_first_space(pieces):
    world = pieces.convert_tokens_to_ids("▁world")

    assert streamed(pieces, [world, world]) == "world world"
    assert streamed(pieces, [world], before=[world]) == " world"


def test_a_special_token_is_spelled_as_it_is_written(byte_level):
    think, words = (byte_level.convert_tokens_to_ids(token) for token in ("<think>", "two words"))

    assert streamed(byte_level, [think, words]) == "<think>two words"


def test_ids_that_no_token_has_are_nothing(byte_level):
    assert streamed(byte_level, [ord("a") - 33, 5000]) == decoded(byte_level, [ord("a") - 33])


@pytest.mark.parametrize(
    "decoder",
    [decoders.WordPiece(), decoders.Metaspace(), decoders.Sequence([decoders.ByteLevel(), decoders.Replace("a", "b")])],
    ids=lambda decoder: type(decoder).__name__,
)
def test_decoders_of_other_kinds_are_asked_token_by_token(tmp_path, decoder):
    tokenizer = byte_tokenizer()
    tokenizer.decoder = decoder

    wrapper = loaded(tmp_path, tokenizer)

    assert spelling_of(wrapper) is None
    assert isinstance(stream_of(wrapper.decode, None, ()), Detokenizer)


def test_a_tokenizer_that_decodes_in_ways_of_its_own_is_found_out(byte_level, monkeypatch):
    monkeypatch.setattr(byte_level._tokenizer, "decode", lambda ids, **_: "x" * len(ids))

    assert spelling_of(byte_level) is None
